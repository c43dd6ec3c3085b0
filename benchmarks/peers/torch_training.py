"""PyTorch in four forms: gradients written out (two ways), autograd, and the DataLoader idiom.

By hand a step is three fused calls, everything in place. It depends on the machine which of the two
is faster: X converted once to float32 (four times the bytes to read each epoch), or each batch
converted as it comes (a copy more each step, and the scale folded into the two products).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.harness.problem import Answer, Data, Problem, initial_weights
from benchmarks.peers import Prepared


def prepare(problem: Problem, data: Data, threads: int, form: str) -> Prepared:
    """One run, by hand ("once", "each-batch") or by nn.Linear, cross_entropy and SGD.

    "autograd" takes slices of one float32 tensor; "loader" is what PyTorch's tutorials write, with
    the loader in this process (num_workers=0, its default): workers would be more processes than
    the other contenders have.
    """

    def train() -> Answer:
        if form in ("once", "each-batch"):
            with torch.inference_mode():
                return _train_by_hand(problem, data, each_batch=form == "each-batch")
        X, y = _converted(problem, data)
        if form == "autograd":
            return descend(problem, batches(X, y, problem.batch_size))
        rows = TensorDataset(X, y)
        return descend(problem, DataLoader(rows, batch_size=problem.batch_size, shuffle=False))

    return Prepared(train, use_threads(threads))


def use_threads(threads: int) -> dict[str, str]:
    """Set PyTorch's threads and say which PyTorch this is."""
    torch.set_num_threads(threads)
    return {"torch": torch.__version__, "torch threads": str(torch.get_num_threads())}


def batches(X: torch.Tensor, y: torch.Tensor, size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Views of consecutive rows of X and y, made once: slicing again each epoch would cost time."""
    return list(zip(torch.split(X, size), torch.split(y, size), strict=True))


def descend(problem: Problem, batches: Iterable[Any], device: Any = "cpu") -> Answer:
    """Train one run by nn.Linear, cross_entropy and SGD, weight_decay = 2λ on W and none on b."""
    (setting,), start = problem.settings, initial_weights(problem)
    model = torch.nn.Linear(problem.features, problem.classes)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(start.W[0]))
        model.bias.copy_(torch.from_numpy(start.b[0]))
    model.to(device)
    groups = [
        {"params": [model.weight], "weight_decay": 2 * setting.l2},
        {"params": [model.bias], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=setting.learning_rate)
    for _ in range(problem.epochs):
        for x, t in batches:
            optimizer.zero_grad()
            torch.autograd.backward(torch.nn.functional.cross_entropy(model(x), t))
            optimizer.step()
    return _answer(model.weight, model.bias)


def _train_by_hand(problem: Problem, data: Data, *, each_batch: bool) -> Answer:
    (setting,), size, start = problem.settings, problem.batch_size, initial_weights(problem)
    X, y = torch.from_numpy(data.X), torch.from_numpy(data.y)
    if not each_batch:
        X, y = _converted(problem, data)
    scale = problem.scale if each_batch else 1.0
    Y = torch.nn.functional.one_hot(y, problem.classes).float()
    W, b = torch.from_numpy(start.W[0]).clone(), torch.from_numpy(start.b[0]).clone()
    shrink = 1 - 2 * setting.learning_rate * setting.l2
    views = batches(X, Y, size)
    buffer = torch.empty(size, problem.features)
    for _ in range(problem.epochs):
        for stored, target in views:
            x = buffer[: len(stored)].copy_(stored) if each_batch else stored
            P = torch.addmm(b, x, W.T, alpha=scale).softmax(dim=1).sub_(target)
            step = setting.learning_rate / len(target)
            W.addmm_(P.T, x, beta=shrink, alpha=-step * scale)
            b.sub_(P.sum(dim=0), alpha=step)
    return _answer(W, b)


def _converted(problem: Problem, data: Data) -> tuple[torch.Tensor, torch.Tensor]:
    """X as scaled float32 and y, sharing the memory of y with NumPy."""
    X = torch.from_numpy(data.X).float().mul_(problem.scale)
    return X, torch.from_numpy(data.y)


def _answer(W: torch.Tensor, b: torch.Tensor) -> Answer:
    """One run's weights as NumPy arrays, W (1, K, D) and b (1, K)."""
    return Answer(*(np.array(part.detach().cpu().numpy())[None] for part in (W, b)))
