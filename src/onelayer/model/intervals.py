"""Intervals of 95 %: Wilson's of fractions of rows, and those of the bootstrap of any figure.

Resamples are counts of rows, and a figure is a function of counts, so nothing is sorted or scored
again: w (N, B) holds B resamples. Rows are drawn with replacement from all of them, so that classes
have other numbers of rows each time, as in other data of the same kind; from those of their class
where a class is so small that resamples would lack it; or in whole groups where rows belong
together.

The bootstrap's interval is BCa (bias-corrected and accelerated), since plain percentiles cover less
where figures are skewed, as an AUROC near 1. A little is added for the variance that resamples
lack: docs/explanation/formulations.md, "Metrics".

Source: Efron (1987), Better bootstrap confidence intervals; Hesterberg (2015), What teachers should
know about the bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.errors import SettingsError, require_whole

Float64 = NDArray[np.float64]

# Of weights (N, B) a figure of each set, (B,).
Figure = Callable[[Float64], Float64]

NORMAL = NormalDist()

# Φ⁻¹(0.975): the two-sided 95 % quantile of the normal distribution.
Z95 = 1.959963984540054

RESAMPLES = 2000

# Blocks of rows that are left out in turn, for the acceleration.
BLOCKS = 100

# Rows are drawn within their classes where more than this share of resamples would lack a class.
LACKING = 0.01

# Counts of a set of resamples, few enough for a processor's cache.
ENTRIES = 1 << 18

WILSON, GROUPED = "95 % Wilson interval", "95 % interval, groups resampled:"


def interval_words(low: float, high: float, kind: str = WILSON) -> str:
    """A 95 % interval of a fraction in words, in percent."""
    return f"{kind} {100 * low:.2f} to {100 * high:.2f} %"


def wilson_interval(right: float, rows: float, z: float = Z95) -> tuple[float, float]:
    """The Wilson score interval of a fraction p = right / rows; z = Φ⁻¹(0.975) makes it 95 %.

        (p + z²/2n ± z √(p (1 − p)/n + z²/4n²)) / (1 + z²/n)

    Unlike p ± z √(p (1 − p)/n), it stays within [0, 1] and has a width where p is 0 or 1.
    Source: Wilson (1927), Probable inference, the law of succession, and statistical inference.

    Example:
        >>> [round(end, 4) for end in wilson_interval(0, 10)]
        [0.0, 0.2775]
    """
    p, wide = right / rows, z * z / rows
    centre = p + wide / 2.0
    half = z * math.sqrt(p * (1.0 - p) / rows + wide / (4.0 * rows))
    low, high = (centre - half) / (1.0 + wide), (centre + half) / (1.0 + wide)
    # Where p is 0 or 1 an end is exactly p, and rounding must not put it beyond.
    return min(max(low, 0.0), p), max(min(high, 1.0), p)


def student_p(t: float, freedom: int) -> float:
    """The two-sided p of Student's t: I_x(ν/2, 1/2) with x = ν/(ν + t²), also far out.

    Source: Lentz's method of the continued fraction, as in Press et al., Numerical Recipes, 6.4.

    Example:
        >>> round(student_p(2.2009851600829, 11), 9)
        0.05
    """
    if math.isnan(t):
        return t
    a, b, x = freedom / 2.0, 0.5, freedom / (freedom + t * t)
    if x > (a + 1.0) / (a + b + 2.0):  # where the fraction of 1 − I converges faster
        return 1.0 - _beta_part(b, a, t * t / (freedom + t * t))
    return _beta_part(a, b, x)


def _beta_part(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), for x below (a + 1)/(a + b + 2)."""
    if x <= 0.0:
        return 0.0
    size = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x)
    value, top, bottom = 1.0, 1.0, 0.0
    for m in range(10_000):
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        even = (m + 1) * (b - m - 1) * x / ((a + 2 * m + 1.0) * (a + 2 * m + 2.0))
        before = value
        for part in (odd, even):
            bottom = 1.0 / (1.0 + part * bottom)
            top = 1.0 + part / top
            value *= top * bottom
        if abs(value - before) <= 1e-15 * abs(value):
            break
    return math.exp(size + b * math.log1p(-x)) / (a * value)


def student_quantile(level: float, freedom: int) -> float:
    """Standard errors to each side of an interval of that level, by Student's t.

    Example:
        >>> round(student_quantile(0.95, 11), 9)
        2.20098516
    """
    low, high = 0.0, 1.0
    while student_p(high, freedom) > 1.0 - level:
        low, high = high, 2.0 * high
    while (middle := (low + high) / 2.0) not in (low, high):
        low, high = (middle, high) if student_p(middle, freedom) > 1.0 - level else (low, middle)
    return high


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """A figure of resamples.

    Attributes:
        value: the figure of the rows themselves.
        values: of the resamples where it is defined, ascending.
        error: its standard error, by leaving out blocks of rows.
        acceleration: a, a sixth of the skewness of what the blocks change.
        units: rows or groups that were drawn.
        freedom: these, less one for each class, or one for groups.
        kind: "bootstrap", or the "stratified bootstrap" within classes, or the "grouped" one.
    """

    value: float
    values: Float64
    error: float
    acceleration: float
    units: int
    freedom: int
    kind: str

    def _widened(self, z: float = Z95) -> float:
        """Standard errors to each side: Student's quantile, times √(units / freedom)."""
        f = max(self.freedom, 1)
        return z * (1.0 + (z**2 + 1.0) / (4.0 * f)) * math.sqrt(self.units / f)

    @property
    def _shift(self) -> float:
        """z₀: how far the figure is from the median of the resamples."""
        n = len(self.values)
        below = (np.searchsorted(self.values, self.value, side) for side in ("left", "right"))
        return NORMAL.inv_cdf(min(max(sum(below) / (2 * n), 0.5 / n), 1.0 - 0.5 / n))

    @property
    def interval(self) -> tuple[float, float]:
        """The BCa interval of 95 %."""
        return self.interval_of(Z95)

    def interval_of(self, quantile: float) -> tuple[float, float]:
        """The BCa interval: quantiles Φ(z₀ + (z₀ ± z) / (1 − a (z₀ ± z))) of the resamples.

        `quantile` is that of the normal distribution for the interval's level.
        """
        if not len(self.values):
            return math.nan, math.nan
        z0, wide = self._shift, self._widened(quantile)
        at = [NORMAL.cdf(z0 + z / (1.0 - self.acceleration * z)) for z in (z0 - wide, z0 + wide)]
        low, high = np.quantile(self.values, at)
        return float(low), float(high)

    @property
    def interval_of_distance(self) -> tuple[float, float]:
        """That of a sum of distances |·|, which is too large on few rows, as an ECE is.

        The resamples show a part of this bias only: all of it where the distances are large, and
        √2 − 1 of it where they are 0. So the lower end takes off the most that it may be, and the
        upper one the least.
        """
        if not len(self.values):
            return math.nan, math.nan
        bias, half = float(self.values.mean()) - self.value, self._widened() * self.error
        most = max(bias, bias / (math.sqrt(2.0) - 1.0))
        return max(self.value - most - half, 0.0), max(self.value - min(bias, most) + half, 0.0)

    @property
    def p(self) -> float:
        """The two-sided p that the figure is 0: one minus the level of the BCa interval up to 0.

        It is no smaller than the resamples can show, one in as many as they are.
        """
        n = len(self.values)
        if not n:
            return math.nan
        z0 = self._shift
        below = (np.searchsorted(self.values, 0.0, side) for side in ("left", "right"))
        z = NORMAL.inv_cdf(min(max(sum(below) / (2 * n), 0.5 / n), 1.0 - 0.5 / n)) - z0
        reached = NORMAL.cdf((z / (1.0 + self.acceleration * z) - z0) * Z95 / self._widened())
        return min(1.0, max(2.0 * min(reached, 1.0 - reached), 1.0 / n))


def bootstrap(
    figures: Sequence[Figure],
    y: NDArray[np.int64],
    *,
    weights: Float64 | None = None,
    groups: ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Bootstrap]:
    """Each figure on the rows and on the same resamples of them.

    Args:
        figures: what weights (N, B) make of the rows, (B,).
        y: class of each row, (N,).
        weights: w of each row, (N,); None is one each.
        groups: what each row belongs to, (N,); None draws rows.
        resamples: how many, ≥ 100.
        seed: of the draws.
    """
    require_whole("resamples", resamples, 100)
    require_whole("seed", seed, 0)
    own = (np.ones(len(y)) if weights is None else weights)[:, None]
    strata, place = _strata(y, groups)
    kind, drawn = _draws(strata, grouped=groups is not None)
    found: list[list[Float64]] = [[] for _ in figures]
    for counts in _resamples(drawn, resamples, seed):
        w = own * counts[place]
        for values, figure in zip(found, figures, strict=True):
            values.append(figure(w))
    blocks = _blocks(strata)[place]
    units = sum(map(len, strata))
    return [
        _bootstrap(
            float(figure(own)[0]),
            np.concatenate(values),
            _without(figure, own, blocks),
            units,
            units - len(strata),
            kind,
        )
        for values, figure in zip(found, figures, strict=True)
    ]


def standard_error(
    figure: Figure,
    y: NDArray[np.int64],
    weights: Float64 | None = None,
    groups: NDArray[np.int64] | None = None,
) -> float:
    """The standard error of a figure, by leaving out blocks of rows in turn (the jackknife).

    Of rows in groups a block is of whole groups.
    """
    strata, place = _strata(y, groups)
    blocks = _blocks(strata)[place]
    own = (np.ones(len(y)) if weights is None else weights)[:, None]
    return _error(_without(figure, own, blocks))


def clustered_error(x: Float64, weights: Float64, groups: NDArray[np.int64]) -> float:
    """The standard error of a weighted mean m of x (N,) over rows of which whole groups are drawn.

        √(G / (G − 1) Σ_g (Σ_{i in g} wᵢ (xᵢ − m))²) / Σ w        G groups

    Source: Liang & Zeger (1986), Longitudinal data analysis using generalized linear models.

    Example:
        >>> x = np.array([1.0, 1.0, 0.0, 0.0])
        >>> float(clustered_error(x, np.ones(4), np.array([0, 0, 1, 1])))
        0.5
    """
    w = weights / weights.sum()
    sums = np.bincount(groups, w * (x - w @ x))
    G = np.count_nonzero(np.bincount(groups, w))
    return math.sqrt(G / (G - 1.0) * float((sums**2).sum())) if G > 1 else math.nan


def _without(figure: Figure, own: Float64, blocks: NDArray[np.int64]) -> Float64:
    """The figure without each block of rows, a few blocks at a time."""
    count, each = int(blocks.max()) + 1, _width(len(own))
    pieces = (np.arange(start, min(start + each, count)) for start in range(0, count, each))
    return np.concatenate([figure(own * (blocks[:, None] != piece)) for piece in pieces])


def _width(units: int) -> int:
    """How many sets of weights are computed together."""
    return max(4, ENTRIES // units)


def _bootstrap(
    value: float, values: Float64, without: Float64, units: int, freedom: int, kind: str
) -> Bootstrap:
    without = without[np.isfinite(without)]
    changes = (without.mean() - without) if without.size else np.zeros(1)
    bottom = 6.0 * float((changes**2).sum()) ** 1.5
    acceleration = float((changes**3).sum()) / bottom if bottom > 0.0 else 0.0
    values = np.sort(values[np.isfinite(values)]) if math.isfinite(value) else np.empty(0)
    return Bootstrap(value, values, _error(without), acceleration, units, freedom, kind)


def _error(without: Float64) -> float:
    without = without[np.isfinite(without)]
    n = len(without)
    return math.sqrt((n - 1) * float(without.var())) if n else math.nan


def _strata(
    y: NDArray[np.int64], groups: ArrayLike | None
) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """The units that are drawn, of each class or all groups together; and the unit of each row."""
    if groups is None:
        order, sizes = np.argsort(y, kind="stable"), np.bincount(y)
        return np.split(order, np.cumsum(sizes[sizes > 0])[:-1]), np.arange(len(y))
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        raise SettingsError("the bootstrap of groups needs two or more, but all rows are of one.")
    return [np.arange(len(names))], place


def _draws(
    strata: Sequence[NDArray[np.int64]], *, grouped: bool
) -> tuple[str, Sequence[NDArray[np.int64]]]:
    """What the bootstrap is called, and from which units together it draws."""
    if grouped:
        return "grouped bootstrap", strata
    if sum(math.exp(-len(members)) for members in strata) > LACKING:
        return "stratified bootstrap", strata
    return "bootstrap", [np.arange(sum(map(len, strata)))]


def _resamples(
    strata: Sequence[NDArray[np.int64]], resamples: int, seed: int
) -> Iterator[NDArray[np.int64]]:
    """How often each unit is drawn, (units, B), a few resamples at a time."""
    random, units = np.random.default_rng(seed), sum(map(len, strata))
    each = _width(units)
    for start in range(0, resamples, each):
        B = min(each, resamples - start)
        counts = np.empty((units, B), np.int64)
        for members in strata:
            n = len(members)
            draws = random.integers(0, n, (n, B)) * B + np.arange(B)
            counts[members] = np.bincount(draws.ravel(), minlength=n * B).reshape(n, B)
        yield counts


def row_counts(
    y: NDArray[np.int64], groups: ArrayLike | None, resamples: int, seed: int
) -> tuple[str, int, int, Iterator[NDArray[np.int64]]]:
    """How often each row is drawn, (N,), of each resample.

    Before it what the bootstrap is called, the units that it draws, and their freedom.
    """
    strata, place = _strata(y, groups)
    kind, drawn = _draws(strata, grouped=groups is not None)
    units, sets = sum(map(len, strata)), _resamples(drawn, resamples, seed)
    each = (counts[place, i] for counts in sets for i in range(counts.shape[1]))
    return kind, units, units - len(strata), each


def _blocks(strata: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The block of each unit, evenly within each stratum."""
    order = np.concatenate(strata)
    blocks = np.empty(len(order), np.int64)
    blocks[order] = np.arange(len(order)) % min(BLOCKS, len(order))
    return blocks
