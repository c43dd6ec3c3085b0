"""torch.optim.LBFGS with its strong Wolfe line search, on float32, gradients by autograd."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from benchmarks.harness.problem import Data
from benchmarks.peers.solving import CLASSES, PreparedSolver, Solution, Task, Watch
from benchmarks.peers.torch_training import use_threads

PLENTY = 100_000


class _EnoughError(Exception):
    """Raised out of the optimiser when there is no more to see."""


def prepare(task: Task, data: Data, threads: int) -> PreparedSolver:
    """X as scaled float32."""
    about = use_threads(threads)
    X = torch.from_numpy((data.X / task.max_value).astype(np.float32))
    y = torch.from_numpy(data.y)

    def descend(l2: float, iterations: int, watch: Watch | None = None) -> torch.nn.Linear:
        model = torch.nn.Linear(task.features, CLASSES)
        torch.nn.init.zeros_(model.weight)
        torch.nn.init.zeros_(model.bias)
        optimiser = torch.optim.LBFGS(
            model.parameters(),
            max_iter=iterations,
            max_eval=10 * iterations,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )

        def closure() -> torch.Tensor:
            optimiser.zero_grad()
            cost = cross_entropy(model(X), y) + l2 * model.weight.square().sum()
            cost.backward()
            if watch is not None:
                done = optimiser.state[model.weight].get("n_iter", 0)
                if watch.see(done, _numbers(model.weight), _numbers(model.bias)):
                    raise _EnoughError
            return cost

        if watch is not None:
            watch.start()
        optimiser.step(closure)
        return model

    def solve(l2: float, iterations: int | None) -> Solution:
        model = descend(l2, iterations or PLENTY)
        return Solution(_numbers(model.weight), _numbers(model.bias))

    def trace(l2: float, watch: Watch) -> None:
        try:
            descend(l2, PLENTY, watch)
        except _EnoughError:
            return

    return PreparedSolver(solve, trace, X.nbytes, {**about, "X": "float32"})


def _numbers(parameter: torch.Tensor) -> np.ndarray:
    return np.array(parameter.detach().numpy())
