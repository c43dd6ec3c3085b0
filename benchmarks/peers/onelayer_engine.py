"""onelayer: an engine by its protocol, X as stored, all runs in one pass, no evaluation."""

from __future__ import annotations

import os

import numpy as np

from benchmarks.harness.problem import Answer, Data, Problem, initial_weights
from benchmarks.harness.processes import ENGINE_VARIABLE
from benchmarks.peers import Prepared
from onelayer.data.rows import Rows
from onelayer.engines import Method, State, Steps, Weights, make_engine


def prepare(problem: Problem, data: Data, threads: int) -> Prepared:
    """The engine that the parent named; threads come by affinity and environment."""
    engine = make_engine(os.environ[ENGINE_VARIABLE])
    start = initial_weights(problem)
    rows = Rows(
        data.X, data.y, np.full(problem.features, problem.scale), np.zeros(problem.features)
    )

    def train() -> Answer:
        weights = Weights(start.W, start.b)
        trainer = engine.begin(State(weights), Method.plain(problem.l2s))
        steps = Steps.constant(problem.learning_rates, rows.count, problem.batch_size)
        for _ in range(problem.epochs):
            trainer.epoch(rows, steps)
        W, b = trainer.weights()
        return Answer(W, b)

    return Prepared(train, engine.describe())
