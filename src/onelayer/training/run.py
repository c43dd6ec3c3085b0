"""What to train: a Run is one setting; a grid is many; runs that agree on their rows share a pass.

A pass reads every batch once for all of its runs, so runs can share one when they see the same
batches in the same order for the same number of epochs.

Settings drawn at random: where few of many settings matter, draws see more of each than a grid.

Source: Bergstra & Bengio, Random search for hyper-parameter optimization, JMLR 13 (2012).
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import numpy as np

from onelayer.errors import SettingsError, require_number, require_whole
from onelayer.objective.loss import BELOW_ONE, Loss, check_loss
from onelayer.training.schedule import CONSTANT, NONE, check_averaging, check_schedule

Auto = Literal["auto"]

AUTO: Auto = "auto"


@dataclass(frozen=True)
class Run:
    """One setting of mini-batch gradient descent, from initial weights to the last epoch.

    V ← μ V + ∂J/∂W, W ← W − η V once a batch, b likewise; W and b start at N(0, init_scale²).

    Attributes:
        learning_rate: η > 0, step length; "auto" lets training take one that is guaranteed to be
            stable on its rows (`onelayer.solver.suggest` tells it beforehand).
        l2: λ ≥ 0, multiplies Σ W² in the cost.
        seed: draws the initial weights, 0 … 2³² − 1.
        batch_size: rows of a batch, 1 … N; a last smaller batch is averaged over its own size.
        epochs: passes over the training rows, ≥ 1.
        shuffle_seed: None takes the batches in file order; a number draws a new order each epoch.
        init_scale: standard deviation of the initial weights, ≥ 0.
        name: the setting's name in tables and charts; by default what in it is not the default.
            Runs that differ in seeds only share it.
        momentum: μ in [0, 1).
        nesterov: whether W ← W − η (∂J/∂W + μ V); without momentum both are the same.
        schedule: what η is multiplied by as training goes on: "constant", "cosine",
            "step:EPOCHS:FACTOR" or "cyclical:SHARE:EPOCHS" (`onelayer.training.schedule`).
        warmup: epochs in which η rises to its full length before the schedule begins, fractions
            allowed.
        averaging: the model is the weights as they are, "none"; their mean over the last steps,
            "tail:SHARE"; or their exponential moving average, "ema:DECAY".
        loss: "softmax", or "sigmoid": the mean of K binary cross-entropies.
        label_smoothing: ε in [0, 1); targets are (1 − ε) y + ε/K.
        flip_seed: None trains on images as they are; a number mirrors each with a chance of one
            half, drawn anew each epoch.
        patience: None trains all epochs and keeps the last weights; a number stops the run after
            so many epochs without a lower validation loss, and keeps the weights of the lowest.

    Raises:
        SettingsError: when a value is outside its range.

    Example:
        >>> Run(learning_rate=0.01, l2=0.1).name
        'λ=0.1, η=0.01'
    """

    # The help is that of the command line's option, which is made from the field.
    learning_rate: float | Auto = field(
        metadata={"help": "Learning rate η > 0, or auto: a rate that is guaranteed to be stable."}
    )
    l2: float = field(default=0.0, metadata={"help": "L2 penalty λ ≥ 0; the cost adds λ Σ W²."})
    seed: int = 0
    batch_size: int = field(default=100, metadata={"help": "Rows per batch."})
    epochs: int = field(default=40, metadata={"help": "Passes over the training rows."})
    shuffle_seed: int | None = field(
        default=None, metadata={"help": "Seed of the row order; a new order each epoch."}
    )
    init_scale: float = field(
        default=0.01, metadata={"help": "Standard deviation of the initial weights."}
    )
    name: str = ""
    momentum: float = field(default=0.0, metadata={"help": "Momentum μ, 0 ≤ μ < 1."})
    nesterov: bool = field(default=False, metadata={"help": "Nesterov momentum."})
    schedule: str = field(
        default=CONSTANT,
        metadata={"help": "constant, cosine, step:EPOCHS:FACTOR or cyclical:FRACTION:EPOCHS."},
    )
    warmup: float = field(
        default=0.0, metadata={"help": "Warm-up epochs: η rises linearly to its full value."}
    )
    averaging: str = field(
        default=NONE,
        metadata={"help": "Averaging of the weights: none, tail:FRACTION or ema:DECAY."},
    )
    loss: Loss = field(
        default="softmax",
        metadata={"help": "softmax, or sigmoid: the mean of K binary cross-entropies."},
    )
    label_smoothing: float = field(default=0.0, metadata={"help": "Label smoothing ε, 0 ≤ ε < 1."})
    flip_seed: int | None = field(
        default=None, metadata={"help": "Seed of random horizontal flips of images."}
    )
    patience: int | None = field(
        default=None,
        metadata={"help": "Stop a run after this many epochs without a lower validation loss."},
    )

    def __post_init__(self) -> None:
        if self.learning_rate != AUTO:
            expected = 'a finite number above 0 or "auto"'
            require_number("learning_rate (η)", self.learning_rate, expected, above=0)
        require_number("l2 (λ)", self.l2, "a finite number, 0 or above", least=0)
        require_number("init_scale", self.init_scale, "a finite number, 0 or above", least=0)
        require_whole("batch_size", self.batch_size, 1)
        require_whole("epochs", self.epochs, 1)
        require_whole("seed", self.seed, 0)
        if self.shuffle_seed is not None:
            require_whole("shuffle_seed", self.shuffle_seed, 0)
        if self.flip_seed is not None:
            require_whole("flip_seed", self.flip_seed, 0)
        if self.patience is not None:
            require_whole("patience", self.patience, 1)
        self._check_method()
        if not self.name:
            rate = AUTO if self.learning_rate == AUTO else f"{self.learning_rate:g}"
            words = (f"λ={self.l2:g}", f"η={rate}", self.variant)
            object.__setattr__(self, "name", ", ".join(filter(None, words)))

    def _check_method(self) -> None:
        require_number("momentum (μ)", self.momentum, BELOW_ONE, least=0, below=1)
        if not isinstance(self.nesterov, bool):
            raise SettingsError(f"nesterov must be true or false, but {self.nesterov!r} was given.")
        check_loss(self.loss, self.label_smoothing)
        check_schedule(self.schedule)
        check_averaging(self.averaging)
        require_number("warmup", self.warmup, "a number of epochs, 0 or above", least=0)
        if self.warmup > self.epochs:
            raise SettingsError(
                f"warmup must be at most the {self.epochs} epochs, but {self.warmup!r} was given."
            )

    @property
    def averages(self) -> bool:
        """Whether the model is an average of the weights."""
        return self.averaging != NONE

    @property
    def variant(self) -> str:
        """What in the method is not the default, beside λ and η, in words; '' for nothing.

        Example:
            >>> Run(0.1, momentum=0.9, schedule="cosine", warmup=2).variant
            'μ=0.9, cosine, warm-up 2'
        """
        words = (
            f"{'Nesterov ' * self.nesterov}μ={self.momentum:g}" if self.momentum else "",
            self.schedule if self.schedule != CONSTANT else "",
            f"warm-up {self.warmup:g}" if self.warmup else "",
            self.averaging if self.averages else "",
            self.loss if self.loss != "softmax" else "",
            f"ε={self.label_smoothing:g}" if self.label_smoothing else "",
            "flips" if self.flip_seed is not None else "",
            f"patience {self.patience}" if self.patience is not None else "",
        )
        return ", ".join(filter(None, words))

    @property
    def eta(self) -> float:
        """The learning rate as a number.

        Raises:
            SettingsError: while it is "auto"; training puts a number in its place.
        """
        if isinstance(self.learning_rate, str):
            raise SettingsError('learning_rate is "auto" until training has settled it.')
        return self.learning_rate

    def as_dict(self) -> dict[str, Any]:
        """The run as plain values, fit for JSON; `Run(**run.as_dict())` gives it back."""
        return asdict(self)


def run_from_settings(settings: Mapping[str, Any]) -> Run:
    """Make a run from a mapping of setting names to values.

    Args:
        settings: names are the attributes of `Run`.

    Returns:
        The run.

    Raises:
        SettingsError: for an unknown setting name, a missing learning_rate, or a bad value.

    Example:
        >>> run_from_settings({"learning_rate": 0.1, "batch_sise": 10})
        Traceback (most recent call last):
        ...
        onelayer.errors.SettingsError: unknown setting 'batch_sise'; did you mean 'batch_size'?
    """
    _require_known(settings)
    if "learning_rate" not in settings:
        raise SettingsError("a run needs the setting learning_rate (η), but it was not given.")
    return Run(**settings)


def grid(**settings: Any) -> tuple[Run, ...]:
    """Every combination of the given settings, as runs.

    Args:
        **settings: names are the attributes of `Run`; a list or tuple of values is swept, a
            single value is fixed. The last swept setting varies fastest.

    Returns:
        The runs, in the order of the product.

    Raises:
        SettingsError: for an unknown setting name or a bad value.

    Example:
        >>> [run.name for run in grid(learning_rate=[0.1, 0.01], l2=0.0)]
        ['λ=0, η=0.1', 'λ=0, η=0.01']
    """
    _require_known(settings)
    axes = [v if isinstance(v, (list, tuple, range)) else [v] for v in settings.values()]
    return tuple(
        run_from_settings(dict(zip(settings, values, strict=True)))
        for values in itertools.product(*axes)
    )


def seed_range(seeds: int) -> range:
    """Seeds 0, 1, 2 …, for runs that differ in their initial weights only.

    Args:
        seeds: how many, ≥ 1.

    Returns:
        The seeds.

    Raises:
        SettingsError: for fewer than one.

    Example:
        >>> list(seed_range(3))
        [0, 1, 2]
    """
    require_whole("seeds", seeds, 1)
    return range(seeds)


def group_passes(runs: Sequence[Run]) -> list[list[int]]:
    """Group runs that can share a pass: same batches, order, flips and epochs.

    Args:
        runs: any runs.

    Returns:
        Lists of positions in `runs`; every run is in exactly one list.

    Example:
        >>> group_passes([Run(0.1), Run(0.1, batch_size=50), Run(0.2)])
        [[0, 2], [1]]
    """
    groups: dict[tuple[int | None, ...], list[int]] = {}
    for position, run in enumerate(runs):
        key = (run.batch_size, run.epochs, run.shuffle_seed, run.flip_seed)
        groups.setdefault(key, []).append(position)
    return list(groups.values())


def _require_known(names: Iterable[str]) -> None:
    known = [field.name for field in fields(Run)]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the settings are {', '.join(known)}."
            raise SettingsError(f"unknown setting {name!r}; {hint}")


# Numbers that are drawn have so many significant digits, so that a table can be read and typed.
DIGITS = 3

# Lists alone have finitely many combinations; so many draws in vain say that they are used up.
DRAWS_IN_VAIN = 1000

WHOLE = ("batch_size", "epochs")


def random_grid(n: int, sweep_seed: int = 0, **settings: Any) -> tuple[Run, ...]:
    """Draw n different settings at random, as runs.

    Args:
        n: how many settings, ≥ 1.
        sweep_seed: of the draws; the same seed draws the same settings.
        **settings: names are the attributes of `Run`. A tuple (low, high) is drawn log-uniformly
            from low to high, both above 0; of a list one entry is drawn; a single value is fixed.
            Of `seed` nothing is drawn: every setting is trained from each of the given seeds.

    Returns:
        The runs, setting by setting; drawn numbers have 3 significant digits.

    Raises:
        SettingsError: for an unknown setting, a bad value, a range that is none, or when lists
            have fewer than n combinations.

    Example:
        >>> runs = random_grid(2, learning_rate=(1e-3, 0.3), l2=[0.0, 1e-4], seed=[0, 1])
        >>> [run.name for run in runs if run.seed == 0]
        ['λ=0.0001, η=0.0378', 'λ=0, η=0.00126']
    """
    require_whole("n", n, 1)
    require_whole("sweep_seed", sweep_seed, 0)
    seeds = settings.pop("seed", 0)
    for name, values in settings.items():
        _check(name, values)
    rng = np.random.default_rng(sweep_seed)
    drawn: dict[tuple[Any, ...], dict[str, Any]] = {}
    in_vain = 0
    while len(drawn) < n:
        setting = {name: _draw(rng, name, values) for name, values in settings.items()}
        in_vain = in_vain + 1 if tuple(setting.values()) in drawn else 0
        drawn.setdefault(tuple(setting.values()), setting)
        if in_vain == DRAWS_IN_VAIN:
            raise SettingsError(
                f"{n} different settings were asked for, but only {len(drawn)} could be drawn; "
                "ask for fewer or widen the ranges."
            )
    return tuple(run for setting in drawn.values() for run in grid(**setting, seed=seeds))


def _check(name: str, values: Any) -> None:
    if isinstance(values, tuple):
        if len(values) != 2:
            raise SettingsError(
                f"{name} must be a range (low, high), a list to choose from or one value, but "
                f"{values!r} was given."
            )
        for value in values:
            require_number(
                f"{name}, an end of its range,", value, "a finite number above 0", above=0
            )
        if values[0] >= values[1]:
            raise SettingsError(
                f"{name} must be a range from low to high, but {values!r} was given."
            )
    elif isinstance(values, list) and not values:
        raise SettingsError(f"{name} must have values to choose from, but an empty list was given.")


def _draw(rng: np.random.Generator, name: str, values: Any) -> Any:
    """One value: from a range evenly in its logarithm, from a list with equal chances."""
    if isinstance(values, tuple):
        low, high = (math.log(value) for value in values)
        value = math.exp(rng.uniform(low, high))
        if name in WHOLE:
            return round(value)
        return min(max(float(f"{value:.{DIGITS}g}"), values[0]), values[1])
    if isinstance(values, (list, range)):
        return values[int(rng.integers(len(values)))]
    return values
