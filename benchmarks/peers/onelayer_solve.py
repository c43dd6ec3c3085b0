"""onelayer: `solve` and `solve_path` on the rows as stored; they prove what they return."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Any

from benchmarks.harness.problem import Data, Problem
from benchmarks.harness.processes import ENGINE_VARIABLE
from benchmarks.peers.solving import (
    GOAL,
    PATH_TOLERANCE,
    PreparedPath,
    PreparedSolver,
    Seen,
    Solution,
    Watch,
    climb,
)
from onelayer.data import Dataset, Splits
from onelayer.engines import make_engine
from onelayer.solver import Path, Progress, solve, solve_path

FAR = 1e-9
PLENTY = 1000


def dataset_of(problem: Problem, data: Data) -> Dataset:
    """The rows as onelayer takes them."""
    names = tuple(str(k) for k in range(problem.classes))
    return Dataset(data.X, data.y, names, max_value=problem.max_value, name=problem.name)


def prepare(problem: Problem, data: Data, threads: int) -> PreparedSolver:
    """The engine that the parent named; threads come by affinity and environment."""
    engine, dataset = make_engine(os.environ[ENGINE_VARIABLE]), dataset_of(problem, data)

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


def prepare_path(problem: Problem, data: Data, threads: int) -> PreparedPath:
    """`solve_path`, which also scores every model; 1000 rows stand for the validation rows."""
    engine, train = make_engine(os.environ[ENGINE_VARIABLE]), dataset_of(problem, data)
    few = train.take(slice(0, 1000))
    splits = Splits(train, few, few, name=problem.name, source="")

    def path(l2s: list[float]) -> Path:
        return solve_path(splits, l2s, tol=PATH_TOLERANCE, scaling="unit", engine=engine)

    def run() -> dict[str, Any]:
        models = path(problem.l2s.tolist()).models
        proofs = [model.require_certificate() for model in models]
        return {
            "gaps": [proof.gap / proof.cost for proof in proofs],
            "passes": [model.passes for model in models],
        }

    warm = partial(path, problem.l2s[:1].tolist())
    return PreparedPath(warm, run, data.X.nbytes, engine.describe())
