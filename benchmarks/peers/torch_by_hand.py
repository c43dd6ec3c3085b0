"""PyTorch with gradients written out: three fused calls a step, everything in place.

Two forms, since it depends on the machine which is faster: X converted once to float32 (four times
the bytes to read each epoch), or each batch converted as it comes (a copy more each step, and the
scale folded into the two products).
"""

from __future__ import annotations

import torch

from benchmarks.peers import Prepared, torch_parts
from benchmarks.problem import Answer, Data, Problem, initial_weights


def prepare_once(problem: Problem, data: Data, threads: int) -> Prepared:
    """X is converted once, inside the timed part."""
    return _prepare(problem, data, threads, each_batch=False)


def prepare_each_batch(problem: Problem, data: Data, threads: int) -> Prepared:
    """X stays as stored; each batch is converted into one buffer."""
    return _prepare(problem, data, threads, each_batch=True)


def _prepare(problem: Problem, data: Data, threads: int, *, each_batch: bool) -> Prepared:
    about, start = torch_parts.use_threads(threads), initial_weights(problem)

    def train() -> Answer:
        with torch.inference_mode():
            return _train(problem, data, start, each_batch)

    return Prepared(train, about)


def _train(problem: Problem, data: Data, start: Answer, each_batch: bool) -> Answer:
    setting, size = problem.settings[0], problem.batch_size
    X, y = torch.from_numpy(data.X), torch.from_numpy(data.y)
    if not each_batch:
        X, y = torch_parts.converted(problem, data)
    scale = problem.scale if each_batch else 1.0
    Y = torch.nn.functional.one_hot(y, problem.classes).float()
    W, b = torch.from_numpy(start.W[0]).clone(), torch.from_numpy(start.b[0]).clone()
    shrink = 1 - 2 * setting.learning_rate * setting.l2
    batches = torch_parts.batches(X, Y, size)
    buffer = torch.empty(size, problem.features)
    for _ in range(problem.epochs):
        for stored, target in batches:
            x = buffer[: len(stored)].copy_(stored) if each_batch else stored
            P = torch.addmm(b, x, W.T, alpha=scale).softmax(dim=1).sub_(target)
            step = setting.learning_rate / len(target)
            W.addmm_(P.T, x, beta=shrink, alpha=-step * scale)
            b.sub_(P.sum(dim=0), alpha=step)
    return torch_parts.answer(W, b)
