"""Commands about what is on disk: run folders and cached data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onelayer.cli.application import INTERRUPTED, app, err, note, out
from onelayer.launch import leads

if TYPE_CHECKING:
    from onelayer.path_record import PathRecord
    from onelayer.result import Result

# A sweep to the edge of what is stable has many runs that diverge, all for one reason.
MOST_NOTES = 8

data_app = typer.Typer(no_args_is_help=True, help="List the cached data sets, and fetch them.")
app.add_typer(data_app, name="data")


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
) -> None:
    """Draw the page of a saved run anew, from its records alone.

    Example: onelayer report runs/reproduce
    """
    from onelayer.path_files import load_path
    from onelayer.record_files import kind_of
    from onelayer.result_files import load_result

    if kind_of(folder) == "path":
        finish_path(load_path(folder), folder, keep_checkpoints=True)
    else:
        finish(load_result(folder), folder, keep_checkpoints=True)


@data_app.command("list")
def list_data() -> None:
    """List what is cached, and whether it is what it should be."""
    from onelayer.data import cached

    for record in cached():
        out.print(str(record), soft_wrap=True, highlight=False)


@data_app.command("fetch")
def fetch_data() -> None:
    """Fetch CIFAR-10 into the cache."""
    from onelayer.data import fetch

    fetch()
    list_data()


def finish_path(record: PathRecord, to: Path, *, keep_checkpoints: bool = False) -> None:
    """Save a λ path with its page, then print what a reader wants first."""
    if not leads():
        return
    from onelayer.path_files import write_path_records
    from onelayer.report import path_table, write_path_report
    from onelayer.run_folder import staged_folder

    for optimum in record.path.optima:
        if optimum.status != "optimal":
            note(optimum.sentence)
    staging = staged_folder(to, keep_checkpoints=keep_checkpoints)
    with err.status("drawing the page"), staging as folder:
        write_path_records(record, folder)
        write_path_report(record, folder)
    out.print(path_table(record))
    out.print(f"the page: {to / 'report.html'}", soft_wrap=True)


def _say_accuracies(result: Result) -> None:
    from onelayer.report import terminal_table

    out.print(terminal_table(result))


def finish(
    result: Result,
    to: Path,
    say: Callable[[Result], None] = _say_accuracies,
    *,
    keep_checkpoints: bool = False,
) -> None:
    """Save the run with its page, then say what a reader wants first.

    Checkpoints in the folder go, unless they are to be kept, as those of an interrupted run are.
    """
    if leads():
        _save_and_say(result, to, say, keep_checkpoints=keep_checkpoints)
    if result.interrupted:
        raise typer.Exit(INTERRUPTED)


def _save_and_say(
    result: Result, to: Path, say: Callable[[Result], None], *, keep_checkpoints: bool
) -> None:
    from onelayer.checkpoints import unfinished
    from onelayer.report import write_report
    from onelayer.result_files import write_records
    from onelayer.run_folder import staged_folder

    messages = [outcome.message for outcome in result.outcomes if outcome.message]
    for message in messages[:MOST_NOTES]:
        note(message)
    if len(messages) > MOST_NOTES:
        note(f"so did {len(messages) - MOST_NOTES} more; the page has them.")
    staging = staged_folder(to, keep_checkpoints=keep_checkpoints or result.interrupted)
    with err.status("drawing the page"), staging as folder:
        write_records(result, folder)
        write_report(result, folder)
    say(result)
    out.print(f"the page: {to / 'report.html'}", soft_wrap=True)
    if result.interrupted:
        left = unfinished(to)
        if left is not None and left.command:
            note(f"to go on: {left.command}")
