"""Training beside peers: one run, the four settings, a penalty, 64 runs, and 1000 classes.

The suite `phases` says where a step's time goes. It needs an extension built with
-DONELAYER_PHASE_TIMES=ON; without it only totals are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness.limits import SGEMM_SIDE, last_level_cache_bytes
from benchmarks.harness.oracle import Agreement, Oracle, compare
from benchmarks.harness.page import Target, absent_rows, megabytes, percent, spread_text, table
from benchmarks.harness.problem import Answer, Problem, Setting
from benchmarks.harness.processes import Process, WorkerError
from benchmarks.harness.record import (
    CRASHED,
    DISAGREES,
    ONELAYER,
    Measure,
    Part,
    Record,
    median_ratio,
)
from benchmarks.harness.rounds import Entrant, Sample, Session, Suite, time_in_turn
from benchmarks.peers import CONTENDERS, Contender, Desk, contender, start
from onelayer import _native

THE_FOUR = (Setting(0.1), Setting(0.01), Setting(0.01, l2=0.1), Setting(0.01, l2=1.0))
SEEDS_OF_64 = 16
BEST_BY_HAND = ("torch-once", "torch-each-batch")
HEAD = ("contender", "seconds: median (min–max)", "n", "× onelayer", "GFLOP/s", "of sgemm",
        "of copy", "MB above X")  # fmt: skip


class PhasesDesk(Desk):
    """Tells the seconds of each phase as well, where they are counted."""

    def run(self, **values: Any) -> dict[str, Any]:
        _native.phase_times()
        told = super().run(**values)
        return {**told, "phases": _native.phase_times()}


@dataclass(frozen=True)
class Entry:
    """A contender on a problem; with a side, sgemm of it and copying are measured around each."""

    contender: Contender
    problem: Problem
    sgemm_side: int = 0
    desk: type[Desk] = Desk

    def start(self, problem: Problem, session: Session) -> Process:
        return start(self.contender, problem, session, self.desk)


def measure_entries(
    session: Session, part: Part, entries: Sequence[Entry], rounds: int, max_runs: int = 4
) -> Part:
    """The part with every entry's answer compared, and its times in turn."""
    oracle = Oracle(session.conditions.folder, max_runs)
    absent = {e.contender: None for e in entries if not e.contender.installed}
    with ExitStack() as stack:
        entrants = [_entrant(session, entry, oracle, stack)
                    for entry in entries if entry.contender not in absent]  # fmt: skip
        found = time_in_turn(entrants, rounds, session.log, patience=session.patience)
    return part.with_(found, absent=(*part.absent, *((c.label, c.pip) for c in absent)))


def _entrant(session: Session, entry: Entry, oracle: Oracle, stack: ExitStack) -> Entrant:
    """Start a worker, train once and compare; the first training also gives the peak memory."""
    who, problem = entry.contender, entry.problem
    found = Measure(problem.name, who.key, who.label)
    try:
        worker = stack.enter_context(entry.start(problem, session))
        told = worker.ask("run")
    except WorkerError as error:
        return Entrant(replace(found, refused=f"{CRASHED}: {error}"), lambda: Sample(0.0))
    facts = {
        **worker.greeting,
        "flops": problem.flops,
        "bytes_touched": problem.bytes_touched(last_level_cache_bytes()),
        "peak_bytes": told["peak_bytes"],
    }

    def train_short(short: Problem) -> Answer:
        with entry.start(short, session) as other:
            answer: Answer = other.ask("run")["answer"]
        return answer

    refused = ""
    if who.same_algorithm:
        agreed = oracle.agreement(problem, told["answer"], train_short)
        facts |= {"distance": agreed.distance, "allowed": agreed.allowed, "runs": agreed.runs}
        session.log(f"  {who.label}, {problem.name}: |w - oracle| {agreed.distance:.1e}, "
                    f"allowed {agreed.allowed:.1e}")  # fmt: skip
        refused = _refusal(agreed)
    once = partial(_train_once, worker, entry, oracle)
    return Entrant(replace(found, refused=refused, facts=facts), once, who.max_rounds)


def _train_once(worker: Process, entry: Entry, oracle: Oracle) -> Sample:
    """Train again and compare; measure the limits right before and after where that is wanted."""
    limits = {"sgemm": {"side": entry.sgemm_side}, "copy": {}} if entry.sgemm_side else {}
    before = {name: worker.limit(name, **values) for name, values in limits.items()}
    told = worker.ask("run")
    series: dict[str, tuple[float, ...]] = {
        name: (before[name], worker.limit(name, **values)) for name, values in limits.items()
    }
    series |= {f"phase {name}": (seconds,) for name, seconds in told.get("phases", {}).items()}
    same = entry.contender.same_algorithm
    found = compare(told["answer"], oracle.expected(entry.problem)) if same else None
    return Sample(told["seconds"], _refusal(found) if found else "", series)


def _refusal(found: Agreement) -> str:
    return "" if found.agrees else f"{DISAGREES}: its weights are {found.distance:.1e} off"


def problems(source: str, *, quick: bool = False) -> dict[str, Problem]:
    one = Problem("one", source=source, epochs=4 if quick else 40)
    seeds = tuple(replace(s, seed=i) for s in THE_FOUR for i in range(SEEDS_OF_64))
    wide = Problem("wide-float32", rows=20_000, features=1024, classes=1000, batch_size=1024,
                   epochs=2, dtype="float32")  # fmt: skip
    found = (
        one,
        one.with_settings("four", THE_FOUR),
        one.with_settings("one-l2", (Setting(l2=0.1),)),
        replace(one, name="64", settings=seeds, epochs=2 if quick else 40),
        replace(wide, name="wide-float16", dtype="float16"),
        wide,
    )
    return {problem.name: problem for problem in found}


def entries(suite: str, source: str, *, quick: bool) -> list[Entry]:
    known, ours = problems(source, quick=quick), contender(ONELAYER)
    alone = [c for c in CONTENDERS if c.key != "jax-vmap"]
    if suite == "peers":
        grid = [Entry(contender(key), known["four"]) for key in ("numpy", "jax-vmap")]
        singles = [Entry(c, known["one"], SGEMM_SIDE if c is ours else 0) for c in alone]
        return [*singles, Entry(ours, known["four"], SGEMM_SIDE), *grid]
    if suite == "penalty":
        return [Entry(c, known["one-l2"]) for c in alone if c.same_algorithm]
    if suite == "grids":
        return [Entry(ours, known["64"], SGEMM_SIDE)]
    wide = [known["wide-float16"], known["wide-float32"]]
    return [
        *(Entry(ours, p, SGEMM_SIDE) for p in wide),
        *(Entry(contender("numpy"), p) for p in wide),
    ]


PHASE_EPOCHS = {"one": 40, "four": 20, "64": 2, "wide-float16": 1, "wide-float32": 1}


def measure_phases(session: Session) -> Part:
    """The training problems on random rows; a share of sgemm compares neighbours in time."""
    part, known = session.part(instruction_set=_native.instruction_set()), problems("random")
    for name, epochs in PHASE_EPOCHS.items():
        problem = replace(known[name], epochs=epochs)
        entry = Entry(contender(ONELAYER), problem, SGEMM_SIDE, PhasesDesk)
        part = measure_entries(session, part, [entry], 1 if session.quick else 5)
    return part


def render_phases(part: Part, _: Path) -> list[str]:
    head = ("case", "seconds: median (min–max)", "n", "GFLOP/s", "of sgemm", "phases")
    rows = []
    for m in part.measures:
        spent = {k.partition(" ")[2]: sum(v) for k, v in m.series.items() if k.startswith("phase")}
        total = sum(spent.values())
        shares = ", ".join(f"{name} {100 * s / total:.1f} %" for name, s in spent.items() if total)
        rows.append([m.work, m.refused] if m.refused else [m.work, *_speeds(m), shares])
    about = f"{part.facts['instruction_set']}, {part.threads} threads."
    return ["## Phases of a step", about, table(head, rows)]


def _measure(suite: str, rounds: int, quick_rounds: int, session: Session) -> Part:
    data = "CIFAR-10, data_batch_1" if session.source == "cifar10" else "random bytes"
    wanted = entries(suite, session.source, quick=session.quick)
    count = quick_rounds if session.quick else rounds
    return measure_entries(session, session.part(data=data), wanted, count)


def _render(sections: Sequence[tuple[str, str]], part: Part, _: Path) -> list[str]:
    parts = []
    for work, title in sections:
        if found := part.of(work):
            missing = absent_rows(part) if work == sections[0][0] else []
            rows = [_row(part, m) for m in found] + missing
            parts += [f"## {title}", table(HEAD, rows)]
    return parts


def _row(part: Part, found: Measure) -> list[str]:
    if found.refused:
        return [found.label, found.refused]
    compiled = found.facts.get("compile_seconds")
    ratio = median_ratio(found, part.find(ONELAYER, found.work))
    seconds, n, speed, of_sgemm = _speeds(found)
    return [
        found.label + (f" (compiling apart: {compiled:.1f} s)" if compiled else ""),
        seconds,
        n,
        f"{ratio:.2f}" if ratio else "",
        speed,
        of_sgemm,
        percent(found.share("copy", "bytes_touched")),
        megabytes(found.facts["peak_bytes"]),
    ]


def _speeds(found: Measure) -> list[str]:
    """Seconds, their number, GFLOP/s, and the share of sgemm."""
    speed = found.facts["flops"] / (found.median or 1) / 1e9
    share = percent(found.share("sgemm", "flops"))
    return [spread_text(found.seconds), str(len(found.seconds)), f"{speed:.0f}", share]


def agreement_text(record: Record) -> str:
    """How close the timed contenders were to the oracle, in one sentence."""
    shares = [
        m.facts["distance"] / m.facts["allowed"]
        for suite in (PEERS, PENALTY, GRIDS, WIDE) if suite.name in record
        for m in record[suite.name].measures if not m.refused and m.facts.get("allowed")
    ]  # fmt: skip
    if not shares:
        return ""
    return (
        f"{len(shares)} contenders were compared; their distance was "
        f"{median(shares):.2f} of the tolerance in the median and {max(shares):.2f} at most."
    )


def ratio(record: Record, suite: str, who: str, work: str, to: str = "") -> float | None:
    """Median over rounds of a contender's time / onelayer's on the same work, or on another."""
    part = record.get(suite)
    if part is None:
        return None
    return median_ratio(part.find(who, work), part.find(ONELAYER, to or work))


def best_by_hand(record: Record) -> float | None:
    """The ratio of that form of hand-written PyTorch that has the smaller median."""
    found = [m for key in BEST_BY_HAND if "peers" in record
             and (m := record["peers"].find(key, "one")) and m.median]  # fmt: skip
    best = min(found, key=lambda m: m.median or 0.0, default=None)
    return ratio(record, "peers", best.who, "one") if best else None


def _share(suite: str, work: str, record: Record) -> float | None:
    found = record[suite].find(ONELAYER, work) if suite in record else None
    share = found.share("sgemm", "flops") if found else None
    return None if share is None else 100 * share


def _peer(who: str, record: Record) -> float | None:
    return ratio(record, "peers", who, "one")


def _four_to_one(record: Record) -> float | None:
    return ratio(record, "peers", ONELAYER, "four", "one")


def _sgemm(what: str, asked: float, suite: str, work: str) -> Target:
    return Target(f"{what}: share of sgemm", asked, "%", True, partial(_share, suite, work))


def _suite(
    name: str, title: str, rounds: tuple[int, int], sections: Sequence[tuple[str, str]],
    targets: tuple[Target, ...] = (), in_quick: bool = True,
) -> Suite:  # fmt: skip
    return Suite(name, title, partial(_measure, name, *rounds), partial(_render, sections), targets,
                 in_quick=in_quick)  # fmt: skip


_WIDE = "X: N = 20 000, D = 1024, K = 1000, B = 1024"
PEERS = _suite(
    "peers", "one run and the four settings", (5, 3),
    [("one", "One run of the report's setting"), ("four", "The four settings side by side")],
    (
        Target("one run: NumPy float32 / onelayer", 4.5, "×", True, partial(_peer, "numpy")),
        Target("one run: best hand-written PyTorch / onelayer", 4, "×", True, best_by_hand),
        Target("one run: PyTorch DataLoader idiom / onelayer", 14, "×", True,
               partial(_peer, "torch-loader")),
        Target("one run: JAX scan / onelayer", 7, "×", True, partial(_peer, "jax-scan")),
        Target("the four settings in one pass / one run", 3.2, "×", False, _four_to_one),
        _sgemm("the four settings in one pass", 65, "peers", "four"),
    ),
)  # fmt: skip
PENALTY = _suite("penalty", "one run with λ = 0.1", (3, 2), [("one-l2", "One run with λ = 0.1")],
                 in_quick=False)  # fmt: skip
GRIDS = _suite(
    "grids", "64 runs in one pass", (3, 2),
    [("64", "64 runs: the four settings × 16 seeds, in one pass")],
    (_sgemm("64 runs in one pass", 80, "grids", "64"),),
)  # fmt: skip
WIDE = _suite(
    "wide", "1000 classes", (5, 2),
    [("wide-float16", f"Wide, float16 {_WIDE}"), ("wide-float32", f"Wide, float32 {_WIDE}")],
    (_sgemm("wide, float16 X", 80, "wide", "wide-float16"),
     _sgemm("wide, float32 X", 80, "wide", "wide-float32")),
)  # fmt: skip
PHASES = Suite("phases", "where a step's time goes (an extension with phase times)",
               measure_phases, render_phases, in_whole=False)  # fmt: skip
