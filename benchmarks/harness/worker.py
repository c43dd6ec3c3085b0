"""The process that a contender lives in: `python -m benchmarks.harness.worker`, by `Process`.

Answers go to the stdout that the parent opened; whatever libraries print goes to stderr.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.harness.limits import Limits, clock, forget_peak, peak_bytes


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


def resident_bytes() -> int:
    """What is resident now, where the system tells; else the peak so far."""
    forget_peak()
    return peak_bytes()


def main() -> None:
    """Make the desk and let it answer until stdin ends."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    make, job, conditions = pickle.load(sys.stdin.buffer)
    if hasattr(os, "sched_setaffinity") and conditions.cores:
        os.sched_setaffinity(0, conditions.cores)
    desk, limits = make(*job), Limits(conditions.threads)
    answer = getattr(desk, "greeting", {})
    while True:
        pickle.dump(answer, replies)
        replies.flush()
        try:
            do, values = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer = getattr(limits if do in ("sgemm", "copy") else desk, do)(**values)


if __name__ == "__main__":
    main()
