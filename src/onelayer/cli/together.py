"""One voice for processes that were started together: the first one speaks and writes for all."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from onelayer.launch import leads, processes, rank


def be_silent_unless_first() -> None:
    """Send what the other processes print to nowhere; a bug's traceback is shown from any."""
    if leads():
        return
    sys.stdout = sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    sys.excepthook = _show


def tell_error(words: str) -> None:
    """Say why all of them end: once, by the process that failed first."""
    if processes() > 1 and not _is_first_to_fail():
        return
    console = Console(stderr=True) if leads() else Console(file=sys.__stderr__)
    console.print("error:", style="red", end=" ")
    told = words if leads() else f"process {rank()}: {words}"
    console.print(told, markup=False, soft_wrap=True, highlight=False)


@contextmanager
def written_once(to: Path) -> Iterator[Path]:
    """The path itself for the first process; for the others one that is thrown away."""
    if leads():
        yield to
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / to.name


def _is_first_to_fail() -> bool:
    try:
        from onelayer.engines.torch.cluster import is_first_to_fail
    except ModuleNotFoundError:
        return leads()
    return is_first_to_fail()


def _show(kind: Any, error: Any, where: Any) -> None:
    traceback.print_exception(kind, error, where, file=sys.__stderr__)
