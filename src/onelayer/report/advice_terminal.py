"""The terminal's table of learning-rate advice, within 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onelayer.optimum import Advice
from onelayer.report.terminal import plain_table

if TYPE_CHECKING:
    from rich.table import Table


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
