"""The process that one contender lives in: reads commands, answers in JSON, one line each.

Run as `python -m benchmarks.worker JOB`, by `crew` alone. The environment holds the thread limits
before any library is imported. The answers go to the stdout that the parent opened; whatever
libraries print goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders import contender
from benchmarks.limits import Limits
from benchmarks.memory import forget_peak, peak_bytes
from benchmarks.problem import Problem, read_data


class Desk:
    """Answers the parent's commands."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._threads = int(job["threads"])
        problem, data = Problem.from_dict(job["problem"]), read_data(job["folder"])
        self._prepared = contender(job["contender"]).prepare(problem, data, self._threads)
        self._limits: Limits | None = None
        forget_peak()
        self._resident = peak_bytes()

    @property
    def greeting(self) -> dict[str, Any]:
        """What the parent should know once this is ready."""
        prepared = self._prepared
        return {"about": prepared.about, "compile_seconds": prepared.compile_seconds}

    def train(self, to: str) -> dict[str, float]:
        """Train once; say how long it took and how far memory rose above where it stood."""
        forget_peak()
        started = time.perf_counter()
        answer = self._prepared.train()
        seconds = time.perf_counter() - started
        risen = peak_bytes() - self._resident
        np.savez(to, W=answer.W, b=answer.b)
        return {"seconds": seconds, "peak_bytes": float(max(risen, 0))}

    def sgemm(self) -> dict[str, float]:
        """GFLOP/s of one large matrix product in this process."""
        return {"value": self._measure().sgemm()}

    def copy(self) -> dict[str, float]:
        """GB/s of a large copy in this process."""
        return {"value": self._measure().copy()}

    def _measure(self) -> Limits:
        if self._limits is None:
            self._limits = Limits(self._threads)
            self._limits.sgemm()  # the first one starts the threads and touches the pages
            self._limits.copy()
        return self._limits


def serve(make_desk: Callable[[dict[str, Any]], Any]) -> None:
    """Make the desk for the job on the command line and let it answer until stdin ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    job: dict[str, Any] = json.loads(sys.argv[1])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, job["cores"])
    job["folder"] = Path(job["folder"])
    desk = make_desk(job)
    _say(replies, desk.greeting)
    for line in sys.stdin:
        command = json.loads(line)
        what = command.pop("do")
        _say(replies, getattr(desk, what)(**command))


def _say(replies: Any, reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


if __name__ == "__main__":
    serve(Desk)
