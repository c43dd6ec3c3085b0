"""Time to the optimum: how far above J* each solver is, against time; see pages/optimum.md.

Each contender is first given ever more iterations; rounds of plain calls with just as many as the
goal takes follow. onelayer's call ends when it has proven the goal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import page
from benchmarks.harness.oracle import cost_of
from benchmarks.harness.page import CONTENDER, SECONDS, Columns, Target, fact, measure_table
from benchmarks.harness.problem import Data, Problem, Setting, data_folder, l2_path, read_data
from benchmarks.harness.processes import Process
from benchmarks.harness.record import DISAGREES, ONELAYER, Measure, Part, Record, find, median_ratio
from benchmarks.harness.rounds import Entrant, Sample, Session, Suite
from benchmarks.peers import CLASSES, GOAL, PATHS, SOLVERS, Contender, Solution, time_contenders
from benchmarks.peers.ours import dataset_of
from onelayer import solve
from onelayer.report.chart import Axis, Chart, Curve, Level, Marks, line_chart

REFERENCE_TOLERANCE, ENOUGH = 1e-10, 3e-9
# Each call has this many times the iterations of the one before; the fewest that reach the goal are
# found to within the second.
FACTOR, NEAR = 1.5, 1.03
L2S = (0.1, 0.01, 0.001)
# Seconds to the goal from which on one round is enough; ends of the chart's excess.
SLOW, LOW, HIGH = 12.0, 1e-8, 1.0


class Judge:
    """J* of a problem at one λ, its proven gap, and how far above it models are, in float64."""

    def __init__(
        self, problem: Problem, data: Data, l2: float, tol: float = REFERENCE_TOLERANCE
    ) -> None:
        self._cost = partial(cost_of, *data, l2=l2, max_value=problem.max_value)
        model = solve(dataset_of(problem, data), l2, tol=tol, scaling="unit",
                      intercept=problem.intercept)  # fmt: skip
        self.optimum = self._cost(W=model.W, b=model.b)
        self.gap = model.require_certificate().gap / self.optimum

    def excess(self, found: Solution) -> float:
        return self._cost(W=found.W, b=found.b) / self.optimum - 1.0


def make_tasks(source: str, *, quick: bool) -> tuple[dict[str, str], Problem, Problem, Problem]:
    """Titles, two problems whose λ's are solved one by one, and one that is solved as a path."""
    what, source = ("CIFAR-10", source) if source == "cifar10" else ("random bytes", "picture")
    l2s, rows, all_rows = (L2S[:1], 2, 10) if quick else (L2S, 10, 50)
    path = l2_path(4, 1.0, 0.01) if quick else l2_path(20, 1.0, 1e-4)
    titles = {
        "batch": f"{what}, {rows} 000 rows",
        "digits": "digits, 1 000 rows, D = 64",
        "all": f"{what}, {all_rows} 000 rows",
    }
    batch, everything = (
        Problem(name, 1000 * count, source=source, settings=tuple(Setting(l2=l2) for l2 in some))
        for name, count, some in (("batch", rows, l2s), ("all", all_rows, path))
    )
    digits = Problem("digits", 1000, 64, source="digits", settings=(Setting(l2=0.001),))
    return titles, batch, digits, everything


def measure(session: Session) -> Part:
    rounds, patience = (2, 4.0) if session.quick else (3, 30.0)
    titles, *tasks, whole = make_tasks(session.source, quick=session.quick)
    part = session.part(titles=titles, optima=())
    for task in tasks:
        for optimum, solved in solve_task(task, SOLVERS, rounds, patience, session, CLASSES):
            optima = (*part.facts["optima"], optimum)
            part = part.with_(solved, facts={**part.facts, "optima": optima})
            session.keep(part)
    return part.with_(run_paths(whole, session, rounds))


# Before the name of work that is done by a class that is told C = 1 / (2λN) and no more.
CLASS = "class: "


def _work(task: str, l2: float) -> str:
    return f"{task} λ={l2:g}"


def solve_task(
    task: Problem,
    solvers: Sequence[Contender],
    rounds: int,
    patience: float,
    session: Session,
    classes: Sequence[Contender] = (),
) -> Iterator[tuple[dict[str, Any], list[Measure]]]:
    """One λ of a task after another by every contender: J* with its gap, and measures.

    One call may take `patience` seconds while iterations are tried.
    """
    data = read_data(data_folder(task, session.conditions.folder))
    for l2 in task.l2s.tolist():
        judge, one = Judge(task, data, l2), replace(task, name=_work(task.name, l2))
        job = partial(prepare, judge, l2, patience, session)
        found = time_contenders([(who, one, job) for who in solvers], session, rounds)
        by_class, job = replace(task, name=CLASS + one.name), partial(job, ends=True)
        found += time_contenders([(who, by_class, job) for who in classes], session, rounds)
        yield {"work": one.name, "optimum": judge.optimum, "gap": judge.gap}, found


def prepare(
    judge: Judge, l2: float, patience: float, session: Session, process: Process, found: Measure,
    goal: float = GOAL, *, curves: bool = True, ends: bool = False,
) -> Entrant:  # fmt: skip
    """One contender on one λ, once the iterations that reach the goal are known.

    Without `curves` onelayer is not told when to stop; who `ends` stops by itself.
    """
    proves = found.who == ONELAYER
    must = found.who.startswith(ONELAYER)
    values = {"l2": l2} | ({"tol": goal} if proves else {})

    def ask(iterations: int | None) -> dict[str, Any]:
        """A plain call: its time and memory, and how good its answer is."""
        told = process.ask("run", iterations=iterations, **values)
        answer = told.pop("answer")
        goodness = {"excess": judge.excess(answer)}
        if answer.gap is not None:
            goodness["gap"] = answer.gap
        return {**told, "iterations": answer.iterations, "goodness": goodness}

    # A first short call: memory is measured where nothing but a plain call has been done.
    alone, tried, budget, rounds = ask(None if proves or ends else 2), {}, None, 100
    if ends:
        rounds = 1 if alone["seconds"] > SLOW else 100
    elif curves or not proves:
        tried = try_iterations(ask, patience, goal, ENOUGH if curves else goal)
        budget = tried["budget"]
        at = next((s for k, s, _ in tried["steps"] if k == budget), math.inf)
        rounds = 0 if budget is None else 1 if at > SLOW else 100
        session.log(f"  {found.work}: {found.label}: {at:.2f} s to the goal")

    def once() -> Sample:
        told = ask(None if proves else budget)
        excess = told["goodness"]["excess"]
        # Threads that add in another order may end a trifle above the goal that was just reached.
        off = not excess <= (goal if must else math.inf if ends else 2 * goal)
        refused = f"{DISAGREES}: {excess:.1e} off" if off else ""
        facts = {"passes": told["iterations"]} | told["goodness"]
        return Sample(told["seconds"], refused, facts=facts)

    facts = {**process.greeting, **tried, "peak_bytes": alone["peak_bytes"]}
    return Entrant(replace(found, facts=facts), once, rounds)


def try_iterations(
    ask: Callable[[int], dict[str, Any]], patience: float, goal: float = GOAL,
    enough: float = ENOUGH,
) -> dict[str, Any]:  # fmt: skip
    """Excess after ever more iterations: the steps (iterations, seconds, excess) of plain calls.

    `budget` is the fewest iterations that reach the goal, None where none did; `cut` says that a
    next call would have taken longer than `patience` seconds.
    """
    steps: dict[int, tuple[float, float]] = {}

    def excess(iterations: int) -> float:
        told = ask(iterations)
        steps[iterations] = told["seconds"], told["goodness"]["excess"]
        return steps[iterations][1] if told["iterations"] >= iterations else -math.inf

    allowed, cut = 1, False
    while not cut and excess(allowed) > enough:
        cut = FACTOR * steps[allowed][0] > patience
        allowed = max(allowed + 1, math.ceil(FACTOR * allowed))
    reached = sorted(k for k, (_, left) in steps.items() if left <= goal)
    budget = reached[0] if reached else None
    low = max((k for k in steps if budget and k < budget), default=0)
    while budget and budget > low + 1 and budget > NEAR * low:
        middle = (low + budget) // 2
        excess(middle)
        low, budget = (low, middle) if steps[middle][1] <= goal else (middle, budget)
    ordered = [(k, *steps[k]) for k in sorted(steps)]
    return {"steps": ordered, "budget": budget, "cut": cut}


def run_paths(task: Problem, session: Session, rounds: int) -> list[Measure]:
    """All rows: the path and the default fit in turn."""

    def prepare(process: Process, found: Measure) -> Entrant:
        def once() -> Sample:
            told = process.ask("run")
            facts = {**told["answer"], "peak_bytes": told["peak_bytes"]}
            return Sample(told["seconds"], facts=facts)

        return Entrant(replace(found, facts=process.greeting), once)

    return time_contenders([(who, task, prepare) for who in PATHS], session, rounds)


def least_ratio(part: Part, found: Measure) -> float | None:
    """Median over rounds of a contender's time to the goal / onelayer's time to its proof.

    Where the goal was not reached in time, what it must at least be; nothing for a solver that
    ended by itself before the goal: no time would be enough.
    """
    ours, steps = part.find(ONELAYER, found.work), found.facts.get("steps")
    if found.seconds or not found.facts.get("cut") or not steps or not ours or not ours.median:
        return median_ratio(found, ours)
    return float(max(seconds for _, seconds, _ in steps) / ours.median)


def peer_ratio(keys: Sequence[str], l2: float, record: Record) -> float | None:
    """The fastest of some peers / onelayer, on the batch."""
    found = (find(record, "optimum", key, _work("batch", l2)) for key in keys)
    ratios = (least_ratio(record["optimum"], one) for one in found if one)
    return min((ratio for ratio in ratios if ratio is not None), default=None)


def class_ratio(record: Record) -> float | None:
    """scikit-learn's class / onelayer's, at scikit-learn's defaults: the least of all works."""
    (ours, theirs), part = (who.key for who in CLASSES), record.get("optimum")
    peers = [m for m in part.measures if m.who == theirs] if part else []
    ratios = (median_ratio(peer, find(record, "optimum", ours, peer.work)) for peer in peers)
    return min((ratio for ratio in ratios if ratio is not None), default=None)


def path_ratio(record: Record) -> float | None:
    """Median over rounds of the time of onelayer's whole path / one default scikit-learn fit."""
    return median_ratio(*(find(record, "optimum", who.key, "all") for who in PATHS))


MEMORY: Columns = {
    "X, MB": fact("x_bytes", page.megabytes),
    "MB above X": fact("peak_bytes", page.megabytes),
}
CLASS_COLUMNS: Columns = {
    "iterations": fact("passes", str),
    "excess": fact("excess", "{:.1e}".format),
    **MEMORY,
}
PATH_COLUMNS: Columns = {
    **CONTENDER,
    "λ's": lambda m: str(len(m.facts["passes"])),
    **SECONDS,
    "iterations": lambda m: str(sum(m.facts["passes"])),
    "largest proven gap / J": fact("gap", "{:.1e}".format),
    **MEMORY,
}


def title_of(part: Part, work: str) -> str:
    task, _, l2 = work.partition(" λ=")
    return f"{part.facts['titles'][task]}, λ = {l2}" if l2 else str(part.facts["titles"][task])


def render(part: Part, folder: Path) -> list[str]:
    """A table and a picture for each λ, a table for the path, and how J* was confirmed."""

    def of_class(m: Measure) -> str:
        return title_of(part, m.work.removeprefix(CLASS))

    def times(m: Measure) -> str:
        ratio = least_ratio(part, m)
        return "" if ratio is None else f"{'' if m.seconds else '> '}{ratio:.1f}"

    columns: Columns = {
        **CONTENDER,
        "seconds to 1e-6: median (min–max)": _seconds,
        "n": SECONDS["n"],
        "× onelayer": times,
        "iterations": fact("iterations", str),
        "excess": fact("excess", "{:.1e}".format),
        **MEMORY,
    }
    shown, confirmed = [], []
    for number, one in enumerate(part.facts["optima"], start=1):
        found, title = part.of(one["work"]), title_of(part, one["work"])
        rows = [row for m in found for row in _rows(m)]
        shown += [f"### {title}", measure_table(columns, rows)]
        if watched := [m for m in found if m.facts.get("steps")]:
            chart = _chart(f"time-to-optimum-{number}", title, watched)
            shown.append(page.picture(chart, f"Excess over J* against time, {title}.", folder))
        off, label = nearest_peer(part, one["work"]) or (math.nan, "")
        confirmed.append([title, f"{one['optimum']:.10f}", f"{one['gap']:.0e}", label,
                          f"{off:+.1e}"])  # fmt: skip
    if classes := [m for m in part.measures if m.work.startswith(CLASS)]:
        shown += [
            "### The class LogisticRegression, told C alone",
            measure_table({"problem": of_class, **CONTENDER, **SECONDS, **CLASS_COLUMNS}, classes),
        ]
    if paths := part.of("all"):
        shown += [f"### {title_of(part, 'all')}", measure_table(PATH_COLUMNS, paths)]
    head = ("problem", "J*", "proven gap / J*", "lowest peer", "its excess")
    return ["## Time to the optimum", *shown, page.table(head, confirmed)]


def _nearest_step(found: Measure) -> tuple[int, float, float]:
    """Iterations, seconds and excess of the call that came nearest to the optimum."""
    return min(found.facts["steps"], key=lambda step: step[2], default=(0, 0.0, math.inf))


def _seconds(found: Measure) -> str:
    if found.seconds:
        return page.spread_text(found.seconds)
    _, seconds, excess = _nearest_step(found)
    words = "not reached" if found.facts["cut"] else "gave up"
    return f"{words}: {excess:.1e} after {seconds:.1f} s"


def _rows(found: Measure) -> list[Measure]:
    """A measure as it is shown, with its iterations; onelayer's also when told where to stop."""
    if found.refused:
        return [found]
    budget = found.facts["budget"]
    if found.who != ONELAYER or not found.seconds:
        iterations = budget or _nearest_step(found)[0]
        return [replace(found, facts={**found.facts, "iterations": iterations})]
    proof = replace(found, label=f"{found.label}, the gap of 1e-6 proven")
    there = tuple(s for k, s, _ in found.facts["steps"] if k == budget)
    return [proof, replace(found, label=f"{found.label}, told when to stop", seconds=there,
                           facts={"iterations": budget})]  # fmt: skip


def nearest_peer(part: Part, work: str) -> tuple[float, str] | None:
    """Which other contender's cost came nearest to J*, or fell below it the furthest, and how far.

    Solvers that walk another way to the same cost confirm it; one that fell below would refute it.
    """
    peers = (m for m in part.of(work) if m.who != ONELAYER and m.facts.get("steps"))
    return min(((_nearest_step(m)[2], m.label) for m in peers), default=None)


def _chart(name: str, title: str, found: Sequence[Measure]) -> Chart:
    """Excess against time; the ring is where onelayer's plain call has ended, with its proof."""
    curves, rings = [], []
    for i, m in enumerate(found):
        times, excesses = np.array(sorted((s, e) for _, s, e in m.facts["steps"] if s > 0)).T
        best = np.minimum.accumulate(np.maximum(excesses, LOW))
        curves.append(Curve(m.label, times.tolist(), best.tolist()))
        if m.who == ONELAYER and m.median:
            rings.append((i, m.median, max(m.facts["excess"], 1.5 * LOW)))
    ends = min(curve.x[0] for curve in curves) / 1.3, max(curve.x[-1] for curve in curves) * 1.3
    powers = tuple(float(f"1e{power}") for power in range(-8, 1, 2))
    x = Axis("seconds", log=True, domain=ends)
    y = Axis("excess / J*", log=True, domain=(LOW, HIGH), ticks=powers)
    marks = Marks(rings=tuple(rings), levels=(Level(GOAL, "the goal"),))
    return line_chart(name, f"How far above the optimum: {title}", "", x, y, curves, marks=marks)


def _targets(peer: str, asked: float, *keys: str) -> list[Target]:
    return [Target(f"excess of 1e-6, λ = {l2:g}: {peer} / onelayer with its proof", asked, "×",
                   True, partial(peer_ratio, keys, l2)) for l2 in L2S]  # fmt: skip


SUITE = Suite(
    "optimum", "time to the optimum, beside other solvers", measure, render,
    (*_targets("scikit-learn lbfgs, the faster of float64 and float32", 50, "sklearn-lbfgs",
               "sklearn-lbfgs-float32"),
     *_targets("scikit-learn-intelex", 6, "sklearn-intelex"),
     Target("LogisticRegression told C alone, the least of all problems: scikit-learn / onelayer "
            "with its proof of 1e-6", 5, "×", True, class_ratio),
     Target("20 λ's on 50 000 rows, each proven to 1e-4 J / one default scikit-learn fit", 0.25,
            "×", False, path_ratio),
     Target("memory above X of the optimum, the most of any", 300, "MB", False,
            partial(page.max_peak, ["optimum"], [ONELAYER, PATHS[0].key]))),
)  # fmt: skip
