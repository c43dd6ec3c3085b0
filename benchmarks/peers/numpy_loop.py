"""NumPy float32 by hand: X converted once, every step in place, W of all runs one matrix."""

from __future__ import annotations

import numpy as np

from benchmarks.harness.problem import Answer, Data, Problem, initial_weights
from benchmarks.peers import Prepared


def prepare(problem: Problem, data: Data, threads: int) -> Prepared:
    start = initial_weights(problem)
    return Prepared(lambda: _train(problem, data, start), {"numpy": np.__version__})


def _train(problem: Problem, data: Data, start: Answer) -> Answer:
    runs, classes, features = start.W.shape
    X = data.X.astype(np.float32)
    if problem.scale != 1.0:
        X *= np.float32(problem.scale)
    W, b = start.W.reshape(-1, features).copy(), start.b.reshape(-1).copy()
    step = np.repeat(problem.learning_rates, classes).astype(np.float32)
    factor = (1 - 2 * problem.learning_rates * problem.l2s).astype(np.float32)
    shrink = np.repeat(factor, classes)[:, None]
    shrinks, G = bool((shrink != 1).any()), np.empty_like(W)
    scores = np.empty((problem.batch_size, runs * classes), np.float32)
    every_row = np.arange(problem.batch_size)
    for _ in range(problem.epochs):
        for begin in range(0, problem.rows, problem.batch_size):
            x, y = X[begin : begin + problem.batch_size], data.y[begin : begin + problem.batch_size]
            residual = scores[: len(y)]
            np.matmul(x, W.T, out=residual)
            residual += b
            P = residual.reshape(len(y), runs, classes)
            P -= P.max(axis=2, keepdims=True)
            np.exp(P, out=P)
            P /= P.sum(axis=2, keepdims=True)
            P[every_row[: len(y)], :, y] -= 1
            residual *= step / len(y)
            np.matmul(residual.T, x, out=G)
            if shrinks:
                W *= shrink
            W -= G
            b -= residual.sum(axis=0)
    return Answer(W.reshape(start.W.shape), b.reshape(start.b.shape))
