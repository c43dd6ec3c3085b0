"""Commands about what is on disk: run folders and cached data sets.

The command that runs a saved run again and says whether the same bits came out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onelayer.cli.app import INTERRUPTED, app, err, note, out
from onelayer.cli.config import default_map
from onelayer.cli.options import EngineOptions, chosen_engine
from onelayer.engines.processes import leads
from onelayer.errors import OnelayerError
from onelayer.files.provenance import Command

if TYPE_CHECKING:
    from onelayer.solver import Path as LambdaPath
    from onelayer.training.result import Result

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
    from onelayer.training.run_folder import kind_of, load_path, load_result

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


def finish_path(path: LambdaPath, to: Path, *, keep_checkpoints: bool = False) -> None:
    """Save a λ path with its page, then print what a reader wants first."""
    if not leads():
        return
    from onelayer.files.atomic import staged_folder
    from onelayer.report import path_table, write_path_report
    from onelayer.solver.solver import describe_model
    from onelayer.training.run_folder import write_path_records

    for model in path.models:
        if model.status != "optimal":
            note(describe_model(model))
    staging = staged_folder(to, keep_checkpoints=keep_checkpoints)
    with err.status("drawing the page"), staging as folder:
        write_path_records(path, folder)
        write_path_report(path, folder)
    out.print(path_table(path))
    out.print(f"the page: {to / 'report.html'}", soft_wrap=True)


def _say_accuracies(result: Result) -> None:
    from onelayer.report import accuracy_table

    out.print(accuracy_table(result))


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
    from onelayer.files.atomic import staged_folder
    from onelayer.report import write_report
    from onelayer.training.checkpoint import unfinished
    from onelayer.training.run_folder import write_records

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


# What the bits of a run depend on besides its options.
DECISIVE = (
    "onelayer", "engine", "instruction_set", "numpy", "torch", "device", "precision", "processes",
)  # fmt: skip


@app.command()
def rerun(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    to: Annotated[
        Path | None, typer.Option("--out", help="The new run folder. Default: RUN-rerun.")
    ] = None,
) -> None:
    """Run the command that made a run again, and compare the weights bit for bit.

    Paths of data are taken as they were typed, from the folder that it is called in.

    Example: onelayer rerun runs/sweep --out runs/again
    """
    from onelayer.training.run_folder import WEIGHTS_FILE, saved_origin

    origin = saved_origin(folder)
    command = origin.command
    goal = to or folder.with_name(f"{folder.resolve().name}-rerun")
    before = _digest(folder / WEIGHTS_FILE)
    changed = _what_changed(origin.environment, _environment_of(command))
    if changed:
        note(f"bits may differ from those of {folder}: {'; '.join(changed)}.")
    out.print(command.line, soft_wrap=True, highlight=False, markup=False)
    _run(context, command, goal, source=str(folder))
    if _digest(goal / WEIGHTS_FILE) == before:
        words = f"the same bits: {goal / WEIGHTS_FILE} is byte for byte that of {folder}."
        out.print(words, soft_wrap=True, highlight=False, markup=False)
    elif changed or origin.interrupted:
        why = "for the reasons above" if changed else "which was interrupted before its end"
        note(f"the weights are not those of {folder}, {why}.")
    else:
        raise OnelayerError(
            f"the weights in {goal} are not those of {folder}, although nothing that is recorded "
            "has changed; look whether the data are the same."
        )


def _run(context: typer.Context, command: Command, to: Path, source: str) -> None:
    """Call the command with the saved options in place of its defaults."""
    assert context.parent is not None  # noqa: S101  # every command is one of the application's
    group = context.parent
    inner = group.command.get_command(group, command.name)  # type: ignore[attr-defined]
    if inner is None:
        raise OnelayerError(f"{source} was made by {command.name!r}, which this version lacks.")
    saved = default_map(inner, command.name, command.options, source)
    with inner.make_context(
        command.name, ["--out", str(to)], parent=group, default_map=saved
    ) as prepared:
        inner.invoke(prepared)


def _environment_of(command: Command) -> dict[str, str]:
    from onelayer.files.provenance import describe_environment

    names = [field.name for field in fields(EngineOptions) if field.name in command.options]
    said: dict[str, Any] = {name: command.options[name] for name in names}
    return describe_environment() | chosen_engine(EngineOptions(**said)).describe()


def _what_changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What of the decisive things is not as it was, in words."""
    return [
        f"{name.replace('_', ' ')} was {before.get(name, 'unknown')} and is {now[name]}"
        for name in DECISIVE
        if name in now and before.get(name) != now[name]
    ]


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise OnelayerError(f"{file} could not be read: {error.strerror}.") from None
