"""Worker processes, each under the same conditions, and what they measure: time, memory, limits.

`Process` starts a worker as `python -m benchmarks.harness.processes` and talks to it by pickles.
Answers go to the stdout that the parent opened; whatever libraries print goes to stderr.
"""

from __future__ import annotations

import os
import pickle
import resource
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
# Names onelayer's engine to a worker.
ENGINE_VARIABLE = "ONELAYER_BENCHMARK_ENGINE"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
                    "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS",
                    "ONELAYER_THREADS")  # fmt: skip
# BLAS and OpenMP threads wait busily for a while after a call; the next contender should not pay.
SETTLE_SECONDS = 0.15
SGEMM_SIDE = 4096
# Set to time by the processor's seconds of the process: what load of the machine hardly changes.
CLOCK_VARIABLE = "ONELAYER_BENCHMARK_PROCESSOR_TIME"


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
            [*prefix, sys.executable, "-m", "benchmarks.harness.processes"],
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
        """Measure the machine's "sgemm" (GFLOP/s) in the worker's process."""
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


def ask_once(
    do: str, desk: Callable[..., Any], job: Sequence[Any], values: Mapping[str, Any], **how: Any
) -> Any:
    """What one command answers in a process of its own; `how` is of the process."""
    with Process(do, desk, *job, **how) as process:
        return process.ask(do, **values)


def timed(work: Callable[[], Any], resident: int | None = None) -> tuple[Any, dict[str, float]]:
    """What the work returned, its seconds, and how far memory rose above what was resident.

    Without `resident` it is the peak of the process's whole life.
    """
    if resident is not None:
        forget_peak()
    started = clock()
    answer = work()
    seconds = clock() - started
    risen = float(max(peak_bytes() - (resident or 0), 0))
    return answer, {"seconds": seconds, "peak_bytes": risen}


def clock() -> float:
    """Seconds by the clock that this process measures with: the wall's, or the processor's."""
    return time.process_time() if os.environ.get(CLOCK_VARIABLE) else time.perf_counter()


def forget_peak() -> None:
    """Restart the peak from what is resident now (Linux); elsewhere the old peak stays."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_bytes() -> int:
    """Largest resident set since `forget_peak`, or of the whole life where Linux is not there."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return rusage_bytes(resource.RUSAGE_SELF)


def rusage_bytes(who: int) -> int:
    return resource.getrusage(who).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@cache
def _factors(side: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    A, B, C = (rng.random((side, side), np.float32) for _ in range(3))
    return A, B, np.matmul(A, B, out=C)  # which starts the threads


def sgemm(side: int = SGEMM_SIDE) -> float:
    """GFLOP/s of one square float32 product, counted as 2·side³ operations."""
    A, B, C = _factors(side)
    started = clock()
    np.matmul(A, B, out=C)
    return 2 * side**3 / (clock() - started) / 1e9


def main() -> None:
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    make, job, conditions = pickle.load(sys.stdin.buffer)
    if hasattr(os, "sched_setaffinity") and conditions.cores:
        os.sched_setaffinity(0, conditions.cores)
    desk = make(*job)
    answer = getattr(desk, "greeting", {})
    while True:
        pickle.dump(answer, replies)
        replies.flush()
        try:
            do, values = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer = (sgemm if do == "sgemm" else getattr(desk, do))(**values)


if __name__ == "__main__":
    main()
