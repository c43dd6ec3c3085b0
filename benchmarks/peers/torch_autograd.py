"""PyTorch with autograd: nn.Linear, cross_entropy and SGD over slices of one float32 tensor."""

from __future__ import annotations

import torch

from benchmarks.peers import Prepared, torch_parts
from benchmarks.problem import Answer, Data, Problem, initial_weights


def prepare(problem: Problem, data: Data, threads: int) -> Prepared:
    """One run; the loop of PyTorch's tutorials without a DataLoader."""
    about, start = torch_parts.use_threads(threads), initial_weights(problem)

    def train() -> Answer:
        X, y = torch_parts.converted(problem, data)
        model = torch_parts.linear(start)
        optimizer = torch_parts.descent(model, problem)
        batches = torch_parts.batches(X, y, problem.batch_size)
        for _ in range(problem.epochs):
            for x, t in batches:
                optimizer.zero_grad()
                torch.autograd.backward(torch.nn.functional.cross_entropy(model(x), t))
                optimizer.step()
        return torch_parts.answer(model.weight, model.bias)

    return Prepared(train, about)
