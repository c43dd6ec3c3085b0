"""Each contender is watched once, which warms it too, and then timed in plain calls.

The watched solution tells excess against time and the fewest iterations that reach the goal. Rounds
of plain calls with just that many iterations follow, interleaved; every answer is judged, and where
one falls short, a few more iterations are given before anything is timed. onelayer is not told when
to stop: its call ends when it has proven the goal.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from benchmarks.contenders import ONELAYER
from benchmarks.crew import SETTLE_SECONDS, Conditions, Process, WorkerError
from benchmarks.machine import OtherWork, describe_machine, package_versions
from benchmarks.optimum.contenders import PATHS, SOLVERS, Solver
from benchmarks.optimum.contenders import solver as solver_of
from benchmarks.optimum.problem import GOAL, Task, make_rows, make_tasks
from benchmarks.optimum.record import CRASHED, Least, OptimumRecord, PathRuns, Solved
from benchmarks.optimum.worker import REFERENCE
from benchmarks.problem import save_data

Say = Callable[[str], None]
Keep = Callable[[OptimumRecord], None]

MODULE = "benchmarks.optimum.worker"
TRIES = 5


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


def run_optimum(
    conditions: Conditions, source: str, say: Say, keep: Keep = lambda record: None, *, quick: bool
) -> OptimumRecord:
    """Measure the whole section.

    Args:
        conditions: of every process.
        source: of the rows.
        say: told what is being done.
        keep: given what there is after every part, so that nothing measured is lost.
        quick: the short form.

    Returns:
        The record. A peer whose process ends is marked in it, and the others go on.
    """
    effort, other_work = QUICK if quick else FULL, OtherWork()
    tasks, whole = make_tasks(source, quick=quick)
    record = OptimumRecord(
        machine=describe_machine() | package_versions(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        titles={task.name: task.title for task in (*tasks, whole)},
        quick=quick,
        absent=tuple((s.label, s.pip) for s in SOLVERS if not s.installed),
    )
    for task in tasks:
        for least, solved in solve_task(task, SOLVERS, effort, conditions, say):
            record = replace(
                record,
                other_work=other_work.cores(),
                least=(*record.least, least),
                solved=(*record.solved, *solved),
            )
            keep(record)
    try:
        record = replace(record, paths=run_paths(whole, effort, conditions, say))
    except WorkerError as error:
        record = replace(record, path_crash=str(error))
    return replace(record, other_work=other_work.cores())


def solve_task(
    task: Task, solvers: Sequence[Solver], effort: Effort, conditions: Conditions, say: Say
) -> Iterator[tuple[Least, list[Solved]]]:
    """One λ of a task after another, by every contender."""
    job = _job(task, conditions)
    with Process(MODULE, {**job, "contender": REFERENCE}, conditions) as process:
        least = [Least(task.name, l2, **_renamed(process.ask(do="find", l2=l2)))
                 for l2 in task.l2s]  # fmt: skip
    order = [solver.key for solver in solvers]
    refused: dict[str, str] = {}
    with ExitStack() as stack:
        crew: list[tuple[Solver, Process]] = []
        for solver in (s for s in solvers if s.installed):
            if reason := solver.too_large(task):
                refused[solver.key] = reason
                continue
            try:
                process = Process(MODULE, {**job, "contender": solver.key}, conditions)
                crew.append((solver, stack.enter_context(process)))
            except WorkerError as error:
                refused[solver.key] = f"{CRASHED}: {error}"
        for known in least:
            found = [_watched(solver, process, known, effort, say) for solver, process in crew]
            found = _timed([process for _, process in crew], found, known, effort)
            found += [Solved(key, solver_of(key).label, task.name, known.l2, refused=reason)
                      for key, reason in refused.items()]  # fmt: skip
            yield known, sorted(found, key=lambda s: order.index(s.contender))


def run_paths(task: Task, effort: Effort, conditions: Conditions, say: Say) -> tuple[PathRuns, ...]:
    """All rows: the path and the default fit in turn."""
    job = _job(task, conditions)
    told: dict[str, list[dict[str, Any]]] = {solver.key: [] for solver in PATHS}
    with ExitStack() as stack:
        crew = [(solver, stack.enter_context(
                    Process(MODULE, {**job, "contender": solver.key}, conditions)))
                for solver in PATHS]  # fmt: skip
        for _, process in crew:
            process.ask(do="warm")
        for number in range(effort.path_rounds):
            for solver, process in crew:
                time.sleep(SETTLE_SECONDS)
                told[solver.key].append(process.ask(do="run"))
                seconds = told[solver.key][-1]["seconds"]
                say(f"  {task.title}: {solver.label}: {seconds:.1f} s (round {number + 1})")
        return tuple(_path_runs(solver, process.greeting, told[solver.key])
                     for solver, process in crew)  # fmt: skip


def _path_runs(
    solver: Solver, greeting: dict[str, Any], told: Sequence[dict[str, Any]]
) -> PathRuns:
    gaps = [max(one["gaps"]) for one in told if "gaps" in one]
    return PathRuns(
        contender=solver.key,
        label=solver.label,
        about=greeting["about"],
        l2s=len(told[0]["passes"]),
        seconds=tuple(one["seconds"] for one in told),
        passes=tuple(told[0]["passes"]),
        gap=max(gaps) if gaps else None,
        x_bytes=greeting["x_bytes"],
        peak_bytes=max(one["peak_bytes"] for one in told),
    )


def _watched(solver: Solver, process: Process, known: Least, effort: Effort, say: Say) -> Solved:
    """Excess against time, and the iterations that reach the goal."""
    found = Solved(solver.key, solver.label, known.task, known.l2, process.greeting["about"])
    time.sleep(SETTLE_SECONDS)
    try:
        # A first short call: memory is measured where nothing but a plain call has been done.
        alone = _solve(process, known, None if solver.key == ONELAYER else 2)
        told = process.ask(do="trace", l2=known.l2, least=known.cost, patience=effort.patience)
    except WorkerError as error:
        return replace(found, refused=f"{CRASHED}: {error}")
    steps, budget = told["steps"], told["budget"]
    at = next((f"{s:.2f} s" for k, s, _ in steps if k == budget), "never")
    say(f"  {known.task} λ={known.l2:g}: {solver.label}: {at}")
    return replace(
        found,
        steps=tuple((k, s, e) for k, s, e in steps),
        budget=budget,
        cut=told["cut"],
        x_bytes=process.greeting["x_bytes"],
        peak_bytes=alone["peak_bytes"],
    )


def _timed(
    processes: Sequence[Process], found: Sequence[Solved], known: Least, effort: Effort
) -> list[Solved]:
    """Rounds of plain calls of those that reach the goal, in an order that moves on."""
    result = list(found)
    taking = [i for i, one in enumerate(found) if one.budget is not None]
    for number in range(effort.rounds):
        for place in range(len(taking)):
            i = taking[(place + number) % len(taking)]
            if number == 0 or seconds_to_goal(result[i]) <= effort.slow:
                time.sleep(SETTLE_SECONDS)
                try:
                    result[i] = _one_more(processes[i], result[i], known)
                except WorkerError as error:
                    result[i] = replace(result[i], refused=f"{CRASHED}: {error}")
    return result


def _one_more(process: Process, found: Solved, known: Least) -> Solved:
    """Add a round; before the first one counts, the budget is raised until it is enough."""
    assert found.budget is not None
    proves = found.contender == ONELAYER
    told = _solve(process, known, None if proves else found.budget)
    tries = 0
    while told["excess"] > GOAL and not found.seconds and not proves and tries < TRIES:
        tries += 1
        more = max(found.budget + 1, math.ceil(1.03 * found.budget))
        found = replace(found, budget=more)
        told = _solve(process, known, more)
    at = [s for k, s in told["marks"] if k == found.budget]
    return replace(
        found,
        seconds=(*found.seconds, told["seconds"]),
        reached=(*found.reached, *at),
        excess=max(told["excess"], found.excess or told["excess"]),
        gap=None if told["gap"] is None else max(told["gap"], found.gap or 0.0),
    )


def seconds_to_goal(found: Solved) -> float:
    """When the watched solution was there; infinity where it was not."""
    return next((s for k, s, _ in found.steps if k == found.budget), math.inf)


def _solve(process: Process, known: Least, iterations: int | None) -> dict[str, Any]:
    return process.ask(do="solve", l2=known.l2, iterations=iterations, least=known.cost)


def _renamed(told: dict[str, float]) -> dict[str, float]:
    return {"cost": told["least"], "gap": told["gap"]}


def _job(task: Task, conditions: Conditions) -> dict[str, Any]:
    """What each worker of a task is told; its rows are written when they are first asked for."""
    folder = conditions.folder / f"optimum-{task.name}"
    if not folder.exists():
        save_data(make_rows(task), folder)
    return {"task": task.as_dict(), "folder": str(folder)}
