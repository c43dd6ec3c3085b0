"""The options of what a step is: momentum, schedules, averages, the loss, flips and patience.

`fit` takes one value of each; `sweep` takes lists of those that are numbers or names.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any

import typer

from onelayer.cli.option_groups import takes
from onelayer.cli.options import LossOption, SmoothingOption
from onelayer.cli.settings import VALUES
from onelayer.cli.values import parse_values, parse_whole_values
from onelayer.errors import SettingsError

SCHEDULES = "constant, cosine, step:EPOCHS:FACTOR or cyclical:SHARE:EPOCHS"
AVERAGES = "The model's weights: none (the last), tail:SHARE or ema:DECAY"
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
