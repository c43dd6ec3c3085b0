"""onelayer: `solve` and `solve_path` on the rows as stored; they prove what they return."""

from __future__ import annotations

import os
import time
from typing import Any

from benchmarks.harness.problem import Data
from benchmarks.harness.processes import ENGINE_VARIABLE
from benchmarks.peers.solving import (
    GOAL,
    PATH_TOLERANCE,
    PreparedPath,
    PreparedSolver,
    Seen,
    Solution,
    Task,
    Watch,
    climb,
)
from onelayer.data import Splits
from onelayer.engines import make_engine
from onelayer.solver import Path, Progress, solve, solve_path

FAR = 1e-9
PLENTY = 1000


def prepare(task: Task, data: Data, threads: int) -> PreparedSolver:
    """The engine that the parent named; threads come by affinity and environment."""
    engine, dataset = make_engine(os.environ[ENGINE_VARIABLE]), task.dataset(data)

    def find(l2: float, passes: int | None) -> Solution:
        marks: list[tuple[int, float]] = []
        started = time.perf_counter()

        def note(progress: Progress) -> None:
            marks.append((progress.passes, time.perf_counter() - started))

        optimum = solve(
            dataset,
            l2,
            tol=FAR if passes else GOAL,
            scaling="unit",
            max_passes=passes or PLENTY,
            engine=engine,
            on_progress=note,
        )
        certificate = optimum.require_certificate()
        return Solution(optimum.W, optimum.b, tuple(marks), certificate.gap / certificate.cost)

    def trace(l2: float, watch: Watch) -> None:
        # The times are those of one call; how good its iterates were, others tell that end early.
        clock = dict(find(l2, PLENTY).marks)

        def within(allowed: int) -> Seen:
            found = find(l2, allowed)
            passes, seconds = found.marks[-1]
            return Seen(passes, clock.get(passes, seconds), found.W, found.b)

        climb(within, watch)

    return PreparedSolver(find, trace, data.X.nbytes, engine.describe())


def prepare_path(task: Task, data: Data, threads: int) -> PreparedPath:
    """`solve_path`, which also scores every model; 1000 rows stand for the validation rows."""
    engine, train = make_engine(os.environ[ENGINE_VARIABLE]), task.dataset(data)
    few = train.take(slice(0, 1000))
    splits = Splits(train, few, few, name=task.name, source=task.title)

    def path(l2s: tuple[float, ...]) -> Path:
        return solve_path(splits, l2s, tol=PATH_TOLERANCE, scaling="unit", engine=engine)

    def run() -> dict[str, Any]:
        models = path(task.l2s).models
        proofs = [model.require_certificate() for model in models]
        return {
            "gaps": [proof.gap / proof.cost for proof in proofs],
            "passes": [model.passes for model in models],
        }

    return PreparedPath(lambda: path(task.l2s[:1]), run, data.X.nbytes, engine.describe())
