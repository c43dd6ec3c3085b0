"""Training beside peers: one run, the four settings, 64 runs, and 1000 classes.

The suite `phases` says where a step's time goes. It needs an extension built with
-DONELAYER_PHASE_TIMES=ON; without it only totals are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import page
from benchmarks.harness.oracle import Agreement, Oracle, compare
from benchmarks.harness.page import SECONDS, Columns, Target, fact, measure_table
from benchmarks.harness.problem import Answer, Problem, Setting
from benchmarks.harness.processes import SGEMM_SIDE, Process
from benchmarks.harness.record import DISAGREES, ONELAYER, Measure, Part, Record, find, median_ratio
from benchmarks.harness.rounds import Entrant, Sample, Session, Suite
from benchmarks.peers import CONTENDERS, Contender, Desk, contender, start, time_contenders
from onelayer import _native

THE_FOUR = (Setting(0.1), Setting(0.01), Setting(0.01, l2=0.1), Setting(0.01, l2=1.0))
SEEDS_OF_64 = 16
ALONE = tuple(c.key for c in CONTENDERS if c.key != "jax-vmap")
# Who is timed on which problem, suite by suite; sgemm and copying are measured around onelayer.
WORK: dict[str, dict[str, tuple[str, ...]]] = {
    "peers": {"one": ALONE, "four": (ONELAYER, "numpy", "jax-vmap")},
    "grids": {"64": (ONELAYER,)},
    "wide": {"wide-float16": (ONELAYER, "numpy"), "wide-float32": (ONELAYER, "numpy")},
}
_WIDE = "X: N = 20 000, D = 1024, K = 1000, B = 1024"
TITLES = {
    "one": "One run of the report's setting",
    "four": "The four settings side by side",
    "64": "64 runs: the four settings × 16 seeds, in one pass",
    "wide-float16": f"Wide, float16 {_WIDE}",
    "wide-float32": f"Wide, float32 {_WIDE}",
}
PHASE_EPOCHS = {"one": 40, "four": 20, "64": 2, "wide-float16": 1, "wide-float32": 1}


def problems(source: str, *, quick: bool = False) -> dict[str, Problem]:
    one = Problem("one", source=source, epochs=4 if quick else 40)
    seeds = tuple(replace(s, seed=i) for s in THE_FOUR for i in range(SEEDS_OF_64))
    wide = Problem("wide-float32", rows=20_000, features=1024, classes=1000, batch_size=1024,
                   epochs=2, dtype="float32")  # fmt: skip
    found = (
        one,
        replace(one, name="four", settings=THE_FOUR),
        replace(one, name="64", settings=seeds, epochs=2 if quick else 40),
        replace(wide, name="wide-float16", dtype="float16"),
        wide,
    )
    return {problem.name: problem for problem in found}


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


def entries(suite: str, source: str, *, quick: bool) -> list[Entry]:
    known = problems(source, quick=quick)
    return [Entry(contender(key), known[work], SGEMM_SIDE if key == ONELAYER else 0)
            for work, keys in WORK[suite].items() for key in keys]  # fmt: skip


def measure_entries(
    session: Session, part: Part, entries: Sequence[Entry], rounds: int, desk: type[Desk] = Desk
) -> Part:
    """The part with every entry's answer compared, and its times in turn."""
    oracle = Oracle(session.conditions.folder)
    jobs = [(entry.contender, entry.problem, partial(_prepare, session, entry, oracle))
            for entry in entries]  # fmt: skip
    return part.with_(time_contenders(jobs, session, rounds, desk))


def _prepare(
    session: Session, entry: Entry, oracle: Oracle, worker: Process, found: Measure
) -> Entrant:
    """Train once and compare; the first training also gives the peak memory."""
    who, problem = entry.contender, entry.problem
    told = worker.ask("run")
    facts = {
        **worker.greeting,
        "flops": problem.flops,
        "peak_bytes": told["peak_bytes"],
    }

    def train_short(short: Problem) -> Answer:
        with start(who, short, session) as other:
            answer: Answer = other.ask("run")["answer"]
        return answer

    agreed = oracle.agreement(problem, told["answer"], train_short)
    facts |= {"distance": agreed.distance, "allowed": agreed.allowed, "runs": agreed.runs}
    session.log(f"  {who.label}, {problem.name}: |w - oracle| {agreed.distance:.1e}, "
                f"allowed {agreed.allowed:.1e}")  # fmt: skip
    once = partial(_train_once, worker, entry, oracle)
    return Entrant(replace(found, refused=_refusal(agreed), facts=facts), once)


def _train_once(worker: Process, entry: Entry, oracle: Oracle) -> Sample:
    """Train again and compare; measure the limits right before and after where that is wanted."""
    side, series = entry.sgemm_side, dict[str, tuple[float, ...]]()
    before = worker.limit("sgemm", side=side) if side else 0.0
    told = worker.ask("run")
    if side:
        series["sgemm"] = before, worker.limit("sgemm", side=side)
    series |= {f"phase {name}": (seconds,) for name, seconds in told.get("phases", {}).items()}
    found = compare(told["answer"], oracle.expected(entry.problem))
    return Sample(told["seconds"], _refusal(found), series)


def _refusal(found: Agreement) -> str:
    return "" if found.agrees else f"{DISAGREES}: its weights are {found.distance:.1e} off"


def _measure(suite: str, rounds: int, session: Session) -> Part:
    data = "CIFAR-10, data_batch_1" if session.source == "cifar10" else "random bytes"
    wanted = entries(suite, session.source, quick=session.quick)
    return measure_entries(session, session.part(data=data), wanted, 2 if session.quick else rounds)


def measure_phases(session: Session) -> Part:
    """The training problems on random rows; a share of sgemm compares neighbours in time."""
    part, known = session.part(instruction_set=_native.instruction_set()), problems("random")
    for name, epochs in PHASE_EPOCHS.items():
        entry = Entry(contender(ONELAYER), replace(known[name], epochs=epochs), SGEMM_SIDE)
        rounds = 1 if session.quick else 5
        part = measure_entries(session, part, [entry], rounds, desk=PhasesDesk)
    return part


SPEED: Columns = {
    "GFLOP/s": lambda m: f"{m.facts['flops'] / (m.median or 1) / 1e9:.0f}",
    "of sgemm": lambda m: page.percent(m.share("sgemm", "flops")),
}


def _off(found: Measure) -> str:
    distance, allowed = found.facts.get("distance"), found.facts.get("allowed")
    return f"{distance / allowed:.2f}" if allowed else ""


def _render(suite: str, part: Part, _: Path) -> list[str]:
    def times(m: Measure) -> str:
        ratio = median_ratio(m, part.find(ONELAYER, m.work))
        return f"{ratio:.2f}" if ratio else ""

    compiling = fact("compile_seconds", " (compiling apart: {:.1f} s)".format)
    columns: Columns = {
        "contender": lambda m: m.label + compiling(m),
        **SECONDS,
        "× onelayer": times,
        **SPEED,
        "MB above X": fact("peak_bytes", page.megabytes),
        "off / allowed": _off,
    }
    works = [work for work in WORK[suite] if part.of(work)]
    return [text for work in works
            for text in (f"## {TITLES[work]}", measure_table(columns, part.of(work)))]  # fmt: skip


def _phases(found: Measure) -> str:
    spent = {k.partition(" ")[2]: sum(v) for k, v in found.series.items() if k.startswith("phase")}
    total = sum(spent.values())
    return ", ".join(f"{name} {100 * s / total:.1f} %" for name, s in spent.items() if total)


def render_phases(part: Part, _: Path) -> list[str]:
    columns: Columns = {"case": lambda m: m.work, **SECONDS, **SPEED, "phases": _phases}
    about = f"{part.facts['instruction_set']}, {part.threads} threads."
    return ["## Phases of a step", about, measure_table(columns, part.measures)]


def _beside_numpy(work: str, record: Record) -> float | None:
    """Median over rounds of NumPy's time / onelayer's for a wide problem."""
    who = (find(record, "wide", each, work) for each in ("numpy", ONELAYER))
    return median_ratio(*who)


def _ratio(who: str, record: Record, work: str = "one") -> float | None:
    """Median over rounds of a contender's time / onelayer's for one run."""
    return median_ratio(find(record, "peers", who, work), find(record, "peers", ONELAYER, "one"))


def _by_hand(record: Record) -> float | None:
    """The ratio of that form of hand-written PyTorch that has the smaller median."""
    found = (find(record, "peers", key, "one") for key in ("torch-once", "torch-each-batch"))
    medians = {m.who: m.median for m in found if m and m.median}
    return _ratio(min(medians, key=medians.__getitem__), record) if medians else None


def _share(suite: str, work: str, record: Record) -> float | None:
    found = find(record, suite, ONELAYER, work)
    share = found.share("sgemm", "flops") if found else None
    return None if share is None else 100 * share


def _sgemm(what: str, asked: float, suite: str, work: str) -> Target:
    return Target(f"{what}: share of sgemm", asked, "%", True, partial(_share, suite, work))


def _suite(name: str, title: str, rounds: int, *targets: Target, in_quick: bool = True) -> Suite:
    measure, render = partial(_measure, name, rounds), partial(_render, name)
    return Suite(name, title, measure, render, targets, in_quick=in_quick)


PEERS = _suite(
    "peers", "one run and the four settings", 5,
    Target("one run: NumPy float32 / onelayer", 4.5, "×", True, partial(_ratio, "numpy")),
    Target("one run: best hand-written PyTorch / onelayer", 4, "×", True, _by_hand),
    Target("one run: PyTorch DataLoader idiom / onelayer", 14, "×", True,
           partial(_ratio, "torch-loader")),
    Target("one run: JAX scan / onelayer", 7, "×", True, partial(_ratio, "jax-scan")),
    _sgemm("one run", 65, "peers", "one"),
    Target("the four settings in one pass / one run", 3.2, "×", False,
           partial(_ratio, ONELAYER, work="four")),
    _sgemm("the four settings in one pass", 72, "peers", "four"),
    Target("memory above X of training, the most of any", 150, "MB", False,
           partial(page.max_peak, [*WORK], [ONELAYER])),
)  # fmt: skip
GRIDS = _suite("grids", "64 runs in one pass", 3,
               _sgemm("64 runs in one pass", 80, "grids", "64"))  # fmt: skip
WIDE = _suite("wide", "1000 classes", 5,
              _sgemm("wide, float16 X", 82, "wide", "wide-float16"),
              _sgemm("wide, float32 X", 82, "wide", "wide-float32"),
              *(Target(f"wide, {dtype} X: NumPy float32 / onelayer", 1.15, "×", True,
                       partial(_beside_numpy, f"wide-{dtype}"))
                for dtype in ("float16", "float32")))  # fmt: skip
PHASES = Suite("phases", "where a step's time goes (an extension with phase times)",
               measure_phases, render_phases, in_whole=False)  # fmt: skip
