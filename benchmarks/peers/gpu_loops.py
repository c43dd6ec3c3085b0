"""What is written without onelayer on a GPU, on the same device and from the same start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.harness.problem import Answer, Data, Problem
from benchmarks.peers import torch_lbfgs as torch_lbfgs_peer
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
    model, _ = torch_lbfgs_peer.descend(X, y, classes, l2, iterations, tiles=64)
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
