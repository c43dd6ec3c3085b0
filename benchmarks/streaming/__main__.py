"""`python -m benchmarks.streaming`: 12 GB of rows, one epoch of 8 runs, 1.5 GB of memory.

Takes root (for the control group), Linux, and 12 GB on the disk of --folder, which are deleted.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.streaming.files import Shards
from benchmarks.streaming.measure import GIGABYTE, measure


def main(arguments: list[str] | None = None) -> int:
    """Parse, measure, print Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming", description=__doc__)
    parser.add_argument("--rows", type=int, default=Shards.rows, help=f"default {Shards.rows}")
    parser.add_argument("--limit", type=float, default=1.5, help="of memory, GB; default 1.5")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument("--folder", type=Path, help="where to write; default the temporary one")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        try:
            measured = measure(
                Shards(rows=options.rows), Path(folder), options.limit * GIGABYTE,
                options.rounds, lambda words: print(words, file=sys.stderr, flush=True),
            )  # fmt: skip
        except OSError as error:
            print(f"not measured: {error}", file=sys.stderr)
            return 1
    print(measured.markdown())
    return 0


if __name__ == "__main__":
    sys.exit(main())
