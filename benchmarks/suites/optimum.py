"""Time to the optimum: how far above J* each solver is, against time.

Every contender minimises the same cost, J = mean cross-entropy + λ Σ W², on the same rows; its
answers are judged in float64, never by its own word. Each is watched once, which warms it too: that
tells excess against time and the fewest iterations that reach the goal. Rounds of plain calls with
just that many iterations follow; where one falls short, a few more are given before anything is
timed. onelayer is not told when to stop: its call ends when it has proven the goal.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from benchmarks.harness import chart
from benchmarks.harness.page import (
    MEGABYTE,
    Target,
    absent_rows,
    megabytes,
    method,
    picture,
    spread_text,
    table,
)
from benchmarks.harness.problem import Data, Problem, Setting, data_folder, read_data
from benchmarks.harness.processes import SETTLE_SECONDS, Process, WorkerError
from benchmarks.harness.record import CRASHED, ONELAYER, Measure, Part, Record, median_ratio
from benchmarks.harness.rounds import Entrant, Sample, Session, Suite, time_in_turn
from benchmarks.harness.worker import resident_bytes, timed
from benchmarks.peers import INTELEX, LBFGS, LBFGS32, PATHS, SOLVERS, Contender
from benchmarks.peers.onelayer_solve import dataset_of
from benchmarks.peers.solving import GOAL, Watch, l2_path
from onelayer.objective.loss import cost
from onelayer.solver import solve

REFERENCE_TOLERANCE, ENOUGH = 1e-10, 3e-9
BLOCK_ROWS = 1000
MAX_TRIES = 5
# A Hessian larger than this is not formed.
MAX_HESSIAN_BYTES = 1e9
L2S = (0.1, 0.01, 0.001)


@dataclass(frozen=True, eq=False)
class Judge:
    """Costs of models on a problem's rows, in float64."""

    problem: Problem
    data: Data

    def cost(self, W: ArrayLike, b: ArrayLike, l2: float) -> float:
        """J(W, b): the oracle's cost of blocks of rows, and the penalty once."""
        W, (X, y) = np.asarray(W, np.float64), self.data
        total = 0.0
        for start in range(0, len(y), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            total += len(y[rows]) * cost(X[rows] / self.problem.max_value, y[rows], W, b)
        return total / len(y) + l2 * float(np.sum(W * W))

    def excess(self, W: ArrayLike, b: ArrayLike, l2: float, optimum: float) -> float:
        return self.cost(W, b, l2) / optimum - 1.0

    def reference(self, l2: float) -> tuple[float, float]:
        """J* and the proven bound on its relative error.

        It is the cost of a model that onelayer found to a relative gap of 1e-10. That it is the
        least does not rest on onelayer's word alone: the page says how near others come to it.
        """
        rows = dataset_of(self.problem, self.data)
        model = solve(rows, l2, tol=REFERENCE_TOLERANCE, scaling="unit")
        found = self.cost(model.W, model.b, l2)
        return found, model.require_certificate().gap / found


class Desk:
    """Solves in a worker's process."""

    def __init__(self, who: Contender | None, problem: Problem, folder: Path, threads: int) -> None:
        data = read_data(folder)
        self._judge, self.greeting = Judge(problem, data), dict[str, Any]()
        if who is not None:
            self._prepared = who.prepare(problem, data, threads)
            self.greeting = {"about": self._prepared.about, "x_bytes": self._prepared.x_bytes}
        self._resident = resident_bytes()

    def find(self, l2: float) -> dict[str, Any]:
        found, gap = self._judge.reference(l2)
        return {"optimum": found, "gap": gap}

    def trace(self, l2: float, optimum: float, patience: float) -> dict[str, Any]:
        watch = Watch(
            lambda W, b: self._judge.excess(W, b, l2, optimum),
            goal=GOAL,
            enough=ENOUGH,
            patience=patience,
        )
        self._prepared.trace(l2, watch)
        watch.finish()
        return {"steps": watch.steps, "budget": watch.budget, "cut": watch.cut}

    def solve(self, l2: float, iterations: int | None, optimum: float) -> dict[str, Any]:
        """A plain call: its time and memory, and how good its answer is."""
        found, figures = timed(lambda: self._prepared.solve(l2, iterations), self._resident)
        excess = self._judge.excess(found.W, found.b, l2, optimum)
        return {**figures, "excess": excess, "marks": found.marks, "gap": found.gap}

    def warm(self) -> dict[str, Any]:
        """Something short, so that threads are started and pages are touched."""
        self._prepared.warm()
        return {}

    def run(self) -> dict[str, Any]:
        told, figures = timed(self._prepared.run, self._resident)
        return {**figures, **told}


@dataclass(frozen=True)
class Effort:
    """How many rounds, and how long a watched solution may take, in s.

    Who took longer than `slow` seconds to the goal is timed in one round only.
    """

    rounds: int
    path_rounds: int
    patience: float
    slow: float = math.inf


FULL, QUICK = Effort(3, 3, 30.0, slow=12.0), Effort(2, 1, 10.0)


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
    effort = QUICK if session.quick else FULL
    titles, *tasks, whole = make_tasks(session.source, quick=session.quick)
    part = session.part(titles=titles, optima=())
    part = replace(part, absent=tuple((s.label, s.pip) for s in SOLVERS if not s.installed))
    for task in tasks:
        for l2, optimum, solved in solve_task(task, SOLVERS, effort, session):
            optima = (*part.facts["optima"], {"work": _work(task.name, l2), **optimum})
            part = part.with_(solved, facts={**part.facts, "optima": optima})
            session.keep(part)
    try:
        return part.with_(run_paths(whole, effort.path_rounds, session))
    except WorkerError as error:
        return replace(part, failed=(f"{titles[whole.name]}: {error}",))


def _work(task: str, l2: float) -> str:
    return f"{task} λ={l2:g}"


def too_large(who: Contender, task: Problem) -> str:
    """Why a solver cannot take the task, or nothing."""
    unknowns = task.classes * (task.features + 1)
    size = 8.0 * unknowns**2
    if not who.forms_hessian or size <= MAX_HESSIAN_BYTES:
        return ""
    return f"does not fit: its Hessian of {unknowns} unknowns takes {size / 1e9:.1f} GB"


def start_solver(who: Contender | None, task: Problem, session: Session) -> Process:
    """A worker, without a contender for J*; rows are written when they are first asked for."""
    c = session.conditions
    name = who.label if who else "the reference"
    return Process(name, Desk, who, task, data_folder(task, c.folder), c.threads, conditions=c)


def solve_task(
    task: Problem, solvers: Sequence[Contender], effort: Effort, session: Session
) -> Iterator[tuple[float, dict[str, float], list[Measure]]]:
    """One λ of a task after another by every contender: λ, J* with its gap, measures."""
    with start_solver(None, task, session) as process:
        optima = {l2: process.ask("find", l2=l2) for l2 in task.l2s.tolist()}
    refused, running = dict[str, str](), dict[str, Process]()
    with ExitStack() as stack:
        for who in (s for s in solvers if s.installed):
            if not (reason := too_large(who, task)):
                try:
                    running[who.key] = stack.enter_context(start_solver(who, task, session))
                except WorkerError as error:
                    reason = f"{CRASHED}: {error}"
            refused[who.key] = reason
        for l2, optimum in optima.items():
            entrants = []
            for who in (s for s in solvers if s.installed):
                found = Measure(_work(task.name, l2), who.key, who.label, refused=refused[who.key])
                seeker = _Seeker(running.get(who.key), found, l2, optimum["optimum"], effort)
                entrants.append(seeker.watched(session))
            yield l2, optimum, time_in_turn(entrants, effort.rounds, session.log)


class _Seeker:
    """One contender on one λ: its process, and the iterations that it is given."""

    def __init__(
        self, process: Process | None, found: Measure, l2: float, optimum: float, effort: Effort
    ) -> None:
        self._process, self._found, self._effort = process, found, effort
        self._l2, self._optimum = l2, optimum
        self._proves = found.who == ONELAYER
        self._budget: int | None = None
        self._facts: dict[str, Any] = {}

    def watched(self, session: Session) -> Entrant:
        """Excess against time, and the iterations that reach the goal."""
        found, process = self._found, self._process
        if found.refused or process is None:
            return Entrant(found, self._once, 0)
        time.sleep(SETTLE_SECONDS)
        try:
            # A first short call: memory is measured where nothing but a plain call has been done.
            alone = self._solve(None if self._proves else 2)
            told = process.ask("trace", l2=self._l2, optimum=self._optimum,
                               patience=self._effort.patience)  # fmt: skip
        except WorkerError as error:
            return Entrant(replace(found, refused=f"{CRASHED}: {error}"), self._once, 0)
        self._budget = told["budget"]
        at = next((s for k, s, _ in told["steps"] if k == self._budget), math.inf)
        session.log(f"  {found.work}: {found.label}: {at:.2f} s to the goal")
        facts = {**process.greeting, **told, "peak_bytes": alone["peak_bytes"]}
        rounds = 0 if self._budget is None else 1 if at > self._effort.slow else 100
        return Entrant(replace(found, facts=facts), self._once, rounds)

    def _once(self) -> Sample:
        """A round; before the first one counts, the budget is raised until it is enough."""
        told, tries = self._solve(None if self._proves else self._budget), 0
        while told["excess"] > GOAL and not (self._facts or self._proves) and tries < MAX_TRIES:
            tries += 1
            self._budget = max((self._budget or 0) + 1, math.ceil(1.03 * (self._budget or 0)))
            told = self._solve(self._budget)
        worst = {"excess": max(told["excess"], self._facts.get("excess", told["excess"]))}
        if told["gap"] is not None:
            worst["gap"] = max(told["gap"], self._facts.get("gap", 0.0))
        self._facts = {"budget": self._budget, **worst}
        reached = tuple(s for k, s in told["marks"] if k == self._budget)
        return Sample(told["seconds"], series={"reached": reached}, facts=self._facts)

    def _solve(self, iterations: int | None) -> dict[str, Any]:
        assert self._process is not None
        values = {"l2": self._l2, "iterations": iterations, "optimum": self._optimum}
        told: dict[str, Any] = self._process.ask("solve", **values)
        return told


def run_paths(task: Problem, rounds: int, session: Session) -> list[Measure]:
    """All rows: the path and the default fit in turn."""
    with ExitStack() as stack:
        entrants = []
        for who in PATHS:
            process = stack.enter_context(start_solver(who, task, session))
            process.ask("warm")
            measure = Measure(task.name, who.key, who.label, facts=process.greeting)
            entrants.append(Entrant(measure, partial(_run_path, process)))
        found = time_in_turn(entrants, rounds, session.log, patience=session.patience)
    for one in found:
        if one.refused:
            raise WorkerError(one.refused)
    return found


def _run_path(process: Process) -> Sample:
    told = process.ask("run")
    facts = {"passes": told["passes"], "peak_bytes": told["peak_bytes"]}
    if "gaps" in told:
        facts["gap"] = max(told["gaps"])
    return Sample(told["seconds"], facts=facts)


def ratio(part: Part, found: Measure) -> float | None:
    """Median over rounds of a contender's time to the goal / onelayer's time to its proof."""
    return median_ratio(found, part.find(ONELAYER, found.work))


def least_ratio(part: Part, found: Measure) -> float | None:
    """The ratio; where the goal was not reached in time, what it must at least be.

    Nothing for a solver that ended by itself before the goal: no time would be enough.
    """
    ours, steps = part.find(ONELAYER, found.work), found.facts.get("steps")
    if found.seconds or not found.facts.get("cut") or not steps or not ours or not ours.median:
        return ratio(part, found)
    return float(max(seconds for _, seconds, _ in steps) / ours.median)


def peer_ratio(keys: Sequence[str], l2: float, record: Record) -> float | None:
    """The fastest of some peers / onelayer, on the batch.

    Of one that was ended by its time, that time counts: the ratio is no less. One that ended by
    itself before the goal is not the fastest one.
    """
    part = record.get("optimum")
    found = [part.find(key, _work("batch", l2)) for key in keys] if part else []
    ratios = [r for one in found if part and one and (r := least_ratio(part, one)) is not None]
    return min(ratios, default=None)


def path_ratio(record: Record) -> float | None:
    """Median over rounds of the time of onelayer's whole path / one default scikit-learn fit."""
    part = record.get("optimum")
    found = [part.find(who.key, "all") for who in PATHS] if part else [None, None]
    return median_ratio(*found)


def max_memory(record: Record) -> float | None:
    measures = record["optimum"].measures if "optimum" in record else ()
    peaks = [m.facts["peak_bytes"] for m in measures
             if m.who in (ONELAYER, PATHS[0].key) and "peak_bytes" in m.facts]  # fmt: skip
    return max(peaks) / MEGABYTE if peaks else None


HEAD = ("contender", "seconds to 1e-6: median (min–max)", "n", "× onelayer", "iterations",
        "excess", "X, MB", "MB above X")  # fmt: skip
PATH_HEAD = ("contender", "seconds: median (min–max)", "n", "iterations",
             "largest proven gap / J", "X, MB", "MB above X")  # fmt: skip


def title_of(part: Part, work: str) -> str:
    task, _, l2 = work.partition(" λ=")
    return f"{part.facts['titles'][task]}, λ = {l2}" if l2 else str(part.facts["titles"][task])


def render(part: Part, folder: Path) -> list[str]:
    """The picture, a table for each λ and one for the path, and how J* was confirmed."""
    works = [one["work"] for one in part.facts["optima"]]
    shown = []
    if any(m.facts.get("steps") for m in part.measures):
        chart.save(_chart(part, works), folder, "time-to-optimum")
        shown = [picture(_words(part, works), "time-to-optimum")]
    tables = []
    for work in works:
        rows = [row for m in part.of(work) for row in _rows(part, m)]
        tables += [f"### {title_of(part, work)}", table(HEAD, [*rows, *absent_rows(part)])]
    if paths := [_path_row(m) for m in part.of("all")]:
        tables += [f"### {title_of(part, 'all')}", table(PATH_HEAD, paths)]
    optima = "\n".join(_confirmed(part, one) for one in part.facts["optima"])
    return ["## Time to the optimum", *shown, *tables, method("optimum"), optima]


def _rows(part: Part, found: Measure) -> list[list[str]]:
    facts = found.facts
    if found.refused:
        return [[found.label, found.refused]]
    sizes = [megabytes(facts["x_bytes"]), megabytes(facts["peak_bytes"])]
    if not found.seconds:
        k, seconds, excess = min(facts["steps"], key=lambda step: step[2], default=(0, 0, math.inf))
        least = least_ratio(part, found)
        words = "not reached" if facts["cut"] else "gave up"
        return [[found.label, f"{words}: {excess:.1e} after {seconds:.1f} s", "",
                 f"> {least:.1f}" if least else "", str(k), "", *sizes]]  # fmt: skip
    times, budget = ratio(part, found), str(facts["budget"])
    row = [found.label, spread_text(found.seconds), str(len(found.seconds)),
           f"{times:.1f}" if times else "", budget, f"{facts['excess']:.1e}", *sizes]  # fmt: skip
    if found.who != ONELAYER:
        return [row]
    row[0], row[4] = f"{found.label}, the gap of 1e-6 proven", ""
    reached = found.series.get("reached", ())
    there = [f"{found.label}, the iterate was there", spread_text(reached), str(len(reached)), "",
             budget]  # fmt: skip
    return [row, there] if reached else [row]


def _path_row(found: Measure) -> list[str]:
    facts = found.facts
    passes = facts["passes"]
    return [
        f"{found.label}: {len(passes)} λ" if len(passes) > 1 else found.label,
        spread_text(found.seconds, 1),
        str(len(found.seconds)),
        str(sum(passes)),
        f"{facts['gap']:.1e}" if "gap" in facts else "",
        megabytes(facts["x_bytes"]),
        megabytes(facts["peak_bytes"]),
    ]


def nearest_peer(part: Part, work: str) -> tuple[float, str] | None:
    """Which other contender's cost came nearest to J*, or fell below it the furthest, and how far.

    Solvers that walk another way to the same cost confirm it; one that fell below would refute it.
    """
    return min(((min(excess for *_, excess in m.facts["steps"]), m.label) for m in part.of(work)
                if m.who != ONELAYER and m.facts.get("steps")), default=None)  # fmt: skip


def _confirmed(part: Part, one: dict[str, Any]) -> str:
    nearest = nearest_peer(part, one["work"])
    other = (
        f"; the lowest peer, {nearest[1]}, ended {nearest[0]:+.1e} J* from it" if nearest else ""
    )
    return (f"- {title_of(part, one['work'])}: J* = {one['optimum']:.10f}, proven to "
            f"{one['gap']:.0e} of it{other}")  # fmt: skip


RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
LOW, HIGH = 1e-8, 1.0


def _chart(part: Part, works: Sequence[str]) -> Any:
    import altair as alt

    drawn = [_panel(part, work, left=i % 2 == 0, low=i + 2 >= len(works))
             for i, work in enumerate(works)]  # fmt: skip
    rows = [alt.hconcat(*drawn[i : i + 2], spacing=30) for i in range(0, len(drawn), 2)]
    title = alt.TitleParams(
        "How far above the optimum, against time",
        subtitle=[
            "Relative excess of the cost over J*, judged in float64. One watched solution each, "
            "the clock stopped while it is looked at.",
            "◆ onelayer's plain call has ended, a gap of 1e-6 proven. Peers prove nothing.",
        ],
        anchor="start",
        offset=14,
    )
    whole = alt.vconcat(*rows, spacing=20).resolve_scale(color="shared", strokeWidth="shared")
    return whole.properties(title=title)


def _panel(part: Part, work: str, *, left: bool, low: bool) -> Any:
    import altair as alt

    found = [m for m in part.of(work) if m.facts.get("steps")]
    # Panels of the same rows have the same axis: what a smaller λ costs is seen.
    same = [m for m in part.measures if m.work.split(" ")[0] == work.split(" ")[0]]
    seconds = [row["s"] for m in same for row in _best_so_far(m)]
    ends = min(seconds) / 1.3, max(seconds) * 1.3
    x = chart.log_axis(alt.X("s:Q", title="seconds" if low else None), *ends)
    ticks = chart.log_ticks(LOW, HIGH)[::2]
    labels = " : ".join(f"datum.value < {1.01 * tick} ? '{_power(tick)}'" for tick in ticks)
    y = chart.log_axis(alt.Y("excess:Q", title="excess / J*" if left else None), LOW, HIGH,
                       values=ticks, labelExpr=f"{labels} : ''")  # fmt: skip
    present = {m.label for m in part.measures if m.facts.get("steps")}
    shown = [s.label for s in SOLVERS if s.label in present]
    colour = alt.Color("who:N", title=None).scale(
        domain=shown, range=[chart.COLOURS[label] for label in shown]
    )
    colour = colour.legend(orient="top", columns=4, symbolType="stroke", symbolStrokeWidth=3,
                           symbolSize=420, padding=0, offset=12)  # fmt: skip
    data = alt.Chart(alt.InlineData(values=[row for m in found for row in _best_so_far(m)]))
    proofs = [{"s": m.median, "excess": max(m.facts["excess"], 1.5 * LOW), "who": m.label}
              for m in found if "gap" in m.facts and m.seconds]  # fmt: skip
    goal = alt.Chart(alt.InlineData(values=[{"excess": GOAL}]))
    width = alt.condition("datum.who == 'onelayer'", alt.value(3.4), alt.value(2.0))
    layers = alt.layer(
        goal.mark_rule(color=chart.FAINT, strokeDash=[4, 4], strokeWidth=1.2).encode(y=y),
        data.mark_line(clip=True).encode(
            x=x, y=y, color=colour, strokeWidth=width, order="s:Q", detail="who:N"
        ),
        alt.Chart(alt.InlineData(values=proofs))
        .mark_point(shape="diamond", filled=True, size=190, opacity=1, stroke="white")
        .encode(x=x, y=y, color=colour),
    )
    heading = alt.TitleParams(title_of(part, work), fontSize=13, color=chart.INK,
                              fontWeight="normal", anchor="start", offset=8)  # fmt: skip
    return layers.properties(width=330, height=230, title=heading)


def _power(tick: float) -> str:
    """A power of ten where it is small: 10⁻⁶."""
    exponent = round(math.log10(tick))
    return f"10{str(exponent).translate(RAISED)}" if tick < 0.005 else f"{tick:g}"


def _best_so_far(found: Measure) -> list[dict[str, Any]]:
    """The best excess at each time, down to just below the picture's floor."""
    rows, best = [], math.inf
    for _, seconds, excess in found.facts.get("steps", ()):
        best = min(best, max(excess, LOW / 2))
        if seconds > 0.0:
            rows.append({"who": found.label, "s": seconds, "excess": best})
    return rows


def _words(part: Part, works: Sequence[str]) -> str:
    said = []
    for work in works:
        times = [f"{m.label} {m.median:.3g} s" for m in part.of(work) if m.median]
        said.append(f"{title_of(part, work)}: {', '.join(times)}")
    return f"Excess over J* against time, both axes logarithmic. Time to 1e-6: {'; '.join(said)}."


def _target(peer: str, asked: float, keys: Sequence[str], l2: float) -> Target:
    return Target(f"excess of 1e-6, λ = {l2:g}: {peer} / onelayer with its proof", asked, "×", True,
                  partial(peer_ratio, keys, l2))  # fmt: skip


SKLEARN = "scikit-learn lbfgs, the faster of float64 and float32"
SUITE = Suite(
    "optimum",
    "time to the optimum, beside other solvers",
    measure,
    render,
    (
        *(_target(SKLEARN, 25, (LBFGS, LBFGS32), l2) for l2 in L2S),
        *(_target("scikit-learn-intelex", 6, (INTELEX,), l2) for l2 in L2S),
        Target("20 λ's on 50 000 rows, each proven to 1e-4 J / one default scikit-learn fit", 1,
               "×", False, path_ratio),
        Target("memory above X of the optimum, the most of any", 300, "MB", False, max_memory),
    ),
)  # fmt: skip
