"""`python -m benchmarks.cluster`: hold the cost model to measurements, and extrapolate it.

The measurements need root and iproute2 (network namespaces) and PyTorch.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.cluster.extrapolate import render as render_extrapolation
from benchmarks.cluster.measure import measure
from benchmarks.cluster.measure import render as render_measurements


def main() -> int:
    """Parse, measure, print Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 3, 4], help="default 2 3 4")
    parser.add_argument(
        "--megabits", type=float, nargs="+", default=[100, 1000], help="of a link; default 100 1000"
    )
    parser.add_argument("--extrapolate", action="store_true", help="only what needs no measuring")
    options = parser.parse_args()
    if not options.extrapolate:
        try:
            print(render_measurements(measure(options.ranks, options.megabits)), end="\n\n")
        except OSError as error:
            print(f"not measured: {error}", file=sys.stderr)
            return 1
    print(render_extrapolation())
    return 0


if __name__ == "__main__":
    sys.exit(main())
