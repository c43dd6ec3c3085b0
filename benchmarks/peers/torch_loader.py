"""PyTorch as its tutorials write it: TensorDataset, DataLoader, nn.Linear, CrossEntropyLoss, SGD.

The loader stays in this process (num_workers=0, its default): workers would be more processes
than the other contenders have.
"""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.peers import Prepared, torch_parts
from benchmarks.problem import Answer, Data, Problem, initial_weights


def prepare(problem: Problem, data: Data, threads: int) -> Prepared:
    """One run, batches in file order."""
    about, start = torch_parts.use_threads(threads), initial_weights(problem)

    def train() -> Answer:
        rows = TensorDataset(*torch_parts.converted(problem, data))
        loader = DataLoader(rows, batch_size=problem.batch_size, shuffle=False)
        model = torch_parts.linear(start)
        loss_of = torch.nn.CrossEntropyLoss()
        optimizer = torch_parts.descent(model, problem)
        for _ in range(problem.epochs):
            for x, t in loader:
                loss = loss_of(model(x), t)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
        return torch_parts.answer(model.weight, model.bias)

    return Prepared(train, about)
