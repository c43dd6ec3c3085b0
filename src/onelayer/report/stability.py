"""Conclusion 1 explained: a step η overshoots where the cost bends more sharply than 2/η.

Along a direction of curvature h, gradient descent multiplies the distance to the minimum by
|1 − ηh| a step: it shrinks while h < 2/η and grows beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onelayer.report.summary import SettingSummary
from onelayer.report.wording import unbroken
from onelayer.result import Result

# More curves than colours cannot be told apart.
MOST_CURVES = 6


@dataclass(frozen=True)
class Bend:
    """The curvature that one run met, against what its step allows.

    Attributes:
        label: the run, by its η, and by λ and seed where those differ.
        learning_rate: η.
        epochs: when it was measured.
        values: λmax of the Hessian of J at those epochs.
    """

    label: str
    learning_rate: float
    epochs: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def limit(self) -> float:
        """2/η: above it the step overshoots."""
        return 2.0 / self.learning_rate

    @property
    def above(self) -> int:
        """At how many of the measured epochs the curvature is above the limit."""
        return sum(value > self.limit for value in self.values)


@dataclass(frozen=True)
class StabilityFinding:
    """Curvatures met in training, smallest η first.

    Attributes:
        bends: of the measured runs.
        sentence: what the numbers say.
    """

    bends: tuple[Bend, ...]
    sentence: str


def compare_curvatures(
    result: Result, settings: Sequence[SettingSummary]
) -> StabilityFinding | None:
    """Set the curvature that each measured run met against 2/η.

    Args:
        result: the records.
        settings: its settings, summarised.

    Returns:
        The finding, or None without a measured run. Of more than MOST_CURVES runs the first are
        taken.
    """
    of_run = {i: setting for setting in settings for i in setting.positions}
    measured = [i for i in sorted(result.curvatures) if result.curvatures[i].epochs][:MOST_CURVES]
    if not measured:
        return None
    several_l2 = len({of_run[i].l2 for i in measured}) > 1
    names = [(of_run[i].learning_rate, of_run[i].l2) for i in measured]
    bends = []
    for i, name in zip(measured, names, strict=True):
        label = f"η = {name[0]:g}"
        label += f", λ = {name[1]:g}" if several_l2 else ""
        label += f", seed {result.runs[i].seed}" if names.count(name) > 1 else ""
        curvature = result.curvatures[i]
        bends.append(Bend(label, name[0], curvature.epochs, curvature.values))
    bends.sort(key=lambda bend: bend.learning_rate)
    return StabilityFinding(tuple(bends), unbroken(" ".join(map(_say, bends))))


def _say(bend: Bend) -> str:
    """One run in a sentence: on which side of its limit it was, and how often."""
    measured, above, limit = len(bend.values), bend.above, f"2/η = {bend.limit:.3g}"
    low, high = min(bend.values), max(bend.values)
    span = f"{low:.3g}" if measured == 1 else f"{low:.3g} to {high:.3g}"
    if above == 0:
        return f"With {bend.label} the curvature, {span}, stays under {limit}: that step is stable."
    if above == measured:
        return (
            f"With {bend.label} the curvature, {span}, is above {limit} whenever it was measured: "
            "that step overshoots and is unstable."
        )
    return (
        f"With {bend.label} the curvature, {span}, is above {limit} at {above} of the {measured} "
        "epochs measured: there that step overshoots."
    )
