"""The command `onelayer reproduce` as a user meets it: a whole process, by the wall clock."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.crew import Conditions
from benchmarks.record import CommandRuns

SEEDS = 8
# A forked process starts with its parent's resident set on its account, and this process is large:
# a small one in between is the parent, and tells the peak of what it ran.
WATCH = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


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
    """Wall seconds and peak resident bytes of the largest process."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", WATCH, sys.executable, "-m", "onelayer", *arguments],
        env=conditions.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    taken = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(
            f"onelayer reproduce exited with {done.returncode}: {done.stderr[-500:]}"
        )
    unit = 1 if sys.platform == "darwin" else 1024
    return taken, float(done.stdout) * unit
