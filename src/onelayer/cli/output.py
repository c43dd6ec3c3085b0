"""What commands print: results on standard output, notes and errors on standard error.

Processes that were started together speak once: the first one prints and writes for all.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich import progress as rich
from rich.console import Console

from onelayer.data.progress import printable
from onelayer.engines.processes import leads, processes, rank
from onelayer.solver.path import PathProgress
from onelayer.training.loop import Progress

console = Console()

err = Console(stderr=True)


def note(message: str) -> None:
    """Print a note on standard error."""
    _print_marked(err, "note:", "yellow", message)


def _print_marked(to: Console, mark: str, style: str, message: str) -> None:
    to.print(mark, style=style, end=" ")
    to.print(printable(message), markup=False, soft_wrap=True, highlight=False)


def print_line(text: str) -> None:
    """Print a line as it is: not wrapped, not coloured."""
    console.print(printable(text), soft_wrap=True, highlight=False, markup=False)


def print_json(values: Any) -> None:
    """Print figures as JSON on standard output; a number that is not finite becomes null."""
    typer.echo(json.dumps(_plain(values), indent=2, ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


@contextmanager
def progress_bar(doing: str, unit: str) -> Iterator[Callable[[Progress | PathProgress], None]]:
    """A bar with the time left; it appears when work is first reported done of a total."""
    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.TextColumn("{task.completed}/{task.total} " + unit),
        rich.TimeElapsedColumn(),
        rich.TextColumn("ETA"),
        rich.TimeRemainingColumn(),
    )
    bar = rich.Progress(*columns, console=err)
    task = bar.add_task(doing, total=None)
    with err.status(doing) as spinner:

        def show(now: Progress | PathProgress) -> None:
            spinner.stop()
            bar.start()
            bar.update(task, completed=now.done, total=now.total)

        try:
            yield show
        finally:
            if bar.live.is_started:
                bar.stop()


@contextmanager
def written_once(path: Path) -> Iterator[Path]:
    """The path itself for the first process; a temporary file for the others."""
    if leads():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / path.name


def print_error(message: str) -> None:
    """Print why the command failed: once, by the process that failed first."""
    if processes() > 1 and not _is_first_to_fail():
        return
    text = message if leads() else f"process {rank()}: {message}"
    _print_marked(err if leads() else Console(file=sys.__stderr__), "error:", "red", text)


def _is_first_to_fail() -> bool:
    try:
        from onelayer.engines.torch.distributed import is_first_to_fail
    except ModuleNotFoundError:
        return leads()
    return is_first_to_fail()


def silence_other_processes() -> None:
    """Discard what processes other than the first print; tracebacks are shown from any."""
    if leads():
        return
    sys.stdout = sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    sys.excepthook = lambda *error: traceback.print_exception(*error, file=sys.__stderr__)
