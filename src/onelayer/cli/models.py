"""Commands about one trained model: evaluate, predict, inspect, export.

Which model a user means: a model's file, a run folder, or one setting of a run folder.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from onelayer.cli.app import app, note, out, written_once
from onelayer.cli.options import (
    DEFAULT_DATA,
    DEFAULT_ENGINE,
    DataOptions,
    EngineOptions,
    chosen_engine,
    load_splits,
    takes_data,
    takes_engine,
)
from onelayer.errors import SettingsError
from onelayer.files.atomic import SETTINGS_FILE
from onelayer.model.model import Model
from onelayer.training.result import Result
from onelayer.training.run_folder import kind_of, load_path, load_result

if TYPE_CHECKING:
    from onelayer.model.model import Model

PARTS = ("test", "validation", "train")

TARGETS = ("model", "onnx", "torch")

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A model's file; a run folder, of which the best run by validation accuracy is "
        "taken; or RUN:SETTING, by the setting's name or its position.",
    ),
]


@app.command()
@takes_data
@takes_engine
def evaluate(
    model: ModelArgument,
    data: DataOptions = DEFAULT_DATA,
    on: Annotated[str, typer.Option(help=f"Which rows: {', '.join(PARTS)}.")] = PARTS[0],
    to: Annotated[
        Path | None, typer.Option("--json", help="Write every figure to this file too.")
    ] = None,
    arithmetic: EngineOptions = DEFAULT_ENGINE,
) -> None:
    """Say how good a model is: accuracy, classes, confusion, log loss, calibration.

    Example: onelayer evaluate runs/fit --data digits
    """
    from onelayer.files.atomic import staged_file
    from onelayer.report import evaluation_tables

    if on not in PARTS:
        raise SettingsError(f"--on must be one of {', '.join(PARTS)}, but {on!r} was given.")
    engine = chosen_engine(arithmetic)
    chosen = _open(model)
    rows = getattr(load_splits(data), on)
    evaluation = chosen.evaluate(rows, engine)
    for table in evaluation_tables(evaluation, f"{model} on the {rows.name} rows"):
        out.print(table)
        out.print()
    if to is not None:
        with written_once(to) as own, staged_file(own) as staging:
            staging.write_text(json.dumps(evaluation.as_dict(), indent=2), encoding="utf-8")


@app.command()
@takes_engine
def predict(
    model: ModelArgument,
    rows: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="Rows: a .npy, .csv, .parquet, .arrow or .safetensors file, a folder or a quoted "
            "pattern of such files, or a data set: digits, digits:validation.",
        ),
    ],
    to: Annotated[Path, typer.Argument(metavar="OUTPUT", help=".csv, .parquet or .npy.")],
    arithmetic: EngineOptions = DEFAULT_ENGINE,
) -> None:
    """Classify rows: the label's name and every class's probability, a row a line.

    Example: onelayer predict runs/fit digits predictions.csv
    """
    from onelayer.model.predictions import check_output, read_rows, write_predictions

    check_output(to)
    engine = chosen_engine(arithmetic)
    chosen = _open(model)
    X = read_rows(rows, chosen.feature_names)
    with written_once(to) as own:
        write_predictions(chosen, X, own, engine)
    out.print(f"{len(X):,} predictions: {to}", soft_wrap=True, highlight=False, markup=False)


@app.command()
def inspect(
    model: ModelArgument,
    to: Annotated[
        Path | None,
        typer.Option(
            "--out", help="For images: the picture, .png or .svg. Default: templates.png."
        ),
    ] = None,
    most: Annotated[int, typer.Option(help="Features of each sign in the table.")] = 5,
) -> None:
    """Show what a model looks for: weights as pictures, or the strongest features by name.

    Example: onelayer inspect runs/fit --out templates.png
    """
    from onelayer.report import model_table, strongest_table, write_templates

    if most < 1:
        raise SettingsError(f"--most must be 1 or above, but {most} was given.")
    chosen = _open(model)
    if chosen.image_shape is not None or to is not None:
        picture = to or Path("templates.png")
        write_templates(chosen, picture, f"What each class answers to: rows of W, {model}")
        out.print(model_table(chosen, model))
        out.print(f"the picture: {picture}", soft_wrap=True, highlight=False, markup=False)
    else:
        out.print(model_table(chosen, model))
        out.print()
        out.print(strongest_table(chosen, most))


@app.command()
def export(
    model: ModelArgument,
    to: Annotated[Path, typer.Argument(metavar="FILE", help="Where; an old file is replaced.")],
    target: Annotated[
        str,
        typer.Option(
            "--to",
            help="model (onelayer's own file), onnx (raw rows in, label and probabilities out) or "
            "torch (a Linear's state dict as safetensors, scaling in its weights).",
        ),
    ] = TARGETS[0],
    input_type: Annotated[
        str | None,
        typer.Option(help="Of ONNX's rows. Default: uint8 for images, float32 otherwise."),
    ] = None,
) -> None:
    """Write a model as one file: onelayer's own, ONNX or PyTorch's.

    Example: onelayer export runs/fit model.onnx --to onnx
    """
    if target not in TARGETS:
        raise SettingsError(f"--to must be one of {', '.join(TARGETS)}, but {target!r} was given.")
    if input_type is not None and target != "onnx":
        raise SettingsError(f"--input-type means nothing to --to {target}; leave it out.")
    chosen = _open(model)
    words = f"{target}: {to}"
    if target == "onnx":
        tested = chosen.to_onnx(to, input_type=input_type)
        words += (
            f"; onnxruntime gives the same labels for {tested.rows} rows, probabilities to "
            f"{tested.difference:.0e}"
        )
    elif target == "torch":
        chosen.to_state_dict(to)
    else:
        chosen.save(to)
    out.print(words, soft_wrap=True, highlight=False, markup=False)


def _open(named: str) -> Model:
    """The model that the user names; which of several it is, is said."""
    chosen = open_model(named)
    if chosen.words:
        note(f"the model is {chosen.words}.")
    return chosen.model


@dataclass(frozen=True, eq=False)
class ChosenModel:
    """A model, and in words which of several it is; the words are empty where there is but one."""

    model: Model
    words: str = ""


def open_model(named: str) -> ChosenModel:
    """Open the model that a user names.

    Args:
        named: a file that `Model.save` wrote; a run folder, of which the run with the best
            validation accuracy is taken, or of a λ path the chosen λ; or FOLDER:SETTING, where
            SETTING is a setting's name ("λ=0.1, η=0.01"; in a path "λ=0.1") or the position of a
            run or λ, from 0.

    Returns:
        The model, and which it is.

    Raises:
        SaveError: when there is no such file or folder, or it is damaged.
        SettingsError: when the folder has no such setting; the names that it has are listed.

    Example:
        >>> open_model("absent.safetensors")
        Traceback (most recent call last):
        ...
        onelayer.errors.SaveError: absent.safetensors should be a model file, but it is not there.
    """
    folder, setting = _parted(named)
    if not folder.is_dir():
        return ChosenModel(Model.load(named))
    if kind_of(folder) == "path":
        return _of_path(folder, setting)
    return _of_result(folder, setting)


def _parted(named: str) -> tuple[Path, str]:
    """The folder or file, and the setting: what stands behind a colon that ends a run folder."""
    colons = [i for i, letter in enumerate(named) if letter == ":"]
    for end in [len(named), *colons]:
        if (Path(named[:end]) / SETTINGS_FILE).is_file():
            return Path(named[:end]), named[end + 1 :]
    return Path(named), ""


def _of_result(folder: Path, setting: str) -> ChosenModel:
    result = load_result(folder)
    names = [run.name for run in result.runs]
    positions = _positions(folder, setting, names)
    position = _best(result, positions)
    words = ""
    if len(names) > 1:
        run, accuracy = result.runs[position], result.validation_accuracy[position]
        words = f"{run.name}, seed {run.seed}"
        if len(positions) > 1:
            words += f": the best of {len(positions)} runs by validation accuracy, {accuracy:.2%}"
    return ChosenModel(result.model(position), words)


def _of_path(folder: Path, setting: str) -> ChosenModel:
    path = load_path(folder)
    names = [f"λ={model.l2:g}" for model in path.models]
    position = path.chosen
    if setting:
        position = _positions(folder, setting, names)[0]
    words = ""
    if len(names) > 1:
        how = f": chosen by {path.choice.by}, rule {path.choice.rule}"
        words = names[position] + ("" if setting else how)
    return ChosenModel(path.models[position], words)


def _positions(folder: Path, setting: str, names: list[str]) -> list[int]:
    """Positions that a setting means: those of its name, or the one that it numbers."""
    if not setting:
        return list(range(len(names)))
    found = [i for i, name in enumerate(names) if _bare(name) == _bare(setting)]
    if not found and setting.isdecimal() and int(setting) < len(names):
        found = [int(setting)]
    if not found:
        known = "; ".join(dict.fromkeys(names))
        raise SettingsError(
            f"{folder} has no setting {setting!r}; name one of: {known}; or a position from 0 to "
            f"{len(names) - 1}."
        )
    return found


def _bare(name: str) -> str:
    return name.replace(" ", "").casefold()


def _best(result: Result, positions: list[int]) -> int:
    """Of equal accuracies the first counts, and one that was never measured is below all."""
    accuracies = np.nan_to_num(result.validation_accuracy[positions], nan=-1.0)
    return positions[int(np.argmax(accuracies))]
