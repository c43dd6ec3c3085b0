"""What is asked of the embeddings, from the record alone."""

from __future__ import annotations

from benchmarks.figures import MEGABYTE, median_ratio
from benchmarks.probes.record import ProbeRecord


def memory(record: ProbeRecord | None, key: str) -> float | None:
    """Peak of a part's whole process above X, MB."""
    part = record.find(key) if record else None
    return part.peak_bytes / MEGABYTE if part and part.peak_bytes is not None else None


def gap(record: ProbeRecord | None, key: str) -> float | None:
    """Largest proven gap / J of a part's models."""
    part = record.find(key) if record else None
    return part.gap if part else None


def ratio(record: ProbeRecord | None, key: str, other: str) -> float | None:
    """Time of one part / another's: pair by pair where both had rounds, else of the first ones."""
    one, two = (record.find(k) if record else None for k in (key, other))
    return median_ratio(one.seconds, two.seconds) if one and two else None
