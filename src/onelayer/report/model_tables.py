"""Tables of models: evaluations, facts, weights, coefficients, comparisons."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onelayer.data.progress import WIDTH
from onelayer.model.compare import Comparison
from onelayer.model.evaluation import TOP, Evaluation, LabelEvaluation
from onelayer.model.inference import Inference
from onelayer.model.metrics import Measurement, metric_of
from onelayer.model.model import Model
from onelayer.report import summary
from onelayer.report.summary import number
from onelayer.report.table import Cell, Column, Table, make_table

# More classes than this, and the table is of those recognised worst.
MOST_CLASSES = 25


# Where counts do not fit beside each other in the terminal, the frequent mistakes are listed.
LONGEST_NAME, SHORT = 12, 4


MOST_MISTAKES = 12


# Coefficients that are shown of many.
MOST_LINES = 40


# What a reader of the settings asks first; the file has all of them.
SETTINGS = (
    *("name", "made_by", "l2", "l1", "learning_rate", "batch_size", "epochs_kept", "seed", "tol"),
    *("status", "validation_accuracy"),
)


def evaluation_tables(evaluation: Evaluation, of: str) -> list[Table]:
    """Figures, classes, confusion matrix (or most frequent mistakes) and calibration.

    Of many labels a row the first two.
    """
    if isinstance(evaluation, LabelEvaluation):
        return [_label_figures(evaluation, of), _labels(evaluation)]
    names = evaluation.class_names
    whole = len(names) <= WIDTH // 3 and _fits(evaluation)
    return [
        _figures(evaluation, of),
        _classes(evaluation),
        _confusion(evaluation) if whole else mistakes_of(evaluation.pairs, names, MOST_MISTAKES),
        _calibration(evaluation),
    ]


def _figures(evaluation: Evaluation, of: str) -> Table:
    accuracy, curve = number(100 * evaluation.accuracy), evaluation.reliability
    rows = [
        ["rows", f"{evaluation.rows:,}", ""],
        ["accuracy", f"{accuracy} %", evaluation.interval_words],
    ]
    if evaluation.top_accuracy is not None:
        words = f"the class is among the {TOP} likeliest"
        rows.append([f"top-{TOP} accuracy", f"{number(100 * evaluation.top_accuracy)} %", words])
    chance = math.log(len(evaluation.class_names))
    bins = f"expected calibration error, {len(curve.rows)} bins"
    rows += [
        ["log loss", f"{evaluation.log_loss:.4f}", f"nats; equal chances give {chance:.4f}"],
        ["ECE", f"{number(100 * curve.error)} %", bins],
    ]
    if (before := evaluation.uncalibrated) is not None:
        rows.append(["ECE before", f"{number(100 * before.error)} %", "without calibration"])
    rows += map(_measured, evaluation.metrics)
    return make_table(of, [Column("figure", words=True), "value", Column("", words=True)], rows)


def _label_figures(evaluation: LabelEvaluation, of: str) -> Table:
    accuracy = number(100 * evaluation.accuracy)
    interval = f"all labels of a row right; {evaluation.interval_words}"
    rows = [["rows", f"{evaluation.rows:,}", ""], ["subset accuracy", f"{accuracy} %", interval]]
    for name, value in evaluation.figures.items():
        if name != "accuracy":
            metric = metric_of(name)
            rows.append([metric.title, metric.words(value), ""])
    rows += map(_measured, evaluation.metrics)
    return make_table(of, [Column("figure", words=True), "value", Column("", words=True)], rows)


def _labels(evaluation: LabelEvaluation) -> Table:
    names, f1 = evaluation.class_names, evaluation.f1
    order, title = np.arange(len(names)), "Labels, percent"
    if len(names) > MOST_CLASSES:
        order = np.argsort(f1, kind="stable")[:MOST_CLASSES]
        title = f"The {MOST_CLASSES} of {len(names)} labels with the lowest F1, percent"
    figures = (evaluation.precision, evaluation.recall, f1, evaluation.average_precision)
    rows = [
        [names[k], str(evaluation.support[k]), *(number(100 * one[k]) for one in figures)]
        for k in order
    ]
    columns = ("rows", "precision", "recall", "F1", "average precision")
    return make_table(title, [Column("label", words=True), *map(Column, columns)], rows)


def _measured(one: Measurement) -> list[str]:
    """A metric with its interval, as a line of figures."""
    metric = metric_of(one.metric)
    interval = f"95 %: {metric.number(one.low)} to {metric.words(one.high)}, {one.method}"
    return [metric.title, metric.words(one.value), interval]


def comparison_table(compared: Comparison, title: str) -> Table:
    """Models beside the reference: metric, difference with its interval, and p."""
    metric, several = metric_of(compared.metric), len(compared.differences) > 1
    columns: list[Column | str] = [
        Column("model", words=True),
        metric.axis,
        "difference",
        Column("95 % interval", words=True),
        "p",
        *(["p, Holm"] if several else []),
    ]
    rows: list[list[Cell | str]] = [
        [
            one.name,
            metric.number(one.value),
            metric.number(one.difference, "+"),
            f"{metric.number(one.low, '+')} to {metric.number(one.high, '+')}",
            f"{one.p:.2g}",
            *([f"{one.p_holm:.2g}"] if several else []),
        ]
        for one in compared.differences
    ]
    first = [compared.reference, metric.number(compared.reference_value), "", "", ""]
    return make_table(
        f"{title}, {compared.rows:,} rows; p by {compared.test}", columns,
        [first + [""] * several, *rows],
    )  # fmt: skip


def _classes(evaluation: Evaluation) -> Table:
    names, f1 = evaluation.class_names, evaluation.f1
    order = np.arange(len(names))
    title = "Classes, percent"
    if len(names) > MOST_CLASSES:
        order = np.argsort(f1, kind="stable")[:MOST_CLASSES]
        title = f"The {MOST_CLASSES} of {len(names)} classes with the lowest F1, percent"
    figures = (evaluation.precision, evaluation.recall, f1)
    rows = [
        [names[k], str(evaluation.support[k]), *(number(100 * one[k]) for one in figures)]
        for k in order
    ]
    figures_of = ("rows", "precision", "recall", "F1")
    columns = [Column("class", words=True), *map(Column, figures_of)]
    return make_table(title, columns, rows)


def _fits(evaluation: Evaluation) -> bool:
    """Whether no name or count of the confusion matrix has to be cut."""
    counts = [len(str(n)) for n in evaluation.confusion.max(axis=0)]
    columns = [max(n, len(s[:SHORT])) for n, s in zip(counts, evaluation.class_names, strict=True)]
    return LONGEST_NAME + 2 + sum(width + 2 for width in columns) <= WIDTH


def _confusion(evaluation: Evaluation) -> Table:
    names = evaluation.class_names
    cut = [s if len(s) <= LONGEST_NAME else f"{s[: LONGEST_NAME - 1]}…" for s in names]
    rows: list[list[Cell | str]] = [
        [name, *(Cell(str(n), strong=i == k) for i, n in enumerate(counts))]
        for k, (name, counts) in enumerate(zip(cut, evaluation.confusion, strict=True))
    ]
    columns = [Column("true", words=True), *(Column(name, short=name[:SHORT]) for name in names)]
    return make_table("Confusion matrix: rows of each true class by predicted class", columns, rows)


def _calibration(evaluation: Evaluation) -> Table:
    curve = evaluation.reliability
    edges, confidence, accuracy = 100 * curve.edges, 100 * curve.confidence, 100 * curve.accuracy
    rows = [
        [
            f"{edges[m]:.1f} to {edges[m + 1]:.1f}",
            str(np.round(curve.rows[m], 1)),
            number(confidence[m]),
            number(accuracy[m]),
            number(accuracy[m] - confidence[m], "+.2f"),
        ]
        for m in np.flatnonzero(curve.rows)
    ]
    columns = ("confidence", "rows", "mean", "accuracy", "difference")
    return make_table("Calibration by confidence, percent", columns, rows)


def mistakes_of(pairs: NDArray[np.int64], class_names: tuple[str, ...], most: int = 20) -> Table:
    """The pairs of classes that are confused most often, percent of the true class."""
    percent = 100.0 * pairs[:, 2] / np.bincount(pairs[:, 0], pairs[:, 2])[pairs[:, 0]]
    order = np.argsort(percent, kind="stable")[::-1]
    wrong = order[pairs[order, 0] != pairs[order, 1]][:most]
    rows = [
        [class_names[i], class_names[j], f"{share:.1f}"]
        for (i, j, _), share in zip(pairs[wrong], percent[wrong], strict=True)
    ]
    columns = [
        Column("true class", words=True),
        Column("predicted as", words=True),
        Column("% of the true class", short="share"),
    ]
    return make_table("Most frequent mistakes, percent of the true class", columns, rows)


def model_table(model: Model, name: str) -> Table:
    """What a model is and how it was made, one fact a row."""
    columns = [Column("fact", words=True), Column("", words=True)]
    return make_table(name, columns, list(_facts(model).items()))


def strongest_table(model: Model, most: int = 5) -> Table:
    """The features with the largest weights for and against each class, by name."""
    shown = model.class_names[:MOST_CLASSES]
    more = f" (the first {len(shown)} of {model.classes})" if len(shown) < model.classes else ""
    rows = []
    for name, weights in zip(shown, model.W, strict=False):
        order = np.argsort(-weights, kind="stable")
        best = [j for j in order[:most] if weights[j] > 0]
        worst = [j for j in order[::-1][:most] if weights[j] < 0]
        cells = (
            ", ".join(f"{_named(model, j)} {weights[j]:+.3g}" for j in places)
            for places in (best, worst)
        )
        rows.append([name, *cells])
    columns = [Column(name, words=True) for name in ("class", "for it", "against it")]
    title = f"Weights on the {weighed_features(model)}, strongest first{more}"
    return make_table(title, columns, rows)


def weighed_features(model: Model) -> str:
    """What the weights of a model multiply."""
    return "features" if model.scaling.name == "none" else "scaled features"


def feature_name(names: Sequence[str] | None, position: int, first: int | None = None) -> str:
    """The name of a feature, or its number, from 0 or from what a file calls the first."""
    return f"feature {position + (first or 0)}" if names is None else names[position]


def _named(model: Model, position: int) -> str:
    return feature_name(model.feature_names, position, model.settings.get("first_index"))


def _facts(model: Model) -> dict[str, str]:
    settings = model.settings
    more = ", …" if model.classes > MOST_CLASSES else ""
    facts = {
        "classes": f"{model.classes}: {', '.join(model.class_names[:MOST_CLASSES])}{more}",
        "features": f"{model.features:,}, {summary.describe_scaling(model.scaling)}",
        "weights": f"{model.W.dtype}, ‖W‖ = {float(np.linalg.norm(model.W)):.4g}",
        "proof": model.proof,
    }
    if not model.intercept:
        facts["bias"] = "none, b = 0"
    if factors := settings.get("penalty_factors"):
        some = [f"{name} {factor:g}" for name, factor in list(factors.items())[:MOST_CLASSES]]
        more = ", …" if len(factors) > MOST_CLASSES else ""
        facts["penalty factors"] = f"{', '.join(some)}{more}; others 1"
    if settings.get("offsets"):
        facts["offsets"] = "of each row, added to its scores"
    if model.image_shape is not None:
        channels, height, width = model.image_shape
        planes = f"{channels} planes" if channels > 1 else "1 plane"
        facts["features"] += f"; pictures of {height} × {width}, {planes}"
    if "data" in settings:
        data = summary.DATA_NAMES.get(settings["data"], settings["data"])
        facts["trained on"] = f"{data}, {settings.get('train_rows', 0):,} rows"
    if "calibration" in settings:
        facts["calibrated"] = calibration_words(model)
    for name in SETTINGS:
        if settings.get(name) is not None:
            value = settings[name]
            words = f"{value:.6g}" if isinstance(value, float) else str(value)
            facts[name.replace("_", " ")] = words
    return facts


def calibration_words(model: Model) -> str:
    """The temperature of a calibrated model, and what it changed on the rows that gave it."""
    of = model.settings["calibration"]
    loss, error = of["log_loss"], [100 * value for value in of["calibration_error"]]
    return (
        f"T = {model.temperature:.4g} on {of['rows']:,} rows: log loss {loss[0]:.4f} → "
        f"{loss[1]:.4f}, ECE {number(error[0])} → {number(error[1])} %"
    )


def inference_table(found: Inference) -> Table:
    """Coefficients with their errors; of many those that are the most standard errors from 0."""
    of_classes = len(found.class_names) > 1
    lines = list(found.lines())
    against = "" if found.reference is None else f" against {found.reference}"
    named = "" if of_classes else f" of {found.class_names[0]}"
    title = f"Log odds{named}{against} by unit of each feature"
    if len(lines) > MOST_LINES:
        order = np.argsort(-np.abs([line.z for line in lines]), kind="stable")[:MOST_LINES]
        title += f", the {MOST_LINES} of {len(lines):,} with the largest |z|"
        lines = [lines[i] for i in sorted(order)]
    level = f"{100 * found.level:.4g} %"
    columns: list[Column | str] = [
        *([Column("class", words=True)] if of_classes else []),
        Column("feature", words=True),
        "coefficient",
        Column("standard error", short="error"),
        Column("z", where="page" if of_classes else "everywhere"),  # 80 columns have no room
        "p",
        Column(f"{level} interval", short=level),
        Column("odds ratio", short="odds"),
        Column(f"{level} of it", where="page"),
    ]
    rows = [
        [
            *([line.class_name] if of_classes else []),
            line.feature,
            number(line.coefficient, ".4g"),
            number(line.standard_error, ".3g"),
            number(line.z, ".2f"),
            number(line.p, ".2g"),
            f"{number(line.low, '.3g')} to {number(line.high, '.3g')}",
            number(line.odds_ratio, ".3g"),
            f"{number(line.odds_low, '.3g')} to {number(line.odds_high, '.3g')}",
        ]
        for line in lines
    ]
    return make_table(title, columns, rows)
