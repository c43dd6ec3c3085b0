"""Commands about one trained model: evaluate, predict, inspect, export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onelayer.cli.application import app, note, out
from onelayer.cli.data_options import DEFAULT_DATA, DataOptions, load_splits, takes_data
from onelayer.cli.engine_options import (
    DEFAULT_ENGINE,
    EngineOptions,
    chosen_engine,
    takes_engine,
)
from onelayer.cli.together import written_once
from onelayer.errors import SettingsError

if TYPE_CHECKING:
    from onelayer.model import Model

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
    from onelayer.evaluation import evaluate as judge
    from onelayer.report import evaluation_tables
    from onelayer.whole_file import staged_file

    if on not in PARTS:
        raise SettingsError(f"--on must be one of {', '.join(PARTS)}, but {on!r} was given.")
    engine = chosen_engine(arithmetic)
    chosen = _open(model)
    rows = getattr(load_splits(data), on)
    evaluation = judge(chosen, rows, engine)
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
    from onelayer.predictions import check_output, read_rows, write_predictions

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
    from onelayer.export import export_onnx, export_state_dict
    from onelayer.model_files import save_model

    if target not in TARGETS:
        raise SettingsError(f"--to must be one of {', '.join(TARGETS)}, but {target!r} was given.")
    if input_type is not None and target != "onnx":
        raise SettingsError(f"--input-type means nothing to --to {target}; leave it out.")
    chosen = _open(model)
    words = f"{target}: {to}"
    if target == "onnx":
        tested = export_onnx(chosen, to, input_type=input_type)
        words += (
            f"; onnxruntime gives the same labels for {tested.rows} rows, probabilities to "
            f"{tested.difference:.0e}"
        )
    elif target == "torch":
        export_state_dict(chosen, to)
    else:
        save_model(chosen, to)
    out.print(words, soft_wrap=True, highlight=False, markup=False)


def _open(named: str) -> Model:
    """The model that the user names; which of several it is, is said."""
    from onelayer.model_choice import open_model

    chosen = open_model(named)
    if chosen.words:
        note(f"the model is {chosen.words}.")
    return chosen.model
