"""Whether models differ on the same rows by more than chance explains.

Accuracy is compared by McNemar's exact test: of the n rows that one model alone gets right, each is
as likely to be one model's as the other's where the two are equally good, so b of n has the
binomial distribution of a fair coin. Any other metric is compared by the paired bootstrap: the
difference of both models on the same resamples.

Source: McNemar (1947), Note on the sampling error of the difference between correlated proportions;
Holm (1979), A simple sequentially rejective multiple test procedure; Dietterich (1998), Approximate
statistical tests for comparing supervised classification learning algorithms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.data.dataset import Dataset, Splits, require_rows
from onelayer.data.progress import Log, print_line
from onelayer.engines import Engine
from onelayer.errors import DataError, SettingsError, as_values, known_options
from onelayer.model.evaluation import groups_of
from onelayer.model.intervals import RESAMPLES, bootstrap
from onelayer.model.metrics import metric_of
from onelayer.model.model import Model, require_model
from onelayer.model.rows import meet, scored_by

# A p below this is called more than chance.
LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """A model beside the reference model, on the same rows.

    Attributes:
        name: of the model.
        value: its metric.
        difference: this minus the reference's.
        low, high: ends of the 95 % interval of the difference.
        p: two-sided, that a difference as large comes from chance.
        p_holm: the same, corrected for the number of models by Holm's method.
        only_right: rows that it gets right and the reference does not.
        only_wrong: rows that it gets wrong and the reference does not.
    """

    name: str
    value: float
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    only_right: int
    only_wrong: int


@dataclass(frozen=True, repr=False)
class Comparison:
    """Models on the same rows, each beside a reference model; prints what it means.

    Attributes:
        metric: what they are compared by.
        reference: name of the model that the others are compared with.
        reference_value: its metric.
        rows: number of rows.
        differences: of each other model.
        test: what gives p.
        interval: what gives the intervals.
    """

    metric: str
    reference: str
    reference_value: float
    rows: int
    differences: tuple[Difference, ...]
    test: str
    interval: str

    @property
    def difference(self) -> float:
        """Of the first model: its metric minus the reference's."""
        return self.differences[0].difference

    @property
    def p(self) -> float:
        """Of the first model, corrected where there are several."""
        return self.differences[0].p_holm

    @property
    def sentences(self) -> tuple[str, ...]:
        """What each difference means."""
        metric = metric_of(self.metric)
        found = []
        for one in self.differences:
            better, worse = one.name, self.reference
            if (one.difference > 0.0) != metric.greater:
                better, worse = worse, better
            low, high = metric.number(one.low, "+"), metric.number(one.high, "+")
            unit = {"%": " points", "": ""}.get(metric.unit, f" {metric.unit}")
            holm = ", Holm" if len(self.differences) > 1 else ""
            facts = (
                f"{one.name} has {metric.title} {metric.words(one.value)}, {self.reference} "
                f"{metric.words(self.reference_value)}: {metric.number(one.difference, '+')}{unit} "
                f"(95 %: {low} to {high}; p = {one.p_holm:.2g}{holm})"
            )
            means = (
                f"{better} is better than {worse} by more than chance explains"
                if one.p_holm < LEVEL
                else f"chance alone may explain this: {self.rows:,} rows cannot tell the two apart"
            )
            found.append(f"{facts}; {means}.")
        return tuple(found)

    def __repr__(self) -> str:
        return "\n".join(self.sentences)


@known_options
def compare(
    first: Model,
    second: Model | Sequence[Model],
    data: Dataset | Splits | Sequence[Dataset | Splits],
    *,
    scoring: str = "accuracy",
    groups: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    include_training_rows: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
    engine: Engine | str | None = None,
    log: Log | None = None,
) -> Comparison:
    """Compare models on the same rows: the difference, its 95 % interval, and p.

        p = min(1, 2 Σ_{i ≤ min(b, c)} C(b + c, i) / 2^(b + c))      McNemar, for accuracy

    b and c are the rows that one model alone gets right. For other metrics, and where rows have
    weights or come in groups, p is one minus the level of the largest BCa interval of the paired
    bootstrap that leaves 0 out. Intervals are this bootstrap's, of rows or whole groups.

    Args:
        first: a model.
        second: another one, which `first` is compared with; or several: then every model but the
            best one of all is compared with that, and p is corrected by Holm's method.
        data: rows with the features and classes of every model; of `Splits` the test rows. Rows
            that one of the models was fitted to are left out, where it knows them and unless they
            are all of the rows. Or one for each model: the same rows with that model's features, as
            of two encoders.
        scoring: the metric, as of `solve_path`.
        groups: what each row belongs to, such as its patient, (N,).
        names: what to call the models, in order. Default: a, b, …
        include_training_rows: whether rows that a model was fitted to are not left out.
        resamples: of the bootstrap, ≥ 100.
        seed: of the bootstrap.
        engine: an engine or its name; None is the native engine.
        log: callback for one-line messages, as of `Model.scores`.

    Returns:
        The comparison: its `difference`, `p` and `differences`; it prints what they mean.

    Raises:
        DataError: when models have other classes, or rows do not fit them.
        SettingsError: for an unknown metric, and one that is not defined on these labels.

    Source:
        McNemar (1947); Holm (1979); Efron (1987).

    Example:
        >>> import onelayer as ol
        >>> data = ol.load("digits")
        >>> strong, weak = ol.solve(data, l2=0.001), ol.solve(data, l2=10.0)
        >>> compared = ol.compare(strong, weak, data)
        >>> round(compared.difference, 3), compared.p < 0.01
        (0.51, True)
    """
    metric = metric_of(scoring)
    models = [first, *([second] if isinstance(second, Model) else as_values(second))]
    for model in models:
        require_model("compare", model)
    called = _names(models, names)
    several: list[Any] = [*data] if isinstance(data, list | tuple) else [data] * len(models)
    if len(several) != len(models):
        raise SettingsError(
            f"data must be one data set, or one for each of the {len(models)} models, but there "
            f"are {len(several)}."
        )
    for one in several:
        require_rows("compare", one)
    parts: list[Dataset] = [one.test if isinstance(one, Splits) else one for one in several]
    rows = parts[0]
    y, met = _meet(models, parts, log)
    counted = _counted(models, met, y, include_training_rows)
    if not include_training_rows:
        say = log or print_line
        for name, model in zip(called, models, strict=True):
            if model.split is None or model.split.rows is None:
                say(f"the rows that {name} was fitted to are not known: none of them is left out")
    metric.check(y[counted], first.class_names, rows.name)
    scored = []
    for model, of_model in zip(models, met, strict=True):
        order = np.array([model.class_names.index(name) for name in first.class_names])
        own = scored_by(model, of_model, y, counted, engine, order, of_model.weights)
        scored.append(own)
    figures = [metric.of(one) for one in scored]
    values = [float(figure(scored[0].each)[0]) for figure in figures]
    reference, others = 1, [0]
    if len(models) > 2:
        sign = 1.0 if metric.greater else -1.0
        reference = int(np.argmax([sign * value for value in values]))
        others = [i for i in range(len(models)) if i != reference]
    of = groups_of(groups, rows, counted)
    drawn = bootstrap(
        [lambda w, i=i: figures[i](w) - figures[reference](w) for i in others],  # type: ignore[misc]
        scored[0].strata,
        weights=scored[0].weights,
        groups=of,
        resamples=resamples,
        seed=seed,
    )
    exact = metric.name == "accuracy" and of is None and rows.weights is None
    found = []
    for i, one in zip(others, drawn, strict=True):
        right, beside = (scored[k].right for k in (i, reference))
        b, c = int((right & ~beside).sum()), int((beside & ~right).sum())
        low, high = one.interval
        p = mcnemar(b, c) if exact else one.p
        found.append(Difference(called[i], values[i], one.value, low, high, p, p, b, c))
    corrected = holm([one.p for one in found])
    how = f"paired {drawn[0].kind}, BCa, {resamples} resamples, seed {seed}"
    return Comparison(
        metric.name,
        called[reference],
        values[reference],
        len(counted),
        tuple(replace(one, p_holm=p) for one, p in zip(found, corrected, strict=True)),
        "McNemar's exact test" if exact else how,
        how,
    )


def mcnemar(b: int, c: int) -> float:
    """The exact two-sided p of McNemar's test, for b and c rows that one model alone gets right.

    Example:
        >>> round(mcnemar(1, 9), 6), mcnemar(0, 0)
        (0.021484, 1.0)
    """
    n, least = b + c, min(b, c)
    if 2 * least >= n - 1:
        return 1.0
    # Terms C(n, i) / 2ⁿ from the largest down, i = least, least − 1, …
    log = math.lgamma(n + 1) - math.lgamma(least + 1) - math.lgamma(n - least + 1)
    i = np.arange(least, 0, -1, dtype=np.float64)
    terms = np.cumprod(np.append(1.0, i / (n - i + 1.0)))
    return min(1.0, 2.0 * math.exp(log - n * math.log(2.0)) * float(terms.sum()))


def holm(p: Sequence[float]) -> list[float]:
    """P of several tests, corrected by Holm's method: max over the smaller ones of (m − rank) p.

    Example:
        >>> [round(one, 3) for one in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, kind="stable")
    steps = np.asarray(p, np.float64)[order] * np.arange(len(order), 0, -1)
    found = np.empty(len(order))
    found[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(one) for one in found]


def _names(models: Sequence[Model], names: Sequence[str] | None) -> list[str]:
    if len(models) < 2:
        raise SettingsError("compare needs two models or more.")
    letters = [chr(ord("a") + i) if len(models) <= 26 else f"model {i}" for i in range(len(models))]
    called = letters if names is None else [str(name) for name in as_values(names)]
    if len(called) != len(models) or len(set(called)) < len(called):
        raise SettingsError(
            f"names must be {len(models)} different names, one for each model, but "
            f"{', '.join(map(repr, called))} was given."
        )
    return called


def _meet(
    models: Sequence[Model], parts: Sequence[Dataset], log: Log | None
) -> tuple[NDArray[np.int64], list[Dataset]]:
    """The first model's class of each row, and the rows with the features of each model."""
    met: list[Dataset] = []
    labels = None
    for model, rows in zip(models, parts, strict=True):
        if not np.array_equal(rows.labels, parts[0].labels):
            raise DataError(
                f"models are compared on the same rows, but the labels of {rows.name} differ from "
                f"those of {parts[0].name}."
            )
        if {*model.class_names} != {*models[0].class_names}:
            raise DataError(
                "models can be compared that have the same classes, but these have "
                f"{', '.join(models[0].class_names[:5])} and {', '.join(model.class_names[:5])}."
            )
        of_model, y = meet(model, rows, log)
        labels = y if labels is None else labels
        met.append(of_model)
    assert labels is not None  # noqa: S101  # there are two models
    return labels, met


def _counted(
    models: Sequence[Model], met: Sequence[Dataset], y: NDArray[Any], include: bool
) -> NDArray[np.int64]:
    """Numbers of the rows of a known class that no model was fitted to, or of all of them."""
    known = y >= 0 if y.ndim == 1 else np.ones(len(y), bool)
    if met[0].weights is not None:
        known &= met[0].weights > 0.0
    trained = np.zeros(len(y), bool)
    for model, rows in zip(models, met, strict=True):
        trained |= model.trained_on(rows)
    left = np.flatnonzero(known if include else known & ~trained)
    return left if len(left) else np.flatnonzero(known)
