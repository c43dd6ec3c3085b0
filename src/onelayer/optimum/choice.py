"""Choosing λ from scores on held-out rows: the best, or the simplest that is not clearly worse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from onelayer.errors import SettingsError
from onelayer.optimum.score import Score

By = Literal["accuracy", "loss"]
Rule = Literal["best", "one-standard-error"]


@dataclass(frozen=True)
class Choice:
    """How λ is chosen.

    Attributes:
        by: "accuracy" or "loss" on the held-out rows.
        rule: "best" takes the best score; "one-standard-error" the largest λ whose score is
            within one standard error of the best (Breiman et al. 1984).

    Raises:
        SettingsError: for another word.

    Example:
        >>> Choice(rule="one-standard-error").by
        'accuracy'
    """

    by: By = "accuracy"
    rule: Rule = "best"

    def __post_init__(self) -> None:
        for name, value, words in (("by", self.by, By), ("rule", self.rule, Rule)):
            if value not in get_args(words):
                choices = " or ".join(get_args(words))
                raise SettingsError(f"{name} must be {choices}, but {value!r} was given.")


def merit(scores: Sequence[Score], by: By) -> tuple[float, float]:
    """Mean score of one λ, more is better, and its standard error.

    Args:
        scores: one, or one for each fold. Of one, the error is that of its rows; of several, that
            of their spread.
        by: "accuracy" or "loss" (with its sign turned).

    Returns:
        Mean and standard error.

    Example:
        >>> merit([Score(1.0, 0.1, 0.5, 0.05, 100)], "loss")
        (-1.0, 0.1)
    """
    sign = 1.0 if by == "accuracy" else -1.0
    values = [sign * getattr(score, by) for score in scores]
    if len(scores) == 1:
        return values[0], float(getattr(scores[0], f"{by}_error"))
    return float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))


def choose(scores: Sequence[Sequence[Score]], choice: Choice) -> int:
    """Choose a position by the scores on held-out rows.

    Args:
        scores: for each λ, largest λ first, one score or one for each fold.
        choice: how.

    Returns:
        The position; of equal scores that of the largest λ.

    Example:
        >>> near = [Score(1.0, 0.1, a, 0.02, 100) for a in (0.50, 0.59, 0.60)]
        >>> [choose([[s] for s in near], Choice(rule=r)) for r in ("best", "one-standard-error")]
        [2, 1]
    """
    merits = [merit(of_one, choice.by) for of_one in scores]
    best = max(range(len(merits)), key=lambda i: (merits[i][0], -i))
    if choice.rule == "best":
        return best
    least = merits[best][0] - merits[best][1]
    return next(i for i, (mean, _) in enumerate(merits) if mean >= least)
