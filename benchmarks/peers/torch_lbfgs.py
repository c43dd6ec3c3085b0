"""torch.optim.LBFGS with its strong Wolfe line search, gradients by autograd, rows in tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from benchmarks.harness.problem import Data, Problem
from benchmarks.peers import PLENTY, Prepared, Solution
from benchmarks.peers.torch_training import use_threads


def prepare(problem: Problem, data: Data, threads: int) -> Prepared:
    about = use_threads(threads)
    X = torch.from_numpy((data.X / problem.max_value).astype(np.float32))
    y = torch.from_numpy(data.y)

    def run(l2: float, iterations: int | None) -> Solution:
        model, done = descend(X, y, problem.classes, l2, iterations or PLENTY)
        W, b = (p.detach().numpy() for p in (model.weight, model.bias))
        return Solution(W, b, done)

    return Prepared(run, {**about, "X": "float32"}, x_bytes=X.nbytes)


def descend(
    X: Any, y: Any, classes: int, l2: float, iterations: int, tiles: int = 1
) -> tuple[torch.nn.Linear, int]:
    """Minimise the whole cost from zero, on the device of X; the model and its iterations."""
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
    return model, int(optimiser.state[model.weight]["n_iter"])
