"""Lists and ranges of numbers in one word, as `sweep` takes them.

0.1,0.01            these values
0.001:0.3:7         7 values from low to high, evenly in their logarithm, ends included
0,1e-4:1:5          both
0.001:0.3           any number from low to high; only where settings are drawn at random
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from onelayer.errors import SettingsError

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
