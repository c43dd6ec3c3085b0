"""JAX: one jitted program, `lax.scan` over batches inside `lax.scan` over epochs; vmap over runs.

Compiling is done beforehand and reported apart. X goes in as stored and is converted once inside
the program; gradients are JAX's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness.problem import Answer, Data, Problem, initial_weights
from benchmarks.peers import Prepared


def prepare(problem: Problem, data: Data, threads: int) -> Prepared:
    """Compile for one run by `scan`, for more by `vmap` of it; N must be a multiple of B.

    XLA takes as many threads as the process has cores; the worker's affinity sets them.
    """
    start = initial_weights(problem)
    inputs = (data.X, data.y.astype(np.int32), start.W, start.b)
    rates = (problem.learning_rates.astype(np.float32), problem.l2s.astype(np.float32))
    one = _program(problem)
    many = jax.vmap(one, in_axes=(None, None, 0, 0, 0, 0)) if problem.runs > 1 else _alone(one)
    began = time.perf_counter()
    compiled = jax.jit(many).lower(*inputs, *rates).compile()
    seconds = time.perf_counter() - began

    def train() -> Answer:
        W, b = compiled(*inputs, *rates)
        return Answer(np.asarray(W), np.asarray(b))

    return Prepared(train, {"jax": jax.__version__}, seconds)


def _program(problem: Problem) -> Callable[..., Any]:
    batches = problem.rows // problem.batch_size

    def cost(weights: Any, x: Any, y: Any) -> Any:
        W, b = weights
        log_p = jax.nn.log_softmax(x @ W.T + b)
        return -jnp.take_along_axis(log_p, y[:, None], axis=1).mean()

    def train(X: Any, y: Any, W: Any, b: Any, rate: Any, l2: Any) -> Any:
        x = (X.astype(jnp.float32) * problem.scale).reshape(batches, problem.batch_size, -1)
        t = y.reshape(batches, problem.batch_size)

        def step(weights: Any, batch: Any) -> Any:
            gradient = jax.grad(cost)(weights, *batch)
            W, b = weights
            return ((1 - 2 * rate * l2) * W - rate * gradient[0], b - rate * gradient[1]), None

        def epoch(weights: Any, _: Any) -> Any:
            return jax.lax.scan(step, weights, (x, t))

        return jax.lax.scan(epoch, (W, b), None, length=problem.epochs)[0]

    return train


def _alone(one: Callable[..., Any]) -> Callable[..., Any]:
    """One run, without a batching transform in the program."""

    def train(X: Any, y: Any, W: Any, b: Any, rate: Any, l2: Any) -> Any:
        trained = one(X, y, W[0], b[0], rate[0], l2[0])
        return trained[0][None], trained[1][None]

    return train
