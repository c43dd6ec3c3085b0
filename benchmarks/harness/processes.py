"""Starts worker processes, each under the same conditions, and talks to them by pickles."""

from __future__ import annotations

import os
import pickle
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.harness.worker import CLOCK_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
# Names onelayer's engine to a worker.
ENGINE_VARIABLE = "ONELAYER_BENCHMARK_ENGINE"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
                    "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS",
                    "ONELAYER_THREADS")  # fmt: skip
# BLAS and OpenMP threads wait busily for a while after a call; the next contender should not pay.
SETTLE_SECONDS = 0.15


@dataclass(frozen=True)
class Conditions:
    """The same for every process."""

    threads: int
    engine: str  # onelayer's
    folder: Path  # for data
    cores: tuple[int, ...] = ()
    processor_time: bool = False  # time work by the seconds that all its threads were running

    def environment(self) -> dict[str, str]:
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
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = sorted(os.sched_getaffinity(0))[:threads] if has_affinity else ()
    return Conditions(threads, engine, folder, tuple(cores))


class WorkerError(RuntimeError):
    """A worker ended, or did not answer in time; its own words are on stderr."""


class Process:
    """A worker with a desk, made in it by `desk(*job)`: each command is a method of the desk.

    `prefix` comes before the command, such as `ip netns exec`; `variables` are added to the
    environment; `enter` is called in the child before its program starts.
    """

    def __init__(
        self, name: str, desk: Callable[..., Any], *job: Any, conditions: Conditions,
        prefix: Sequence[str] = (), variables: Mapping[str, str] | None = None,
        enter: Callable[[], object] | None = None,
    ) -> None:  # fmt: skip
        self._name = name
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "benchmarks.harness.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, preexec_fn=enter,
            env=conditions.environment() | dict(variables or {}),
        )  # fmt: skip
        assert self._process.stdin
        assert self._process.stdout
        self._commands, self._answers = self._process.stdin, self._process.stdout
        self._send((desk, job, conditions))
        self.greeting: dict[str, Any] = self.receive()

    def ask(self, do: str, **values: Any) -> Any:
        self.send(do, **values)
        return self.receive()

    def send(self, do: str, **values: Any) -> None:
        if self._commands.closed:
            raise WorkerError(f"{self._name} had ended before.")
        self._send((do, values))

    def _send(self, message: object) -> None:
        with suppress(BrokenPipeError):  # a dead worker is noticed when it does not answer
            pickle.dump(message, self._commands)
            self._commands.flush()

    def receive(self, timeout: float | None = None) -> Any:
        if timeout is not None and not select.select([self._answers], [], [], timeout)[0]:
            raise WorkerError(f"{self._name} did not answer within {timeout:g} s.")
        try:
            return pickle.load(self._answers)
        except EOFError:
            self.close()
            code = self._process.returncode
            raise WorkerError(f"{self._name} ended with exit code {code}.") from None

    def limit(self, name: str, **values: int) -> float:
        """Measure the machine's "sgemm" (GFLOP/s) or "copy" (GB/s) in the worker's process."""
        value = float(self.ask(name, **values))
        time.sleep(SETTLE_SECONDS)
        return value

    def close(self) -> None:
        with suppress(BrokenPipeError):
            self._commands.close()  # the worker ends when its commands do
        self._process.wait()
        self._answers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if error is not None:
            self._process.kill()
        self.close()
