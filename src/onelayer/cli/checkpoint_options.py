"""The options of commands that train for a run folder: `--resume` and `--checkpoint-every`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onelayer.cli.application import INTERRUPTED, note, out
from onelayer.cli.option_groups import takes
from onelayer.launch import processes

if TYPE_CHECKING:
    from onelayer.checkpoints import Checkpoint, Unfinished
    from onelayer.command import Command

# How often torchrun has started this process anew; then it goes on whatever was typed.
RESTARTS = "TORCHELASTIC_RESTART_COUNT"


@dataclass(frozen=True)
class CheckpointOptions:
    """What was said about checkpoints; each field is an option, its annotation the help."""

    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on from the last checkpoint in the run folder, to the same bits; without one, "
            "start at the beginning.",
        ),
    ] = False
    checkpoint_every: Annotated[
        float,
        typer.Option(
            "--checkpoint-every",
            metavar="SECONDS",
            help="Write down where training stands at most every so many seconds.",
        ),
    ] = 60.0


DEFAULT_CHECKPOINTS = CheckpointOptions()

takes_checkpoints = takes("keeping", CheckpointOptions)


@contextmanager
def training_in(to: Path, said: CheckpointOptions, command: Command) -> Iterator[Checkpoint]:
    """Hold a run folder while it is trained for and saved, and tell what it has of that already.

    Args:
        to: the run folder.
        said: the options.
        command: as it is in force.

    Yields:
        Where training writes checkpoints, and whether it goes on from there.

    Raises:
        Exit: with `--resume` when the same command has finished already.
    """
    from onelayer.checkpoints import Checkpoint, unfinished
    from onelayer.run_folder import check_replaceable, writing

    resume = said.resume or int(os.environ.get(RESTARTS, "0")) > 0
    again = f"{command.line} --out {shlex.quote(str(to))} --resume"
    shared = processes() > 1
    checkpoint = Checkpoint(to, said.checkpoint_every, resume, again, shared=shared)
    check_replaceable(to)
    with writing(to) if checkpoint.writes else nullcontext():
        found = unfinished(to)
        if resume and found is None and _has_finished(to, command):
            words = f"{to} is finished already; without --resume it is trained again."
            out.print(words, soft_wrap=True, highlight=False, markup=False)
            raise typer.Exit
        _tell(to, found, resume=resume)
        try:
            yield checkpoint
        except KeyboardInterrupt:
            if unfinished(to) is None:
                raise
            note(f"interrupted; go on with: {again}")
            raise typer.Exit(INTERRUPTED) from None


def _has_finished(to: Path, command: Command) -> bool:
    from onelayer.errors import SaveError
    from onelayer.record_files import saved_origin

    try:
        origin = saved_origin(to)
    except SaveError:
        return False
    return origin.command == command and not origin.interrupted


def _tell(to: Path, found: Unfinished | None, *, resume: bool) -> None:
    if found is None:
        if resume:
            note(f"there is no checkpoint in {to}; training starts at the beginning.")
        return
    done = f"{found.done} of {found.total} run-epochs"
    if resume:
        note(f"going on from {found.file}: {done} are done.")
    else:
        note(
            f"{to} holds training that has not ended, {done} done; --resume would go on with it. "
            "The first new checkpoint takes its place."
        )
