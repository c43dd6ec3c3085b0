"""Rows and λ's: a batch of CIFAR-10, scikit-learn's digits, and all of CIFAR-10's training rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.problem import Data
from onelayer.data import load
from onelayer.solver.path import l2_grid

GOAL = 1e-6
PATH_TOLERANCE = 1e-4
CLASSES = 10


@dataclass(frozen=True)
class Task:
    """Rows whose optima are sought, each λ for itself or all of them along a path.

    Attributes:
        name: what the record calls it.
        title: for the reader.
        source: "cifar10", "digits" or "random".
        rows: N, the first of the source.
        l2s: the λ's.
        features: D; of "random" rows alone it can be chosen.
    """

    name: str
    title: str
    source: str
    rows: int
    l2s: tuple[float, ...]
    features: int = 3072

    @property
    def largest(self) -> float:
        """What features are divided by: the largest value that one can have."""
        return 16.0 if self.source == "digits" else 255.0

    @property
    def unknowns(self) -> int:
        """Weights and biases."""
        return CLASSES * (self.features + 1)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Task:
        """The task that `as_dict` wrote."""
        return Task(**{**values, "l2s": tuple(values["l2s"])})


def make_tasks(source: str, *, quick: bool) -> tuple[tuple[Task, ...], Task]:
    """Tasks whose λ's are solved one by one, and the one that is solved along a path."""
    l2s = (0.1,) if quick else (0.1, 0.01, 0.001)
    what = "CIFAR-10" if source == "cifar10" else "random bytes"
    rows, all_rows = (2_000, 10_000) if quick else (10_000, 50_000)
    return (
        (
            Task("batch", f"{what}, {rows // 1000} 000 rows", source, rows, l2s),
            Task("digits", "digits, 1 000 rows, D = 64", "digits", 1000, (0.001,), 64),
        ),
        Task("all", f"{what}, {all_rows // 1000} 000 rows", source, all_rows,
             l2_grid(4, 1.0, 0.01) if quick else l2_grid(20, 1.0, 1e-4)),
    )  # fmt: skip


def make_rows(task: Task) -> Data:
    """The rows as stored; random ones are a blurred picture of their class, and noise."""
    if task.source == "digits":
        train = load("digits").train
        return Data(train.X[: task.rows], train.y[: task.rows])
    if task.source == "cifar10":
        splits = load(train_batches=(1, 2, 3, 4), validation_batches=(5,))
        X = np.concatenate([splits.train.X, splits.validation.X])
        y = np.concatenate([splits.train.y, splits.validation.y])
        return Data(X[: task.rows], y[: task.rows])
    rng = np.random.default_rng(0)
    y = rng.integers(0, CLASSES, task.rows)
    of_class = rng.integers(0, 40, (CLASSES, task.features))
    X = of_class[y] + rng.integers(0, 200, (task.rows, task.features))
    return Data(X.astype(np.uint8), y)
