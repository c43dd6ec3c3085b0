"""Numbers outside their range are refused, in a sentence that names the setting."""

from __future__ import annotations

import math

from onelayer.errors import SettingsError


def require_number(
    name: str,
    value: object,
    expected: str,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    below: float = math.inf,
) -> None:
    """Refuse what is no finite number in the range, in a sentence that names the setting.

    Args:
        name: of the setting.
        value: what was given.
        expected: what it must be, in words.
        above: the number must be greater.
        least: the number must be that or greater.
        below: the number must be smaller.

    Raises:
        SettingsError: when it is not.

    Example:
        >>> require_number("l2 (λ)", 0.1, "a finite number, 0 or above", least=0)
    """
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not (good and value > above and least <= value < below):  # type: ignore[operator]
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


def read_numbers(spec: object, count: int) -> tuple[float, ...] | None:
    """The numbers behind a name, parted by colons.

    Args:
        spec: such as "step:10:0.1".
        count: how many there must be.

    Returns:
        The numbers; None when they are not so many, or one is no finite number.

    Example:
        >>> read_numbers("step:10:0.1", 2), read_numbers("step:10", 2)
        ((10.0, 0.1), None)
    """
    words = spec.split(":")[1:] if isinstance(spec, str) else []
    try:
        numbers = tuple(float(word) for word in words)
    except ValueError:
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None
