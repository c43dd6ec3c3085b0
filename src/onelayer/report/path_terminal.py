"""The terminal's table of a λ path, within 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onelayer.path_record import PathRecord
from onelayer.report.path_summary import Estimate, summarise_path
from onelayer.report.terminal import plain_table

if TYPE_CHECKING:
    from rich.table import Table


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
        >>> from onelayer.optimum import solve_path
        >>> from onelayer.result import DataCard
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
