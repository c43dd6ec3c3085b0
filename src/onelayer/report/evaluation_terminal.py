"""The terminal's tables of an evaluation, each within 80 columns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from onelayer.evaluation import TOP, Evaluation
from onelayer.report.confusion import frequent_mistakes, share_of_rows
from onelayer.report.terminal import plain_table

if TYPE_CHECKING:
    from rich.table import Table

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
        >>> from onelayer import Model, Run, evaluate, load, train
        >>> splits = load("digits")
        >>> model = Model.from_result(train(splits, [Run(learning_rate=0.1, epochs=1)]))
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
