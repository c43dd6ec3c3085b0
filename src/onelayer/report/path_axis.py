"""The axis of a λ path's charts: logarithmic, with a place apart for λ = 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import altair as alt

# The title says which way is which, so that nobody has to think of the formula.
TITLE = "λ, log scale: larger shrinks W more →"
# λ = 0 is drawn this share of the axis, but at least this factor, left of the smallest λ.
APART, LEAST_APART = 0.1, 3.0
MARGIN, LEAST_MARGIN = 0.03, 1.15


@dataclass(frozen=True)
class L2Axis:
    """Where each λ is drawn.

    Attributes:
        low: left end, > 0.
        high: right end.
        zero: where λ = 0 is drawn; 0 when it is not among them.
        ticks: places with a label.
    """

    low: float
    high: float
    zero: float
    ticks: tuple[float, ...]

    def place(self, l2: float) -> float:
        """Where a λ is drawn."""
        return l2 or self.zero

    def encoding(self, field: str = "x") -> alt.X:
        """The axis for Altair."""
        import altair as alt

        word = "format(datum.value, '~g')"
        if self.zero:
            word = f"datum.value < {math.sqrt(self.zero * self._smallest)!r} ? '0' : {word}"
        return alt.X(
            f"{field}:Q",
            title=TITLE,
            scale=alt.Scale(type="log", domain=[self.low, self.high], nice=False),
            axis=alt.Axis(
                values=list(self.ticks),
                labelExpr=word,
                grid=False,
                labelFlush=False,
                labelSeparation=8,
            ),
        )

    @property
    def _smallest(self) -> float:
        return min(tick for tick in (*self.ticks, self.high) if tick > self.zero)


def axis_of(l2s: Sequence[float]) -> L2Axis:
    """Lay out the axis for some values of λ.

    Args:
        l2s: at least one, ≥ 0.

    Returns:
        The axis; ticks are powers of ten, or the λ's themselves where those are fewer than two.

    Example:
        >>> axis_of([1.0, 0.1, 0.01]).ticks
        (0.01, 0.1, 1.0)
        >>> axis_of([0.5, 0.0]).place(0.0) < 0.5
        True
    """
    positive = sorted(l2 for l2 in l2s if l2 > 0.0) or [1.0]
    smallest, largest = positive[0], positive[-1]
    ratio = largest / smallest
    zero = smallest / max(LEAST_APART, ratio**APART) if 0.0 in l2s else 0.0
    margin = max(LEAST_MARGIN, ratio**MARGIN)
    first, last = math.ceil(math.log10(smallest) - 1e-9), math.floor(math.log10(largest) + 1e-9)
    ticks = [float(f"1e{power}") for power in range(first, last + 1)]
    if len(ticks) < 2:
        ticks = [smallest, largest] if largest > smallest else [smallest]
    if not any(l2s):
        ticks = []
    left = zero or smallest
    return L2Axis(left / margin, largest * margin, zero, (*([zero] if zero else []), *ticks))
