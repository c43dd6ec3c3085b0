"""Metrics of a classifier on labelled rows; docs/explanation/formulations.md, "Metrics".

A metric is a function of the weights of the rows: of all rows once it is the figure, and of the
counts of 2000 resamples it is their figures. So what a bootstrap needs is sorted once, and scores
are computed once. Shape letters: N rows, K classes, B sets of weights, w (N, B).

Two classes: the second is the positive one, and its score is s₁ − s₀, which does not saturate as
its probability does. Rows of many labels have y (N, K), each label ranks the rows by its own score,
and a mean over labels counts 0 where a figure of one is undefined, as scikit-learn's do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.errors import SettingsError, as_values, one_line, unknown_name
from onelayer.model.intervals import RESAMPLES, Figure, bootstrap, wilson_interval
from onelayer.model.scored_rows import ENTRIES, ScoredRows

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

# Of scores (N,) and which rows are positive, a figure of weights; and what `_thresholds` gives.
Ranking = Callable[[Float64, NDArray[np.bool_]], Figure]
Ranked = tuple[Float64, Float64, Float64, Float64, Float64]

Of = Callable[[ScoredRows], Figure]


@dataclass(frozen=True)
class Metric:
    """A figure of a classifier on labelled rows.

    Attributes:
        name: what `scoring` calls it.
        title: what tables and charts call it.
        unit: "%" of a fraction, "nats", or "" for a plain number.
        greater: whether a larger one is better.
        fits: labels that it is defined on: "any"; those of "two" classes, of "more than" k classes,
            or, where rows of "every" class are needed, these.
        many: whether it is defined on many labels a row; "only" there, or "" for never.
        of: on some rows, what weights (N, B) make of it, (B,); NaN where it is undefined.
    """

    name: str
    title: str
    unit: str = field(repr=False)
    greater: bool = field(repr=False)
    fits: str = field(repr=False)
    of: Of = field(repr=False, compare=False)
    many: str = field(default="", repr=False)

    def value(self, scored: ScoredRows) -> float:
        """The metric on these rows."""
        return float(self.of(scored)(scored.each)[0])

    def check(self, y: NDArray[Any], class_names: Sequence[str], whose: str) -> None:
        """Raise `SettingsError` where it is undefined on labels, class indices (N,) or (N, K)."""
        K = len(class_names)
        if y.ndim == 2:
            self._check_many(y, class_names, whose)
            return
        if self.many == "only":
            raise SettingsError(
                f"{self.name} is for many labels a row, but these rows have one class each; take "
                f"{'accuracy' if self.name == 'f1_micro' else 'average_precision or f1_macro'}."
            )
        if self.fits == "two" and K != 2:
            other = "roc_auc_ovr or roc_auc_ovo" if self.name == "roc_auc" else "average_precision"
            raise SettingsError(f"{self.name} is for two classes, but there are {K}; take {other}.")
        if self.fits.startswith("more than") and int(self.fits.split()[-1]) >= K:
            raise SettingsError(
                f"{self.name} is 1 for every model of {K} classes; take a smaller k."
            )
        present = np.bincount(y, minlength=K) > 0
        if self.fits != "any" and not present.all():
            missing = class_names[int(np.argmin(present))]
            raise SettingsError(
                f"{self.name} needs rows of every class, but {whose} have none of "
                f"{one_line(repr(str(missing)))}; take another metric or other rows."
            )

    def _check_many(self, y: NDArray[Any], names: Sequence[str], whose: str) -> None:
        if not self.many:
            known = ", ".join(name for name, metric in _METRICS.items() if metric.many)
            raise SettingsError(
                f"{self.name} is for one class a row, but these rows have many labels; take one of "
                f"{known}."
            )
        if self.fits == "any":
            return
        rows = y.sum(axis=0, dtype=np.int64)
        for lacks, held in ((rows == 0, "none"), (rows == len(y), "all")):
            if lacks.any() and (held == "none" or self.name == "roc_auc"):
                label = one_line(repr(str(names[int(np.argmax(lacks))])))
                raise SettingsError(
                    f"{self.name} needs rows with and without every label, but {held} of {whose} "
                    f"have {label}; take another metric or other rows."
                )

    @property
    def counts(self) -> bool:
        """Whether it is a fraction of the rows, which Wilson's interval is for."""
        return self.name == "accuracy" or self.name.startswith("top_")

    @property
    def factor(self) -> float:
        """What figures are multiplied by where they are shown."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def axis(self) -> str:
        """Its title with its unit, as in "accuracy / %"."""
        return f"{self.title} / {self.unit}" if self.unit else self.title

    def number(self, value: float, sign: str = "") -> str:
        """A figure without its unit, as in "91.20"."""
        return f"{self.factor * value:{sign}{'.2f' if self.unit == '%' else '.4f'}}"

    def words(self, value: float) -> str:
        """A figure with its unit, as in "91.20 %"."""
        return f"{self.number(value)} {self.unit}".rstrip()


def _mean_of(figure: Callable[[ScoredRows], NDArray[Any]]) -> Of:
    """The mean of a figure of each row."""

    def prepare(scored: ScoredRows) -> Figure:
        of_rows = figure(scored).astype(np.float64)
        return lambda w: (of_rows @ w) / w.sum(axis=0)

    return prepare


def _sums_by(place: Int64, count: int) -> Figure:
    """Sums of w (N, B) over the rows of each place, (count, B); those of other places are left."""
    order = np.argsort(place, kind="stable")
    order = order[place[order] < count]
    present, starts = np.unique(place[order], return_index=True)

    def of(w: Float64) -> Float64:
        sums = np.zeros((count, w.shape[1]))
        if len(order):
            sums[present] = np.add.reduceat(np.take(w, order, axis=0), starts, axis=0)
        return sums

    return of


def _confusion_of(figure: Callable[[Float64, Float64, Float64], Float64]) -> Of:
    """A figure of the rows of each class: of it, predicted as it, and both, each (K, B)."""

    def prepare(scored: ScoredRows) -> Figure:
        y, predicted, K = scored.y, scored.predicted, scored.classes
        right = np.where(predicted == y, y, K)
        sums = [_sums_by(of_rows, K) for of_rows in (y, predicted, right)]

        def of(w: Float64) -> Float64:
            with np.errstate(invalid="ignore", divide="ignore"):
                return figure(*(each(w) for each in sums))

        return of

    return prepare


def _labels_of(figure: Callable[[Float64, Float64, Float64], Float64]) -> Of:
    """A figure of the rows that have each label, that are said to, and both, each (K, B)."""

    def prepare(scored: ScoredRows) -> Figure:
        y, predicted = scored.y, scored.predicted
        step = max(1, ENTRIES // max(1, len(y)))

        def of(w: Float64) -> Float64:
            sums = np.empty((3, scored.classes, w.shape[1]))
            for start in range(0, scored.classes, step):
                block = slice(start, start + step)
                true, said = (part[:, block].T.astype(np.float64) for part in (y, predicted))
                for total, part in zip(sums, (true, said, true * said), strict=True):
                    total[block] = part @ w
            return figure(*sums)

        return of

    return prepare


def _label_f1(true: Float64, predicted: Float64, right: Float64) -> Float64:
    both = true + predicted
    return np.divide(2.0 * right, both, where=both > 0.0, out=np.zeros_like(both))


def _f1_of_labels(true: Float64, predicted: Float64, right: Float64) -> Float64:
    return np.asarray(_label_f1(true, predicted, right).mean(axis=0))


def _f1_of_labels_by_rows(true: Float64, predicted: Float64, right: Float64) -> Float64:
    total = true.sum(axis=0)
    return np.asarray((true * _label_f1(true, predicted, right)).sum(axis=0) / total)


def _f1_micro(true: Float64, predicted: Float64, right: Float64) -> Float64:
    return _label_f1(*(of.sum(axis=0) for of in (true, predicted, right)))


def label_rankings(scored: ScoredRows) -> Float64:
    """The label ranking average precision of each row, (N,)."""
    assert scored.ranking is not None  # noqa: S101  # `check` refuses one class a row
    return scored.ranking


def _either(one: Of, many: Of) -> Of:
    """The figure of rows of one class, or of many labels."""
    return lambda scored: (many if scored.y.ndim == 2 else one)(scored)


def _balanced(true: Float64, predicted: Float64, right: Float64) -> Float64:
    return np.asarray(np.nanmean(right / true, axis=0))


def _f1_macro(true: Float64, predicted: Float64, right: Float64) -> Float64:
    return np.asarray(np.nanmean(2.0 * right / (true + predicted), axis=0))


def _f1_weighted(true: Float64, predicted: Float64, right: Float64) -> Float64:
    f1 = np.where(true > 0.0, 2.0 * right / (true + predicted), 0.0)
    return np.asarray((true * f1).sum(axis=0) / true.sum(axis=0))


def _matthews(true: Float64, predicted: Float64, right: Float64) -> Float64:
    """(c n − Σ t p) / √((n² − Σ p²)(n² − Σ t²)); 0 where all rows are, or are called, one class."""
    n = true.sum(axis=0)
    top = right.sum(axis=0) * n - (true * predicted).sum(axis=0)
    spread = [n**2 - (of**2).sum(axis=0) for of in (true, predicted)]
    bottom = np.sqrt(spread[0] * spread[1])
    return np.where(bottom > 0.0, top / bottom, 0.0)


BINS = 15


def confidence_bins(confidence: Float64) -> Int64:
    """The bin of each confidence: m of M holds (m/M, (m + 1)/M]."""
    return np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)


def calibration_error(gaps: Float64, rows: Any) -> Float64:
    """The expected calibration error, Σ_m |Σ_{i in m} (right_i − confidence_i)| / N."""
    return np.asarray(np.abs(gaps).sum(axis=0) / rows)


def _calibration(scored: ScoredRows) -> Figure:
    gaps = (scored.predicted == scored.y) - scored.confidence
    sums = _sums_by(confidence_bins(scored.confidence), BINS)
    return lambda w: calibration_error(sums(w * gaps[:, None]), w.sum(axis=0))


def _cumulated(w: Float64, order: Int64) -> Float64:
    """Sums of w over the first 0, 1, … of these rows, (n + 1, B)."""
    sums = np.zeros((len(order) + 1, w.shape[1]))
    np.cumsum(np.take(w, order, axis=0), axis=0, out=sums[1:])
    return sums


def _lost(scores: Float64, positive: NDArray[np.bool_], by: Int64, count: int) -> Figure:
    """Σ over the other rows of each place of w times the share of positive rows that score lower.

    A positive row that scores as high counts one half: this is one minus the area under the ROC
    curve, times the mass of the other rows; (count, B).
    """
    own = np.flatnonzero(positive)
    own, others = own[np.argsort(scores[own], kind="stable")], np.flatnonzero(~positive)
    others = others[np.argsort(by[others], kind="stable")]
    present, starts = np.unique(by[others], return_index=True)
    low, high = (np.searchsorted(scores[own], scores[others], side) for side in ("left", "right"))
    tied = bool((low != high).any())

    def of(w: Float64) -> Float64:
        below, lost = _cumulated(w, own), np.zeros((count, w.shape[1]))
        beaten = np.take(below, low, axis=0)
        if tied:
            beaten = (beaten + np.take(below, high, axis=0)) / 2.0
        of_others = np.take(w, others, axis=0)
        if count == 1:
            lost[0] = np.einsum("nb,nb->b", of_others, beaten)
        elif len(others):
            lost[present] = np.add.reduceat(np.multiply(of_others, beaten, out=beaten), starts)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(lost / below[-1])

    return of


def _area(scores: Float64, positive: NDArray[np.bool_]) -> Figure:
    """The area under the ROC curve; NaN without positive or without other rows."""
    of, others = _lost(scores, positive, np.zeros(len(scores), np.int64), 1), ~positive

    def area(w: Float64) -> Float64:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(1.0 - of(w)[0] / (others @ w))

    return area


def _thresholds(scores: Float64, positive: NDArray[np.bool_]) -> Callable[[Float64], Ranked]:
    """Of each positive row: w, and sums of w of the positive and other rows that score as high."""
    falling = -scores
    own, others = (
        of[np.argsort(falling[of], kind="stable")]
        for of in (np.flatnonzero(positive), np.flatnonzero(~positive))
    )
    ends = [np.searchsorted(falling[of], falling[own], "right") for of in (own, others)]

    def of(w: Float64) -> Ranked:
        sums = [_cumulated(w, rows) for rows in (own, others)]
        above = [np.take(of, end, axis=0) for of, end in zip(sums, ends, strict=True)]
        return np.take(w, own, axis=0), above[0], above[1], sums[0][-1], sums[1][-1]

    return of


def _precision(scores: Float64, positive: NDArray[np.bool_]) -> Figure:
    """Σ (R_n − R_{n−1}) P_n over the distinct scores; 0 without positive rows."""
    thresholds = _thresholds(scores, positive)

    def of(w: Float64) -> Float64:
        own, right, wrong, mass, _ = thresholds(w)
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.where(right > 0.0, right / (right + wrong), 0.0)
            return np.where(mass > 0.0, (own * precision).sum(axis=0) / mass, 0.0)

    return of


def label_precisions(scored: ScoredRows) -> Float64:
    """The average precision of each of many labels, (K,); 0 without rows that have it."""
    found = np.zeros(scored.classes)
    for k, scores in scored.columns():
        found[k] = _precision(scores, scored.positive(k))(scored.each)[0]
    return found


def _recall_at(rate: float) -> Ranking:
    """The largest recall of a threshold at which the rate of false positives is no larger."""

    def prepare(scores: Float64, positive: NDArray[np.bool_]) -> Figure:
        thresholds = _thresholds(scores, positive)

        def of(w: Float64) -> Float64:
            _, right, wrong, mass, others = thresholds(w)
            with np.errstate(invalid="ignore", divide="ignore"):
                reached = np.where(wrong / others <= rate, right, 0.0).max(axis=0, initial=0.0)
                return np.where(others > 0.0, reached / mass, np.nan)

        return of

    return prepare


def _binary(ranking: Ranking) -> Of:
    """A figure of the ranking of rows of two classes."""

    def prepare(scored: ScoredRows) -> Figure:
        assert scored.margin is not None  # noqa: S101  # `check` refuses other classes
        return ranking(scored.margin, scored.y == 1)

    return prepare


def _over_classes(ranking: Ranking, *, weighted: bool = False) -> Of:
    """The mean over classes k of a figure of the ranking by p_k, or the mean by their rows.

    Of two classes it is that of the second.
    """

    def prepare(scored: ScoredRows) -> Figure:
        if scored.margin is not None:
            return _binary(ranking)(scored)
        rows = _sums_by(scored.y, scored.classes) if weighted else None
        figures = scored.by_class(lambda k, p: ranking(p, scored.positive(k)))

        def of(w: Float64) -> Float64:
            share = rows(w) if rows else np.ones((scored.classes, w.shape[1]))
            total = sum(share[k] * figure(w) for k, figure in figures())
            return np.asarray(total / share.sum(axis=0))

        return of

    return prepare


def _over_pairs(*, weighted: bool = False) -> Of:
    """The mean over pairs of classes of (A(a|b) + A(b|a)) / 2, or the mean by their rows.

    It is a sum over a of what p_a says, so that one class is in memory at a time.
    """

    def prepare(scored: ScoredRows) -> Figure:
        if scored.margin is not None:
            return _binary(_area)(scored)
        y, K = scored.y, scored.classes
        rows = _sums_by(y, K)
        figures = scored.by_class(lambda k, p: _lost(p, y == k, y, K))

        def of(w: Float64) -> Float64:
            total, mass, in_class = np.zeros(w.shape[1]), np.zeros(w.shape[1]), rows(w)
            for k, figure in figures():
                share = in_class + in_class[k] if weighted else np.ones_like(in_class)
                with np.errstate(invalid="ignore", divide="ignore"):
                    areas = 1.0 - figure(w) / in_class
                share[k] = areas[k] = 0.0
                total += (share * areas).sum(axis=0)
                mass += share.sum(axis=0)
            return total / mass

        return of

    return prepare


_METRICS = {
    name: Metric(name, title, unit, greater, fits, of, *many)
    for name, title, unit, greater, fits, of, *many in (
        ("accuracy", "accuracy", "%", True, "any", _mean_of(lambda s: s.right), "too"),
        ("balanced_accuracy", "balanced accuracy", "%", True, "any", _confusion_of(_balanced)),
        ("f1_macro", "macro F1", "%", True, "any",
         _either(_confusion_of(_f1_macro), _labels_of(_f1_of_labels)), "too"),
        ("f1_weighted", "weighted F1", "%", True, "any",
         _either(_confusion_of(_f1_weighted), _labels_of(_f1_of_labels_by_rows)), "too"),
        ("f1_micro", "micro F1", "%", True, "any", _labels_of(_f1_micro), "only"),
        ("hamming_loss", "Hamming loss", "%", False, "any",
         _mean_of(lambda s: (s.predicted != s.y).mean(axis=1)), "only"),
        ("label_ranking_average_precision", "label ranking average precision", "", True, "any",
         _mean_of(label_rankings), "only"),
        ("matthews_corrcoef", "Matthews correlation", "", True, "any", _confusion_of(_matthews)),
        ("roc_auc", "AUROC", "", True, "two", _either(_binary(_area), _over_classes(_area)), "too"),
        ("roc_auc_ovr", "AUROC one-vs-rest", "", True, "every", _over_classes(_area)),
        ("roc_auc_ovo", "AUROC one-vs-one", "", True, "every", _over_pairs()),
        ("roc_auc_ovr_weighted", "AUROC one-vs-rest, by rows", "", True, "every",
         _over_classes(_area, weighted=True)),
        ("roc_auc_ovo_weighted", "AUROC one-vs-one, by rows", "", True, "every",
         _over_pairs(weighted=True)),
        ("average_precision", "average precision", "", True, "every", _over_classes(_precision),
         "too"),
        ("log_loss", "log loss", "nats", False, "any", _mean_of(lambda s: s.loss), "too"),
        ("brier_score", "Brier score", "", False, "any",
         _mean_of(lambda s: s.square / 2.0 if s.classes == 2 else s.square)),
        ("ece", "ECE", "%", False, "any", _calibration),
    )
}  # fmt: skip

# Of names with a number: the pattern of all of them, and an example.
_TOP, _RECALL = "top_{}_accuracy", "recall_at_fpr_{}"


def metric_of(name: object, offered: Sequence[str] | None = None) -> Metric:
    """The metric of a name, with or without scikit-learn's neg_.

    The error of an unknown name lists those that are offered: None is all of them.

    Example:
        >>> metric_of("neg_log_loss").name, metric_of("top_5_accuracy").title
        ('log_loss', 'top-5 accuracy')
    """
    text = str(name)
    known = _METRICS.get(text.removeprefix("neg_"))
    if known is not None and not (text.startswith("neg_") and known.greater):
        return known
    if found := re.fullmatch(r"top_(\d{1,9})_accuracy", text):
        k = int(found[1])
        if k >= 1:
            return Metric(
                _TOP.format(k),
                f"top-{k} accuracy",
                "%",
                True,
                f"more than {k}",
                _mean_of(lambda scored: scored.rank < k),
            )
    if found := re.fullmatch(r"recall_at_fpr_(\d*\.?\d+(?:e-?\d+)?)", text):
        rate = float(found[1])
        if 0.0 <= rate < 1.0:
            title = f"recall at {100 * rate:g} % false positives"
            return Metric(
                _RECALL.format(f"{rate:g}"),
                title,
                "%",
                True,
                "two",
                _binary(_recall_at(rate)),
            )
    if text.startswith(("top_", "recall_at_fpr")):
        raise SettingsError(
            f"{one_line(text)} does not say which: write top_5_accuracy, with k of 1 or more, or "
            "recall_at_fpr_0.05, with a rate from 0 to below 1."
        )
    raise unknown_name("metric", text, METRICS if offered is None else offered)


METRICS = (*_METRICS, _TOP.format(5), _RECALL.format(0.05))

# Those of rows of one class each.
ONE_CLASS = tuple(name for name in METRICS if metric_of(name).many != "only")


def metrics_of(names: object) -> tuple[Metric, ...]:
    """The metrics of one name, of several, or of a list with commas, each once."""
    words = [word for name in as_values(names) for word in str(name).split(",")]
    return tuple(dict.fromkeys(map(metric_of, words)))


@dataclass(frozen=True)
class Measurement:
    """A metric on some rows, with a 95 % interval.

    Attributes:
        metric: its name.
        value: the figure.
        low, high: ends of the interval; NaN where there is none.
        method: how the interval was made.
    """

    metric: str
    value: float
    low: float
    high: float
    method: str

    def __str__(self) -> str:
        metric = metric_of(self.metric)
        ends = f"{metric.number(self.low)} to {metric.words(self.high)}"
        return f"{metric.title} {metric.words(self.value)} (95 %: {ends}; {self.method})"


def measure(
    metrics: Sequence[Metric],
    scored: ScoredRows,
    *,
    groups: ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Measurement, ...]:
    """Each metric on these rows with its interval, Wilson's for fractions of rows."""
    wilson = [m for m in metrics if groups is None and scored.weights is None and m.counts]
    figures = {metric: metric.of(scored) for metric in metrics}
    others = [metric for metric in metrics if metric not in wilson]
    drawn = bootstrap(
        [figures[metric] for metric in others], scored.strata, weights=scored.weights,
        groups=groups, resamples=resamples, seed=seed,
    ) if others else []  # fmt: skip
    found = {}
    for metric, one in zip(others, drawn, strict=True):
        ends, kind = one.interval, "BCa"
        if metric.name == "ece":
            ends, kind = one.interval_of_distance, "bias-corrected"
        method = f"{one.kind}, {kind}, {resamples} resamples, seed {seed}"
        found[metric] = Measurement(metric.name, one.value, *ends, method)
    for metric in wilson:
        value, n = float(figures[metric](scored.each)[0]), len(scored.y)
        ends = wilson_interval(round(value * n), n)
        found[metric] = Measurement(metric.name, value, *ends, "Wilson")
    return tuple(found[metric] for metric in metrics)
