"""Starts worker processes, each under the same conditions, and talks to them.

A worker is `python -m benchmarks.harness.worker DESK JOB`. Commands and answers are JSON, one line
each; arrays in them travel through files.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from benchmarks.harness.limits import CLOCK_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
# The environment variable that names onelayer's engine to a worker.
ENGINE_VARIABLE = "ONELAYER_BENCHMARK_ENGINE"
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "ONELAYER_THREADS",
)
# BLAS and OpenMP threads wait busily for a while after a call; the next contender should not pay.
SETTLE_SECONDS = 0.15


@dataclass(frozen=True)
class Conditions:
    """The same for every process: threads, cores, onelayer's engine, a folder for data, the clock.

    With `processor_time` work is timed by the seconds that all its threads were running.
    """

    threads: int
    engine: str
    folder: Path
    cores: tuple[int, ...] = ()
    processor_time: bool = False

    def environment(self) -> dict[str, str]:
        """The environment of a worker: limits hold before any library is imported."""
        eigen = "true" if self.threads > 1 else "false"
        return {
            **os.environ,
            **dict.fromkeys(THREAD_VARIABLES, str(self.threads)),
            ENGINE_VARIABLE: self.engine,
            CLOCK_VARIABLE: "1" if self.processor_time else "",
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={eigen}",
            "CUDA_VISIBLE_DEVICES": "",
        }


def make_conditions(threads: int, engine: str, folder: Path) -> Conditions:
    """Use the first `threads` cores that this process may use, where the system has affinity."""
    cores: tuple[int, ...] = ()
    if hasattr(os, "sched_getaffinity"):
        cores = tuple(sorted(os.sched_getaffinity(0)))[:threads]
    return Conditions(threads, engine, folder, cores)


class WorkerError(RuntimeError):
    """A worker ended, or did not answer in time; its own words are on stderr."""


class Process:
    """A worker: asked by commands, answers with figures and arrays.

    Args:
        name: how errors call it.
        desk: what answers there, "module:class".
        job: what the desk is made with.
        conditions: the same for every process.
        prefix: words before the command, such as those of `ip netns exec`.
        variables: added to the environment.
        enter: called in the child before its program starts.
    """

    def __init__(
        self,
        name: str,
        desk: str,
        job: Mapping[str, Any],
        conditions: Conditions,
        *,
        prefix: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
        enter: Callable[[], None] | None = None,
    ) -> None:
        self._name, self._folder = name, conditions.folder
        fixed = {"threads": conditions.threads, "cores": conditions.cores,
                 "answers": str(self._folder)}  # fmt: skip
        words = [sys.executable, "-m", "benchmarks.harness.worker", desk, json.dumps(job)]
        self._process = subprocess.Popen(
            [*prefix, *words, json.dumps(fixed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=conditions.environment() | dict(variables or {}),
            cwd=ROOT,
            preexec_fn=enter,
        )
        self.greeting = self.receive()

    def ask(self, do: str, **values: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self.send(do, **values)
        return self.receive()

    def send(self, do: str, **values: Any) -> None:
        """Send a command; values may be arrays."""
        assert self._process.stdin is not None
        if self._process.stdin.closed:
            raise WorkerError(f"{self._name} had ended before.")
        with suppress(BrokenPipeError):  # a dead worker is noticed when it does not answer
            line = json.dumps(pack({"do": do, **values}, self._folder))
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def receive(self, timeout: float | None = None) -> dict[str, Any]:
        """Wait for the next answer, for so many seconds at most."""
        assert self._process.stdout is not None
        if timeout is not None and not select.select([self._process.stdout], [], [], timeout)[0]:
            raise WorkerError(f"{self._name} did not answer within {timeout:g} s.")
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise WorkerError(f"{self._name} ended with exit code {self._process.returncode}.")
        return unpack(json.loads(line))

    def limit(self, name: str, **values: int) -> float:
        """Measure the machine's "sgemm" (GFLOP/s) or "copy" (GB/s) in the worker's process."""
        value = float(self.ask(name, **values)["value"])
        time.sleep(SETTLE_SECONDS)
        return value

    def close(self) -> None:
        """Let the process end: it does when its commands do."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if error is not None:
            self._process.kill()
        self.close()


def pack(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The same values for JSON, arrays replaced by the file that they were written to."""
    arrays = {key: value for key, value in values.items() if isinstance(value, np.ndarray)}
    if not arrays:
        return dict(values)
    handle, path = tempfile.mkstemp(".npz", dir=folder)
    with os.fdopen(handle, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    return {**{k: v for k, v in values.items() if k not in arrays}, "arrays": path}


def unpack(values: dict[str, Any]) -> dict[str, Any]:
    """The values that `pack` was given; the file is deleted."""
    path = values.pop("arrays", None)
    if path is not None:
        with np.load(path) as saved:
            values |= dict(saved)
        Path(path).unlink()
    return values
