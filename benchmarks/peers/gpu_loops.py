"""What is written without onelayer on a GPU, on the same device and from the same start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.harness.problem import Answer, Data, Problem
from benchmarks.peers.torch_training import batches, descend

Weights = tuple[Any, Any]


def train_in_turn(problem: Problem, data: Data, device: Any) -> Answer:
    """nn.Linear, cross_entropy and SGD, X as float32 on the device, one setting after another."""
    X, y = torch.from_numpy(data.X).to(device), torch.from_numpy(data.y).to(device)
    views = batches(X.float() * problem.scale, y, problem.batch_size)
    alone = (problem.with_settings("alone", (setting,)) for setting in problem.settings)
    W, b = zip(*(descend(one, views, device) for one in alone), strict=True)
    return Answer(np.concatenate(W), np.concatenate(b))


def torch_lbfgs(X: Any, y: Any, classes: int, l2: float, iterations: int) -> Weights:
    """torch.optim.LBFGS on the whole cost, as its documentation shows it; rows in 64 tiles."""
    model = torch.nn.Linear(X.shape[1], classes, device=X.device)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=iterations, line_search_fn="strong_wolfe", tolerance_grad=0
    )
    tiles = list(zip(torch.tensor_split(X, 64), torch.tensor_split(y, 64), strict=True))

    def closure() -> Any:
        optimizer.zero_grad()
        cost = l2 * model.weight.square().sum()
        torch.autograd.backward(cost)
        cost = cost.detach()
        for x, t in tiles:
            part = torch.nn.functional.cross_entropy(model(x.float()), t, reduction="sum") / len(y)
            torch.autograd.backward(part)
            cost += part.detach()
        return cost

    # Its type is of a closure that returns a float, its documentation of one that returns a tensor.
    optimizer.step(closure)
    return model.weight.detach(), model.bias.detach()


def cuml_logistic() -> Callable[[Any, Any, float], Weights] | None:
    """LogisticRegression of cuML on the same tensors; None where cuML is not installed."""
    try:
        from cuml.linear_model import LogisticRegression
    except ImportError:
        return None

    def fit(X: Any, y: Any, l2: float) -> Weights:
        # C weighs a sum of losses against ½‖W‖²; onelayer's cost is a mean against λ‖W‖².
        model = LogisticRegression(C=1.0 / (2.0 * l2 * len(y)), output_type="numpy")
        model.fit(X.float(), y)
        W, b = (np.asarray(a, np.float32) for a in (model.coef_, model.intercept_))
        return torch.from_numpy(W).to(X.device), torch.from_numpy(b).to(X.device)

    return fit
