"""Options that several commands share, and the bar that shows their progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from onelayer.cli.application import err

DtypeOption = Annotated[str, typer.Option("--dtype", help="Arithmetic: float32 or float64.")]
ScalingOption = Annotated[str, typer.Option("--scaling", help="none, unit or standardize.")]
LossOption = Annotated[
    str, typer.Option("--loss", help="softmax, or sigmoid: the mean of K binary cross-entropies.")
]
SmoothingOption = Annotated[
    float, typer.Option("--label-smoothing", help="ε: targets are (1 − ε) y + ε/K.")
]


@contextmanager
def progress_bar(doing: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar with the time that is left while the block runs; it is told done and total."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} " + unit),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
