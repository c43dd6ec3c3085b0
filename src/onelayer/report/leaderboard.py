"""The leaderboard of a sweep in the terminal, within 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onelayer.ranking import Standing, rank_settings
from onelayer.report.summary import percent_on_test, spread
from onelayer.report.terminal import plain_table
from onelayer.result import Result

if TYPE_CHECKING:
    from rich.table import Table

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
        >>> from onelayer import Run, load, train
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
        >>> from onelayer import Run, load, train
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
