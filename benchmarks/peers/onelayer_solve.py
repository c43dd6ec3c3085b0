"""onelayer: `solve` and `solve_path` on the rows as stored; they prove what they return."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from benchmarks.harness.problem import Data, Problem
from benchmarks.harness.processes import ENGINE_VARIABLE
from benchmarks.peers import GOAL, PATH_TOLERANCE, Prepared, Solution
from onelayer.data import Dataset, Splits
from onelayer.engines import make_engine
from onelayer.solver import solve, solve_path


def dataset_of(problem: Problem, data: Data) -> Dataset:
    """The rows as onelayer takes them."""
    names = tuple(str(k) for k in range(problem.classes))
    return Dataset(data.X, data.y, names, max_value=problem.max_value, name=problem.name)


def prepare(problem: Problem, data: Data, threads: int) -> Prepared:
    """The engine that the parent named; threads come by affinity and environment."""
    engine, dataset = make_engine(os.environ[ENGINE_VARIABLE]), dataset_of(problem, data)

    def run(l2: float, iterations: int | None) -> Solution:
        tol, most = (1e-9, iterations) if iterations else (GOAL, 1000)
        model = solve(dataset, l2, tol=tol, scaling="unit", max_passes=most, engine=engine)
        proof = model.require_certificate()
        return Solution(model.W, model.b, model.passes or 0, proof.gap / proof.cost)

    return Prepared(run, engine.describe(), x_bytes=data.X.nbytes)


def prepare_path(problem: Problem, data: Data, threads: int) -> Prepared:
    """`solve_path`, which also scores every model; 1000 rows stand for the validation rows."""
    engine, train = make_engine(os.environ[ENGINE_VARIABLE]), dataset_of(problem, data)
    some = train.take(slice(0, 1000))
    splits = Splits(train, some, some, problem.name, "")

    def run(l2s: list[float]) -> dict[str, Any]:
        path = solve_path(splits, l2s, tol=PATH_TOLERANCE, scaling="unit", engine=engine)
        proofs = [model.require_certificate() for model in path.models]
        gap = max(proof.gap / proof.cost for proof in proofs)
        return {"gap": gap, "passes": [model.passes for model in path.models]}

    l2s = problem.l2s.tolist()
    return Prepared(partial(run, l2s), engine.describe(), x_bytes=data.X.nbytes,
                    warm=partial(run, l2s[:1]))  # fmt: skip
