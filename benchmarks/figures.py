"""Medians, spreads, ratios and shares, from the record alone."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks.contenders import ONELAYER
from benchmarks.record import Measured, Record

MEGABYTE = 1e6
BEST_BY_HAND = ("torch-once", "torch-each-batch")


def median_ratio(peer: Sequence[float], ours: Sequence[float]) -> float | None:
    """Median of peer / ours, pair by pair within a round, so that drift cancels.

    Example:
        >>> median_ratio([4.0, 9.0], [1.0, 3.0])
        3.5
    """
    ratios = [p / o for p, o in zip(peer, ours, strict=False)]
    return median(ratios) if ratios else None


def spread_text(values: Sequence[float], digits: int = 3) -> str:
    """The median with the least and the greatest value.

    Example:
        >>> spread_text([1.0, 3.0, 2.0], digits=1)
        '2.0 (1.0–3.0)'
    """
    if not values:
        return "—"
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def gflops(found: Measured) -> float | None:
    """Operations of the two products a second, at the median time."""
    return found.flops / median(found.seconds) / 1e9 if found.seconds else None


def sgemm_share(found: Measured | None) -> float | None:
    """GFLOP/s as a share of the median sgemm measured right before and after each run."""
    if found is None or not found.sgemm_gflops or not found.seconds:
        return None
    return found.flops / median(found.seconds) / 1e9 / median(found.sgemm_gflops)


def copy_share(found: Measured | None) -> float | None:
    """Least bytes touched a second, as a share of the median copy in the same session."""
    if found is None or not found.copy_gbytes or not found.seconds:
        return None
    return found.bytes_touched / median(found.seconds) / 1e9 / median(found.copy_gbytes)


def ratio_to_onelayer(record: Record, peer: str, problem: str) -> float | None:
    """Median over rounds of the peer's time / onelayer's, on the same problem."""
    theirs, ours = record.find(peer, problem), record.find(ONELAYER, problem)
    return median_ratio(theirs.seconds, ours.seconds) if theirs and ours else None


def best_by_hand(record: Record, problem: str) -> str:
    """Which form of hand-written PyTorch had the smaller median."""
    timed = [(median(m.seconds), key) for key in BEST_BY_HAND
             if (m := record.find(key, problem)) and m.seconds]  # fmt: skip
    return min(timed)[1] if timed else BEST_BY_HAND[0]


def grid_ratio(record: Record, grid: str, single: str) -> float | None:
    """Median over rounds of onelayer's time for a grid in one pass / for one run."""
    many, one = record.find(ONELAYER, grid), record.find(ONELAYER, single)
    return median_ratio(many.seconds, one.seconds) if many and one else None


def most_memory(record: Record) -> float | None:
    """The largest peak above X that onelayer had on any problem or point, in MB."""
    peaks = [m.peak_bytes for m in record.measured if m.contender == ONELAYER]
    peaks += [p.measured.peak_bytes for p in record.points if p.measured.contender == ONELAYER]
    return max(peaks) / MEGABYTE if peaks else None


def memory_growth(record: Record) -> float | None:
    """Peak above X at the largest N less that at the smallest, in MB."""
    by_rows = {
        point.value: point.measured.peak_bytes
        for point in record.points
        if point.axis == "N" and point.measured.contender == ONELAYER
    }
    if len(by_rows) < 2:
        return None
    return (by_rows[max(by_rows)] - by_rows[min(by_rows)]) / MEGABYTE
