"""Figures of a model on labelled rows; docs/explanation/formulations.md, "Evaluation"."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.data import Dataset
from onelayer.data.progress import Log, quiet
from onelayer.data.sparse import sparse_rows
from onelayer.engines import Engine
from onelayer.errors import SettingsError
from onelayer.files.records import MaybeNone
from onelayer.model.intervals import GROUPED, WILSON, interval_words, wilson_interval
from onelayer.model.metrics import (
    BINS,
    Measurement,
    calibration_error,
    confidence_bins,
    label_precisions,
    label_rankings,
    measure,
    metric_of,
    metrics_of,
)
from onelayer.model.rows import classify_tiles, meet, scored_by

if TYPE_CHECKING:
    from onelayer.model.model import Model

Float64 = NDArray[np.float64]

TOP = 5

# In JSON, of calibrated models.
BEFORE = "expected_calibration_error_before_calibration"

# Of more classes JSON has the pairs of classes that have rows, not the whole confusion matrix.
MATRIX_CLASSES = 1000

# Entries of rows that are read at a time to see whether they were trained on.
TILE_ENTRIES = 1 << 23

# Pictures that a page has room for.
MOST_MISTAKES = 24


@dataclass(frozen=True, eq=False)
class Reliability:
    """Accuracy by confidence; bin m of M holds confidences in (m/M, (m + 1)/M].

    Attributes:
        rows: number of rows in each bin, shape (M,), int64; of weighted rows by weight, float64.
        confidence: mean confidence in each bin, NaN where it is empty, shape (M,).
        accuracy: fraction classified right in each bin, NaN where it is empty, shape (M,).
    """

    rows: NDArray[Any]
    confidence: Float64
    accuracy: Float64

    @property
    def edges(self) -> Float64:
        """Edges of the bins, shape (M + 1,)."""
        return np.linspace(0.0, 1.0, len(self.rows) + 1)

    @property
    def error(self) -> float:
        """The expected calibration error: Σ (n_m / N) |accuracy_m − confidence_m|."""
        filled = self.rows > 0
        gaps = (self.rows * (self.accuracy - self.confidence))[filled]
        return float(calibration_error(gaps, self.rows.sum()))


@dataclass(frozen=True, eq=False)
class Mistakes:
    """The rows that a model gets wrong with the most confidence, most confident first.

    Attributes:
        rows: their numbers among the rows that were evaluated, from 0, shape (n,), int64.
        true: index of the class of each, shape (n,), int64.
        predicted: index of the class that the model gives, shape (n,), int64.
        confidence: the probability that it gives this class, shape (n,).
        images: their pixels, 0 to 255, shape (n, D), uint8; None for rows that are no images.
        ids: what names each row, or None.
    """

    rows: NDArray[np.int64]
    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: Float64
    images: NDArray[np.uint8] | None = None
    ids: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """Accuracy, confusion, log loss and calibration of a model on labelled rows.

    Attributes:
        class_names: names of the K classes.
        pairs: true class, predicted class and number of rows of each pair of classes that has some,
            shape (M, 3), int64, in this order.
        log_loss: mean −log p of the true class, nats.
        in_top: rows whose class is among the 5 largest scores, by weight; None for K ≤ 5.
        reliability: accuracy by confidence, the calibration curve.
        left_out: number of rows of each class that the model does not know; they do not count.
        mistakes: the rows that are wrong with the most confidence, 24 at most.
        training_rows: number of rows that the model was fitted to among those that count.
        training_rows_left_out: number of such rows that were left out.
        metrics: what `scoring` asked for, each with its interval.
        grouped: the accuracy with the interval of the grouped bootstrap, where rows have groups.
        masses: where rows have weights, their sum over the rows of each of the pairs, shape (M,),
            rows of mean weight 1; else None. Then accuracy, precision, recall, F1, log loss, top-5
            accuracy and calibration are by weight; the confusion matrix and the support count rows.
            Rows of weight 0 do not count.
        effective_rows: (Σ w)² / Σ w², by which the interval of weighted rows is Wilson's.
        uncalibrated: of a model that `calibrate` gave, accuracy by confidence before; else None.
    """

    class_names: tuple[str, ...]
    pairs: NDArray[np.int64]
    log_loss: float
    in_top: float | None
    reliability: Reliability
    left_out: Mapping[str, int] = field(default_factory=dict)
    mistakes: Mistakes | None = None
    training_rows: int = 0
    training_rows_left_out: int = 0
    metrics: tuple[Measurement, ...] = ()
    grouped: Measurement | None = None
    masses: Float64 | None = None
    effective_rows: float | None = None
    uncalibrated: Reliability | MaybeNone = None

    @property
    def omissions(self) -> str:
        """Which rows were left out or trained on, and which classes have none; empty otherwise."""
        absent = [n for n, rows in zip(self.class_names, self.support, strict=True) if not rows]
        of_others = [f"{rows:,} rows of {name!r}" for name, rows in self.left_out.items()]
        trained = ""
        if self.training_rows:
            trained = f"the model was trained on {self.training_rows:,} of these {self.rows:,} rows"
        elif self.training_rows_left_out:
            trained = (
                f"left out, because the model was trained on them: {self.training_rows_left_out:,} "
                f"of {self.rows + self.training_rows_left_out:,} rows"
            )
        listed = [
            f"{what}: {', '.join(words[:8])}{', …' if len(words) > 8 else ''}"
            for what, words in (
                ("left out, because the model has no such class", of_others),
                ("no rows of the classes", absent),
            )
            if words
        ]
        return "; ".join(filter(None, (trained, *listed)))

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Rows by true (axis 0) and predicted class (axis 1), shape (K, K), int64."""
        counts = np.zeros((len(self.class_names),) * 2, np.int64)
        true, predicted, rows = self.pairs.T
        counts[true, predicted] = rows
        return counts

    @property
    def rows(self) -> int:
        """N, the number of rows."""
        return int(self.pairs[:, 2].sum())

    @property
    def correct(self) -> int:
        """Number of rows classified right."""
        return int(self._right.sum())

    @property
    def accuracy(self) -> float:
        """Fraction of rows classified right."""
        if self.masses is None:
            return self.correct / self.rows
        return min(float(self._right_masses.sum() / self.masses.sum()), 1.0)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy: Wilson's, or of whole groups."""
        if self.grouped is not None:
            return self.grouped.low, self.grouped.high
        if self.effective_rows is not None:
            return wilson_interval(self.accuracy * self.effective_rows, self.effective_rows)
        return wilson_interval(self.correct, self.rows)

    @property
    def interval_words(self) -> str:
        """The interval in words, in percent."""
        kind = WILSON if self.grouped is None else GROUPED
        return interval_words(*self.interval, kind)

    @property
    def top_accuracy(self) -> float | None:
        """Fraction of rows whose class is among the 5 largest scores; None for K ≤ 5."""
        return None if self.in_top is None else self.in_top / self.rows

    @property
    def support(self) -> NDArray[np.int64]:
        """Rows of each true class, shape (K,)."""
        return self._rows_by(0)

    @property
    def precision(self) -> Float64:
        """Fraction of the rows predicted as a class that are of it; NaN where there are none."""
        return self._fraction(self._masses_by(1))

    @property
    def recall(self) -> Float64:
        """Fraction of the rows of a class that are predicted as it; NaN where there are none."""
        return self._fraction(self._masses_by(0))

    @property
    def f1(self) -> Float64:
        """2 · right / (rows of the class + rows predicted as it); NaN where both are none."""
        return self._fraction((self._masses_by(0) + self._masses_by(1)) / 2)

    def _rows_by(self, column: int, pairs: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Rows of each true (0) or predicted class (1), of some pairs or all, shape (K,)."""
        pairs = self.pairs if pairs is None else pairs
        counts = np.zeros(len(self.class_names), np.int64)
        np.add.at(counts, pairs[:, column], pairs[:, 2])
        return counts

    def _masses_by(self, column: int) -> NDArray[Any]:
        """The same by weight, where rows have weights."""
        if self.masses is None:
            return self._rows_by(column)
        return np.bincount(self.pairs[:, column], self.masses, len(self.class_names))

    @property
    def _right(self) -> NDArray[np.int64]:
        """Rows of each class classified right, shape (K,)."""
        return self._rows_by(0, self.pairs[self.pairs[:, 0] == self.pairs[:, 1]])

    @property
    def _right_masses(self) -> NDArray[Any]:
        """The same by weight, where rows have weights."""
        if self.masses is None:
            return self._right
        right = np.where(self.pairs[:, 0] == self.pairs[:, 1], self.masses, 0.0)
        return np.bincount(self.pairs[:, 0], right, len(self.class_names))

    def _fraction(self, of: NDArray[Any]) -> Float64:
        """Rows of each class classified right, as a fraction of these numbers."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self._right_masses / of)

    def as_dict(self) -> dict[str, Any]:
        """Every figure as plain values, fit for JSON; null where a fraction is of no rows.

        Of more than 1000 classes the confusion matrix is written as `pairs`.
        """
        bins = self.reliability
        figures = ("precision", "recall", "f1", "support")
        per_class = zip(self.class_names, *(_plain(getattr(self, f)) for f in figures), strict=True)
        return {
            "rows": self.rows,
            **({} if self.masses is None else {"effective_rows": self.effective_rows}),
            "accuracy": self.accuracy,
            "accuracy_interval_95": list(self.interval),
            f"top_{TOP}_accuracy": self.top_accuracy,
            "log_loss": self.log_loss,
            "expected_calibration_error": bins.error,
            **({} if self.uncalibrated is None else {BEFORE: self.uncalibrated.error}),
            "metrics": {one.metric: _of_metric(one) for one in self.metrics},
            "left_out": dict(self.left_out),
            "training_rows": self.training_rows,
            "training_rows_left_out": self.training_rows_left_out,
            "classes": [dict(zip(("name", *figures), line, strict=True)) for line in per_class],
            **self._counts(),
            "calibration": {
                name: _plain(getattr(bins, name))
                for name in ("edges", "rows", "confidence", "accuracy")
            },
        }

    def _counts(self) -> dict[str, Any]:
        if len(self.class_names) <= MATRIX_CLASSES:
            return {"confusion": self.confusion.tolist()}
        return {"pairs": self.pairs.tolist()}

    def __repr__(self) -> str:
        rows = f"{self.rows} {'' if self.masses is None else 'weighted '}rows"
        of = self.uncalibrated
        before = "" if of is None else f" ({of.error:.4f} before calibration)"
        return (
            f"Evaluation: accuracy {self.accuracy:.2%} of {rows} "
            f"({self.interval_words}), log loss {self.log_loss:.4f}, "
            f"calibration error {self.reliability.error:.4f}{before}"
        ) + "".join(f"\n{line}" for line in (*self.metrics, self.omissions) if line)

    def _repr_html_(self) -> str:
        # A package above this one, imported by name when a notebook shows the evaluation.
        html: str = import_module("onelayer.report.notebook").evaluation_html(self)
        return html


@dataclass(frozen=True, eq=False, repr=False)
class LabelEvaluation(Evaluation):
    """Figures of a model of many labels a row; no row has one class, so there is no confusion.

    A row is right where all of its labels are, and the log loss is the sum over labels.

    Attributes:
        counts: rows of each label, rows that are said to have it, and rows of which both is so,
            shape (3, K), int64; of weighted rows by weight, float64.
        right_rows: number of rows that are right, and N.
        average_precision: of the ranking of the rows by each label's score, shape (K,); NaN where
            no row has the label.
        ranking: label ranking average precision.
        right_share: of weighted rows the fraction that is right, by weight; else None.
    """

    counts: NDArray[Any] = field(kw_only=True)
    right_rows: tuple[int, int] = field(kw_only=True)
    average_precision: Float64 = field(kw_only=True)
    ranking: float = field(kw_only=True)
    right_share: float | None = field(default=None, kw_only=True)

    @property
    def accuracy(self) -> float:
        """Fraction of rows of which all labels are right."""
        return self.correct / self.rows if self.right_share is None else self.right_share

    @property
    def rows(self) -> int:
        """N, the number of rows."""
        return self.right_rows[1]

    @property
    def correct(self) -> int:
        """Number of rows of which all labels are right."""
        return self.right_rows[0]

    def _rows_by(self, column: int, pairs: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        return np.asarray(self.counts[column])

    @property
    def _right(self) -> NDArray[np.int64]:
        return np.asarray(self.counts[2])

    @property
    def figures(self) -> dict[str, float]:
        """By the names of metrics; a mean over labels counts 0 where one's figure is undefined."""
        said = float(self.counts[:2].sum())
        return {
            "accuracy": self.accuracy,
            "average_precision": float(np.nan_to_num(self.average_precision).mean()),
            "label_ranking_average_precision": self.ranking,
            "f1_micro": 2.0 * float(self._right.sum()) / said if said else 0.0,
            "f1_macro": float(np.nan_to_num(self.f1).mean()),
            "log_loss": self.log_loss,
        }

    def as_dict(self) -> dict[str, Any]:
        """Every figure as plain values, fit for JSON; null where a fraction is of no rows."""
        names = ("support", "precision", "recall", "f1", "average_precision")
        columns = zip(self.class_names, *(_plain(getattr(self, n)) for n in names), strict=True)
        return {
            "rows": self.rows,
            **self.figures,
            "accuracy_interval_95": list(self.interval),
            "metrics": {one.metric: _of_metric(one) for one in self.metrics},
            "training_rows": self.training_rows,
            "training_rows_left_out": self.training_rows_left_out,
            "labels": [dict(zip(("name", *names), line, strict=True)) for line in columns],
        }

    def __repr__(self) -> str:
        of = self.figures
        return (
            f"Evaluation: all labels of {self.accuracy:.2%} of {self.rows} rows right "
            f"({self.interval_words}), mean average precision {of['average_precision']:.4f}, "
            f"F1 {of['f1_micro']:.2%} micro, {of['f1_macro']:.2%} macro, log loss "
            f"{self.log_loss:.4f}"
        ) + "".join(f"\n{line}" for line in (*self.metrics, self.omissions) if line)


def _evaluate_labels(
    model: Model, rows: Dataset, y: NDArray[Any], engine: Engine | str | None, *, leave_out: bool
) -> tuple[Evaluation, NDArray[np.int64]]:
    """The evaluation of many labels a row, maybe without training rows; and which rows count."""
    step = max(1, TILE_ENTRIES // rows.features) if sparse_rows(rows.X) is None else rows.rows
    places = (slice(i, i + step) for i in range(0, rows.rows, step))
    weighty = np.ones(len(y), bool) if rows.weights is None else rows.weights > 0.0
    trained = weighty & np.concatenate([model.trained_on(rows, place) for place in places])
    counted = np.flatnonzero(weighty & ~trained if leave_out else weighty)
    scored, none = scored_by(model, rows, y, counted, engine, weights=rows.weights), np.zeros(0)
    own, said = scored.y, scored.predicted
    counts = np.stack([of.sum(axis=0, dtype=np.int64) for of in (own, said, own & said)])
    by_weight: dict[str, Any] = {}
    w = scored.each[:, 0] * (len(counted) / (float(scored.each.sum()) or 1.0))  # of mean 1
    if rows.weights is not None and len(counted):
        counts = np.stack([w @ of for of in (own, said, own & said)])
        by_weight = {"right_share": float(w @ scored.right) / len(counted)}
        by_weight |= {"effective_rows": float(w.sum() ** 2 / (w @ w))}
    precisions = np.where(counts[0] > 0, label_precisions(scored), np.nan)
    return LabelEvaluation(
        model.class_names,
        np.zeros((0, 3), np.int64),
        float(w @ scored.loss) / max(1, len(counted)),
        None,
        Reliability(none.astype(np.int64), none, none),
        training_rows=0 if leave_out else int(trained.sum()),
        training_rows_left_out=int(trained.sum()) if leave_out else 0,
        counts=counts,
        right_rows=(int(scored.right.sum()), len(counted)),
        average_precision=precisions,
        ranking=float(w @ label_rankings(scored)) / max(1, len(counted)),
        **by_weight,
    ), counted


def evaluate(
    model: Model,
    rows: Dataset,
    engine: Engine | str | None = None,
    log: Log | None = None,
    *,
    include_training_rows: bool = False,
    scoring: object = (),
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> Evaluation:
    """The evaluation on these rows; see `Model.evaluate`."""
    metrics = metrics_of(scoring)
    rows, y = meet(model, rows, log)
    judge = _evaluate_labels if model.many_labels else _evaluate
    leave_out = not include_training_rows
    found, counted = judge(model, rows, y, engine, leave_out=leave_out)
    if not len(counted):
        leave_out = False
        found, counted = judge(model, rows, y, engine, leave_out=leave_out)
    if "calibration" in model.settings:
        before, _ = judge(model.uncalibrated, rows, y, engine, leave_out=leave_out)
        found = replace(found, uncalibrated=before.reliability)
    for metric in metrics:
        metric.check(y[counted], model.class_names, rows.name)
    of = groups_of(groups, rows, counted)
    asked = metrics if of is None else tuple(dict.fromkeys((*metrics, metric_of("accuracy"))))
    if not asked:
        return found
    scored = scored_by(model, rows, y, counted, engine, weights=rows.weights)
    measured = measure(asked, scored, groups=of, seed=seed)
    grouped = None if of is None else next(m for m in measured if m.metric == "accuracy")
    return replace(found, metrics=measured[: len(metrics)], grouped=grouped)


def groups_of(
    groups: ArrayLike | None, rows: Dataset, counted: NDArray[np.int64]
) -> NDArray[Any] | None:
    """The group of each row that counts, of groups of all rows; None takes those of the rows.

    There is none where all of them are of one group.
    """
    if groups is None:
        of_rows = None if rows.groups is None else rows.groups[counted]
        return of_rows if of_rows is not None and len(np.unique(of_rows)) > 1 else None
    named = np.asarray(groups)
    if named.shape != (rows.rows,):
        raise SettingsError(
            f"groups must hold one group for each of the {rows.rows} rows, but its shape is "
            f"{named.shape}."
        )
    return np.asarray(named[counted])


def _evaluate(
    model: Model,
    rows: Dataset,
    y_all: NDArray[np.int64],
    engine: Engine | str | None,
    *,
    leave_out: bool,
) -> tuple[Evaluation, NDArray[np.int64]]:
    """The evaluation, maybe without the rows that the model was trained on; and which count."""
    K = model.classes
    found = np.empty((3, 0), np.int64)  # number, true and predicted class of rows that count
    weights = np.empty(0)  # of the same rows
    counts = np.zeros((3, BINS))  # rows, right rows and summed confidence of each bin
    total, in_top, training_rows = 0.0, 0.0, 0
    wrong = np.empty((4, 0))  # confidence, row, true and predicted class of the worst mistakes
    for place, figures in classify_tiles(model, rows, engine, quiet, np.maximum(y_all, 0)):
        of_class = y_all[place] >= 0
        if rows.weights is not None:
            of_class &= rows.weights[place] > 0.0
        trained = of_class & model.trained_on(rows, place)
        training_rows += int(np.count_nonzero(trained))
        at = np.flatnonzero(of_class & ~trained if leave_out else of_class)
        predicted, confidence = figures.classes[at], figures.confidence[at]
        known, y = place.start + at, y_all[place][at]
        found = np.hstack([found, [known, y, predicted]])
        w = np.ones(len(at)) if rows.weights is None else rows.weights[known]
        weights = np.append(weights, w)
        total += float((w * figures.loss[at]).sum())
        in_top += float(w[figures.rank[at] < TOP].sum())
        counts += _binned(confidence, predicted == y, w)
        wrong = np.hstack([wrong, np.stack([confidence, known, y, predicted])[:, predicted != y]])
        wrong = wrong[:, np.argsort(-wrong[0], kind="stable")[:MOST_MISTAKES]]
    each = max(1, len(weights)) / (float(weights.sum()) or 1.0)  # by which their mean is 1
    in_bins = each * counts[0] if rows.weights is not None else counts[0].astype(np.int64)
    with np.errstate(invalid="ignore"):
        reliability = Reliability(in_bins, counts[2] / counts[0], counts[1] / counts[0])
    others, numbers = np.unique(rows.y[y_all < 0], return_counts=True)
    evaluation = Evaluation(
        model.class_names,
        count_pairs(found[1], found[2], K),
        total * each / max(1, found.shape[1]),
        in_top * each if K > TOP else None,
        reliability,
        {rows.class_names[k]: int(n) for k, n in zip(others, numbers, strict=True)},
        _mistakes(rows, wrong[0], *wrong[1:].astype(np.int64)),
        0 if leave_out else training_rows,
        training_rows if leave_out else 0,
    )
    if rows.weights is None or not len(weights):
        return evaluation, found[0]
    pair = np.unique(found[1] * K + found[2], return_inverse=True)[1]
    masses = np.bincount(pair, each * weights).astype(np.float64)
    effective = float(weights.sum() ** 2 / (weights**2).sum())
    return replace(evaluation, masses=masses, effective_rows=effective), found[0]


def _mistakes(
    rows: Dataset,
    confidence: Float64,
    numbers: NDArray[np.int64],
    true: NDArray[np.int64],
    predicted: NDArray[np.int64],
) -> Mistakes:
    """These rows with their pixels and names, for a record."""
    images = None
    if rows.image_shape is not None:
        sparse = sparse_rows(rows.X)
        of_rows = rows.X[numbers] if sparse is None else sparse[numbers].toarray()
        pixels = np.asarray(of_rows, np.float64) * (255.0 / rows.max_value)
        images = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    ids = None if rows.ids is None else tuple(map(str, rows.ids[numbers]))
    return Mistakes(numbers, true, predicted, confidence, images, ids)


def count_pairs(
    y: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """True class, predicted class and number of rows of each pair that has some, shape (M, 3).

    Example:
        >>> count_pairs(np.array([0, 1, 1]), np.array([0, 0, 0]), classes=2).tolist()
        [[0, 0, 1], [1, 0, 2]]
    """
    both, rows = np.unique(y * classes + predicted, return_counts=True)
    return np.stack([*np.divmod(both, classes), rows], axis=1)


def pairs_of(confusion: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same of a confusion matrix (K, K)."""
    places = np.nonzero(confusion)
    return np.stack([*places, confusion[places]], axis=1)


def count_confusion(
    y: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Rows by true class (axis 0) and predicted class (axis 1), shape (K, K).

    Example:
        >>> count_confusion(np.array([0, 1, 1]), np.array([0, 0, 1]), classes=2).tolist()
        [[1, 0], [1, 1]]
    """
    counts = np.bincount(y * classes + predicted, minlength=classes**2)
    return counts.reshape(classes, classes)


def _binned(confidence: Float64, right: NDArray[np.bool_], w: Float64 | float = 1.0) -> Float64:
    """Rows, right rows and summed confidence of each bin, by weight, shape (3, BINS)."""
    place = confidence_bins(confidence)
    parts = (np.ones(len(place)), right, confidence)
    return np.stack([np.bincount(place, w * part, BINS) for part in parts])


def _of_metric(one: Measurement) -> dict[str, Any]:
    value, *interval = _plain(np.array([one.value, one.low, one.high]))
    return {"value": value, "interval_95": interval, "method": one.method}


def _plain(values: NDArray[Any]) -> list[Any]:
    return [value if math.isfinite(value) else None for value in values.tolist()]
