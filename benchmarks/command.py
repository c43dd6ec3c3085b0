"""The command `onelayer reproduce` as a user meets it: a whole process, by the wall clock."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.crew import Conditions
from benchmarks.record import CommandRuns

SEEDS = 8


def run_reproduce(conditions: Conditions, rounds: int) -> CommandRuns:
    """Run the command with the data cached, each time into a new folder.

    The first run is not counted: it may fill caches that a user's second run finds full.
    """
    arguments = ["reproduce", "--seeds", str(SEEDS), "--engine", conditions.engine]
    seconds, peaks = [], []
    for number in range(rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            taken, peak = _run([*arguments, "--out", str(Path(folder) / "run")], conditions)
        if number:
            seconds.append(taken)
            peaks.append(peak)
    return CommandRuns(f"onelayer {' '.join(arguments)}", tuple(seconds), tuple(peaks))


def _run(arguments: Sequence[str], conditions: Conditions) -> tuple[float, float]:
    """Wall seconds and peak resident bytes of one process."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "onelayer", *arguments],
        env=conditions.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    taken = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode:
        raise RuntimeError(f"onelayer reproduce exited with {process.returncode}: {said[-500:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return taken, float(usage.ru_maxrss * unit)
