"""JAX: one jitted program, `lax.scan` over batches inside `lax.scan` over epochs; vmap over runs.

Compiling is done beforehand and reported apart. X goes in as stored and is converted once inside
the program; gradients are JAX's own. XLA takes as many threads as the process has cores; the
worker's affinity sets them.
"""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness.problem import Answer, Data, Problem, initial_weights
from benchmarks.peers import Prepared


def prepare(problem: Problem, data: Data, threads: int) -> Prepared:
    """Compile for one run by `scan`, for more by `vmap` of it; N must be a multiple of B."""
    batches = problem.rows // problem.batch_size

    def cost(weights: Any, x: Any, y: Any) -> Any:
        W, b = weights
        log_p = jax.nn.log_softmax(x @ W.T + b)
        return -jnp.take_along_axis(log_p, y[:, None], axis=1).mean()

    def run(X: Any, y: Any, W: Any, b: Any, rate: Any, l2: Any) -> Any:
        x = (X.astype(jnp.float32) * problem.scale).reshape(batches, problem.batch_size, -1)
        t = y.reshape(batches, problem.batch_size)

        def step(weights: Any, batch: Any) -> Any:
            gradient = jax.grad(cost)(weights, *batch)
            W, b = weights
            return ((1 - 2 * rate * l2) * W - rate * gradient[0], b - rate * gradient[1]), None

        def epoch(weights: Any, _: Any) -> Any:
            return jax.lax.scan(step, weights, (x, t))

        return jax.lax.scan(epoch, (W, b), None, length=problem.epochs)[0]

    start = initial_weights(problem)
    of_runs = [*start, problem.learning_rates.astype(np.float32), problem.l2s.astype(np.float32)]
    program = jax.vmap(run, in_axes=(None, None, 0, 0, 0, 0))
    if problem.runs == 1:  # without a batching transform in the program
        program, of_runs = run, [array[0] for array in of_runs]
    inputs = data.X, data.y.astype(np.int32), *of_runs
    began = time.perf_counter()
    compiled = jax.jit(program).lower(*inputs).compile()
    seconds = time.perf_counter() - began

    def train() -> Answer:
        W, b = (np.asarray(array) for array in compiled(*inputs))
        return Answer(W.reshape(start.W.shape), b.reshape(start.b.shape))

    return Prepared(train, {"jax": jax.__version__}, {"compile_seconds": seconds})
