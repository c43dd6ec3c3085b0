"""The application that commands join, and what is common to all of them."""

from __future__ import annotations

import warnings
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from typer.core import TyperGroup

from onelayer.cli.together import be_silent_unless_first, tell_error
from onelayer.errors import (
    CheckpointWarning,
    OnelayerError,
    SettingsError,
    StepLengthWarning,
)

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
                warnings.simplefilter("always", StepLengthWarning)
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
