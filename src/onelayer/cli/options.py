"""Options that several commands share: data, engine, hyperparameters; and their values.

Options of hyperparameters are made from the fields of `Run`. Each takes a list in one word:

    0.1,0.01           these values
    0.001:0.3:7        7 values from low to high, log-spaced, ends included
    0,1e-4:1:5         both
    0.001:0.3          any number from low to high; only with --random
"""

from __future__ import annotations

import glob
import inspect
import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args, get_type_hints

import numpy as np
import typer

from onelayer.cli.app import OptionGroup, keyword
from onelayer.cli.config import VALUES, is_given
from onelayer.cli.output import note
from onelayer.data import Dataset, Splits, load
from onelayer.data.feature_sets import FeatureSets, read_feature_sets
from onelayer.data.formats.base import is_pattern
from onelayer.data.formats.registry import names_file, read_labels
from onelayer.data.load import load_for, names_cifar10
from onelayer.data.progress import print_line
from onelayer.data.streaming import stored_rows
from onelayer.data.weights import BALANCED, ClassWeight
from onelayer.engines import ENGINE_NAMES, Engine, make_engine
from onelayer.engines.processes import processes
from onelayer.errors import (
    OnelayerError,
    SaveError,
    SettingsError,
    home_path,
    one_line,
    require_number,
)
from onelayer.files.provenance import Command
from onelayer.training.estimate import estimate
from onelayer.training.run import AUTO, Run, seed_values
from onelayer.training.run_folder import saved_origin

if TYPE_CHECKING:
    from onelayer.cli.models import ChosenModel

# Significant digits of the values inside a range, unless rounding makes two of them equal.
DIGITS = 3


@dataclass(frozen=True)
class DataOptions(OptionGroup):
    """Which rows are loaded, and how they are split.

    Data:
        data SOURCE: A file (npy, npz, csv, svm, parquet, arrow, safetensors, pt, h5, zarr), a
            folder or quoted pattern of such files, a folder of images or CIFAR files, or digits,
            cifar10, cifar100. Default: cifar10, or the data of the run folder.
        labels COLUMN|FILE: Column or array of labels, or a file with one label per row. Default:
            label, labels, y, target or class. Of many labels a row a column of lists, columns of 0
            and 1 ("is_*", or names with commas), or a .npy matrix of them.
        test FILE|DIR: Test rows.
        test-labels COLUMN|FILE: Labels of --test.
        test-size FRACTION: Fraction held out for testing without --test.
        validation FILE|DIR: Validation rows.
        validation-labels COLUMN|FILE: Labels of --validation.
        validation-size FRACTION: Fraction of the other rows held out for validation without
            --validation.
        split-seed N: Random seed of the train/validation/test split.
        split COLUMN|FILE: Column or array that says train, validation or test of each row, or a
            file with one word per row.
        groups COLUMN|FILE: Column or array of groups, or a file with one group per row; no group is
            in two parts or folds. identical: rows with the same values stay in one part.
        weights COLUMN|FILE: Column or array of row weights, or a file with one number per row.
        offsets COLUMN|FILE: What is added to the scores: of two classes a column or one number per
            row, for the second; else a .npy matrix.
        features NAMES: Feature columns; x* is a pattern.
        drop NAMES: Columns that are no features.
        id COLUMN: Column that names each row.
        image-size SIDE|HxW: Resize images. Default: all have one size.
        stream/no-stream: Read rows from their files as needed, or load them. Default: by
            their size.
    """

    data: str | None = None
    labels: str | None = None
    test: str | None = None
    test_labels: str | None = None
    test_size: float = 0.2
    validation: str | None = None
    validation_labels: str | None = None
    validation_size: float = 0.2
    split_seed: int = 0
    split: str | None = None
    groups: str | None = None
    weights: str | None = None
    offsets: str | None = None
    features: str | None = None
    drop: str | None = None
    id: str | None = None
    image_size: str | None = None
    stream: bool | None = None


@dataclass(frozen=True)
class SetOptions(OptionGroup):
    """Which feature sets are loaded, and how their rows are split.

    Data:
        data SOURCE: A .npz, .safetensors, .pt, .h5 or .zarr, each of whose arrays is a feature set;
            a folder of .npy and .pt files; or a file with an array (N, L, D) of L sets.
        labels FILE|NAME: A file with one label per row, or the array of labels beside the sets.
            Default: label, labels, y, target or class.
        names NAMES: Names of the L sets of an array (N, L, D).
        test SOURCE: The same sets of the test rows.
        test-labels FILE|NAME: Labels of --test.
        test-size FRACTION: Fraction held out for testing without --test.
        validation SOURCE: The same sets of the validation rows.
        validation-labels FILE|NAME: Labels of --validation.
        validation-size FRACTION: Fraction of the other rows held out for validation without
            --validation.
        split-seed N: Random seed of the train/validation/test split.
        split FILE: A file that says train, validation or test of each row.
        groups FILE: A file with one group per row; no group is in two parts or folds.
        weights FILE: A file with the weight of each row.
    """

    data: str | None = None
    labels: str | None = None
    names: str | None = None
    test: str | None = None
    test_labels: str | None = None
    test_size: float = 0.2
    validation: str | None = None
    validation_labels: str | None = None
    validation_size: float = 0.2
    split_seed: int = 0
    split: str | None = None
    groups: str | None = None
    weights: str | None = None


def load_sets(options: SetOptions) -> FeatureSets:
    """Load the feature sets that the options name."""
    given = dict(vars(options))
    if given["names"] is not None:
        given["names"] = [name.strip() for name in given["names"].split(",")]
    return read_feature_sets(given.pop("data"), given.pop("labels"), print_line, **given)


def load_splits(options: DataOptions, *, all_batches: bool = False) -> Splits:
    """Load the data that the options name; of CIFAR-10 batches 1 and 2, or all five."""
    given = dict(vars(options))
    if all_batches and names_cifar10(options.data):
        given |= {"train_batches": (1, 2, 3, 4), "validation_batches": (5,)}
    return load(given.pop("data"), **given)


# Options that say how rows are split, and those that say what a file's columns are.
SPLIT = ("test_size", "validation", "validation_labels", "validation_size", "split_seed", "split")
COLUMNS = ("labels", "features", "drop", "id", "image_size")


def rows_for(
    context: typer.Context, typed: DataOptions, chosen: ChosenModel, part: str, *, trust: bool
) -> Dataset:
    """The rows of a part of the data that a model is for, or all rows of other data.

    Without --data the data are those of the run, of a suite the model's feature set; its options
    hold for other data as far as they are about columns. Paths of a run folder outside of the
    current folder need `trust`.
    """
    given = {name: value for name, value in vars(typed).items() if is_given(context, name)}
    asked = given.keys() & {"test", *SPLIT}
    if chosen.feature_set is not None and not given.keys() & {"data", "test"}:
        return _part_for(chosen, _saved_sets(chosen, trust), part)
    saved, classes = _saved_options(chosen), chosen.model.class_names
    own = not given.keys() & {"data", "test"} or (
        "data" in given and given["data"] == saved.get("data")
    )
    if own:
        if "data" not in saved | given:
            raise SettingsError("cannot tell which data the model was trained on; pass --data.")
        if chosen.folder is not None and not trust and "data" not in given:
            require_inside(chosen.folder, saved)
        for role in ("test", "validation"):  # rows of their own are not cut off
            if role in given:
                saved.pop(f"{role}_size", None)
        given = saved | given
        return _part_for(chosen, load(given.pop("data"), classes=classes, **given), part)
    kept = {name: value for name, value in saved.items() if name in COLUMNS}
    if names_file(kept.get("labels")):
        del kept["labels"]
    given = kept | given
    if "data" not in given:  # test rows of their own, beside no others
        given["data"] = given.pop("test")
        given["labels"] = given.pop("test_labels", given.get("labels"))
        part, asked = "test", set()
    model = chosen.model
    known = model.split, model.feature_names, model.image_shape
    found = load_for(given.pop("data"), *known, whole=not asked, classes=classes, **given)
    if isinstance(found, Splits):
        return _part_for(chosen, found, part)
    if chosen.model.split is not None:
        note(f"{found.name} is other data than the model was trained on: all of its rows are taken")
    return found


def _part_for(chosen: ChosenModel, splits: Splits, part: str) -> Dataset:
    """A part of the data, the training part as the model was fitted to it."""
    if part == "train" and chosen.model.settings.get("refit"):
        return splits.train_and_validation
    return cast(Dataset, getattr(splits, part))


def require_inside(folder: Path, options: Mapping[str, Any]) -> None:
    """Raise `OnelayerError` where a run folder's options name files outside of the current one."""
    here, found = Path.cwd().resolve(), list[str]()
    for name in (
        "data", "labels", "test", "test_labels", "validation", "validation_labels", "split",
        "groups", "weights", "offsets", "folds_from", "penalty_factors",
    ):  # fmt: skip
        word = str(options.get(name, options.get(name.replace("_", "-"))) or "")
        if "\0" in word or any(not p.is_relative_to(here) for p in _reached(home_path(word))):
            found.append(word)
    if found:
        raise OnelayerError(
            f"{folder} would read {one_line(', '.join(found))}, which is outside of the current "
            "folder; add --trust if the run is your own."
        )


def _reached(path: Path) -> Iterator[Path]:
    """Where a path leads, and the files that match it or that links in its folder lead to."""
    yield path.resolve()
    if is_pattern(path):
        yield from (Path(name).resolve() for name in glob.iglob(str(path), recursive=True))
    elif path.is_dir():
        for folder, folders, names in os.walk(path):
            inner = (Path(folder, name) for name in (*folders, *names))
            yield from (entry.resolve() for entry in inner if entry.is_symlink())


def _saved_sets(chosen: ChosenModel, trust: bool) -> Splits:
    """The feature set of a model of a suite, as the command that made the suite loaded it."""
    assert chosen.folder is not None  # noqa: S101  # the suite's
    assert chosen.feature_set is not None  # noqa: S101  # asked for by the caller
    saved = saved_origin(chosen.folder).command.options
    if not trust:
        require_inside(chosen.folder, saved)
    known = {f.name: saved.get(f.name.replace("_", "-"), f.default) for f in fields(SetOptions)}
    sets = load_sets(SetOptions(**known))
    if chosen.feature_set not in sets.names:
        raise SettingsError(f"{known['data']} has no feature set {chosen.feature_set!r} any more.")
    return sets.splits(chosen.feature_set)


def _saved_options(chosen: ChosenModel) -> dict[str, Any]:
    """The data options of the command that made the run, or the data set that it names."""
    if chosen.feature_set is not None:
        return {}
    if chosen.folder is not None:
        with suppress(SaveError):  # made from Python
            saved = saved_origin(chosen.folder).command.options
            known = [
                (f, saved.get(f.name.replace("_", "-"), f.default)) for f in fields(DataOptions)
            ]
            return {"data": None} | {f.name: value for f, value in known if value != f.default}
    named = chosen.model.settings.get("data")
    return {"data": named} if named in ("digits", "cifar10") else {}


def as_loaded(command: Command, splits: Splits) -> Command:
    """The command with what other memory would decide otherwise: that rows stay in their files."""
    if stored_rows(splits.train.X) is None:
        return command
    return replace(command, options=dict(command.options) | {"stream": True})


def note_estimate(splits: Splits, engine: Engine, runs: Sequence[Run] = ()) -> None:
    """Print what a pass will take, where rows stay in their files."""
    if stored_rows(splits.train.X) is not None:
        note(estimate(splits, runs, engine=engine).sentence)


@dataclass(frozen=True)
class EngineOptions(OptionGroup):
    """What does the arithmetic.

    Engine:
        engine NAME: native, reference or torch.
        threads N: CPU threads. Default: all available cores, OMP_NUM_THREADS at most.
        device NAME: With --engine torch: auto, cpu, cuda, cuda:N or mps. Default: auto, a GPU if
            there is one, else the native engine.
        precision TYPE: With --engine torch: tf32 or bf16, which GPUs multiply faster.
    """

    engine: str = ENGINE_NAMES[0]
    threads: int | None = None
    device: str | None = None
    precision: str | None = None


def chosen_engine(options: EngineOptions) -> Engine:
    """Make the engine that the options name; for processes started together one that they share."""
    together, given = processes() > 1, dict(vars(options))
    name = given.pop("engine")
    if together and name == ENGINE_NAMES[0]:  # the default is for one process
        name = "torch"
    engine = make_engine(name, **given, distributed=together)
    if together:
        device = engine.describe()["device"]
        note(f"{processes()} processes share the rows of each batch (engine torch, {device})")
    return engine


@dataclass(frozen=True)
class PenaltyOptions(OptionGroup):
    """The L2 penalty.

    Hyperparameters:
        l2 VALUES: L2 penalty λ ≥ 0; the cost adds λ Σ W². Default: 0; for solve and probe,
            values from the data.
        C VALUES: The same as scikit-learn's C = 1/(2λN); of weighted rows N is Σ w.
    """

    l2: str | None = None
    C: str | None = None

    def values(self, rows: float, *, draw: bool = False) -> Any:
        """The λ's for training rows of this weight in all; those of `draw` may be (low, high)."""
        if self.l2 is not None and self.C is not None:
            raise SettingsError("--l2 and --C set the same penalty; pass one of them.")
        if self.C is None:
            l2 = parse_values("--l2", self.l2 or "0", draw=draw)
            for value in l2:
                require_number("l2 (λ)", value, "a finite number, 0 or above", least=0)
            return l2
        inverse = parse_values("--C", self.C, draw=draw)
        for value in inverse:
            require_number("C", value, "a finite number above 0", above=0)
        l2 = [1.0 / (2.0 * value * rows) for value in inverse]
        return (l2[1], l2[0]) if isinstance(inverse, tuple) else l2

    def one(self, rows: float) -> float:
        """The only λ."""
        values: list[float] = self.values(rows)
        if len(values) != 1:
            raise SettingsError(f"one λ is needed, got {len(values)}.")
        return values[0]


class SettingOptions(OptionGroup):
    """The hyperparameters of training; each is one value or several."""

    def __init__(self, **typed: Any) -> None:
        self._penalty = PenaltyOptions(typed["l2"], typed.pop("C"))
        self._typed = typed

    @classmethod
    def parameters(cls, settings: Any = Run) -> list[inspect.Parameter]:
        """An option for each field of a dataclass of hyperparameters."""
        hints, parameters = get_type_hints(settings), list[inspect.Parameter]()
        for field in fields(settings):
            # No options: --seeds takes several seeds, and names are made.
            if field.name in ("seed", "name"):
                continue
            if field.name == "l2":
                parameters += PenaltyOptions.parameters()
                continue
            hint, metavar, default = hints[field.name], None, field.default
            flags = ["--" + field.name.replace("_", "-")]
            flags += ["--lr"] if field.name == "learning_rate" else []
            if hint is bool:
                flags = [f"{flags[0]}/--no-{flags[0][2:]}"]
            else:
                hint, metavar = str | None, VALUES
                default = AUTO if default is MISSING else default
                if default is not None:
                    default = f"{default:g}" if isinstance(default, float) else str(default)
            text, panel = field.metadata.get("help"), "Hyperparameters"
            option = typer.Option(*flags, metavar=metavar, help=text, rich_help_panel=panel)
            parameters.append(keyword(field.name, default, Annotated[hint, option]))
        return parameters

    def values(self, rows: float, *, draw: bool = False) -> dict[str, Any]:
        """Settings of `grid`, or of `random_grid` with `draw`, for training rows of this weight."""
        hints = get_type_hints(Run)
        values = {
            name: parse_setting(name, text, hints[name], draw=draw)
            for name, text in self._typed.items()
        }
        return values | {"l2": self._penalty.values(rows, draw=draw)}


def parse_setting(name: str, typed: Any, hint: Any, *, draw: bool = False) -> Any:
    """The values of a hyperparameter of this type; flags and None stay what they are."""
    if not isinstance(typed, str):
        return typed
    flag, kinds = "--" + name.replace("_", "-"), get_args(hint) or (hint,)
    if float not in kinds and int not in kinds:
        return parse_names(flag, typed)
    words = [word for kind in kinds for word in get_args(kind)]  # of a Literal
    return parse_values(flag, typed, whole=float not in kinds, words=words, draw=draw)


def parse_values(
    flag: str, text: str, *, whole: bool = False, words: Sequence[str] = (), draw: bool = False
) -> Any:
    """The numbers of a list of values and ranges low:high:n, or with `draw` a pair (low, high)."""
    if draw and text.count(":") == 1 and "," not in text:
        return _ends(flag, text, *text.split(":"))
    values: list[Any] = []
    for part in text.split(","):
        if ":" in part:
            found = _range(flag, part)
            values += [round(value) for value in found] if whole else found
        else:
            values.append(part if part in words else _number(flag, part, whole=whole))
    return list(dict.fromkeys(values))


def parse_names(flag: str, text: str) -> list[str]:
    """Names separated by commas, each once."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise SettingsError(f"{flag} must be names separated by commas, got {text!r}.")
    return list(dict.fromkeys(names))


def parse_class_weight(text: str | None) -> ClassWeight:
    """A class weight as `solve` takes it: balanced, or NAME=WEIGHT with commas between them."""
    if text is None or text == BALANCED:
        return text
    return _by_name("--class-weight", "class", text, f"{BALANCED} or NAME=WEIGHT for some classes")


def parse_penalty_factors(text: str | None) -> Any:
    """Penalty factors as `solve` takes them: NAME=FACTOR with commas, or a file of numbers."""
    if text is None or "=" not in text:
        return text and read_labels(home_path(text))
    what = "a file with one number per feature, or COLUMN=FACTOR for some features"
    return _by_name("--penalty-factors", "feature", text, what)


def _by_name(flag: str, what: str, text: str, expected: str) -> dict[str, float]:
    """NAME=NUMBER with commas between them."""
    found: dict[str, float] = {}
    for part in parse_names(flag, text):
        name, _, number = part.rpartition("=")
        if not name:
            raise SettingsError(f"{flag} must be {expected}, separated by commas, got {text!r}.")
        if name in found:
            raise SettingsError(f"{flag} names the {what} {name!r} twice.")
        found[name] = _number(flag, number)
    return found


def parse_seeds(text: str) -> Sequence[int]:
    """Seeds: a count n for 0 … n − 1, or several separated by commas."""
    values: list[int] = parse_values("--seeds", text, whole=True)
    return values if "," in text else seed_values(values[0])


def _range(flag: str, text: str) -> list[float]:
    parts = text.split(":")
    if len(parts) == 2:
        raise SettingsError(
            f"{flag}: {text!r} does not say how many values; write {text}:5 for five, or add "
            "--random to draw from the whole range."
        )
    if len(parts) != 3 or not parts[2].isdecimal() or int(parts[2]) < 2:
        raise SettingsError(f"{flag}: a range is low:high:n, with n at least 2, got {text!r}.")
    if len(parts[2]) > 5:
        raise SettingsError(f"{flag}: a range has at most 99999 values, got {one_line(text)!r}.")
    low, high = _ends(flag, text, parts[0], parts[1])
    inner = np.geomspace(low, high, int(parts[2])).tolist()[1:-1]
    readable = [low, *(float(f"{value:.{DIGITS}g}") for value in inner), high]
    distinct = all(a < b for a, b in itertools.pairwise(readable))
    return readable if distinct else [low, *inner, high]


def _ends(flag: str, text: str, low: str, high: str) -> tuple[float, float]:
    ends = _number(flag, low), _number(flag, high)
    if not 0.0 < ends[0] < ends[1]:
        raise SettingsError(
            f"{flag}: a range goes from a number above 0 to a larger one, got {text!r}; for 0 as "
            "well write 0,0.001:1:4."
        )
    return ends


def _number(flag: str, text: str, *, whole: bool = False) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise SettingsError(
            f"{flag} must be numbers separated by commas or ranges low:high:n, got {text!r}."
        )
    if whole and value != round(value):
        raise SettingsError(f"{flag} must be whole numbers, got {text!r}.")
    return round(value) if whole else value
