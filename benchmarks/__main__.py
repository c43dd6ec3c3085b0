"""Run the benchmarks: `python -m benchmarks`, `make bench`.

Exit code 0 when every answer agreed with the oracle, whatever the speed; 1 when one did not; 2 when
a contender crashed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.charts import draw_charts
from benchmarks.command import run_reproduce
from benchmarks.contenders import CONTENDERS
from benchmarks.crew import Conditions, WorkerError, make_conditions
from benchmarks.machine import OtherWork, describe_machine, package_versions
from benchmarks.optimum.chart import draw_optimum
from benchmarks.optimum.measure import run_optimum
from benchmarks.page import render_page
from benchmarks.probes.measure import run_probes
from benchmarks.record import Absent, Record, read_record, write_record
from benchmarks.rounds import Oracle, measure
from benchmarks.sections import make_sections
from benchmarks.sweeps import run_sweeps
from onelayer.engines import ENGINE_NAMES

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "benchmarks" / "results" / "latest.json"
PAGE = ROOT / "docs" / "explanation" / "benchmarks.md"
UNFINISHED = ROOT / "runs" / "benchmarks" / "unfinished.json"
SECTIONS = ("peers", "penalty", "grids", "wide", "sweeps", "reproduce", "optimum", "probes")
QUICK_SECTIONS = ("peers", "grids", "wide", "sweeps", "optimum", "probes")
# Sections whose part of the record has conditions of its own, so that it can be renewed alone.
APART = ("optimum", "probes")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, measure, write; see --help."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.keep and (not options.only or set(options.only) - set(APART) or options.quick):
        parser.error("--keep goes with --only optimum or --only probes, and not with --quick")
    if options.page:
        write_page(read_record(KEPT), PAGE)
        return 0
    wanted = tuple(options.only or (QUICK_SECTIONS if options.quick else SECTIONS))
    with tempfile.TemporaryDirectory(prefix="onelayer-bench-") as folder:
        conditions = make_conditions(options.threads, options.engine, Path(folder))
        try:
            record = run(conditions, wanted, quick=options.quick, keep=_keep_unfinished)
        except WorkerError as error:
            say(f"a contender crashed: {error}; what was measured before: {UNFINISHED}")
            return 2
    whole = wanted == SECTIONS and not options.quick
    if options.keep:
        renewed = {name: getattr(record, name) for name in options.only}
        record, whole = replace(read_record(KEPT), **renewed), True
    path = KEPT if whole else ROOT / "runs" / "benchmarks" / "latest.json"
    write_record(record, path)
    UNFINISHED.unlink(missing_ok=True)
    page = PAGE if whole else path.with_name("benchmarks.md")
    write_page(record, page)
    print(page.read_text(encoding="utf-8"))
    say(f"record: {path}\npage: {page}")
    for found in record.disagreeing:
        say(f"DISAGREES: {found.label} on {found.problem}: |w - oracle| = {found.distance}")
    wrong = record.probes.disagreeing if record.probes else []
    for check in wrong:
        say(f"DISAGREES: {check.what}: off by {check.distance}, allowed {check.allowed}")
    crashed = record.optimum.crashed if record.optimum else []
    for words in crashed:
        say(f"CRASHED: {words}")
    if crashed or (record.probes and record.probes.failed):
        return 2
    return 1 if record.disagreeing or wrong else 0


def run(
    conditions: Conditions,
    wanted: Sequence[str],
    *,
    quick: bool,
    keep: Callable[[Record], None] = lambda record: None,
) -> Record:
    """Measure the wanted sections and put them into one record; `keep` has what there is so far."""
    source, data = _find_data()
    other_work = OtherWork()
    record = Record(
        machine=describe_machine() | package_versions(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        data=data,
        engine=conditions.engine,
        threads=conditions.threads,
        quick=quick,
    )
    oracle, absent = Oracle(conditions), dict[str, Absent]()
    for section in make_sections(source, quick=quick):
        if section.name in wanted:
            say(section.title)
            found, missing = measure(section.entries, section.rounds, conditions, oracle, say)
            absent |= {a.contender: a for a in missing}
            record = replace(record, measured=(*record.measured, *found))
            keep(record)
    if "sweeps" in wanted:
        record = replace(record, points=run_sweeps(conditions, say, quick=quick))
        keep(record)
    if "reproduce" in wanted and source == "cifar10":
        say("onelayer reproduce")
        record = replace(record, reproduce=run_reproduce(conditions, 1 if quick else 2))
        keep(record)
    if "optimum" in wanted:
        say("time to the optimum")
        before_optimum = record
        record = replace(
            record,
            optimum=run_optimum(
                conditions,
                source,
                say,
                lambda part: keep(replace(before_optimum, optimum=part)),
                quick=quick,
            ),
        )
    if "probes" in wanted:
        say("a linear probe on embeddings")
        before_probes = replace(record, absent=tuple(absent.values()))
        record = replace(
            record,
            probes=run_probes(
                conditions,
                say,
                quick=quick,
                keep=lambda part: keep(replace(before_probes, probes=part)),
            ),
        )
    return replace(record, absent=tuple(absent.values()), other_work=other_work.cores())


def write_page(record: Record, page: Path) -> None:
    """Draw the charts beside the page and write the page, from the record alone."""
    folder = page.parent / "benchmarks"
    charts = draw_charts(record, folder) if record.points else ()
    page.parent.mkdir(parents=True, exist_ok=True)
    of_optimum = draw_optimum(record.optimum, folder)
    page.write_text(render_page(record, charts, of_optimum), encoding="utf-8")


def _keep_unfinished(record: Record) -> None:
    """What was measured so far, should the rest fail."""
    write_record(record, UNFINISHED)


def say(words: str) -> None:
    """Tell what is being done, apart from what is printed as the result."""
    print(words, file=sys.stderr, flush=True)


def _find_data() -> tuple[str, str]:
    """CIFAR-10 where it can be had, else noise of the same shape; speed depends on neither."""
    from onelayer.data import load
    from onelayer.errors import OnelayerError

    try:
        load(progress=False)
    except OnelayerError as error:
        say(f"no CIFAR-10 ({error}); random bytes of the same shape are used.")
        return "random", "random bytes of CIFAR-10's shape"
    return "cifar10", "CIFAR-10, data_batch_1"


def _parser() -> argparse.ArgumentParser:
    engine = "native" if "native" in ENGINE_NAMES else ENGINE_NAMES[0]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Time onelayer beside its peers, after their answers were asserted equal. "
        "A whole run renews benchmarks/results/latest.json and docs/benchmarks.md; "
        "--quick and --only write to runs/benchmarks.",
        epilog="Contenders: " + "; ".join(c.label for c in CONTENDERS) + ".",
    )
    parser.add_argument("--quick", action="store_true", help="fewer epochs, rounds and points")
    parser.add_argument(
        "--only", action="append", choices=SECTIONS, metavar="NAME",
        help=f"one section, repeat for more: {', '.join(SECTIONS)}",
    )  # fmt: skip
    parser.add_argument(
        "--keep", action="store_true",
        help="with --only optimum or probes: renew that part of the kept record, which says when",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=2, help="of every contender (default 2)")
    parser.add_argument("--engine", choices=ENGINE_NAMES, default=engine, help="of onelayer")
    parser.add_argument(
        "--page", action="store_true", help="only write the page anew from the kept record"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
