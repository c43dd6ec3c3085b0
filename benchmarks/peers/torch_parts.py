"""What the PyTorch contenders share: threads, tensors of X and y, and how an answer looks."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.problem import Answer, Data, Problem


def use_threads(threads: int) -> dict[str, str]:
    """Set PyTorch's threads and say which PyTorch this is."""
    torch.set_num_threads(threads)
    return {"torch": torch.__version__, "torch threads": str(torch.get_num_threads())}


def converted(problem: Problem, data: Data) -> tuple[torch.Tensor, torch.Tensor]:
    """X as scaled float32 and y, sharing the memory of y with NumPy."""
    X = torch.from_numpy(data.X).float().mul_(problem.scale)
    return X, torch.from_numpy(data.y)


def batches(X: torch.Tensor, y: torch.Tensor, size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Views of consecutive rows of X and y, made once: slicing again each epoch would cost time."""
    return list(zip(torch.split(X, size), torch.split(y, size), strict=True))


def linear(start: Answer) -> torch.nn.Linear:
    """`torch.nn.Linear` that starts from the given weights of one run."""
    classes, features = start.W.shape[1:]
    model = torch.nn.Linear(features, classes)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(start.W[0]))
        model.bias.copy_(torch.from_numpy(start.b[0]))
    return model


def descent(model: torch.nn.Linear, problem: Problem) -> torch.optim.SGD:
    """SGD with weight_decay = 2λ on W and none on b."""
    setting = problem.settings[0]
    groups = [
        {"params": [model.weight], "weight_decay": 2 * setting.l2},
        {"params": [model.bias], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=setting.learning_rate)


def answer(W: torch.Tensor, b: torch.Tensor) -> Answer:
    """One run's weights as NumPy arrays, W (1, K, D) and b (1, K)."""
    return Answer(np.array(W.detach().numpy())[None], np.array(b.detach().numpy())[None])
