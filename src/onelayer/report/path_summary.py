"""The numbers of a λ path's page and table, gathered from its record: nothing is recomputed.

Accuracies are percentages, losses mean cross-entropies in nats. A standard error of one score is
that of its rows; of several folds, that of their spread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onelayer.model.model import Model
from onelayer.solver import Path, Score
from onelayer.solver.path import By, merit

STATUSES = {
    "optimal": "proven",
    "passes": "passes ran out",
    "rounding": "float64's limit",
    "interrupted": "interrupted",
}


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error."""

    mean: float
    error: float

    @property
    def low(self) -> float:
        """One standard error under the mean."""
        return self.mean - self.error

    @property
    def high(self) -> float:
        """One standard error above the mean."""
        return self.mean + self.error


@dataclass(frozen=True)
class Scores:
    """Accuracy in percent and loss in nats on the same rows."""

    accuracy: Estimate
    loss: Estimate

    def of(self, measure: By) -> Estimate:
        """One of the two."""
        return self.accuracy if measure == "accuracy" else self.loss


@dataclass(frozen=True)
class PathLine:
    """One λ of a path.

    Attributes:
        l2: λ.
        passes: over the training rows.
        cost: J, nats.
        gap: bound on J − J*, nats; infinite for λ = 0.
        norm: ‖W‖.
        train: on the training rows.
        held_out: on the rows that λ is chosen by.
        status: how the solution ended, in words.
        tol: relative gap that was asked for.
        chosen: whether this λ was chosen.
    """

    l2: float
    passes: int
    cost: float
    gap: float
    norm: float
    train: Scores
    held_out: Scores
    status: str
    tol: float
    chosen: bool

    @property
    def bounded(self) -> bool:
        """Whether there is a bound; for λ = 0 none exists."""
        return math.isfinite(self.gap)

    @property
    def trouble(self) -> bool:
        """Whether less was reached than was asked for."""
        return self.status != STATUSES["optimal"]

    @property
    def relative_gap(self) -> float:
        """Share of the cost that may still be saved, gap / J; infinite for λ = 0."""
        return self.gap / self.cost if self.bounded else math.inf


def summarise_path(path: Path) -> tuple[PathLine, ...]:
    """Gather the figures of every λ.

    Example:
        >>> from onelayer.data import load
        >>> from onelayer.solver import solve_path
        >>> [line.l2 for line in summarise_path(solve_path(load("digits"), [0.1, 1.0]))]
        [1.0, 0.1]
    """
    return tuple(
        _line(model, (train,), held_out, chosen=position == path.chosen)
        for position, (model, train, held_out) in enumerate(
            zip(path.models, path.train, path.held_out, strict=True)
        )
    )


def best_line(lines: Sequence[PathLine], by: By) -> PathLine:
    """The line with the best held-out score, whether or not it was chosen; of equals the first."""
    if by == "accuracy":
        return max(lines, key=lambda line: line.held_out.accuracy.mean)
    return min(lines, key=lambda line: line.held_out.loss.mean)


def scores_of(scores: Sequence[Score]) -> Scores:
    """Accuracy and loss over one score or over folds, as `onelayer.solver.Choice` weighs them.

    Example:
        >>> scores_of([Score(1.0, 0.1, 0.5, 0.05, 100)]).accuracy
        Estimate(mean=50.0, error=5.0)
    """
    share, share_error = merit(scores, "accuracy")
    fall, loss_error = merit(scores, "loss")
    return Scores(Estimate(100.0 * share, 100.0 * share_error), Estimate(-fall, loss_error))


def _line(
    model: Model, train: Sequence[Score], held_out: Sequence[Score], *, chosen: bool
) -> PathLine:
    proof = model.require_certificate()
    return PathLine(
        l2=proof.l2,
        passes=model.settings["passes"],
        cost=proof.cost,
        gap=proof.gap,
        norm=float(np.linalg.norm(model.W)),
        train=scores_of(train),
        held_out=scores_of(held_out),
        status=STATUSES[model.settings["status"]],
        tol=model.settings["tol"],
        chosen=chosen,
    )
