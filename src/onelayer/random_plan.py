"""Settings drawn at random: where few of many settings matter, draws see more of each than a grid.

Source: Bergstra & Bengio, Random search for hyper-parameter optimization, JMLR 13 (2012).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from onelayer.errors import SettingsError
from onelayer.plan import Run, grid
from onelayer.ranges import require_number, require_whole

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
