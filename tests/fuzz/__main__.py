"""python -m tests.fuzz [CASES]: read damaged files of every format; `make fuzz`.

A case passes when the reader returns, or raises one of onelayer's errors with a message of one
line, within 10 s of the processor and 2 GiB, and nothing that a file names is run. Each fault is
printed with the command that repeats it: --case FORMAT:NUMBER shows its traceback, and --keep
FOLDER its files.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from tests.fuzz.campaign import campaign, lines_of
from tests.fuzz.formats import FORMATS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("cases", nargs="?", type=int, default=2000, help="of each format")
    parser.add_argument("--only", default=",".join(FORMATS), help="formats, by commas")
    parser.add_argument("--first", type=int, default=0, help="number of the first, to go on at")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", metavar="FORMAT:NUMBER", help="one case alone, in this process")
    parser.add_argument("--keep", type=Path, help="where the files of that case are left")
    given = parser.parse_args()
    if given.case:
        name, _, number = given.case.rpartition(":")
        return replay(name.replace("-", " "), int(number), given.seed, given.keep)
    started = time.monotonic()
    names = [name.replace("-", " ") for name in given.only.split(",")]
    tallies = campaign(
        names, given.cases, first=given.first, seed=given.seed,
        children=len(os.sched_getaffinity(0)),
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )  # fmt: skip
    print(*lines_of(tallies, given.seed), sep="\n")
    wrong = sum(tally.wrong for tally in tallies.values())
    total = sum(tally.cases for tally in tallies.values())
    print(f"\n{total} cases, {wrong} faults, seed {given.seed}, {time.monotonic() - started:.0f} s")
    return 1 if wrong else 0


def replay(name: str, number: int, seed: int, keep: Path | None) -> int:
    """Write and read the files of one case; what goes wrong ends in its traceback."""
    with tempfile.TemporaryDirectory() as place:
        folder, rng = keep or Path(place), Random(f"{seed} {name} {number}")
        folder.mkdir(exist_ok=True)
        FORMATS[name].write(folder, rng)
        FORMATS[name].read(folder, rng)
    return 0


if __name__ == "__main__":
    sys.exit(main())
