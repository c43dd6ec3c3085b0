"""Weights of rows: each row's own, and that of its class.

    J = Σ wᵢ ℓᵢ / Σ wᵢ + λ Σ W²        wᵢ = (weight of row i) · (weight of its class)

Ratios alone count: an integer weight repeats a row, and 0 leaves it out. A row's own weight belongs
to the row and counts wherever rows are averaged, in costs as in metrics. A class weight belongs to
training: it counts in the cost and in what is said of the training rows, not in what models are
judged by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from onelayer.errors import DataError, SettingsError, is_number, one_line, plain

Float64 = NDArray[np.float64]

# "balanced", or a weight ≥ 0 of some classes by their names or numbers; the others weigh 1.
ClassWeight = Literal["balanced"] | Mapping[Any, float] | None

BALANCED: Literal["balanced"] = "balanced"


def check_weights(
    weights: Any, rows: int, what: str, error: type[Exception] = DataError
) -> Float64:
    """Weights of N rows as float64, (N,)."""
    given = numbers(np.asarray(weights))
    if given.dtype.kind not in "biuf" and not _holds_numbers(given):
        raise error(f"{what} must be numbers, but it holds {one_line(repr(plain(given.flat[0])))}.")
    found: Float64 = given.astype(np.float64)
    if found.shape != (rows,):
        raise error(
            f"{what} must hold one number for each of the {rows} rows, but its shape is "
            f"{found.shape}."
        )
    wrong = ~(np.isfinite(found) & (found >= 0.0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise error(f"{what} must be finite and 0 or above, but row {row} has {found[row]}.")
    if not found.any():
        raise error(f"{what} must be above 0 for some rows, but all of it is zero.")
    return found


def numbers(values: NDArray[Any]) -> NDArray[Any]:
    """Numbers that a file holds as text."""
    with suppress(ValueError, TypeError):
        return values.astype(np.float64) if values.dtype.kind in "OU" else values
    return values


def _holds_numbers(values: NDArray[Any]) -> bool:
    return values.dtype.kind == "O" and all(is_number(value, Real) for value in values.flat)


def near_one(weights: Float64) -> Float64:
    """Weights whose sum or square could overflow or vanish, times a power of two: ratios count."""
    exponent = int(np.frexp(weights.max())[1])
    return weights if abs(exponent) < 300 else np.ldexp(weights, -exponent)


def class_weight_by_name(
    class_weight: Any, class_names: tuple[str, ...], label_type: str
) -> dict[str, float] | Literal["balanced"] | None:
    """A class weight as records keep it: by the names of the classes.

    Example:
        >>> class_weight_by_name({1: 2, "cat": 0.5}, ("cat", "dog"), "text")
        {'dog': 2.0, 'cat': 0.5}
    """
    if class_weight is None or (isinstance(class_weight, str) and class_weight == BALANCED):
        return class_weight
    if not isinstance(class_weight, Mapping):
        raise SettingsError(
            f"class_weight must be {BALANCED!r} or a dict of classes and weights, but "
            f"{one_line(repr(class_weight))} was given."
        )
    found: dict[str, float] = {}
    for key, value in class_weight.items():
        key, weight = plain(key), plain(value)
        key = int(key) if isinstance(key, float) and key.is_integer() else key
        name = str(key).lower() if isinstance(key, bool) else str(key)
        # Labels that are integers are names themselves, and no places.
        numbered = type(key) is int and label_type in ("index", "text")
        if name not in class_names and numbered and 0 <= key < len(class_names):
            name = class_names[key]
        if name not in class_names:
            known = ", ".join(class_names[:8]) + (", …" if len(class_names) > 8 else "")
            raise SettingsError(
                f"class_weight names the class {one_line(repr(key))}, which is not there (classes: "
                f"{known})."
            )
        if name in found:
            raise SettingsError(f"class_weight names the class {name!r} twice.")
        if not is_number(weight, Real) or not np.isfinite(weight) or weight < 0:
            raise SettingsError(
                f"class_weight must be finite and 0 or above, but {name!r} has "
                f"{one_line(repr(value))}."
            )
        found[name] = float(weight)
    return found


def times_class_weights(
    y: NDArray[Any],
    weights: Float64 | None,
    class_weight: Mapping[str, float] | Literal["balanced"] | None,
    class_names: tuple[str, ...],
) -> Float64 | None:
    """Weights of rows times those of their classes, (N,); None is one each.

    "balanced" gives every class that has rows the same weight in all: Σ w / (K Σ w of the class).
    """
    if class_weight is not None and y.ndim == 2:
        raise SettingsError(
            "class_weight is for rows of one class, but these have many labels; give rows weights."
        )
    if class_weight is not None:
        own = np.ones(len(y)) if weights is None else weights
        if isinstance(class_weight, str):
            totals = np.bincount(y, weights=own, minlength=len(class_names))
            of_class = np.zeros(len(class_names))
            present = totals > 0.0
            of_class[present] = own.sum() / (np.count_nonzero(present) * totals[present])
        else:
            of_class = np.array([class_weight.get(name, 1.0) for name in class_names])
        weights = own * of_class[y]
        counted = np.unique(y[weights > 0.0])
        if len(counted) < 2 <= len(np.unique(y)):
            held = f"class {class_names[counted[0]]!r} alone" if len(counted) else "no class"
            raise SettingsError(
                f"class_weight must leave training rows of two classes, but it leaves rows of "
                f"{held}."
            )
    return weights


def of_mean_one(weights: Float64 | None) -> Float64 | None:
    """Weights in the cost, of which ratios count; None where all are the same."""
    if weights is None or (weights == weights[0]).all():
        return None
    weights = near_one(weights)
    return np.asarray(weights / weights.mean())


def known_class_weight(class_weight: Any, class_names: tuple[str, ...]) -> Any:
    """A model's class weight without the classes that these rows do not have."""
    if not isinstance(class_weight, Mapping):
        return class_weight if class_weight == BALANCED else None
    return {name: weight for name, weight in class_weight.items() if name in class_names}


def class_weight_by_label(
    class_weight: Mapping[str, float] | str | None,
    class_names: Sequence[str],
    labels: NDArray[Any],
) -> dict[Any, float] | str | None:
    """A class weight of records as estimators take it: by the labels of the classes.

    Example:
        >>> class_weight_by_label({"8": 2.0}, ("3", "8"), np.array([3, 8]))
        {8: 2.0}
    """
    if not isinstance(class_weight, Mapping):
        return class_weight
    by_name = dict(zip(class_names, labels.tolist(), strict=True))
    return {by_name[name]: weight for name, weight in class_weight.items()}
