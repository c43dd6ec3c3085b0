"""The command that runs a saved run again and says whether the same bits came out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from onelayer.cli.application import app, note, out
from onelayer.cli.engine_options import EngineOptions, chosen_engine
from onelayer.cli.settings import default_map
from onelayer.command import Command
from onelayer.errors import OnelayerError

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
    from onelayer.record_files import WEIGHTS_FILE, saved_origin

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
    from onelayer.environment import describe_environment

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
