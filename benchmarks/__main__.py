"""Run the benchmarks: `python -m benchmarks`, `make bench`.

Exit code 0 when every answer agreed with the oracle, whatever the speed; 1 when one did not, or
when --check found a loss; 2 when a contender crashed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.harness.page import render_page
from benchmarks.harness.processes import WorkerError, make_conditions
from benchmarks.harness.record import (
    OtherWork,
    Part,
    Record,
    complaints,
    kept_path,
    kind_of_processor,
    read_kept,
    read_record,
    write_record,
)
from benchmarks.harness.rounds import Session, Suite
from benchmarks.suites import SUITES
from benchmarks.suites.check import check
from onelayer.data import load
from onelayer.engines import ENGINE_NAMES
from onelayer.errors import OnelayerError

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
CHECKED = RESULTS / "check.json"
PAGE = ROOT / "docs" / "explanation" / "benchmarks.md"
RUNS = ROOT / "runs" / "benchmarks"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    known = {suite.name: suite for suite in SUITES}
    wanted = [name for names in options.only for name in names.split(",")]
    if unknown := [name for name in wanted if name not in known]:
        parser.error(f"no suite {unknown[0]}; there are {', '.join(known)}")
    if (options.keep and not (options.check or wanted)) or (options.keep and options.quick):
        parser.error("--keep goes with --only or --check, and not with --quick")
    if options.page:
        write_page(read_kept(RESULTS, but=CHECKED), PAGE)
        return 0
    threads = options.threads or (1 if options.check else min(2, os.cpu_count() or 1))
    with tempfile.TemporaryDirectory(prefix="onelayer-bench-") as folder:
        conditions = make_conditions(threads, options.engine, Path(folder))
        source = "random" if options.check else _find_data()
        session = Session(conditions, options, source, log)
        usual = [s for s in SUITES if s.in_whole and (s.in_quick or not options.quick)]
        try:
            if options.check:
                return _check(session)
            record = _measure(session, [known[name] for name in wanted] or usual)
        except (WorkerError, OSError, OnelayerError) as error:
            log(f"not measured: {error}")
            return 2 if isinstance(error, WorkerError) else 1
    whole = options.keep or not (wanted or options.quick)
    kept = kept_path(kind_of_processor(threads), RESULTS)
    if options.keep and kept.exists():
        record = read_record(kept) | record
    path, page = (kept, PAGE) if whole else (RUNS / "latest.json", RUNS / "benchmarks.md")
    write_record(record, path)
    write_page(read_kept(RESULTS, but=CHECKED) if whole else [record], page)
    print(page.read_text(encoding="utf-8"))
    log(f"record: {path}\npage: {page}")
    wrong, crashed = complaints(record)
    for words in (*wrong, *crashed):
        log(words)
    return 2 if crashed else 1 if wrong else 0


def _measure(session: Session, suites: Sequence[Suite]) -> dict[str, Part]:
    """Measure suite by suite; what there is so far is kept in a file of its own."""
    record: dict[str, Part] = {}
    unfinished = RUNS / "unfinished.json"
    for suite in suites:
        log(suite.title)

        def keep(part: Part, name: str = suite.name) -> None:
            record[name] = part
            write_record(record, unfinished)

        one = replace(session, keep=keep, work=OtherWork())
        keep(replace(suite.measure(one), other_work=one.work.cores()))
    unfinished.unlink(missing_ok=True)
    return record


def _check(session: Session) -> int:
    kept = read_record(CHECKED) if CHECKED.exists() else {}
    kind = kind_of_processor(session.conditions.threads)
    part, losses = check(session, {} if session.options.keep else kept)
    for line in losses:
        print(f"LOSS {line}")
    if session.options.keep and not losses:
        write_record({**kept, kind: part}, CHECKED)
    print(f"{len(part.measures)} ratios, {len(losses)} lost, on {kind}")
    return 1 if losses else 0


def write_page(records: Sequence[Record], page: Path) -> None:
    """Draw the charts beside the page and write the page, from the records alone, newest first."""
    page.parent.mkdir(parents=True, exist_ok=True)
    text = render_page(records[0], SUITES, page.parent / "benchmarks", records[1:])
    page.write_text(text, encoding="utf-8")


def log(words: str) -> None:
    """Say what is being done, apart from what is printed as the result."""
    print(words, file=sys.stderr, flush=True)


def _find_data() -> str:
    """CIFAR-10 where it can be loaded, else noise of the same shape; speed depends on neither."""
    try:
        load(progress=False)
    except OnelayerError as error:
        log(f"no CIFAR-10 ({error}); random bytes of the same shape are used.")
        return "random"
    return "cifar10"


def _parser() -> argparse.ArgumentParser:
    names = "\n".join(f"  {suite.name:10} {suite.title}" for suite in SUITES)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Time onelayer beside its peers, after their answers were asserted equal. "
        "A whole run renews this kind of processor's record in benchmarks/results, and "
        "docs/explanation/benchmarks.md; "
        "--quick and --only write to runs/benchmarks.",
        epilog=f"suites:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", action="append", default=[], metavar="A,B", help="these suites")
    for flag, words in (
        ("--quick", "fewer epochs, rounds and points"),
        ("--check", "compare ratios with the kept ones of this processor, in three minutes"),
        ("--keep", "with --only or --check: renew that part of the kept record"),
        ("--page", "only write the page anew"),
    ):
        parser.add_argument(flag, action="store_true", help=words)
    parser.add_argument("--threads", type=int, help="default 2; 1 with --check")
    parser.add_argument("--engine", choices=ENGINE_NAMES, default="native", help="of onelayer")
    for suite in SUITES:
        group = parser.add_argument_group(suite.name)
        for flag, how in suite.options.items():
            group.add_argument(flag, **how)
    return parser


if __name__ == "__main__":
    sys.exit(main())
