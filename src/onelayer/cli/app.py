"""The application that commands join, and what is common to all of them.

One voice for processes that were started together: the first one speaks and writes for all.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from typer.core import TyperGroup

from onelayer.engines.processes import leads, processes, rank
from onelayer.errors import CheckpointWarning, LearningRateWarning, OnelayerError, SettingsError


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
        from onelayer.engines.torch.distributed import is_first_to_fail
    except ModuleNotFoundError:
        return leads()
    return is_first_to_fail()


def _show(kind: Any, error: Any, where: Any) -> None:
    traceback.print_exception(kind, error, where, file=sys.__stderr__)


INTERRUPTED = 130  # what shells expect of a command that Ctrl-C ended

out = Console()

err = Console(stderr=True)


def note(words: str) -> None:
    """Tell the user something that is no result, on standard error."""
    err.print("note:", style="yellow", end=" ")
    err.print(words, markup=False, soft_wrap=True, highlight=False)


class _Commands(TyperGroup):
    """Turns what a user can mend into one sentence and an exit code, for every command."""

    def invoke(self, ctx: Any) -> object:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always", LearningRateWarning)
                warnings.simplefilter("always", CheckpointWarning)
                warnings.showwarning = lambda message, *_, **__: note(str(message))
                return super().invoke(ctx)
        except KeyboardInterrupt:
            err.print("interrupted; nothing was saved.")
            raise typer.Exit(INTERRUPTED) from None
        except OnelayerError as error:
            tell_error(str(error))
            raise typer.Exit(2 if isinstance(error, SettingsError) else 1) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, check, sweep, certify and show linear softmax classifiers: s = Wx + b.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from onelayer import __version__

        out.print(f"onelayer {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass


def main() -> NoReturn:
    """Run the command line; it ends the process with its exit code."""
    be_silent_unless_first()
    app()
    raise AssertionError("typer ends the process by itself")
