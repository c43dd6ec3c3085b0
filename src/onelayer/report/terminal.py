"""The tables that the terminal shows, each within 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from onelayer.gradcheck import GradientCheck
from onelayer.report.summary import Comparison, SettingSummary, Spread, summarise
from onelayer.report.wording import listed, loss_name
from onelayer.result import Result

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
        >>> from onelayer import Run, load, train
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
