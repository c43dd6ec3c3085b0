"""The process that a contender lives in: `python -m benchmarks.harness.worker DESK JOB FIXED`.

Reads commands from stdin until it ends; each is a method of the desk, or "sgemm" or "copy". Answers
go to the stdout that the parent opened; whatever libraries print goes to stderr.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness.limits import Limits, clock, forget_peak, peak_bytes
from benchmarks.harness.processes import pack, unpack


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


def main(desk_name: str, job: dict[str, Any], fixed: dict[str, Any]) -> None:
    """Make the desk and let it answer."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if hasattr(os, "sched_setaffinity") and fixed["cores"]:
        os.sched_setaffinity(0, fixed["cores"])
    module, _, name = desk_name.partition(":")
    desk = getattr(importlib.import_module(module), name)({**job, "threads": fixed["threads"]})
    limits, folder = Limits(fixed["threads"]), Path(fixed["answers"])

    def reply(values: dict[str, Any]) -> None:
        print(json.dumps(pack(values, folder)), file=replies, flush=True)

    reply(getattr(desk, "greeting", {}))
    for line in sys.stdin:
        command = unpack(json.loads(line))
        what = command.pop("do")
        if what in ("sgemm", "copy"):
            reply({"value": getattr(limits, what)(**command)})
        else:
            reply(getattr(desk, what)(**command))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3]))
