"""The options that say which rows are loaded, one way for all commands: `--data` and its kin.

A command that is decorated with `takes_data` declares one parameter `data: DataOptions`; on the
command line that becomes an option for each field.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from onelayer.data import Splits


@dataclass(frozen=True)
class DataOptions:
    """What was said about the data; each field is an option, its annotation the help."""

    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="FILE|DIR|NAME",
            help="A file (npy, npz, csv, parquet, arrow, safetensors), a folder of pictures or of "
            "CIFAR's files, or digits, cifar10, cifar100; default: CIFAR-10 from the cache or the "
            "network.",
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


DEFAULT_DATA = DataOptions()


def takes_data(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field of DataOptions in place of its parameter `data`."""

    @wraps(command)
    def called(*words: Any, **options: Any) -> None:
        said = {field.name: options.pop(field.name) for field in fields(DataOptions)}
        command(*words, **options, data=DataOptions(**said))

    hints = get_type_hints(DataOptions, include_extras=True)
    own = get_type_hints(command, vars(inspect.getmodule(command)), include_extras=True)
    each = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default,
            annotation=hints[field.name],
        )
        for field in fields(DataOptions)
    ]  # fmt: skip
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        by_name = parameter.replace(annotation=own[name], kind=inspect.Parameter.KEYWORD_ONLY)
        parameters += each if name == "data" else [by_name]
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {p.name: p.annotation for p in parameters}
    return called


def load_splits(said: DataOptions) -> Splits:
    """Load the data that the options name."""
    from onelayer.data import load

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
    )
