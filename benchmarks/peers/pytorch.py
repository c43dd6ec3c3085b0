"""PyTorch: training in four forms, LBFGS, and what is written on a GPU without onelayer.

By hand a step is three fused calls, everything in place. It depends on the machine which of the two
is faster: X converted once to float32 (four times the bytes to read each epoch), or each batch
converted as it comes (a copy more each step, and the scale folded into the two products).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.harness.problem import Answer, Data, Problem, initial_weights
from benchmarks.peers import PLENTY, Prepared, Solution


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
            return _train(problem, _batches(X, y, problem.batch_size))
        rows = TensorDataset(X, y)
        return _train(problem, DataLoader(rows, batch_size=problem.batch_size, shuffle=False))

    return Prepared(train, _use_threads(threads))


def prepare_lbfgs(problem: Problem, data: Data, threads: int) -> Prepared:
    about = _use_threads(threads)
    X = torch.from_numpy((data.X / problem.max_value).astype(np.float32))
    y = torch.from_numpy(data.y)

    def run(l2: float, iterations: int | None) -> Solution:
        W, b, done = lbfgs(X, y, problem.classes, l2, iterations or PLENTY)
        return Solution(W.numpy(), b.numpy(), done)

    return Prepared(run, {**about, "X": "float32"}, {"x_bytes": X.nbytes})


def train_in_turn(problem: Problem, data: Data, device: Any) -> Answer:
    """nn.Linear, cross_entropy and SGD, X as float32 on the device, one setting after another."""
    X, y = torch.from_numpy(data.X).to(device), torch.from_numpy(data.y).to(device)
    views = _batches(X.float() * problem.scale, y, problem.batch_size)
    alone = (replace(problem, settings=(setting,)) for setting in problem.settings)
    W, b = zip(*(_train(one, views, device) for one in alone), strict=True)
    return Answer(np.concatenate(W), np.concatenate(b))


def lbfgs(
    X: Any, y: Any, classes: int, l2: float, iterations: int, tiles: int = 1
) -> tuple[Any, Any, int]:
    """torch.optim.LBFGS from zero with its strong Wolfe line search, on the device of X.

    Gradients of the whole cost are autograd's, rows in tiles. Returns W, b and the iterations.
    """
    model = torch.nn.Linear(X.shape[1], classes, device=X.device)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    optimiser = torch.optim.LBFGS(
        model.parameters(), max_iter=iterations, max_eval=10 * iterations, tolerance_grad=0.0,
        tolerance_change=0.0, line_search_fn="strong_wolfe",
    )  # fmt: skip
    parts = list(zip(torch.tensor_split(X, tiles), torch.tensor_split(y, tiles), strict=True))

    def closure() -> Any:
        optimiser.zero_grad()
        cost = l2 * model.weight.square().sum()
        torch.autograd.backward(cost)
        cost = cost.detach()
        for x, t in parts:
            part = cross_entropy(model(x.float()), t, reduction="sum") / len(y)
            torch.autograd.backward(part)
            cost += part.detach()
        return cost

    optimiser.step(closure)
    done = int(optimiser.state[model.weight]["n_iter"])
    return model.weight.detach(), model.bias.detach(), done


def _use_threads(threads: int) -> dict[str, str]:
    """Set PyTorch's threads and say which PyTorch this is."""
    torch.set_num_threads(threads)
    return {"torch": torch.__version__, "torch threads": str(torch.get_num_threads())}


def _batches(X: Any, y: Any, size: int) -> list[tuple[Any, Any]]:
    """Views of consecutive rows of X and y, made once: slicing again each epoch would cost time."""
    return list(zip(torch.split(X, size), torch.split(y, size), strict=True))


def _train(problem: Problem, batches: Iterable[Any], device: Any = "cpu") -> Answer:
    """One run by nn.Linear, cross_entropy and SGD, weight_decay = 2λ on W and none on b."""
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
            torch.autograd.backward(cross_entropy(model(x), t))
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
    views = _batches(X, Y, size)
    buffer = torch.empty(size, problem.features)
    for _ in range(problem.epochs):
        for stored, target in views:
            x = buffer[: len(stored)].copy_(stored) if each_batch else stored
            P = torch.addmm(b, x, W.T, alpha=scale).softmax(dim=1).sub_(target)
            step = setting.learning_rate / len(target)
            W.addmm_(P.T, x, beta=shrink, alpha=-step * scale)
            b.sub_(P.sum(dim=0), alpha=step)
    return _answer(W, b)


def _converted(problem: Problem, data: Data) -> tuple[Any, Any]:
    """X as scaled float32 and y, sharing the memory of y with NumPy."""
    X = torch.from_numpy(data.X).float().mul_(problem.scale)
    return X, torch.from_numpy(data.y)


def _answer(W: Any, b: Any) -> Answer:
    """One run's weights as NumPy arrays, W (1, K, D) and b (1, K)."""
    return Answer(*(np.array(part.detach().cpu().numpy())[None] for part in (W, b)))
