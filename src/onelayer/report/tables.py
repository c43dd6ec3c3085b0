"""The tables that the terminal shows, each within 80 columns.

The terminal's table of learning-rate advice, within 80 columns.

The best linear map in the terminal: what recipes gave on held-out rows, and the maps.

The terminal's tables of an evaluation, each within 80 columns.

The leaderboard of a sweep in the terminal, within 80 columns.

The terminal's tables of a model: what it is, and its strongest features, within 80 columns.

The terminal's table of a λ path, within 80 columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING

import numpy as np

from onelayer.experiments.best_linear import HeldOut, Recipe
from onelayer.model.evaluation import TOP, Evaluation
from onelayer.model.model import Model
from onelayer.objective.gradcheck import GradientCheck
from onelayer.report.confusion import frequent_mistakes, share_of_rows
from onelayer.report.path_summary import Estimate, summarise_path
from onelayer.report.summary import (
    DATA_NAMES,
    SCALINGS,
    Comparison,
    SettingSummary,
    Spread,
    listed,
    loss_name,
    percent_on_test,
    spread,
    summarise,
)
from onelayer.solver import Advice
from onelayer.solver.path import PathRecord
from onelayer.training.result import Result, Standing, rank_settings

if TYPE_CHECKING:
    from rich.table import Table


def terminal_table(result: Result) -> Table:
    """Tabulate reported against measured accuracies.

    Args:
        result: the records.

    Returns:
        One line a setting: reported train / test, measured mean ± standard deviation over seeds
        with the range of the test accuracy, and how the runs ended; percentages.

    Example:
        >>> from onelayer import Run, load
        >>> from onelayer import train
        >>> table = terminal_table(train(load("digits"), [Run(learning_rate=0.1, epochs=1)]))
        >>> [column.header for column in table.columns]
        ['setting', 'train', 'test', 'test range', 'runs']
    """
    from rich.markup import escape

    settings = summarise(result)
    with_reported = bool(result.reported)
    table = plain_table("Accuracy with the last weights: mean ± deviation over seeds, percent")
    table.add_column("setting", overflow="fold")
    if with_reported:
        table.add_column("report", justify="right")
    for name in ("train", "test", "test range"):
        table.add_column(name, justify="right")
    table.add_column("runs", overflow="fold")
    for setting in settings:
        cells = [escape(setting.name)]
        cells += [_pair(setting)] if with_reported else []
        cells += [
            _mean(setting.train.measured),
            _mean(setting.test.measured),
            _range(setting.test.measured),
            _runs(setting),
        ]
        table.add_row(*cells)
    return table


def gradient_table(checks: Sequence[GradientCheck]) -> Table:
    """Tabulate numerical against analytic gradients.

    Args:
        checks: lines of the table.

    Returns:
        One line a parameter, batch size and λ.

    Example:
        >>> gradient_table([]).row_count
        0
    """
    of = sorted({loss_name(check.loss, check.label_smoothing) for check in checks})
    about = f", {listed(of)}" if of not in ([], ["softmax"]) else ""
    table = plain_table(f"Relative error of the analytic gradient, every entry{about}")
    table.add_column("of")
    for name in ("batch", "λ", "entries", "too small", "max", "median"):
        table.add_column(name, justify="right")
    table.add_column("")
    for check in checks:
        table.add_row(
            check.parameter,
            str(check.batch_size),
            f"{check.l2:g}",
            str(check.entries),
            str(check.too_small),
            f"{check.max_error:.1e}",
            f"{check.median_error:.1e}",
            "passed" if check.passed else "[bold red]FAILED[/]",
        )
    return table


def plain_table(title: str) -> Table:
    """A table in the terminal's style, still without columns."""
    from rich import box
    from rich.table import Table

    return Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)


def _pair(setting: SettingSummary) -> str:
    return f"{_reported(setting.train)} {_reported(setting.test)}"


def _reported(figure: Comparison) -> str:
    return "–" if figure.reported is None else f"{figure.reported:.2f}"


def _mean(measured: Spread) -> str:
    if not measured.n:
        return "–"
    return f"{measured.mean:.2f}" + (f" ± {measured.deviation:.2f}" if measured.n > 1 else "")


def _range(measured: Spread) -> str:
    return f"{measured.low:.1f}–{measured.high:.1f}" if measured.n > 1 else "–"


def _runs(setting: SettingSummary) -> str:
    words = str(len(setting.positions))
    if setting.status != "finished":
        words = setting.status
    return f"{words}, chaotic" if setting.chaotic else words


def advice_table(advice: Advice) -> Table:
    """Tabulate which learning rates are stable, and why.

    Args:
        advice: measured bounds.

    Returns:
        One line a bound, and the rate to take.

    Example:
        >>> len(advice_table(Advice(0.0, 100, 40.0, 50.0, 8.0)).rows)
        4
    """
    table = plain_table(f"Learning rates at λ = {advice.l2:g}, batches of {advice.batch_size}")
    table.add_column("", no_wrap=True)
    table.add_column("curvature", justify="right", no_wrap=True)
    table.add_column("η", justify="right", no_wrap=True)
    for words, curvature, rate in (
        ("full batches, stable wherever they go", advice.smoothness, advice.stable),
        ("random batches of this size, likewise", advice.batch_smoothness, advice.batch_stable),
        ("at W = 0; above it the first steps overshoot", advice.start_curvature,
         advice.start_stable),
    ):  # fmt: skip
        table.add_row(words, f"{curvature:.4g}", f"below {rate:.3g}")
    table.add_row('learning_rate="auto" takes', "", f"{advice.learning_rate:.3g}", style="bold")
    return table


def held_out_table(compared: Sequence[HeldOut], chosen: HeldOut) -> Table:
    """Tabulate what each recipe gave on the rows held out from it.

    Args:
        compared: the recipes.
        chosen: the one that is taken, of them.

    Returns:
        One line a recipe: its settings, and mean ± standard error over the folds.

    Example:
        >>> import numpy as np
        >>> one = HeldOut(Recipe(), np.array([0.4, 0.5]))
        >>> held_out_table([one], one).row_count
        1
    """
    folds = len(chosen.accuracies)
    table = plain_table(f"Training rows held out, {folds} folds: accuracy in percent")
    for name in ("loss", "λ", "moves", "flips", "accuracy", ""):
        table.add_column(name, justify="right" if name in ("λ", "moves", "accuracy") else "left")
    for held_out in compared:
        recipe = held_out.recipe
        table.add_row(
            loss_words(recipe), f"{recipe.l2:g}", f"±{recipe.moves}" if recipe.moves else "0",
            "yes" if recipe.flips else "no",
            f"{100 * held_out.accuracy:.2f} ± {100 * held_out.standard_error:.2f}",
            "chosen" if held_out is chosen else "",
        )  # fmt: skip
    return table


def maps_table(each: Sequence[Evaluation], mean: Evaluation, seeds: Sequence[int]) -> Table:
    """Tabulate the test accuracies of the maps and of their mean.

    Args:
        each: evaluation of each seed's map.
        mean: of the mean of the maps.
        seeds: of the maps.

    Returns:
        One line a map, in percent, with the 95 % Wilson interval.
    """
    table = plain_table(f"{mean.rows:,} test rows: accuracy in percent")
    table.add_column("map")
    table.add_column("accuracy", justify="right")
    table.add_column("95 % interval over rows", justify="right")
    names = [f"seed {seed}" for seed in seeds] + [f"mean of the {len(seeds)}"]
    for name, evaluation in zip(names, [*each, mean], strict=True):
        low, high = evaluation.interval
        table.add_row(
            name, f"{100 * evaluation.accuracy:.2f}", f"{100 * low:.2f} to {100 * high:.2f}"
        )
    return table


def loss_words(recipe: Recipe) -> str:
    """The loss in words.

    Example:
        >>> loss_words(Recipe(q=0.0)), loss_words(Recipe(q=0.6))
        ('cross-entropy', 'L_q, q = 0.6')
    """
    return "cross-entropy" if recipe.q == 0 else f"L_q, q = {recipe.q:g}"


def seeds_sentence(each: Sequence[Evaluation]) -> str:
    """The spread of the seeds' maps in a sentence: mean, standard deviation, lowest to highest.

    Args:
        each: evaluation of each seed's map.

    Returns:
        In percent; of one map there is no spread.
    """
    accuracies = [100 * evaluation.accuracy for evaluation in each]
    if len(accuracies) == 1:
        return "one seed; its spread takes more: --seeds 5."
    return (
        f"over {len(accuracies)} seeds {fmean(accuracies):.2f} ± {stdev(accuracies):.2f} "
        f"(standard deviation), {min(accuracies):.2f} to {max(accuracies):.2f}."
    )


# More classes than this, and the table is of those recognised worst.
MOST_CLASSES = 25

# Of the terminal; where counts do not fit beside each other, the most frequent mistakes are told.
WIDTH = 80

LONGEST_NAME, SHORT = 12, 4

MOST_MISTAKES = 12


def evaluation_tables(evaluation: Evaluation, of: str) -> list[Table]:
    """Tabulate an evaluation.

    Args:
        evaluation: what was measured.
        of: which model on which rows, for the title.

    Returns:
        The figures, the classes, the confusion matrix (or the most frequent mistakes, where it is
        wider than WIDTH) and the calibration curve.

    Example:
        >>> from onelayer import Model, Run, evaluate, load
        >>> from onelayer import train
        >>> splits = load("digits")
        >>> model = train(splits, [Run(learning_rate=0.1, epochs=1)]).model()
        >>> [table.row_count for table in evaluation_tables(evaluate(model, splits.test), "")][:3]
        [5, 10, 10]
    """
    return [
        _figures(evaluation, of),
        _classes(evaluation),
        _confusion(evaluation) if _fits(evaluation) else _mistakes(evaluation),
        _calibration(evaluation),
    ]


def _figures(evaluation: Evaluation, of: str) -> Table:
    from rich.markup import escape

    table = plain_table(escape(of))
    table.add_column("figure", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    low, high = evaluation.interval
    table.add_row("rows", f"{evaluation.rows:,}", "")
    interval = f"95 % Wilson interval {100 * low:.2f} to {100 * high:.2f}"
    table.add_row("accuracy", _percent(evaluation.accuracy) + " %", interval)
    if evaluation.top_accuracy is not None:
        words = f"the class is among the {TOP} likeliest"
        table.add_row(f"top-{TOP} accuracy", _percent(evaluation.top_accuracy) + " %", words)
    chance = math.log(len(evaluation.class_names))
    table.add_row(
        "log loss", f"{evaluation.log_loss:.4f}", f"nats; equal chances give {chance:.4f}"
    )
    error = evaluation.reliability.error
    bins = f"expected calibration error, {len(evaluation.reliability.rows)} bins"
    table.add_row("ECE", _percent(error) + " %", bins)
    return table


def _classes(evaluation: Evaluation) -> Table:
    from rich.markup import escape

    names, f1 = evaluation.class_names, evaluation.f1
    order = np.arange(len(names))
    title = "Classes, percent"
    if len(names) > MOST_CLASSES:
        order = np.argsort(f1, kind="stable")[:MOST_CLASSES]
        title = f"The {MOST_CLASSES} of {len(names)} classes with the lowest F1, percent"
    table = plain_table(title)
    table.add_column("class", overflow="fold")
    for name in ("rows", "precision", "recall", "F1"):
        table.add_column(name, justify="right", no_wrap=True)
    for k in order:
        shares = (evaluation.precision[k], evaluation.recall[k], f1[k])
        cells = map(_percent, shares)
        table.add_row(escape(names[k]), str(evaluation.support[k]), *cells)
    return table


def _fits(evaluation: Evaluation) -> bool:
    """Whether no name or count of the confusion matrix has to be cut."""
    counts = [len(str(n)) for n in evaluation.confusion.max(axis=0)]
    columns = [max(n, len(s[:SHORT])) for n, s in zip(counts, evaluation.class_names, strict=True)]
    return LONGEST_NAME + 2 + sum(width + 2 for width in columns) <= WIDTH


def _confusion(evaluation: Evaluation) -> Table:
    from rich.markup import escape

    table = plain_table("Confusion matrix: rows of each true class by predicted class")
    table.add_column("true", overflow="ellipsis", no_wrap=True, max_width=LONGEST_NAME)
    for name in evaluation.class_names:
        table.add_column(escape(name[:SHORT]), justify="right", no_wrap=True)
    for k, (name, counts) in enumerate(
        zip(evaluation.class_names, evaluation.confusion, strict=True)
    ):
        cells = [f"[bold]{n}[/]" if i == k else str(n) for i, n in enumerate(counts)]
        table.add_row(escape(name), *cells)
    return table


def _mistakes(evaluation: Evaluation) -> Table:
    from rich.markup import escape

    percent = share_of_rows(evaluation.confusion)
    table = plain_table("Most frequent mistakes, percent of the true class")
    table.add_column("true", overflow="fold")
    table.add_column("taken for", overflow="fold")
    table.add_column("share", justify="right", no_wrap=True)
    for mistake in frequent_mistakes(percent, evaluation.class_names, MOST_MISTAKES):
        share = f"{mistake.percent:.1f}"
        table.add_row(escape(mistake.truth), escape(mistake.prediction), share)
    return table


def _calibration(evaluation: Evaluation) -> Table:
    curve = evaluation.reliability
    table = plain_table("Calibration by confidence, percent")
    for name in ("confidence", "rows", "mean", "right", "right − mean"):
        table.add_column(name, justify="right", no_wrap=True)
    edges = 100 * curve.edges
    for m in np.flatnonzero(curve.rows):
        table.add_row(
            f"{edges[m]:.1f} to {edges[m + 1]:.1f}",
            str(curve.rows[m]),
            _percent(curve.confidence[m]),
            _percent(curve.accuracy[m]),
            f"{100 * (curve.accuracy[m] - curve.confidence[m]):+.2f}",
        )
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.2f}" if math.isfinite(share) else "–"


MOST_LINES = 10


def leaderboard(result: Result, most: int = MOST_LINES) -> Table:
    """Tabulate the best settings by validation accuracy; the test rows are not looked at.

    Args:
        result: the records.
        most: lines at most.

    Returns:
        One line a setting: rank, η, λ, batch size, validation accuracy and loss, and what else
        sets it apart, if anything does.

    Example:
        >>> from onelayer import Run, load
        >>> from onelayer import train
        >>> table = leaderboard(train(load("digits"), [Run(learning_rate=0.1, epochs=1)]))
        >>> [column.header for column in table.columns]
        ['', 'η', 'λ', 'batch', 'validation %', 'validation loss', 'runs']
    """
    ranked = rank_settings(result)
    shown = f"Best {most} of {len(ranked)} settings" if len(ranked) > most else "Settings"
    table = plain_table(f"{shown} by mean validation accuracy")
    for name in ("", "η", "λ", "batch", "validation %", "validation loss"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("runs")
    told = any(_beside_batch(one) for one in ranked)
    if told:
        table.add_column("with")
    for one in ranked[:most]:
        several = len(one.positions) - one.diverged > 1
        table.add_row(
            str(one.rank),
            f"{one.learning_rate:g}",
            f"{one.l2:g}",
            str(one.batch_size),
            f"{one.accuracy:.2f}" + (f" ± {one.deviation:.2f}" if several else ""),
            f"{one.loss:.4f}",
            ending_of(one),
            *([_beside_batch(one)] if told else []),
            style="bold" if one.rank == 1 else None,
        )
    return table


def best_on_test(result: Result) -> str:
    """What the chosen setting alone scores on the test rows, in a sentence.

    Example:
        >>> from onelayer import Run, load
        >>> from onelayer import train
        >>> best_on_test(train(load("digits"), [Run(learning_rate=0.1, epochs=9)]))[:50]
        'best by validation: λ=0, η=0.1; its test accuracy,'
    """
    best = rank_settings(result)[0]
    measured = spread(percent_on_test(result)[list(best.positions)])
    words = f"{measured.mean:.2f}" if measured.n else "not measured,"
    words += f" ± {measured.deviation:.2f}" if measured.n > 1 else ""
    return (
        f"best by validation: {best.name}; its test accuracy, which had no say in the choice: "
        f"{words} %"
    )


def _beside_batch(one: Standing) -> str:
    """What sets a setting apart that has no column of its own."""
    return one.kind.removeprefix(f"batch {one.batch_size}").removeprefix(", ")


def ending_of(one: Standing) -> str:
    """How many runs a setting has, or how many of them diverged."""
    if not one.diverged:
        return str(len(one.positions))
    return f"{one.diverged} of {len(one.positions)} diverged"


STRONGEST = 5


def model_table(model: Model, named: str) -> Table:
    """Tabulate what a model is and how it was made.

    Args:
        model: any.
        named: what the user calls it, for the title.

    Returns:
        One line a fact.

    Example:
        >>> from onelayer.data.scaling import Scaling
        >>> scaling = Scaling("none", np.ones(2), np.zeros(2))
        >>> model_table(Model(np.eye(2), np.zeros(2), scaling, ("a", "b")), "").row_count
        4
    """
    from rich.markup import escape

    table = plain_table(escape(named))
    table.add_column("fact", no_wrap=True)
    table.add_column("", overflow="fold")
    for name, words in _facts(model).items():
        table.add_row(name, escape(words))
    return table


def strongest_table(model: Model, most: int = STRONGEST) -> Table:
    """Tabulate the features that speak loudest for and against each class.

    Args:
        model: any.
        most: features of each sign.

    Returns:
        One line a class, of the first MOST_CLASSES: the features with the largest and with the
        smallest weights on the scaled features, by name.

    Example:
        >>> from onelayer.data.scaling import Scaling
        >>> scaling = Scaling("none", np.ones(2), np.zeros(2))
        >>> table = strongest_table(Model(np.eye(2), np.zeros(2), scaling, ("a", "b")))
        >>> list(table.columns[1].cells)
        ['feature 0 +1', 'feature 1 +1']
    """
    from rich.markup import escape

    shown = model.class_names[:MOST_CLASSES]
    left = model.classes - len(shown)
    more = f" (the first {len(shown)} of {model.classes})" if left else ""
    table = plain_table(f"Weights on the scaled features, strongest first{more}")
    table.add_column("class", overflow="fold", max_width=18)
    table.add_column("for it", overflow="fold")
    table.add_column("against it", overflow="fold")
    for name, weights in zip(shown, model.W, strict=False):
        order = np.argsort(-weights, kind="stable")
        best = [j for j in order[:most] if weights[j] > 0]
        worst = [j for j in order[::-1][:most] if weights[j] < 0]
        cells = ("\n".join(_weight(model, j, weights[j]) for j in js) for js in (best, worst))
        table.add_row(escape(name), *map(escape, cells))
    return table


def _facts(model: Model) -> dict[str, str]:
    settings = model.settings
    facts = {
        "classes": f"{model.classes}: {', '.join(model.class_names[:MOST_CLASSES])}"
        + (", …" if model.classes > MOST_CLASSES else ""),
        "features": f"{model.features:,}, {SCALINGS.get(model.scaling.name, model.scaling.name)}",
        "weights": f"{model.W.dtype}, ‖W‖ = {float(np.linalg.norm(model.W)):.4g}",
        "proof": "none" if model.certificate is None else model.certificate.sentence,
    }
    if model.image_shape is not None:
        channels, height, width = model.image_shape
        facts["features"] += f"; pictures of {height} × {width}, {channels} planes"
    if "data" in settings:
        data = DATA_NAMES.get(settings["data"], settings["data"])
        facts["trained on"] = f"{data}, {settings.get('train_rows', 0):,} rows"
    for name in _TOLD:
        if settings.get(name) is not None:
            facts[name.replace("_", " ")] = str(settings[name])
    return facts


# What a reader of the settings asks first; the file has all of them.
_TOLD = (
    *("name", "made_by", "l2", "learning_rate", "batch_size", "epochs_kept", "seed", "tol"),
    *("status", "validation_accuracy"),
)


def _weight(model: Model, feature: int, weight: float) -> str:
    name = f"feature {feature}"
    if model.feature_names is not None:
        name = model.feature_names[feature]
    return f"{name} {weight:+.3g}"


def path_table(record: PathRecord) -> Table:
    """Tabulate a λ path: what was proven for each λ, and how it scores.

    Args:
        record: of the path.

    Returns:
        One line a λ, largest first: passes, cost, certified gap as a share of the cost, ‖W‖,
        accuracy on the training rows, the held-out score that λ is chosen by with its standard
        error, and how the solution ended. The chosen λ is bold and marked.

    Example:
        >>> from onelayer.data import load
        >>> from onelayer.solver import solve_path
        >>> from onelayer.data.dataset import DataCard
        >>> path = solve_path(load("digits"), [0.1, 0.001])
        >>> card = DataCard("digits", "scikit-learn", tuple("0123456789"), (1, 8, 8), 1, 1, 1)
        >>> [column.header for column in path_table(PathRecord(path, card)).columns][:3]
        ['λ', 'passes', 'cost']
    """
    path = record.path
    by_accuracy = path.choice.by == "accuracy"
    rows = f"{path.folds} folds" if path.folds else "validation rows"
    table = plain_table(
        f"Optimum of each λ; chosen by {path.choice.by} on {rows}, rule {path.choice.rule}"
    )
    held_out = "held-out %" if by_accuracy else "held-out loss"
    for name in ("λ", "passes", "cost", "gap / cost", "‖W‖", "train %", held_out):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for line in summarise_path(path):
        table.add_row(
            f"{line.l2:.3g}",
            str(line.passes),
            f"{line.cost:.4f}",
            f"{line.relative_gap:.1e}" if line.bounded else "no bound",
            f"{line.norm:.3g}",
            f"{line.train.accuracy.mean:.2f}",
            _estimate(line.held_out.of(path.choice.by), 2 if by_accuracy else 4),
            "◄ chosen" if line.chosen else line.status if line.trouble else "",
            style="bold" if line.chosen else None,
        )
    return table


def _estimate(estimate: Estimate, digits: int) -> str:
    return f"{estimate.mean:.{digits}f} ± {estimate.error:.{digits}f}"
