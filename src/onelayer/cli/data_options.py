"""The options that say which rows are loaded, one way for all commands: `--data` and its kin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from onelayer.cli.application import note
from onelayer.cli.option_groups import takes

if TYPE_CHECKING:
    from onelayer.command import Command
    from onelayer.data import Splits
    from onelayer.engines import Engine
    from onelayer.plan import Run


@dataclass(frozen=True)
class DataOptions:
    """What was said about the data; each field is an option, its annotation the help."""

    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="FILE|DIR|NAME",
            help="A file (npy, npz, csv, parquet, arrow, safetensors), a folder of such files or a "
            "quoted pattern ('shards/*.npy'), a folder of pictures or of CIFAR's files, or digits, "
            "cifar10, cifar100; default: CIFAR-10 from the cache or the network.",
        ),
    ] = None
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            metavar="COLUMN|FILE",
            help="The column or array with the labels, or a file with one label a row; default: "
            "the one called label, labels, y, target or class.",
        ),
    ] = None
    test: Annotated[
        str | None,
        typer.Option(
            "--test", metavar="FILE|DIR", help="The test rows; default: a share is cut off."
        ),
    ] = None
    test_labels: Annotated[
        str | None,
        typer.Option("--test-labels", metavar="COLUMN|FILE", help="As --labels, for --test."),
    ] = None
    test_share: Annotated[
        float, typer.Option("--test-share", help="Share cut off for the test, without --test.")
    ] = 0.2
    validation: Annotated[
        str,
        typer.Option(
            "--validation",
            metavar="SHARE|FILE|DIR",
            help="Share of the remaining rows, stratified, or the validation rows themselves.",
        ),
    ] = "0.2"
    validation_labels: Annotated[
        str | None,
        typer.Option(
            "--validation-labels",
            metavar="COLUMN|FILE",
            help="As --labels, for a --validation FILE.",
        ),
    ] = None
    split_seed: Annotated[int, typer.Option("--split-seed", help="Which rows shares hold.")] = 0
    image_size: Annotated[
        str | None,
        typer.Option(
            "--image-size",
            metavar="SIDE|HEIGHTxWIDTH",
            help="Resize pictures; default: all must have one size.",
        ),
    ] = None
    stream: Annotated[
        bool | None,
        typer.Option(
            "--stream/--no-stream",
            help="Leave rows in their files and read them as they are needed, or load them; "
            "default: leave them where they would take more than a quarter of the memory.",
        ),
    ] = None


DEFAULT_DATA = DataOptions()


takes_data = takes("data", DataOptions)


def as_loaded(command: Command, splits: Splits) -> Command:
    """The command with the choice that was made for it: that rows stay in their files.

    Another machine has other memory, and shuffles rows in another way where they fit in it.
    """
    from onelayer.stored import stored_rows

    if stored_rows(splits.train.X) is None:
        return command
    return replace(command, options=dict(command.options) | {"stream": True})


def say_preflight(splits: Splits, engine: Engine, runs: Sequence[Run] = ()) -> None:
    """Say what a pass will take, where rows stay in their files."""
    from onelayer.preflight import preflight
    from onelayer.stored import stored_rows

    if stored_rows(splits.train.X) is not None:
        note(preflight(splits.train, runs, engine=engine).sentence)


def load_splits(said: DataOptions, *, all_batches: bool = False) -> Splits:
    """Load the data that the options name; of CIFAR-10 batches 1 and 2, or all five."""
    from onelayer.data import load
    from onelayer.data.load import names_cifar10

    batches: dict[str, tuple[int, ...]] = {}
    if all_batches and names_cifar10(said.data):
        batches = {"train_batches": (1, 2, 3, 4), "validation_batches": (5,)}
    return load(
        said.data,
        labels=said.labels,
        test=said.test,
        test_labels=said.test_labels,
        test_share=said.test_share,
        validation=said.validation,
        validation_labels=said.validation_labels,
        seed=said.split_seed,
        image_size=said.image_size,
        stream=said.stream,
        **batches,  # type: ignore[arg-type]
    )
