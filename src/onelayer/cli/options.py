"""Options that several commands share, and the bar that shows their progress.

Options that several commands share, declared once: a dataclass whose fields are options.

A command that is decorated with `takes("data", DataOptions)` declares one parameter
`data: DataOptions`; on the command line that becomes an option for each field.

The options that say which rows are loaded, one way for all commands: `--data` and its kin.

The options that say what does the arithmetic, one way for all commands: `--engine` and kin.

Lists and ranges of numbers in one word, as `sweep` takes them.

0.1,0.01            these values
0.001:0.3:7         7 values from low to high, evenly in their logarithm, ends included
0,1e-4:1:5          both
0.001:0.3           any number from low to high; only where settings are drawn at random

The options of what a step is: momentum, schedules, averages, the loss, flips and patience.

`fit` takes one value of each; `sweep` takes lists of those that are numbers or names.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import numpy as np
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from onelayer.cli.app import err, note
from onelayer.cli.config import VALUES
from onelayer.engines import ENGINE_NAMES, Engine
from onelayer.engines.processes import processes
from onelayer.errors import SettingsError

if TYPE_CHECKING:
    from onelayer.data import Splits
    from onelayer.engines import Engine
    from onelayer.files.provenance import Command
    from onelayer.training.run import Run

DtypeOption = Annotated[str, typer.Option("--dtype", help="Arithmetic: float32 or float64.")]

ScalingOption = Annotated[str, typer.Option("--scaling", help="none, unit or standardize.")]

LossOption = Annotated[
    str, typer.Option("--loss", help="softmax, or sigmoid: the mean of K binary cross-entropies.")
]

SmoothingOption = Annotated[
    float, typer.Option("--label-smoothing", help="ε: targets are (1 − ε) y + ε/K.")
]


@contextmanager
def progress_bar(doing: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar with the time that is left while the block runs; it is told done and total."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} " + unit),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


Called = Callable[..., None]


def takes(name: str, group: Any) -> Callable[[Called], Called]:
    """Give a command an option for each field of a group in place of one parameter.

    Args:
        name: of the parameter.
        group: a dataclass; each field has typer's annotation and a default.

    Returns:
        A decorator of commands; commands with several groups have several.
    """

    def decorate(command: Called) -> Called:
        @wraps(command)
        def called(*words: Any, **options: Any) -> None:
            said = {field.name: options.pop(field.name) for field in fields(group)}
            command(*words, **options, **{name: group(**said)})

        parameters = _parameters(command, name, group)
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {p.name: p.annotation for p in parameters}
        return called

    return decorate


def _parameters(command: Called, name: str, group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    own = get_type_hints(command, vars(inspect.getmodule(command)), include_extras=True)
    each = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]  # fmt: skip
    parameters: list[inspect.Parameter] = []
    for called, parameter in inspect.signature(command).parameters.items():
        by_name = parameter.replace(annotation=own[called], kind=inspect.Parameter.KEYWORD_ONLY)
        parameters += each if called == name else [by_name]
    return parameters


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
        typer.Option("--test", metavar="FILE|DIR", help="The test rows; default: --test-size."),
    ] = None
    test_labels: Annotated[
        str | None,
        typer.Option("--test-labels", metavar="COLUMN|FILE", help="As --labels, for --test."),
    ] = None
    test_size: Annotated[
        float,
        typer.Option("--test-size", help="Fraction held out for testing when --test is not given."),
    ] = 0.2
    validation: Annotated[
        str | None,
        typer.Option(
            "--validation",
            metavar="FILE|DIR",
            help="The validation rows; default: --validation-size.",
        ),
    ] = None
    validation_labels: Annotated[
        str | None,
        typer.Option(
            "--validation-labels", metavar="COLUMN|FILE", help="As --labels, for --validation."
        ),
    ] = None
    validation_size: Annotated[
        float,
        typer.Option(
            "--validation-size",
            help="Fraction of the remaining rows held out for validation when --validation is not "
            "given.",
        ),
    ] = 0.2
    split_seed: Annotated[
        int,
        typer.Option("--split-seed", help="Random seed of the train/validation/test split."),
    ] = 0
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
    from onelayer.data.streaming import stored_rows

    if stored_rows(splits.train.X) is None:
        return command
    return replace(command, options=dict(command.options) | {"stream": True})


def say_preflight(splits: Splits, engine: Engine, runs: Sequence[Run] = ()) -> None:
    """Say what a pass will take, where rows stay in their files."""
    from onelayer.data.streaming import stored_rows
    from onelayer.training.estimate import estimate

    if stored_rows(splits.train.X) is not None:
        note(estimate(splits, runs, engine=engine).sentence)


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
        test_size=said.test_size,
        validation=said.validation,
        validation_labels=said.validation_labels,
        validation_size=said.validation_size,
        split_seed=said.split_seed,
        image_size=said.image_size,
        stream=said.stream,
        **batches,  # type: ignore[arg-type]
    )


@dataclass(frozen=True)
class EngineOptions:
    """What was said about the engine; each field is an option, its annotation the help."""

    engine: Annotated[
        str, typer.Option("--engine", help=f"What does the arithmetic: {', '.join(ENGINE_NAMES)}.")
    ] = ENGINE_NAMES[0]
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            help="Threads of the native engine, or of torch on the CPU; default: the cores we may "
            "use.",
        ),
    ] = None
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="NAME",
            help="Of the engine torch: auto, cpu, cuda, cuda:N or mps; default: auto, a GPU where "
            "there is one, else the native engine.",
        ),
    ] = None
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            metavar="TYPE",
            help="Of the engine torch: round the factors of float32 products to tf32 or bf16, "
            "which GPUs multiply faster.",
        ),
    ] = None


DEFAULT_ENGINE = EngineOptions()

takes_engine = takes("arithmetic", EngineOptions)


def chosen_engine(said: EngineOptions) -> Engine:
    """Make the engine that the options name; for processes started together one that they share."""
    from onelayer.engines import make_engine

    together = processes() > 1
    # The default is for one process.
    name = "torch" if together and said.engine == ENGINE_NAMES[0] else said.engine
    engine = make_engine(
        name, said.threads, device=said.device, precision=said.precision, distributed=together
    )
    if together:
        device = engine.describe()["device"]
        note(f"{processes()} processes share the rows of each batch (engine torch, {device}).")
    return engine


# Values between the ends of a range have so many significant digits, where they stay apart.
DIGITS = 3


def parse_values(option: str, text: str) -> list[float]:
    """The numbers that a list names, each once, in the order in which they are named.

    Args:
        option: which one, for the sentence that refuses it.
        text: values and ranges low:high:n, separated by commas.

    Returns:
        The numbers.

    Raises:
        SettingsError: for what is neither a number nor a range.

    Example:
        >>> parse_values("--l2", "0,1e-4:1:5")
        [0.0, 0.0001, 0.001, 0.01, 0.1, 1.0]
    """
    values: list[float] = []
    for part in text.split(","):
        values += _range(option, part) if ":" in part else [_number(option, part)]
    return list(dict.fromkeys(values))


def parse_whole_values(option: str, text: str) -> list[int]:
    """As `parse_values`, of whole numbers; those of a range are rounded.

    Example:
        >>> parse_whole_values("--batch-size", "100,10:1000:3")
        [100, 10, 1000]
    """
    values: list[int] = []
    for part in text.split(","):
        numbers = parse_values(option, part)
        if ":" not in part and numbers[0] != round(numbers[0]):
            raise SettingsError(f"{option} must be whole numbers, but {part!r} was given.")
        values += [round(number) for number in numbers]
    return list(dict.fromkeys(values))


def parse_choice(option: str, text: str) -> list[float] | tuple[float, float]:
    """What is drawn at random from: a range low:high as a pair, anything else as a list.

    Example:
        >>> parse_choice("--learning-rate", "0.001:0.3"), parse_choice("--l2", "0,0.1")
        ((0.001, 0.3), [0.0, 0.1])
    """
    if text.count(":") == 1 and "," not in text:
        low, high = text.split(":")
        return _ends(option, text, low, high)
    return parse_values(option, text)


def _range(option: str, text: str) -> list[float]:
    parts = text.split(":")
    if len(parts) == 2:
        raise SettingsError(
            f"{option}: {text!r} does not say how many values; write {text}:5 for five of them, or "
            "leave lists aside and use --random to draw from the whole range."
        )
    if len(parts) != 3 or not parts[2].isdecimal() or int(parts[2]) < 2:
        raise SettingsError(
            f"{option}: a range must be low:high:n, as in 0.001:0.1:5, with n a whole number, 2 or "
            f"above, but {text!r} was given."
        )
    low, high = _ends(option, text, parts[0], parts[1])
    exact = np.geomspace(low, high, int(parts[2])).tolist()
    inner = exact[1:-1]
    short = [float(f"{value:.{DIGITS}g}") for value in inner]
    readable = [low, *short, high]
    if any(a >= b for a, b in itertools.pairwise(readable)):
        return [low, *inner, high]
    return readable


def _ends(option: str, text: str, low: str, high: str) -> tuple[float, float]:
    ends = _number(option, low), _number(option, high)
    if not 0.0 < ends[0] < ends[1]:
        raise SettingsError(
            f"{option}: a range must go from a number above 0 to a larger one, but {text!r} was "
            "given; put 0 beside it with a comma, as in 0,0.001:1:4."
        )
    return ends


def _number(option: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise SettingsError(
            f"{option} must be numbers with commas between them, or ranges low:high:n, but "
            f"{text.strip()!r} was given."
        )
    return value


SCHEDULES = "constant, cosine, step:EPOCHS:FACTOR or cyclical:FRACTION:EPOCHS"

AVERAGES = "The model's weights: none (the last), tail:FRACTION or ema:DECAY"

WARMUP = "Epochs in which η rises to its full length"

PATIENCE = "Stop a run after so many epochs without a lower validation loss"

NesterovOption = Annotated[bool, typer.Option("--nesterov", help="Momentum looks one step ahead.")]

FlipOption = Annotated[
    int | None, typer.Option("--flip-seed", help="Mirror half of the images, by this seed.")
]


def _values(help_: str) -> Any:
    return typer.Option(metavar=VALUES, help=help_)


@dataclass(frozen=True)
class MethodOptions:
    """The method of one setting; each field is an option, and an attribute of `Run`."""

    momentum: Annotated[float, typer.Option(help="μ, from 0 to below 1.")] = 0.0
    nesterov: NesterovOption = False
    schedule: Annotated[str, typer.Option(help=f"{SCHEDULES}.")] = "constant"
    warmup: Annotated[float, typer.Option(help=f"{WARMUP}.")] = 0.0
    averaging: Annotated[str, typer.Option(help=f"{AVERAGES}.")] = "none"
    loss: LossOption = "softmax"
    label_smoothing: SmoothingOption = 0.0
    flip_seed: FlipOption = None
    patience: Annotated[int | None, typer.Option(help=f"{PATIENCE}.")] = None

    def settings(self) -> dict[str, Any]:
        """Settings of `grid`."""
        return asdict(self)


@dataclass(frozen=True)
class SweptMethodOptions:
    """The methods of a sweep: words that name lists, and what all of its runs share."""

    momentum: Annotated[str, _values("μ, from 0 to below 1.")] = "0"
    nesterov: NesterovOption = False
    schedule: Annotated[str, _values(f"{SCHEDULES}; some with commas.")] = "constant"
    warmup: Annotated[str, _values(f"{WARMUP}.")] = "0"
    averaging: Annotated[str, _values(f"{AVERAGES}; some with commas.")] = "none"
    loss: Annotated[str, _values("softmax, sigmoid, or both with a comma.")] = "softmax"
    label_smoothing: Annotated[str, _values("ε: targets are (1 − ε) y + ε/K.")] = "0"
    flip_seed: FlipOption = None
    patience: Annotated[str | None, _values(f"{PATIENCE}.")] = None

    def settings(self) -> dict[str, Any]:
        """Settings of `grid` and `random_grid`: a list for each option that takes one."""
        patience = self.patience
        return {
            "momentum": parse_values("--momentum", self.momentum),
            "nesterov": self.nesterov,
            "schedule": _names("--schedule", self.schedule),
            "warmup": parse_values("--warmup", self.warmup),
            "averaging": _names("--averaging", self.averaging),
            "loss": _names("--loss", self.loss),
            "label_smoothing": parse_values("--label-smoothing", self.label_smoothing),
            "flip_seed": self.flip_seed,
            "patience": None if patience is None else parse_whole_values("--patience", patience),
        }


DEFAULT_METHOD, DEFAULT_METHODS = MethodOptions(), SweptMethodOptions()

METHOD = tuple(field.name for field in fields(MethodOptions))

takes_method = takes("method", MethodOptions)

takes_methods = takes("method", SweptMethodOptions)


def _names(option: str, text: str) -> list[str]:
    """Names with commas between them, each once."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise SettingsError(
            f"{option} must be names with commas between them, but {text!r} was given."
        )
    return list(dict.fromkeys(names))
