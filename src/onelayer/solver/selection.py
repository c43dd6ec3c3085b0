"""Scores of solutions on held-out rows, and the choice of λ by them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.engines import Engine, Weights
from onelayer.errors import SettingsError, require_choice, require_number, require_whole
from onelayer.files.records import MAY_LACK
from onelayer.model.intervals import (
    GROUPED,
    WILSON,
    clustered_error,
    interval_words,
    standard_error,
    wilson_interval,
)
from onelayer.model.metrics import Measurement, Metric, metric_of
from onelayer.model.scored_rows import ScoredRows, read_scores, row_tiles
from onelayer.solver.linalg import norm

Rule = Literal["best", "one-standard-error"]

# W (K, D) and b (K,).
Pair = tuple[NDArray[np.floating], NDArray[np.floating]]

# Of copies of the weights of solutions that are scored in one pass.
WEIGHT_BYTES = 64 << 20

# Rows held out, after the rows that models of their own are fitted to; None takes the path's.
Part = tuple[Rows | None, Rows]


@dataclass(frozen=True)
class Score:
    """Loss and accuracy of a model on some rows, with their standard errors.

    They are over the rows, or over groups of rows, where the data have some: rows of one patient
    say less than as many rows of different ones.

    Attributes:
        loss: mean cross-entropy, nats.
        loss_error: its standard error.
        accuracy: fraction of rows classified right.
        accuracy_error: its standard error, √(a (1 − a) / n), or clustered by group.
        rows: n, the number of rows. Where they have weights, means are by weight, and errors take
            (Σ w)² / Σ w² for n (Kish 1965).
        value: of the metric that λ is chosen by, where it is another one; else None.
        value_error: its standard error, by leaving out blocks of rows, or of groups; None on the
            training rows and on too few rows.
        effective_rows: (Σ w)² / Σ w²; None where rows have no weights.
        groups: number of groups that errors are over; None where they are over rows.
    """

    loss: float
    loss_error: float
    accuracy: float
    accuracy_error: float
    rows: int
    value: float | None = field(default=None, metadata=MAY_LACK)
    value_error: float | None = field(default=None, metadata=MAY_LACK)
    effective_rows: float | None = field(default=None, metadata=MAY_LACK)
    groups: int | None = field(default=None, metadata=MAY_LACK)

    def __post_init__(self) -> None:
        # From a file they may be anything.
        require_number("accuracy", self.accuracy, "from 0 to 1", least=0, below=1.000001)
        require_whole("rows", self.rows, 1)
        if self.effective_rows is not None:
            require_number("effective_rows", self.effective_rows, "a number above 0", above=0)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the accuracy; of weighted rows with (Σ w)² / Σ w² for n."""
        n = self.effective_rows
        if n is None:
            return wilson_interval(round(self.accuracy * self.rows), self.rows)
        return wilson_interval(min(self.accuracy, 1.0) * n, n)

    def of(self, by: str) -> tuple[float, float]:
        """The score by accuracy, log loss or the metric of `value`, and its standard error."""
        if by in IN_SCORES:
            name = IN_SCORES[by]
            return getattr(self, name), getattr(self, f"{name}_error")
        if self.value is None:
            raise SettingsError(f"{by} was not measured, since λ was chosen by another metric.")
        return self.value, self.value_error or 0.0


# The metrics that every score has, and what it calls them.
IN_SCORES = {"accuracy": "accuracy", "log_loss": "loss"}


def score(
    engine: Engine,
    rows: Rows,
    pairs: Sequence[Pair],
    by: str = "accuracy",
    *,
    errors: bool = True,
) -> tuple[Score, ...]:
    """Score weights and biases, each in the type of its W, several in one pass over the rows.

    A metric that is neither accuracy nor log loss, and errors over groups, take another pass for
    each. Without `errors` those of metrics and of groups are left out.
    """
    weights = rows.row_weights
    n = float(rows.count) if weights is None else 1.0 / norm(weights / rows.mass) ** 2
    scores: list[Score] = []
    for group in _together(pairs):
        W, b = (np.stack(parts) for parts in zip(*group, strict=True))
        found = engine.evaluate(rows, Weights(W, b.astype(W.dtype)))
        for loss, square, accuracy in zip(*(map(float, of) for of in found[:3]), strict=True):
            variances = (square - loss**2, accuracy * (1.0 - accuracy))
            loss_error, accuracy_error = (math.sqrt(max(v, 0.0) / n) for v in variances)
            figures = (loss, loss_error, accuracy, accuracy_error, rows.count)
            scores.append(Score(*figures, effective_rows=None if weights is None else n))
    groups = rows.row_groups if errors else None
    if by in IN_SCORES and groups is None:
        return tuple(scores)

    def measured(score: Score, W: NDArray[Any], b: NDArray[Any]) -> Score:
        scored = read_scores(row_tiles(rows, len(W)), engine, W, b, rows.labels, weights)
        score = _over_groups(score, scored, groups)
        if by in IN_SCORES:
            return score
        figure, error = metric_of(by).of(scored), math.nan
        if errors:
            error = standard_error(figure, scored.strata, scored.weights, groups)
        known = error if math.isfinite(error) else None  # of too few rows there is none
        return replace(score, value=float(figure(scored.each)[0]), value_error=known)

    return tuple(measured(one, *pair) for one, pair in zip(scores, pairs, strict=True))


def _over_groups(score: Score, scored: ScoredRows, groups: NDArray[np.int64] | None) -> Score:
    """The score with errors over groups, if there are any."""
    if groups is None:
        return score
    w, right = scored.each[:, 0], scored.right.astype(np.float64)
    loss_error, accuracy_error = (clustered_error(x, w, groups) for x in (scored.loss, right))
    if not math.isfinite(loss_error):  # rows of one group have all of the weight
        return score
    count = len(np.unique(groups))
    return replace(score, loss_error=loss_error, accuracy_error=accuracy_error, groups=count)


def score_of(scored: ScoredRows, groups: NDArray[np.int64] | None = None) -> Score:
    """The score of rows whose scores are at hand, and the group of each, (N,)."""
    w = scored.each[:, 0] / scored.each.sum()
    n = float(len(w)) if scored.weights is None else 1.0 / norm(w) ** 2
    loss, accuracy = float(w @ scored.loss), float(w @ scored.right)
    variances = (w @ (scored.loss - loss) ** 2, accuracy * (1.0 - accuracy))
    loss_error, accuracy_error = (math.sqrt(max(float(v), 0.0) / n) for v in variances)
    figures = (loss, loss_error, accuracy, accuracy_error, len(w))
    score = Score(*figures, effective_rows=None if scored.weights is None else n)
    return _over_groups(score, scored, groups)


def _together(pairs: Sequence[Pair]) -> Iterator[Sequence[Pair]]:
    """Neighbours with W of one type, as many as WEIGHT_BYTES hold."""
    for _, alike in groupby(pairs, lambda pair: pair[0].dtype):
        group = list(alike)
        size = max(1, WEIGHT_BYTES // group[0][0].nbytes)
        yield from (group[i : i + size] for i in range(0, len(group), size))


def accuracy_interval(test: Score, measured: Sequence[Measurement]) -> tuple[float, float, str]:
    """The 95 % interval of the accuracy on the test rows, and what it is called."""
    for one in measured:
        if one.metric == "accuracy":
            return one.low, one.high, GROUPED
    return *test.interval, WILSON


def accuracy_words(test: Score, measured: Sequence[Measurement]) -> str:
    """The accuracy on the test rows with its interval, in percent."""
    return f"{100.0 * test.accuracy:.2f} % ({interval_words(*accuracy_interval(test, measured))})"


@dataclass(frozen=True)
class Choice:
    """How λ is chosen; a SettingsError for other words.

    Attributes:
        by: the metric, measured on the held-out rows: its name, without scikit-learn's neg_.
        rule: "best" takes the best score; "one-standard-error" the largest λ whose score is within
            one standard error of the best (Breiman et al. 1984).
    """

    by: str = "accuracy"
    rule: Rule = "best"

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", metric_of(self.by).name)
        require_choice("rule", self.rule, get_args(Rule))

    @property
    def metric(self) -> Metric:
        """The metric."""
        return metric_of(self.by)


def mean_score(scores: Sequence[Score], by: str) -> tuple[float, float]:
    """Mean score of one λ, and its standard error.

    Of one score the error is that of its rows; of several, one for each fold, that of their spread.

    Example:
        >>> mean_score([Score(1.0, 0.1, 0.5, 0.05, 100)], "log_loss")
        (1.0, 0.1)
    """
    if len(scores) == 1:
        return scores[0].of(by)
    values = [score.of(by)[0] for score in scores]
    return float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))


def merit(scores: Sequence[Score], by: str) -> tuple[float, float]:
    """The same, with a sign by which larger is better."""
    mean, error = mean_score(scores, by)
    return mean if metric_of(by).greater else -mean, error


def choose(scores: Sequence[Sequence[Score]], choice: Choice) -> int:
    """The position that is chosen by held-out scores, largest λ first; ties go to the largest λ.

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


def has_turned(scores: Sequence[Sequence[Score]], by: str, steps: int) -> bool:
    """Whether the best score lies `steps` λ back, or twice as many where the last one equals it.

    Accuracy may stay that of the largest class while the loss has long begun to fall: then it has
    to be clearly above that of the first λ, or the loss must have turned as well.
    """

    def turned(by: str) -> bool:
        place = choose(scores, Choice(by))
        level = merit(scores[-1], by)[0] == merit(scores[place], by)[0]
        return place < len(scores) - (2 * steps if level else steps)

    best, error = merit(scores[choose(scores, Choice(by))], by)
    learned = best - merit(scores[0], by)[0] > error
    return turned(by) and (learned or turned("log_loss"))


def check_parts(metric: Metric, parts: Sequence[Part], class_names: Sequence[str]) -> None:
    """Raise `SettingsError` where a metric is not defined on held-out rows."""
    for i, (kept, rows) in enumerate(parts):
        whose = "the validation rows" if kept is None else f"the held-out rows of fold {i}"
        weights = rows.row_weights
        metric.check(
            rows.labels if weights is None else rows.labels[weights > 0.0], class_names, whose
        )
