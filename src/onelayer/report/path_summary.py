"""The figures of a λ path, gathered from its record: nothing is recomputed."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onelayer.model.metrics import metric_of
from onelayer.solver import Path, Score
from onelayer.solver.selection import IN_SCORES, mean_score

# How a solution ended that has what was asked for; for λ = 0 there is nothing to prove.
PROVEN, CONVERGED = "proven", "converged"

STATUSES = {
    "optimal": PROVEN,
    "passes": "passes ran out",
    "rounding": "float64's limit",
    "interrupted": "interrupted",
}


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error: of one score that of its rows, of folds that of the mean."""

    mean: float
    error: float = 0.0

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
    """Accuracy in percent and loss in nats on the same rows, and another metric in its unit."""

    accuracy: Estimate
    loss: Estimate
    value: Estimate | None = None

    def of(self, by: str) -> Estimate:
        """One of them: accuracy, log loss, or the metric that λ was chosen by."""
        name = IN_SCORES.get(by, "value")
        found: Estimate = getattr(self, name)
        return found


@dataclass(frozen=True)
class PathLine:
    """One λ of a path, or one λ₁."""

    strength: float  # λ₁, or λ where there is none
    passes: int
    cost: float
    gap: float  # bound on J − J*, nats; infinite for λ = 0, where none exists
    norm: float
    features: int  # whose weights are not 0
    train: Scores
    held_out: Scores  # on the rows that λ is chosen by
    status: str
    tol: float  # relative gap that was asked for
    chosen: bool

    @property
    def bounded(self) -> bool:
        """Whether there is a bound."""
        return math.isfinite(self.gap)

    @property
    def trouble(self) -> bool:
        """Whether less was reached than was asked for."""
        return self.status not in (PROVEN, CONVERGED)

    @property
    def relative_gap(self) -> float:
        """Share of the cost that may still be saved, gap / J; a cost of 0 has all been saved."""
        return self.gap / max(self.cost, sys.float_info.min)


def summarise_path(path: Path) -> tuple[PathLine, ...]:
    """Gather the figures of every λ."""
    lines = []
    scored = zip(path.models, path.train, path.held_out, strict=True)
    for position, (model, train, held_out) in enumerate(scored):
        proof = model.require_certificate()
        unproven = model.settings["status"] == "optimal" and math.isinf(proof.gap)
        line = PathLine(
            strength=proof.strength,
            passes=model.settings["passes"],
            cost=proof.cost,
            gap=proof.gap,
            norm=float(np.linalg.norm(model.W)),
            features=int(model.W.any(axis=0).sum()),
            train=scores_of((train,), path.choice.by),
            held_out=scores_of(held_out, path.choice.by),
            status=CONVERGED if unproven else STATUSES[model.settings["status"]],
            tol=model.settings["tol"],
            chosen=position == path.chosen,
        )
        lines.append(line)
    return tuple(lines)


def best_line(lines: Sequence[PathLine], by: str) -> PathLine:
    """The line with the best held-out score, whether or not it was chosen; of equals the first."""
    sign = 1.0 if metric_of(by).greater else -1.0
    return max(lines, key=lambda line: sign * line.held_out.of(by).mean)


def scores_of(scores: Sequence[Score], by: str = "accuracy") -> Scores:
    """Figures of one score or over folds, as the choice of λ weighs them."""

    def estimate(name: str) -> Estimate:
        factor = metric_of(name).factor
        return Estimate(*(factor * of for of in mean_score(scores, name)))

    value = None if by in IN_SCORES else estimate(by)
    return Scores(estimate("accuracy"), estimate("log_loss"), value)
