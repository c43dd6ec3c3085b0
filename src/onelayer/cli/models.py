"""Commands about a trained model: evaluate, predict, inspect, export; and which model is meant.

A model is named by its file, by a run folder, or by one setting of a run folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer

from onelayer.cli import options as opt
from onelayer.cli import output
from onelayer.cli.app import OptionGroup, command
from onelayer.cli.config import is_given
from onelayer.errors import SaveError, SettingsError, require_whole
from onelayer.files.atomic import is_stream
from onelayer.files.manifest import PAGE_FILE, read_manifest
from onelayer.model import Model
from onelayer.model import compare as comparing
from onelayer.model.calibration import Calibration
from onelayer.model.metrics import metric_of, metrics_of
from onelayer.model.predictions import check_output, read_rows, write_predictions
from onelayer.report import model_tables
from onelayer.report.render import write_templates
from onelayer.solver import Path as LambdaPath
from onelayer.training.run_folder import add_calibration, load_any
from onelayer.training.suite import Suite

PARTS = ("test", "validation", "train")

# The table has them all.
MOST_SENTENCES = 10

# Formats of exported models, each with its endings; of several for one the first is the default.
FORMATS = {"model": (".safetensors",), "torch": (".pt", ".pth", ".safetensors"), "onnx": (".onnx",)}


@command("Models")
def evaluate(
    context: typer.Context,
    *,
    model: str,
    on: str = PARTS[0],
    include_training_rows: bool = False,
    scoring: str | None = None,
    data: opt.DataOptions,
    trust: bool = False,
    arithmetic: opt.EngineOptions,
    json: bool = False,
) -> None:
    """Measure accuracy, confusion, log loss and calibration of a model.

    The data and their split are those that the model was trained on; of other data all rows are
    taken. Rows that it was trained on are left out, unless they are all of the rows.

    Examples:
        onelayer evaluate runs/train
        onelayer evaluate runs/train --on validation --json
        onelayer evaluate model.safetensors --data new.npy --labels new_labels.npy
        onelayer evaluate runs/train --scoring f1_macro,roc_auc_ovr

    Metrics:
        scoring NAMES: Metrics to measure as well, each with a 95 % interval.
    """
    if on not in PARTS:
        raise SettingsError(f"--on must be one of {', '.join(PARTS)}, got {on!r}.")
    metrics_of(scoring or ())  # an unknown name is refused before the data are loaded
    engine = opt.chosen_engine(arithmetic)
    chosen = open_noted(model)
    rows = opt.rows_for(context, data, chosen, on, trust=trust)
    evaluation = chosen.model.evaluate(
        rows,
        engine,
        include_training_rows=include_training_rows or on == "train",
        scoring=scoring or (),
    )
    if evaluation.omissions:
        output.note(evaluation.omissions)
    if json:
        output.print_json(evaluation.as_dict())
        return
    for table in model_tables.evaluation_tables(evaluation, f"{model} on {rows.name}"):
        output.print_table(table)
        output.console.print()


@command("Models")
def compare(
    context: typer.Context,
    *,
    models: list[str],
    scoring: str = "accuracy",
    on: str = PARTS[0],
    include_training_rows: bool = False,
    data: opt.DataOptions,
    trust: bool = False,
    arithmetic: opt.EngineOptions,
    json: bool = False,
) -> None:
    """Compare models on the same rows: the difference, its 95 % interval, p, and what it means.

    Two models are compared with each other, more with the best of them, with Holm's correction; of
    one run folder all its models. The rows are those of the first model's data, or of --data; each
    head of a suite has its own features of them.

    Examples:
        onelayer compare runs/a runs/b
        onelayer compare a.safetensors b.safetensors --data new.csv --scoring f1_macro
        onelayer compare runs/solve

    Positional arguments:
        models MODELS: Model files, run folders for their best model, RUN:SETTING; or one run
            folder, for all of its models.

    Metrics:
        scoring NAME: Metric to compare by: accuracy, roc_auc, f1_macro, neg_log_loss, …
    """
    metric = metric_of(scoring)
    if on not in PARTS:
        raise SettingsError(f"--on must be one of {', '.join(PARTS)}, got {on!r}.")
    if twice := [one for one, count in Counter(models).items() if count > 1]:
        raise SettingsError(f"{twice[0]} is named twice; name different models to compare.")
    engine = opt.chosen_engine(arithmetic)
    chosen = models_of(models[0]) if len(models) == 1 else [open_noted(one) for one in models]
    if len(chosen) < 2:
        raise SettingsError("name two models, or a run folder with several, to compare.")
    rows = opt.rows_for(context, data, chosen[0], on, trust=trust)
    of_others = [  # heads of a suite have features of their own
        rows if one.feature_set is None else opt.rows_for(context, data, one, on, trust=trust)
        for one in chosen[1:]
    ]
    found = comparing.compare(
        chosen[0].model,
        [one.model for one in chosen[1:]],
        [rows, *of_others],
        scoring=scoring,
        names=[one.name for one in chosen] if len(models) == 1 else models,
        include_training_rows=include_training_rows or on == "train",
        engine=engine,
    )
    if json:
        output.print_json(found)
        return
    where = rows.name if chosen[0].feature_set is None else f"the {on} rows"
    output.print_table(model_tables.comparison_table(found, f"{metric.title} on {where}"))
    for sentence in found.sentences[:MOST_SENTENCES]:
        output.print_line(sentence)


@command("Models")
def predict(
    *,
    model: str,
    rows: str,
    out: Path,
    id: str | None = None,  # noqa: A002
    arithmetic: opt.EngineOptions,
) -> None:
    """Classify rows: name, class and probabilities of each row, in order.

    Examples:
        onelayer predict runs/train digits predictions.csv
        onelayer predict runs/train photos/ predictions.csv

    Positional arguments:
        rows INPUT: Rows: a file that load reads (.npy, .csv, .parquet, …), a picture, a folder or
            a quoted pattern of such files, or a data set: digits, digits:validation.
        out OUTPUT: File to write: .csv, .parquet or .npy.

    Output:
        id COLUMN: Column that names each row. Default: a picture's file, or the row's number.
    """
    check_output(out)
    output.refuse_overwriting(out, model, rows)
    engine = opt.chosen_engine(arithmetic)
    chosen = open_noted(model).model
    X, ids = read_rows(rows, chosen.feature_names, id, chosen.image_shape)
    with output.written_once(out) as own:
        write_predictions(chosen, X, own, engine, ids)
    output.print_line(f"{len(X):,} predictions: {out}")


@dataclass(frozen=True)
class InferenceOptions(OptionGroup):
    """Errors of the coefficients.

    Inference:
        inference: Show each coefficient with its standard error, p and interval, of the rows that
            the model was trained on.
        errors NAME: hessian (for λ = 0), sandwich, or bootstrap. Default: hessian for λ = 0 on rows
            without groups, else sandwich.
        reference CLASS: Class that the others are compared with. Default: the first.
        level X: Of the intervals.
        resamples N: Of the bootstrap.
        seed N: Of the bootstrap.
    """

    inference: bool = False
    errors: str = "auto"
    reference: str | None = None
    level: float = 0.95
    resamples: int = 1000
    seed: int = 0


@command("Models")
def inspect(
    context: typer.Context,
    *,
    model: str,
    most: int = 5,
    inferring: InferenceOptions,
    data: opt.DataOptions,
    trust: bool = False,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Show a model's weights as pictures, its strongest features, or its coefficients with errors.

    Examples:
        onelayer inspect runs/train --out templates.png
        onelayer inspect runs/solve --inference --errors bootstrap

    Output:
        most N: Strongest features to list for each class and sign.
        out FILE: Picture of the weights of an image model, .png or .svg. Default: templates.png.
    """
    if inferring.inference:
        if out is not None:
            raise SettingsError("--out has no effect with --inference; leave it out.")
        _print_inference(context, model, inferring, data, trust=trust, as_json=json)
        return
    names = [*vars(inferring), *vars(data), "trust"]
    if unused := [name for name in names if is_given(context, name)]:
        option = "--" + unused[0].replace("_", "-")
        raise SettingsError(f"{option} has no effect without --inference; leave it out.")
    require_whole("--most", most, 1)
    chosen = open_noted(model).model
    if out is None and chosen.image_shape is not None and not json:
        out = Path("templates.png")
    if out is not None:
        output.refuse_overwriting(out, model)
        write_templates(chosen, out, f"What each class answers to: rows of W, {model}")
    if json:
        output.print_json(_described(chosen, most))
        return
    output.print_table(model_tables.model_table(chosen, model))
    if out is not None:
        output.print_line(f"the picture: {out}")
    else:
        output.console.print()
        output.print_table(model_tables.strongest_table(chosen, most))


def _print_inference(
    context: typer.Context,
    named: str,
    options: InferenceOptions,
    data: opt.DataOptions,
    *,
    trust: bool,
    as_json: bool,
) -> None:
    chosen = open_noted(named)
    rows = opt.rows_for(context, data, chosen, "train", trust=trust)
    with output.progress_bar("refitting", "resamples") as show:
        found = chosen.model.inference(
            rows,
            errors=options.errors,  # type: ignore[arg-type]
            reference=options.reference,
            level=options.level,
            resamples=options.resamples,
            seed=options.seed,
            on_progress=show,
        )
    if as_json:
        output.print_json(found.as_dict())
        return
    output.print_table(model_tables.inference_table(found))
    for sentence in found.sentences:
        output.print_line(sentence)


def _described(model: Model, most: int) -> dict[str, object]:
    names = model.feature_names or tuple(map(str, range(model.features)))
    order = np.argsort(model.W, axis=1)
    strongest = {
        name: {
            "for": {names[i]: row[i] for i in ranks[::-1][:most] if row[i] > 0.0},
            "against": {names[i]: row[i] for i in ranks[:most] if row[i] < 0.0},
        }
        for name, row, ranks in zip(model.class_names, model.W, order, strict=True)
    }
    same = {name: getattr(model, name) for name in ("features", "image_shape", "settings")}
    rest = {"scaling": model.scaling.name, "certificate": model.certificate}
    return {"classes": model.class_names} | same | rest | {"strongest": strongest}


@command("Models")
def calibrate(
    context: typer.Context,
    *,
    model: str,
    out: Path,
    on: str = PARTS[1],
    data: opt.DataOptions,
    trust: bool = False,
    arithmetic: opt.EngineOptions,
    json: bool = False,
) -> None:
    """Make a model's probabilities as sure as they are right, by a temperature, and save it.

    The temperature T of softmax(s / T) is the one of the lowest log loss on rows that the model was
    not trained on. It is part of the weights that are saved, so evaluate, predict and export use
    it; no label changes. The page of a run folder shows what it changed.

    Examples:
        onelayer calibrate runs/train calibrated.safetensors
        onelayer calibrate runs/solve calibrated.safetensors --data new.csv

    Positional arguments:
        out FILE: Model file to write, usually NAME.safetensors.

    Data:
        on PART: Rows to calibrate on: validation or test.
    """
    if on not in PARTS[:2]:
        raise SettingsError(f"--on must be one of {', '.join(PARTS[:2])}, got {on!r}.")
    if _format_of(out, None) != "model":
        raise SettingsError(
            f"{out} is no model file: give NAME.safetensors, and export that to {out.suffix}."
        )
    output.refuse_overwriting(out, model)
    engine = opt.chosen_engine(arithmetic)
    chosen = open_noted(model)
    rows = opt.rows_for(context, data, chosen, on, trust=trust)
    calibrated = chosen.model.calibrate(rows, engine)
    calibrated.save(out)
    page = _drawn_page(chosen, Calibration.of(calibrated, chosen.name, out.name))
    if json:
        settings = calibrated.settings
        output.print_json({name: settings[name] for name in ("temperature", "calibration")})
        return
    output.print_line(model_tables.calibration_words(calibrated))
    output.print_line(f"model: {out}")
    if page:
        output.print_line(f"page: {page}")


def _drawn_page(chosen: ChosenModel, calibration: Calibration) -> Path | None:
    """The page of the model's run folder, drawn anew with its calibration; None without one."""
    if chosen.folder is None:
        return None
    try:
        draws = add_calibration(chosen.folder, calibration)
    except SaveError as error:  # such as of a folder that is only read: the model is written
        output.note(str(error))
        return None
    return chosen.folder / PAGE_FILE if draws else None


@command("Models")
def export(
    *,
    model: str,
    out: Path,
    to: str | None = None,
    input_type: str | None = None,
    precision: str | None = None,
) -> None:
    """Write a model as a file of onelayer, ONNX or PyTorch.

    Examples:
        onelayer export runs/train model.onnx
        onelayer export runs/train model.pt
        onelayer export runs/train linear.safetensors --to torch

    Positional arguments:
        out FILE: File to write: .safetensors, .onnx, .pt or .pth; with --to also a device or pipe.

    Output:
        to FORMAT: model (onelayer's own), onnx (raw rows in, labels and probabilities out) or torch
            (state dict of a Linear, with the scaling in its weights). Default: by the suffix.
        input-type TYPE: Type of ONNX's input rows. Default: uint8 for images, else float32.
        precision TYPE: Type that ONNX computes in: float64, or float32 for browsers and TensorRT.
            Default: float64.
    """
    target = _format_of(out, to)
    if input_type is not None and target != "onnx":
        raise SettingsError(f"--input-type has no effect with --to {target}.")
    if precision is not None and target != "onnx":
        raise SettingsError(f"--precision has no effect with --to {target}.")
    output.refuse_overwriting(out, model)
    chosen = open_noted(model).model
    tested = ""
    if target == "onnx":
        found = chosen.to_onnx(out, input_type=input_type, precision=precision or "float64")
        tested = f"; onnxruntime gives the same labels for {found.rows} rows, probabilities to "
        tested += f"{found.difference:.0e}"
    elif target == "torch":
        chosen.to_state_dict(out)
    else:
        chosen.save(out)
    say = output.note if is_stream(out) else output.print_line  # a stream holds the model alone
    say(f"{target}: {out}{tested}")


def _format_of(to: Path, target: str | None) -> str:
    """The format of an exported file, by its suffix and --to, which must agree."""
    if target is not None and target not in FORMATS:
        raise SettingsError(f"--to must be one of {', '.join(FORMATS)}, got {target!r}.")
    if target is not None and is_stream(to):
        return target
    suffix = to.suffix.lower()
    fitting = [name for name, endings in FORMATS.items() if suffix in endings]
    if not fitting:
        known = ", ".join(dict.fromkeys(ending for some in FORMATS.values() for ending in some))
        raise SettingsError(f"unsupported file type {suffix or str(to)!r}; supported: {known}.")
    if target is not None and target not in fitting:
        endings = " or ".join(FORMATS[target])
        raise SettingsError(f"--to {target} writes {endings}, but {to} ends in {suffix}.")
    return target or fitting[0]


@dataclass(frozen=True, eq=False)
class ChosenModel:
    """A model that the user named."""

    model: Model
    name: str  # of its setting, for a line about it; the file's name for a model's file
    words: str = ""  # which of several it is
    folder: Path | None = None  # the run folder that it is from
    feature_set: str | None = None  # of a suite, that it is the head of


def open_noted(named: str) -> ChosenModel:
    """Open the model that the user names, and note which of several it is."""
    chosen = open_model(named)
    if chosen.words:
        output.note(f"the model is {chosen.words}")
    settings = chosen.model.settings
    if settings.get("status") == "interrupted" and "epochs_kept" in settings:
        kept, epochs = settings["epochs_kept"], settings["epochs"]
        output.note(
            f"training was interrupted, and the weights are those after {kept} of {epochs} epochs"
            if kept
            else "training was interrupted before the first epoch: the weights are the initial ones"
        )
    return chosen


def open_model(named: str) -> ChosenModel:
    """Open the model that a user names.

    A run folder stands for the best run by its validation score, of a path for the chosen λ, of a
    suite for its best feature set. FOLDER:SETTING names a setting ("λ=0.1, η=0.01"; in a path
    "λ=0.1"; in a suite the feature set) or its number in the table that was printed, from 1: the
    rank of a setting or set, or the place of a λ, the largest first.
    """
    folder, setting = _parted(named)
    if not folder.is_dir():
        return ChosenModel(Model.load(named), named)
    record = load_any(folder)
    if isinstance(record, Suite):
        heads = record.ranking
        names = [head.name for head in heads]
        places: list[tuple[int, ...]] = [(i,) for i in range(len(names))]
        head = heads[_positions(folder, setting, names, places)[0] if setting else 0]
        how = "" if setting else f": best of {len(names)} feature sets by {record.choice.by}"
        words = f"{head.name}{how}" if len(names) > 1 else ""
        return ChosenModel(head.model, head.name, words, folder, head.name)
    if isinstance(result := record, LambdaPath):
        names = [f"{result.symbol}={value:g}" for value in result.strengths]
        places = [(i,) for i in range(len(names))]
        position = _positions(folder, setting, names, places)[0] if setting else result.chosen
        model, name = result.models[position] if setting else result.best, names[position]
        how = (
            ""
            if setting
            else f": chosen by {result.choice.metric.title}, rule {result.choice.rule}"
        )
    else:
        names = [one.name for one in result.ranking]
        places = [one.positions for one in result.ranking]
        all_runs = range(len(result.runs))
        positions = _positions(folder, setting, names, places) if setting else all_runs
        best = result.best_of(positions) if setting else result.best_position
        model, metric = result.model(best), result.metric
        name = f"{model.settings['name']}, seed {model.settings['seed']}"
        score = metric.words(float(result.scores[best])).replace(" %", "%")
        how = f": best of {len(positions)} runs by validation {metric.title}, {score}"
        how = how if len(positions) > 1 else ""
    several = sum(map(len, places)) > 1
    return ChosenModel(model, name, f"{name}{how}" if several else "", folder)


def models_of(named: str) -> list[ChosenModel]:
    """All models of a run folder, or the one that a file or FOLDER:SETTING names."""
    folder, setting = _parted(named)
    if setting or not folder.is_dir():
        return [open_noted(named)]
    record = load_any(folder)
    if isinstance(record, Suite):
        return [ChosenModel(one.model, one.name, "", folder, one.name) for one in record.heads]
    if isinstance(result := record, LambdaPath):
        return [
            ChosenModel(model, f"{result.symbol}={value:g}", folder=folder)
            for model, value in zip(result.models, result.strengths, strict=True)
        ]
    return [
        ChosenModel(result.model(i), f"{run.name}, seed {run.seed}", folder=folder)
        for i, run in enumerate(result.runs)
    ]


def _parted(named: str) -> tuple[Path, str]:
    """The folder or file, and the setting: what follows the colon behind a run folder."""
    colons = [i for i, letter in enumerate(named) if letter == ":"]
    for end in [len(named), *colons]:
        if read_manifest(Path(named[:end])) is not None:
            return Path(named[:end]), named[end + 1 :]
    return Path(named), ""


def _positions(
    folder: Path, setting: str, names: Sequence[str], numbered: Sequence[tuple[int, ...]]
) -> Sequence[int]:
    """Positions that a setting means: by its name, or by its number in the table, from 1."""
    found = [
        own for name, own in zip(names, numbered, strict=True) if _bare(name) == _bare(setting)
    ]
    if len(found) == 1:
        return found[0]
    if len(found) > 1:
        raise SettingsError(
            f"{folder} has {len(found)} settings of the name {setting!r}; give a number in the "
            f"table, from 1 to {len(numbered)}."
        )
    if setting.isdecimal() and 0 < int(setting) <= len(numbered):
        return numbered[int(setting) - 1]
    known = "; ".join(dict.fromkeys(names))
    raise SettingsError(
        f"{folder} has no setting {setting!r}; settings: {known}; or a number in the table, from "
        f"1 to {len(numbered)}."
    )


def _bare(name: str) -> str:
    return name.replace(" ", "").casefold()
