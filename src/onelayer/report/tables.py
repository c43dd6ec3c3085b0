"""Tables: described once, shown in the terminal (within 80 columns), on pages and in notebooks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from onelayer.data.progress import WIDTH
from onelayer.experiments.best_linear import HeldOut
from onelayer.model.compare import Comparison
from onelayer.model.evaluation import TOP, Evaluation, LabelEvaluation
from onelayer.model.inference import Inference
from onelayer.model.intervals import WILSON, interval_words
from onelayer.model.metrics import Measurement, Metric, metric_of
from onelayer.model.model import Model
from onelayer.objective.gradcheck import GradientCheck
from onelayer.report import summary
from onelayer.report.path_summary import Estimate, PathLine, scores_of, summarise_path
from onelayer.report.summary import OVER_SEEDS, SettingSummary, Spread, number
from onelayer.solver import LearningRateBounds, Path
from onelayer.solver.path import IN_SCORES
from onelayer.training.result import RankedSetting, Result
from onelayer.training.suite import Baseline, Head, Suite

if TYPE_CHECKING:
    from rich.table import Table as RichTable

Where = Literal["everywhere", "page", "terminal"]


@dataclass(frozen=True)
class Column:
    """A column: its heading, and where it is shown."""

    name: str
    words: bool = False  # left-aligned, and may wrap
    group: str = ""  # stands over neighbouring columns of the same group on a page
    short: str = ""  # replaces the heading in the terminal, where nothing stands over it
    where: Where = "everywhere"


@dataclass(frozen=True)
class Cell:
    """A cell: text, its error ("± 0.1"), a second line on pages, and how it is stressed."""

    text: str
    error: str = ""
    below: str = ""
    strong: bool = False
    trouble: bool = False

    @property
    def plain(self) -> str:
        """Text and error on one line."""
        return f"{self.text} ± {self.error}" if self.error else self.text


@dataclass(frozen=True)
class Table:
    """A table; a `terminal` prints it, table.html.j2 shows it on pages."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    chosen: int | None = None
    note: str = ""  # what stands behind each ±

    def __rich__(self) -> RichTable:
        """The table in the terminal's style."""
        from rich import box
        from rich.styled import Styled
        from rich.table import Table as RichTable

        shown = [i for i, column in enumerate(self.columns) if column.where != "page"]
        table = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
        table.title, table.caption = self.title, self.note or None
        table.caption_justify = "left"
        for i in shown:
            column = self.columns[i]
            heading = column.short or column.name
            texts = [heading, *(row[i].plain for row in self.rows)]
            least = max(len(word) for text in texts for word in (text.split() or [""]))
            if i == 0 or not column.words:  # the first column names the row: it wraps last
                least = max(least, *(len(line) for text in texts for line in text.split("\n")))
            table.add_column(
                heading,
                justify="left" if column.words else "right",
                overflow="fold",
                no_wrap=not column.words,
                # Words of a column that wraps are not broken up to this length.
                min_width=min(least, 18) if column.words else least,
            )
        for position, row in enumerate(self.rows):
            cells = [
                Styled(cell.plain, f"bold{' red' * cell.trouble}")
                if cell.trouble or cell.strong
                else cell.plain
                for cell in row
            ]
            style = "bold" if position == self.chosen else None
            table.add_row(*(cells[i] for i in shown), style=style)
        return table

    @property
    def groups(self) -> list[tuple[str, list[Column]]]:
        """Neighbouring columns of a page by their group, which may be empty."""
        shown = (column for column in self.columns if column.where != "terminal")
        return [(group, list(columns)) for group, columns in groupby(shown, lambda c: c.group)]

    def on_page(self, row: Sequence[Cell]) -> list[tuple[Column, Cell]]:
        """The cells of a row that are shown on pages."""
        pairs = zip(self.columns, row, strict=True)
        return [(column, cell) for column, cell in pairs if column.where != "terminal"]


def make_table(
    title: str,
    columns: Iterable[Column | str],
    rows: Iterable[Sequence[Cell | str]],
    chosen: int | None = None,
    note: str = "",
) -> Table:
    """A table from columns and cells, plain ones as text; the note is for cells with an error."""
    cells = tuple(tuple(Cell(one) if isinstance(one, str) else one for one in row) for row in rows)
    return Table(
        title,
        tuple(Column(one) if isinstance(one, str) else one for one in columns),
        cells,
        chosen,
        note if any(cell.error for row in cells for cell in row) else "",
    )


def spread_cell(measured: Spread, form: str = ".2f", *, strong: bool = False) -> Cell:
    """Mean ± standard deviation over seeds, and the range below, as in "1.00 to 2.00"."""
    mean, deviation, low, high = (
        number(value, form)
        for value in (measured.mean, measured.deviation, measured.low, measured.high)
    )
    if measured.n < 2:
        return Cell(mean, strong=strong)
    return Cell(mean, deviation, f"{low} to {high}", strong=strong)


def accuracy_table(result: Result) -> Table:
    """Reported against measured accuracies, percent, mean ± standard deviation over seeds."""
    columns = [Column("setting", words=True)]
    for part, short in (("training", "train"), ("test", "test")):
        group = f"{part} accuracy / %"
        if result.reported:
            columns.append(Column("reported", group=group, short="report"))
        columns.append(Column("measured", group=group, short=short))
        if result.reported:
            columns.append(Column("difference", group=group, where="page"))
    if not result.reported:  # beside reported figures a terminal has no room for the range
        columns.append(Column("test range", where="terminal"))
    columns.append(Column("runs", words=True))
    rows = [_accuracies(result, one) for one in summary.summarise(result)]
    return make_table("Accuracy / %, last weights", columns, rows, note=OVER_SEEDS)


def _accuracies(result: Result, setting: SettingSummary) -> list[Cell | str]:
    cells: list[Cell | str] = [setting.name]
    for figure in (setting.train, setting.test):
        cells += [number(figure.reported)] if result.reported else []
        cells += [spread_cell(figure.measured)]
        cells += [number(figure.difference, "+.2f")] if result.reported else []
    if not result.reported:
        test = setting.test.measured
        cells += [f"{test.low:.1f}–{test.high:.1f}" if test.n > 1 else "–"]
    troubles = [setting.status] if setting.status != "finished" else []
    troubles += ["chaotic"] if setting.chaotic else []
    runs = ", ".join([str(len(setting.positions)), *troubles])
    return [*cells, Cell(runs, trouble=bool(troubles))]


def ranking_table(result: Result, most: int = 10) -> Table:
    """The best settings by their mean score on the validation rows; test rows have no say."""
    ranked = result.ranking
    shown = f"Best {most} of {len(ranked)} settings" if len(ranked) > most else "Settings"
    columns: list[Column | str] = [
        Column("rank", short=" "),
        *("η", "λ", "batch"),
        Column("validation accuracy / %", short="validation %"),
        Column("validation loss / nats", short="validation loss"),
        Column("runs", words=True),
    ]
    metric = result.metric
    other = metric.name != "accuracy"
    if other:
        columns[5] = Column("validation loss / nats", where="page")  # 80 characters are full
        columns.insert(4, Column(f"validation {metric.axis}", short=metric.axis))
    beside = any(_beside_batch(one) for one in ranked)
    columns += [Column("with", words=True)] if beside else []
    rows = []
    rates = _apart([one.learning_rate for one in ranked])
    l2s = _apart([one.l2 for one in ranked])
    for one, rate, l2 in zip(ranked[:most], rates, l2s, strict=False):
        several = len(one.positions) - one.diverged > 1
        runs = str(len(one.positions))
        rows.append(
            [
                str(one.rank),
                rate,
                l2,
                str(one.batch_size),
                *([_score_cell(one, metric, several=several)] if other else []),
                Cell(number(100 * one.mean), number(100 * one.sd) if several else ""),
                number(one.loss, ".4f"),
                Cell(f"{one.diverged} of {runs} diverged", trouble=True) if one.diverged else runs,
                *([_beside_batch(one)] if beside else []),
            ]
        )
    return make_table(f"{shown} by mean validation {metric.title}", columns, rows, 0, OVER_SEEDS)


def _score_cell(one: RankedSetting, metric: Metric, *, several: bool) -> Cell:
    form = ".2f" if metric.unit == "%" else ".4f"
    mean, sd = (number(metric.factor * value, form) for value in (one.score, one.score_sd))
    return Cell(mean, sd if several else "")


def _apart(values: Sequence[float]) -> list[str]:
    """Numbers with six digits, or with all of theirs where six do not tell them apart."""
    short = [f"{value:g}" for value in values]
    return short if len({*short}) == len({*values}) else [str(value) for value in values]


def _beside_batch(one: RankedSetting) -> str:
    """What sets a setting apart that has no column of its own."""
    return one.kind.removeprefix(f"batch {one.batch_size}").removeprefix(", ")


def best_on_test(result: Result) -> str:
    """The test accuracy of the best setting, in a sentence."""
    best = result.ranking[0]
    words = accuracy_on_test(result, best.positions) or "not measured"
    return f"best by validation: {best.name}; test accuracy (not used for selection): {words}"


def accuracy_on_test(result: Result, positions: Sequence[int]) -> str:
    """Mean ± standard deviation over seeds, or of one run with its interval; '' without rows."""
    measured = summary.spread(summary.percent_on_test(result)[[*positions]])
    words = f"{spread_cell(measured).plain} %"
    if measured.n != 1:
        return words if measured.n else ""
    return f"{words} ({interval_words(*result.test_interval(positions[0]))})"


def gradient_table(checks: Sequence[GradientCheck]) -> Table:
    """Numerical against analytic gradients: one row a parameter, batch size and λ."""
    losses = {
        check.loss + (f", ε = {check.label_smoothing:g}" if check.label_smoothing else "")
        for check in checks
    }
    about = f", {summary.listed(sorted(losses))}" if losses - {"softmax"} else ""
    columns = [
        Column("parameter", words=True, short="of"),
        *(Column(name) for name in ("batch", "λ", "entries", "too small")),
        Column("largest error", short="max"),
        Column("median error", short="median"),
        Column("reported", where="page"),
        Column("", words=True),
    ]
    rows = [
        [
            check.parameter,
            str(check.batch_size),
            f"{check.l2:g}",
            str(check.entries),
            str(check.too_small),
            f"{check.max_error:.1e}",
            f"{check.median_error:.1e}",
            "< 1e-3" if check.parameter == "W" else "< 1e-6",
            "passed" if check.passed else Cell("FAILED", trouble=True),
        ]
        for check in checks
    ]
    return make_table(f"Relative error of the analytic gradient, every entry{about}", columns, rows)


def advice_table(advice: LearningRateBounds) -> Table:
    """Which learning rates are stable, and why: one row a bound, and the rate to take."""
    bounds = (
        ("full batches, stable at any W", advice.smoothness, advice.stable),
        ("random batches of this size, likewise", advice.batch_smoothness, advice.batch_stable),
        (
            "at W = 0; above it the first steps overshoot",
            advice.start_curvature,
            advice.start_stable,
        ),
    )
    rows = [[words, f"{curvature:.4g}", f"below {rate:.3g}"] for words, curvature, rate in bounds]
    rows.append(['learning_rate="auto" takes', "", f"{advice.learning_rate:.3g}"])
    title = f"Learning rates at λ = {advice.l2:g}, batches of {advice.batch_size}"
    return make_table(title, [Column("", words=True), "curvature", "η"], rows, chosen=3)


def held_out_table(compared: Sequence[HeldOut], chosen: HeldOut) -> Table:
    """What each recipe of the best linear map gave on the rows held out from it."""
    columns: list[Column | str] = [Column("loss", words=True), "λ", "shift / px"]
    columns += [Column("flips", words=True), "accuracy", Column("", words=True)]
    rows = [
        [
            f"L_q, q = {one.recipe.q:g}" if one.recipe.q else "cross-entropy",
            f"{one.recipe.l2:g}",
            str(one.recipe.moves),
            "yes" if one.recipe.flips else "no",
            Cell(f"{100 * one.accuracy:.2f}", f"{100 * one.standard_error:.2f}"),
            "chosen" if one is chosen else "",
        ]
        for one in compared
    ]
    folds = len(chosen.accuracies)
    title = f"Training rows held out, {folds} folds: accuracy in percent"
    return make_table(title, columns, rows, note=f"± {summary.standard_error(folds)}")


def maps_table(each: Sequence[Evaluation], mean: Evaluation, seeds: Sequence[int]) -> Table:
    """Test accuracies of each seed's map and of their mean, percent, with 95 % intervals."""
    names = [f"seed {seed}" for seed in seeds] + [f"mean of the {len(seeds)}"]
    rows = [
        [
            name,
            f"{number(100 * one.accuracy)} %",
            interval_words(*one.interval).removeprefix(f"{WILSON} "),
        ]
        for name, one in zip(names, [*each, mean], strict=True)
    ]
    columns = [Column("map", words=True), Column("accuracy"), Column(WILSON)]
    return make_table(f"{mean.rows:,} test rows", columns, rows)


def seeds_sentence(each: Sequence[Evaluation]) -> str:
    """Mean, standard deviation and range of the seeds' accuracies, percent, in a sentence."""
    if len(each) == 1:
        return "one seed; for a spread over seeds: --seeds 5."
    cell = spread_cell(summary.spread([100 * evaluation.accuracy for evaluation in each]))
    return f"over {len(each)} seeds {cell.plain} % (standard deviation over seeds), {cell.below} %."


# More classes than this, and the table is of those recognised worst.
MOST_CLASSES = 25

# Where counts do not fit beside each other in the terminal, the frequent mistakes are listed.
LONGEST_NAME, SHORT = 12, 4

MOST_MISTAKES = 12

# Coefficients that are shown of many.
MOST_LINES = 40


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
    return make_table(f"Weights on the scaled features, strongest first{more}", columns, rows)


def feature_name(names: Sequence[str] | None, position: int, first: int | None = None) -> str:
    """The name of a feature, or its number, from 0 or from what a file calls the first."""
    return f"feature {position + (first or 0)}" if names is None else names[position]


def _named(model: Model, position: int) -> str:
    return feature_name(model.feature_names, position, model.settings.get("first_index"))


# What a reader of the settings asks first; the file has all of them.
SETTINGS = (
    *("name", "made_by", "l2", "l1", "learning_rate", "batch_size", "epochs_kept", "seed", "tol"),
    *("status", "validation_accuracy"),
)


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
    if model.image_shape is not None:
        channels, height, width = model.image_shape
        facts["features"] += f"; pictures of {height} × {width}, {channels} planes"
    if "data" in settings:
        data = summary.DATA_NAMES.get(settings["data"], settings["data"])
        facts["trained on"] = f"{data}, {settings.get('train_rows', 0):,} rows"
    if "calibration" in settings:
        facts["calibrated"] = calibration_words(model)
    for name in SETTINGS:
        if settings.get(name) is not None:
            facts[name.replace("_", " ")] = str(settings[name])
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


def path_table(path: Path) -> Table:
    """A λ path, largest λ first: what was proven for each λ, and how it scores."""
    lines = summarise_path(path)
    held_out = f"{path.folds} folds" if path.folds else "validation"
    rows = held_out if path.folds else "validation rows"
    by_accuracy, by_loss = (path.choice.by == by for by in IN_SCORES)
    accuracy, loss = "accuracy / %", "loss / nats"
    columns: list[Column | str] = [
        *(path.symbol, Column("passes", where="page" if path.is_sparse else "everywhere")),
        Column("cost J / nats", short="cost"),
        Column("certified gap / nats", where="page"),
        Column("gap / J", short="gap / cost"),
        "‖W‖",
        Column("training", group=accuracy, short="train %"),
        Column(held_out, False, accuracy, "held-out %", "everywhere" if by_accuracy else "page"),
        Column("training", group=loss, where="page"),
        Column(held_out, False, loss, "held-out loss", "everywhere" if by_loss else "page"),
        Column("status", words=True, short=" "),
    ]
    metric = path.choice.metric
    if metric.name not in IN_SCORES:
        columns.insert(-1, Column(held_out, group=metric.axis, short="held-out"))
    if path.is_sparse:
        columns.insert(6, "features")
    chosen = f"chosen by {metric.title} on {rows}, rule {path.choice.rule}"
    title = f"Optimum of each {path.symbol}; {chosen}"
    note = f"± {summary.standard_error(path.folds)}"
    rows_of_l2 = [_path_row(line, metric, sparse=path.is_sparse) for line in lines]
    return make_table(title, columns, rows_of_l2, path.chosen, note)


def suite_table(suite: Suite) -> Table:
    """The heads of a suite, best first: λ, held-out and test scores, and what was proven."""
    metric = suite.test_metric
    names = dict.fromkeys((metric.name, *IN_SCORES))
    columns: list[Column | str] = [
        Column("feature set", words=True),
        Column("features", where="page"),
        "λ",
    ]
    for name in names:
        columns += _score_columns(suite, name, chosen=name == metric.name)
    columns += [
        Column("gap / J", short="gap / cost"),
        Column("passes", where="page"),
        Column("optimal", where="page"),
    ]
    rows_of_heads = [_head_row(head, suite.choice.by, metric, names) for head in suite.ranking]
    rows = f"{suite.folds} folds" if suite.folds else "the validation rows"
    title = f"Feature sets by {suite.choice.metric.title} on {rows}"
    note = f"± {summary.standard_error(suite.folds)}; {interval_kind(suite)}"
    return make_table(title, columns, rows_of_heads, 0, note)


def baseline_table(suite: Suite) -> Table:
    """Test accuracy of each head and of the baselines on its features, best head first.

    On a page also what heads are ranked by, on the test rows, where that is another metric.
    """
    heads = [head for head in suite.ranking if head.baselines]
    names = ["probe", *(one.name for one in heads[0].baselines)]
    metric, accuracy = suite.choice.metric, "accuracy on the test rows / %"
    columns = [Column("feature set", words=True)]
    columns += [Column(name, group=accuracy) for name in names]
    other = metric.name != "accuracy"
    if other:
        columns += [Column(name, group=metric.axis, where="page") for name in names]
    rows: list[list[Cell | str]] = []
    for head in heads:
        judged: list[Head | Baseline] = [head, *head.baselines]
        row: list[Cell | str] = [
            head.name,
            *(_test_cell(one, metric_of("accuracy")) for one in judged),
        ]
        rows.append(row + [_test_cell(one, metric) for one in judged if other])
    title = "Test accuracy / % of probes, and of baselines on the same features"
    return make_table(title, columns, rows, 0)


def _test_cell(judged: Head | Baseline, metric: Metric) -> Cell:
    found = judged.test_of(metric.name)
    if found is None:
        return Cell("–")
    value, *ends = (metric.number(one) for one in found)
    if metric.name == "accuracy":
        ends = [f"{100.0 * end:.1f}" for end in found[1:]]
    return Cell(value, below="–".join(ends))


def interval_kind(suite: Suite) -> str:
    """What the intervals of a suite's test scores are."""
    metric = suite.test_metric
    if any(one.metric == "accuracy" for head in suite.heads for one in head.test_metrics):
        return "95 % intervals of whole groups, resampled"
    if metric.name == "log_loss":
        return "95 % intervals, ± 1.96 standard errors"
    return f"95 % {'Wilson' if metric.counts else 'bootstrap'} intervals"


def _score_columns(suite: Suite, name: str, *, chosen: bool) -> list[Column | str]:
    """Held-out and test scores by a metric; with intervals of accuracy and of what sets rank by."""
    metric = metric_of(name)
    held_out = f"{suite.folds} folds" if suite.folds else "validation"
    unit = {"accuracy": " %", "log_loss": " loss"}.get(name, "")
    where: Where = "everywhere" if chosen else "page"
    loss = name == "log_loss"
    group = "loss / nats" if loss else metric.axis
    columns: list[Column | str] = [
        Column(held_out, False, group, f"held-out{unit}", where),
        Column("test", group=group, short=f"test{unit}"),
    ]
    if chosen or not loss:
        columns.append(Column("95 % interval", group=group, short="95 %", where=where))
    return columns


def _head_row(head: Head, by: str, metric: Metric, names: Iterable[str]) -> list[Cell | str]:
    scores = scores_of(head.best.held_out, by)
    cells: list[Cell | str] = [head.name, f"{head.model.features:,}", f"{head.l2:.3g}"]
    for name in names:
        of, digits = metric_of(name), 2 if metric_of(name).unit == "%" else 4
        found, measured = scores.of(name), head.test_of(name)
        assert measured is not None  # noqa: S101  # `test_metric` is of all heads
        value, low, high = (of.factor * figure for figure in measured)
        cells += [
            Cell(f"{found.mean:.{digits}f}", f"{found.error:.{digits}f}"),
            f"{value:.{digits}f}",
        ]
        if name == metric.name or name != "log_loss":
            cells.append(f"{low:.{digits - 1}f}–{high:.{digits - 1}f}")
    proof, solved = (
        head.model.require_certificate(),
        sum(one.status == "optimal" for one in head.solutions),
    )
    return [
        *cells,
        f"{proof.gap / proof.cost:.1e}" if head.l2 else "no bound",
        str(sum(one.passes for one in head.solutions)),
        Cell(f"{solved} of {len(head.solutions)}", trouble=solved < len(head.solutions)),
    ]


def shots_metric(suite: Suite) -> Metric:
    """What scores of few shots are shown by: that of the choice, or accuracy where it has none."""
    metric = suite.test_metric
    scores = [one for head in suite.heads for few in head.few_shots for one in few.test]
    known = metric.name in IN_SCORES or all(one.value is not None for one in scores)
    return metric if known else metric_of("accuracy")


def shots_table(suite: Suite) -> Table:
    """Test scores of heads of few training rows, mean ± standard deviation, best set first."""
    metric, heads = shots_metric(suite), [head for head in suite.ranking if head.few_shots]
    sizes = {few.label: few for head in heads for few in head.few_shots}
    rows = list[list[Cell | str]]()
    for head in heads:
        of = {few.label: few.mean(metric.name) for few in head.few_shots}
        rows.append([head.name, *(_mean_cell(of.get(label), metric) for label in sizes)])
    repeats = max(few.repeats for few in sizes.values())
    title = f"Few labels: test {metric.axis}"
    names = [label if few.shots else f"{label} of rows" for label, few in sizes.items()]
    columns: list[Column | str] = [Column("feature set", words=True), *names]
    return make_table(title, columns, rows, 0, f"± standard deviation over {repeats} draws")


def _mean_cell(found: tuple[float, float] | None, metric: Metric) -> Cell:
    """Mean ± standard deviation; the latter is 0 where all rows are drawn."""
    if found is None:
        return Cell("–")
    mean, spread = (f"{metric.factor * one:.{1 if metric.unit == '%' else 3}f}" for one in found)
    return Cell(mean, spread if found[1] else "")


def _path_row(line: PathLine, metric: Metric, *, sparse: bool) -> list[Cell | str]:
    status = f"{'◄ chosen, ' * line.chosen}{line.status}"
    return [
        f"{line.strength:.3g}",
        str(line.passes),
        f"{line.cost:.4f}",
        f"{line.gap:.1e}" if line.bounded else "no bound",
        f"{line.relative_gap:.1e}" if line.bounded else "no bound",
        f"{line.norm:.3g}",
        *([f"{line.features:,}"] if sparse else []),
        f"{line.train.accuracy.mean:.2f}",
        Cell(f"{line.held_out.accuracy.mean:.2f}", f"{line.held_out.accuracy.error:.2f}"),
        f"{line.train.loss.mean:.3f}",
        Cell(f"{line.held_out.loss.mean:.4f}", f"{line.held_out.loss.error:.4f}"),
        *([] if line.held_out.value is None else [_estimate(line.held_out.value, metric)]),
        Cell(status, trouble=line.trouble),
    ]


def _estimate(value: Estimate, metric: Metric) -> Cell:
    form = ".2f" if metric.unit == "%" else ".4f"
    return Cell(f"{value.mean:{form}}", f"{value.error:{form}}")
