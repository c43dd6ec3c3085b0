"""Starts workers, each under the same limits, and talks to them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from benchmarks.contenders import Contender
from benchmarks.peers import ENGINE_VARIABLE
from benchmarks.problem import Answer, Data, Problem, make_data, save_data

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
    """What is the same for every process: threads, cores, the engine, the folder of the data."""

    threads: int
    engine: str
    folder: Path
    cores: tuple[int, ...] = field(default_factory=tuple)

    def environment(self) -> dict[str, str]:
        """The environment of a worker."""
        limits = dict.fromkeys(THREAD_VARIABLES, str(self.threads))
        eigen = "true" if self.threads > 1 else "false"
        chosen = {
            ENGINE_VARIABLE: self.engine,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={eigen}",
            "CUDA_VISIBLE_DEVICES": "",
        }
        return {**os.environ, **limits, **chosen}


def make_conditions(threads: int, engine: str, folder: Path) -> Conditions:
    """Use the first `threads` cores that this process may use, where the system lets one say so."""
    cores: tuple[int, ...] = ()
    if hasattr(os, "sched_getaffinity"):
        cores = tuple(sorted(os.sched_getaffinity(0)))[:threads]
    return Conditions(threads, engine, folder, cores)


class WorkerError(RuntimeError):
    """A worker ended before it answered; its own words are on stderr."""


class Process:
    """A worker's process: JSON to its stdin, JSON from its stdout, one line each.

    Args:
        module: what is run.
        job: what it is told on its command line, besides threads and cores.
        conditions: the same for every process.
    """

    def __init__(self, module: str, job: Mapping[str, Any], conditions: Conditions) -> None:
        self._name = str(job["contender"])
        whole = {**job, "threads": conditions.threads, "cores": conditions.cores}
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(whole)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=conditions.environment(),
            cwd=Path(__file__).resolve().parents[1],
        )
        self.greeting = self._hear()

    def ask(self, **command: Any) -> dict[str, Any]:
        """Let it do something and wait for the answer."""
        assert self._process.stdin is not None
        if self._process.stdin.closed:
            raise WorkerError(f"{self._name} had ended before.")
        with suppress(BrokenPipeError):  # a dead worker is noticed when it does not answer
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        return self._hear()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.close()
            code = self._process.returncode
            raise WorkerError(f"{self._name} ended with exit code {code}.")
        reply: dict[str, Any] = json.loads(line)
        return reply


class Worker(Process):
    """A contender in its own process, ready to train one problem."""

    def __init__(self, contender: Contender, problem: Problem, conditions: Conditions) -> None:
        self.contender, self.problem = contender, problem
        folder = str(data_folder(problem, conditions))
        job = {"contender": contender.key, "problem": problem.as_dict(), "folder": folder}
        super().__init__("benchmarks.worker", job, conditions)
        self.about: dict[str, str] = self.greeting["about"]
        self.compile_seconds: float | None = self.greeting["compile_seconds"]

    def train(self) -> tuple[float, float, Answer]:
        """Train once: seconds, bytes above what was resident before, and the weights."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "answer.npz"
            reply = self.ask(do="train", to=str(path))
            with np.load(path) as saved:
                answer = Answer(saved["W"], saved["b"])
        return reply["seconds"], reply["peak_bytes"], answer

    def limit(self, name: str) -> float:
        """Measure a limit of the machine in the worker's process: "sgemm" or "copy"."""
        value = float(self.ask(do=name)["value"])
        time.sleep(SETTLE_SECONDS)
        return value


def data_folder(problem: Problem, conditions: Conditions) -> Path:
    """The folder that holds a problem's rows, written when it is first asked for."""
    p = problem
    folder = conditions.folder / f"{p.source}-{p.rows}x{p.features}-{p.classes}-{p.dtype}"
    if not folder.exists():
        save_data(make_data(problem), folder)
    return folder


def forget_data(problem: Problem, conditions: Conditions) -> None:
    """Delete a problem's rows, so that sweeps do not fill the disk."""
    folder = data_folder(problem, conditions)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def first_steps(problem: Problem, data: Data, steps: int = 5) -> tuple[Problem, Data]:
    """The problem's first few batches, once: what a chaotic run can be compared on."""
    rows = min(problem.rows, steps * problem.batch_size)
    short = Problem.from_dict({**problem.as_dict(), "rows": rows, "epochs": 1})
    return short, Data(data.X[:rows], data.y[:rows])
