"""What to train: a Run is one setting; a grid is many; runs that agree on their rows share a pass.

A pass reads every batch once for all of its runs, so runs can share one when they see the same
batches in the same order for the same number of epochs.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from onelayer.errors import SettingsError

Auto = Literal["auto"]
AUTO: Auto = "auto"


@dataclass(frozen=True)
class Run:
    """One setting of mini-batch gradient descent, from initial weights to the last epoch.

    W ← W − η ∂J/∂W, b ← b − η ∂J/∂b once a batch; W and b start at N(0, init_scale²).

    Attributes:
        learning_rate: η > 0, step length; "auto" lets training take one that is guaranteed to be
            stable on its rows (`onelayer.optimum.suggest` tells it beforehand).
        l2: λ ≥ 0, multiplies Σ W² in the cost.
        seed: draws the initial weights, 0 … 2³² − 1.
        batch_size: rows of a batch, 1 … N; a last smaller batch is averaged over its own size.
        epochs: passes over the training rows, ≥ 1.
        shuffle_seed: None takes the batches in file order; a number draws a new order each epoch.
        init_scale: standard deviation of the initial weights, ≥ 0.
        name: the setting's name in tables and charts; runs that differ in the seed only share it.

    Raises:
        SettingsError: when a value is outside its range.

    Example:
        >>> Run(learning_rate=0.01, l2=0.1).name
        'λ=0.1, η=0.01'
    """

    learning_rate: float | Auto
    l2: float = 0.0
    seed: int = 0
    batch_size: int = 100
    epochs: int = 40
    shuffle_seed: int | None = None
    init_scale: float = 0.01
    name: str = ""

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
        if not self.name:
            rate = AUTO if self.learning_rate == AUTO else f"{self.learning_rate:g}"
            object.__setattr__(self, "name", f"λ={self.l2:g}, η={rate}")

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
    """Group runs that can share a pass over the data: same batches, same order, same epochs.

    Args:
        runs: any runs.

    Returns:
        Lists of positions in `runs`; every run is in exactly one list.

    Example:
        >>> group_passes([Run(0.1), Run(0.1, batch_size=50), Run(0.2)])
        [[0, 2], [1]]
    """
    groups: dict[tuple[int, int, int | None], list[int]] = {}
    for position, run in enumerate(runs):
        key = (run.batch_size, run.epochs, run.shuffle_seed)
        groups.setdefault(key, []).append(position)
    return list(groups.values())


def _require_known(names: Iterable[str]) -> None:
    known = [field.name for field in fields(Run)]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the settings are {', '.join(known)}."
            raise SettingsError(f"unknown setting {name!r}; {hint}")


def require_number(
    name: str, value: object, expected: str, *, above: float = -math.inf, least: float = -math.inf
) -> None:
    """Refuse what is no finite number in the range, in a sentence that names the setting.

    Args:
        name: of the setting.
        value: what was given.
        expected: what it must be, in words.
        above: the number must be greater.
        least: the number must be that or greater.

    Raises:
        SettingsError: when it is not.

    Example:
        >>> require_number("l2 (λ)", 0.1, "a finite number, 0 or above", least=0)
    """
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not (good and value > above and value >= least):  # type: ignore[operator]
        raise SettingsError(f"{name} must be {expected}, but {value!r} was given.")


def require_whole(name: str, value: object, least: int) -> None:
    """Refuse what is no whole number of at least `least`, in a sentence that names the setting.

    Args:
        name: of the setting.
        value: what was given.
        least: the smallest it may be.

    Raises:
        SettingsError: when it is not.

    Example:
        >>> require_whole("seeds", 8, 1)
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SettingsError(
            f"{name} must be a whole number, {least} or above, but {value!r} was given."
        )
