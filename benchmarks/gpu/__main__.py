"""`python -m benchmarks.gpu`: measure the engine torch on a GPU, beside what is written without it.

On a machine with an NVIDIA GPU and CIFAR-10 in the cache (`onelayer data fetch` fetches it):

    pip install --editable '.[torch]' --group bench && python -m benchmarks.gpu

About five minutes; `--device cpu --quick` tries every line of it without one, in seconds.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.gpu.optimum import QUICK, Probe, measure_optimum
from benchmarks.gpu.report import Report
from benchmarks.gpu.training import Bench, measure_training
from benchmarks.machine import describe_machine, package_versions
from onelayer.engines.torch.device import describe_device, find_device
from onelayer.errors import OnelayerError

FOLDER = Path("runs/benchmarks")


def main(arguments: list[str] | None = None) -> int:
    """Parse, measure, print and keep."""
    summary, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=summary,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, mps or cpu; default cuda")
    parser.add_argument("--quick", action="store_true", help="small problems: a try, no figures")
    parser.add_argument("--noise", action="store_true", help="seeded bytes in place of CIFAR-10")
    parser.add_argument("--out", type=Path, default=FOLDER, help=f"default {FOLDER}")
    options = parser.parse_args(arguments)
    try:
        device = find_device(options.device)
    except OnelayerError as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    started = datetime.now(UTC).isoformat(timespec="seconds")
    bench = Bench(device, "random" if options.noise else "cifar10", options.quick, _say)
    figures = measure_training(bench)
    solved, absent = measure_optimum(device, _say, QUICK if options.quick else Probe())
    report = Report(
        machine=describe_machine() | package_versions() | {"device": describe_device(device)}
        | {"CUDA": str(torch.version.cuda)},
        started=started,
        quick=options.quick,
        figures=(*figures, *solved),
        absent=tuple(absent),
    )  # fmt: skip
    print(report.markdown())
    print(f"kept in {report.write(options.out)}", file=sys.stderr)
    return 0


def _say(what: str) -> None:
    print(f"  {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
