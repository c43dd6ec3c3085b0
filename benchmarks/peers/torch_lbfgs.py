"""torch.optim.LBFGS with its strong Wolfe line search, gradients by autograd, rows in tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from benchmarks.harness.problem import Data, Problem
from benchmarks.peers.solving import CLASSES, PreparedSolver, Solution, Watch
from benchmarks.peers.torch_training import use_threads

PLENTY = 100_000


class _EnoughError(Exception):
    """Raised out of the optimiser when there is no more to see."""


def prepare(problem: Problem, data: Data, threads: int) -> PreparedSolver:
    about = use_threads(threads)
    X = torch.from_numpy((data.X / problem.max_value).astype(np.float32))
    y = torch.from_numpy(data.y)

    def solve(l2: float, iterations: int | None) -> Solution:
        return Solution(*_numbers(descend(X, y, CLASSES, l2, iterations or PLENTY)))

    def trace(l2: float, watch: Watch) -> None:
        try:
            descend(X, y, CLASSES, l2, PLENTY, watch=watch)
        except _EnoughError:
            return

    return PreparedSolver(solve, trace, X.nbytes, {**about, "X": "float32"})


def descend(
    X: Any, y: Any, classes: int, l2: float, iterations: int, tiles: int = 1,
    watch: Watch | None = None,
) -> torch.nn.Linear:  # fmt: skip
    """Minimise the whole cost from zero, on the device of X."""
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
        if watch is not None:
            done = optimiser.state[model.weight].get("n_iter", 0)
            if watch.see(done, *_numbers(model)):
                raise _EnoughError
        return cost

    if watch is not None:
        watch.start()
    optimiser.step(closure)
    return model


def _numbers(model: torch.nn.Linear) -> tuple[Any, Any]:
    W, b = (np.array(p.detach().numpy()) for p in (model.weight, model.bias))
    return W, b
