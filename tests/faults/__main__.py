"""python -m tests.faults [CASES]: so many faults of all kinds, met by commands; `make faults`.

A case fails when something is lost, a command hangs, ends in a traceback, says more than one line
of error, takes damage for data, or changes a file that onelayer did not write. Each fault is
printed with the command that repeats it: --case KIND:NUMBER, and --keep FOLDER leaves its files.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults import signals, worker
from tests.faults.kinds import KINDS, LIBRARY, prepare
from tests.fuzz.campaign import Tally, campaign, lines_of

SIGNALS = "signals"

WORKER = (sys.executable, "-m", "tests.faults.worker")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("cases", nargs="?", type=int, default=250, help="of all kinds")
    parser.add_argument("--only", default=",".join((*KINDS, SIGNALS)), help="kinds, by commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--signals", type=int, help="default: a quarter of another kind's, for they take long"
    )
    parser.add_argument("--case", metavar="KIND:NUMBER", help="one case alone, in this process")
    parser.add_argument("--keep", type=Path, help="where the files of that case are left")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="onelayer-faults-") as place:
        load_failing_writes(Path(place))
        if given.case:
            kind, _, number = given.case.partition(":")
            return replay(kind, int(number), given.seed, given.keep or Path(place) / "kept")
        started, kinds = time.monotonic(), given.only.split(",")
        each = round(given.cases / (len(kinds) - 0.75 * (SIGNALS in kinds)))
        with ThreadPoolExecutor(1) as pool:
            count = each // 4 if given.signals is None else given.signals
            signalled = pool.submit(meet_signals, count * (SIGNALS in kinds), given.seed)
            tallies = campaign(
                [kind for kind in kinds if kind != SIGNALS], each, seed=given.seed, batch=5,
                worker=WORKER, children=len(os.sched_getaffinity(0)), say=say,
            )  # fmt: skip
            tallies |= signalled.result()
    print(*lines_of(tallies, given.seed, "tests.faults", "kind"), sep="\n")
    wrong = sum(tally.wrong for tally in tallies.values())
    total = sum(tally.cases for tally in tallies.values())
    print(f"\n{total} cases, {wrong} faults, seed {given.seed}, {time.monotonic() - started:.0f} s")
    return 1 if wrong else 0


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def meet_signals(count: int, seed: int) -> dict[str, Tally]:
    """The cases of `tests.faults.signals`, whose commands it starts by itself."""
    if not count:
        return {}
    ends = signals.run_cases(count, seed, say)
    finished = ends["finished"]
    good = sum(ends[kind] for kind in signals.GOOD)
    faults = {kind: [*range(ends[kind])] for kind in ends if kind not in signals.GOOD}
    return {SIGNALS: Tally(ends.total(), finished, good - finished, faults)}


def load_failing_writes(place: Path) -> None:
    """Have the children's writes go through writes.c; without a compiler they fail by size."""
    library = place / "writes.so"
    source = Path(__file__).with_name("writes.c")
    words = ("cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl")
    try:
        subprocess.run(words, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return
    os.environ |= {LIBRARY: str(library), "LD_PRELOAD": str(library)}


def replay(kind: str, number: int, seed: int, keep: Path) -> int:
    """One case in this process; what it finds is printed, and its files are left in `keep`."""
    if LIBRARY in os.environ and "ONELAYER_FAULTS_AGAIN" not in os.environ:  # loaded at its start
        again = {**os.environ, "ONELAYER_FAULTS_AGAIN": "1"}
        return subprocess.run([sys.executable, "-m", *_words()], env=again, check=False).returncode
    worker.warm()
    (keep / "made").mkdir(parents=True)
    prepare(keep / "made")
    told = worker.answer(kind, number, seed, keep / "made", keep)
    print(told)
    return told not in ("read", "refused")


def _words() -> list[str]:
    return ["tests.faults", *sys.argv[1:]]


if __name__ == "__main__":
    sys.exit(main())
