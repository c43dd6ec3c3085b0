"""How many examples a property is tried on: all of them in `make test`, a fifth in `make check`."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import settings

# What hypothesis draws where nothing is said; the profile "quick" draws a fifth of it.
DEFAULT = 100


def tries(most: int) -> int:
    """`most`, or its fifth."""
    return max(1, most * settings().max_examples // DEFAULT)


def examples(most: int) -> settings:
    """For a property that hypothesis tries on so many examples, not on DEFAULT."""
    return settings(max_examples=tries(most))


def few(fast: int, parameters: Iterable[object]) -> list[object]:
    """Parameters of a test, of which `make check` takes the first few."""
    slow = pytest.mark.slow
    return [of if i < fast else pytest.param(of, marks=slow) for i, of in enumerate(parameters)]
