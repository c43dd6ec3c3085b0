"""onelayer: an engine by its protocol, `train`, `solve`, `solve_path` and `SoftmaxClassifier`.

All but the classifier take X as stored. The engine is the one that the parent named; threads come
by affinity and environment.
"""

from __future__ import annotations

import os
from functools import cache, partial
from typing import Any

import numpy as np

from benchmarks.harness.problem import Answer, Data, Problem, initial_weights
from benchmarks.harness.processes import ENGINE_VARIABLE
from benchmarks.peers import GOAL, PATH_TOLERANCE, Prepared, Solution
from onelayer import Run, solve, solve_path
from onelayer import train as train_runs
from onelayer.data import Dataset, Splits
from onelayer.data.rows import Rows
from onelayer.engines import Method, State, Steps, Trainer, Weights, make_engine


def prepare(problem: Problem, data: Data, threads: int) -> Prepared:
    """All runs in one pass, no evaluation."""
    engine = make_engine(os.environ[ENGINE_VARIABLE])
    return Prepared(partial(train, problem, rows_of(problem, data), engine), engine.describe())


def rows_of(problem: Problem, data: Data) -> Rows:
    D = problem.features
    return Rows(data.X, data.y, np.full(D, problem.scale), np.zeros(D))


@cache
def first_state(problem: Problem) -> State:
    """Drawn once and not while it is timed: many runs' weights take a tenth of an epoch."""
    return State(Weights(*initial_weights(problem)))


def begin(problem: Problem, engine: Any) -> Trainer:
    trainer: Trainer = engine.begin(first_state(problem), Method.plain(problem.l2s))
    return trainer


def train(problem: Problem, rows: Rows, engine: Any, trainer: Trainer | None = None) -> Answer:
    """Every epoch, by a trainer of its own or by one that goes on."""
    trainer = trainer or begin(problem, engine)
    steps = Steps.constant(problem.learning_rates, rows.count, problem.batch_size)
    for _ in range(problem.epochs):
        trainer.epoch(rows, steps)
    return Answer(*trainer.weights())


def dataset_of(problem: Problem, data: Data) -> Dataset:
    names = tuple(str(k) for k in range(problem.classes))
    return Dataset(data.X, data.y, names, max_value=problem.max_value, name=problem.name)


def runs_of(problem: Problem) -> list[Run]:
    """The runs in file order."""
    return [Run(s.learning_rate, s.l2, s.seed, problem.batch_size, problem.epochs, shuffle=False)
            for s in problem.settings]  # fmt: skip


def splits_of(problem: Problem, data: Data, held_out: int) -> Splits:
    """The first rows stand for those of validation and test."""
    rows = dataset_of(problem, data)
    few = rows.take(slice(0, held_out))
    return Splits(rows, few, few, problem.name, "")


def prepare_train(problem: Problem, data: Data, threads: int) -> Prepared:
    engine = make_engine(os.environ[ENGINE_VARIABLE])
    return Prepared(partial(train_by_interface, problem, data, engine), engine.describe())


def train_by_interface(problem: Problem, data: Data, engine: Any) -> Answer:
    """`train`, with the scores of every epoch."""
    result = train_runs(
        splits_of(problem, data, 500), runs_of(problem), scaling="unit", engine=engine,
        certify=False,
    )  # fmt: skip
    return Answer(result.W, result.b)


def prepare_classifier(problem: Problem, data: Data, threads: int) -> Prepared:
    """`SoftmaxClassifier`, which gives the probabilities of its rows."""
    from onelayer import SoftmaxClassifier  # 190 MB, with scikit-learn, in every process

    (l2,), X = problem.l2s.tolist(), data.X / problem.max_value
    model = SoftmaxClassifier(l2, tol=1e-4, threads=threads)
    return Prepared(lambda: model.fit(X, data.y).predict_proba(X), {})


def prepare_solve(problem: Problem, data: Data, threads: int) -> Prepared:
    engine, dataset = make_engine(os.environ[ENGINE_VARIABLE]), dataset_of(problem, data)

    def run(l2: float, iterations: int | None, tol: float = GOAL) -> Solution:
        tol, most = (1e-9, iterations) if iterations else (tol, 1000)
        model = solve(dataset, l2, tol=tol, scaling="unit", max_passes=most, engine=engine,
                      intercept=problem.intercept)  # fmt: skip
        proof = model.require_certificate()
        return Solution(model.W, model.b, model.passes or 0, proof.gap / proof.cost)

    return Prepared(run, engine.describe(), {"x_bytes": data.x_bytes})


def prepare_path(problem: Problem, data: Data, threads: int) -> Prepared:
    """`solve_path`, which also scores every model."""
    engine, splits = make_engine(os.environ[ENGINE_VARIABLE]), splits_of(problem, data, 1000)

    def run(l2s: list[float]) -> dict[str, Any]:
        path = solve_path(splits, l2s, tol=PATH_TOLERANCE, scaling="unit", engine=engine)
        proofs = [model.require_certificate() for model in path.models]
        gap = max(proof.gap / proof.cost for proof in proofs)
        return {"gap": gap, "passes": [model.passes for model in path.models]}

    l2s = problem.l2s.tolist()
    return Prepared(partial(run, l2s), engine.describe(), {"x_bytes": data.X.nbytes},
                    warm=partial(run, l2s[:1]))  # fmt: skip
