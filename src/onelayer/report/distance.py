"""Distance from the optimum: how far each setting ended from the best cost of its λ.

A certificate bounds J − J* by one pass over the rows and knows no optimum; where the optimum was
solved as well, J* lies between its lower bound and its cost, and the true distance is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from onelayer.model.model import Certificate
from onelayer.report.chart import Axis, Chart, Dot, dot_chart
from onelayer.report.render import Section
from onelayer.report.summary import (
    Records,
    SettingSummary,
    Spread,
    listed,
    number,
    spread,
    unbroken,
)
from onelayer.report.tables import Cell, Column, Table, make_table, spread_cell
from onelayer.training.result import Result

# The sentence names this many settings; the table has all.
MOST_NAMED = 4


@dataclass(frozen=True)
class Distance:
    """How far the runs of one setting ended from the best there is.

    Attributes:
        setting: its name.
        l2: λ.
        learning_rate: η.
        cost: J with the kept weights, nats.
        bound: certified bound on J − J*, nats; of no runs for λ = 0.
        best: the certificate of the solved optimum; None without one.
        above: J less the cost of that optimum, nats; of no runs without one.
        weights: bound on ‖W − W*‖; of no runs for λ = 0.
        gradient: ‖∇_W J‖, which is all that is known where λ = 0.
        holds: whether no run is farther from the optimum than was certified.
    """

    setting: str
    l2: float
    learning_rate: float
    cost: Spread
    bound: Spread
    best: Certificate | None
    above: Spread
    weights: Spread
    gradient: Spread
    holds: bool

    @property
    def share(self) -> float:
        """J − J* in percent of J*; NaN without an optimum."""
        return 100.0 * self.above.mean / self.best.cost if self.best else math.nan


@dataclass(frozen=True)
class DistanceFinding:
    """How far the settings ended from their optima.

    Attributes:
        distances: of the settings, in their order in the result.
        sentence: what the numbers say.
    """

    distances: tuple[Distance, ...]
    sentence: str

    @property
    def holds(self) -> bool:
        """Whether no bound is under a true distance, as it must be."""
        return all(distance.holds for distance in self.distances)

    @property
    def known_to(self) -> float:
        """To how many nats the best costs themselves are certified; NaN without any."""
        return max((d.best.gap for d in self.distances if d.best), default=math.nan)


def distance_section(records: Records) -> Section | None:
    """How far each setting ended from its optimum; None without certificates."""
    finding = measure_distances(records.result, records.settings)
    if finding is None:
        return None
    chart = distance_chart(finding.distances)
    note = (
        "On the training rows, with the weights of the last epoch. The certificate of a run bounds "
        "its distance from the best cost by one pass over the rows, from the gradient alone."
    )
    if chart:
        to = f"{finding.known_to:.0e}".replace("-", "\u2011")
        note += (
            f" J* is the cost of the optimum, which was solved as well and is certified to {to} "
            "nats, so the true distance is known"
            + (": the bound is never under it." if finding.holds else ".")
        )
    contradiction = (
        "A bound is smaller than the true distance, which cannot be: these records are not of the "
        "same rows."
    )
    return Section(
        anchor="distance",
        heading="Distance from the optimum",
        text=(finding.sentence,),
        asides=() if finding.holds else (contradiction,),
        charts=(chart,) if chart else (),
        note=note,
        table=_table(finding.distances),
    )


def measure_distances(result: Result, settings: Sequence[SettingSummary]) -> DistanceFinding | None:
    """Gather how far each setting ended from its optimum; None without certificates."""
    if not result.certificates:
        return None
    best = {optimum.l2: optimum for optimum in result.optima}
    distances = tuple(_distance(result, setting, best.get(setting.l2)) for setting in settings)
    return DistanceFinding(distances, unbroken(_describe(distances)))


def _distance(result: Result, setting: SettingSummary, best: Certificate | None) -> Distance:
    proofs = [result.certificates[i] for i in setting.counted]
    return Distance(
        setting=setting.name,
        l2=setting.l2,
        learning_rate=setting.learning_rate,
        cost=spread([proof.cost for proof in proofs]),
        bound=spread([proof.gap for proof in proofs]),
        best=best,
        # A run may end closer to J* than the solver was asked to; it is then not below it.
        above=spread([max(proof.cost - best.cost, 0.0) for proof in proofs] if best else []),
        weights=spread([proof.distance for proof in proofs]),
        gradient=spread([proof.gradient_norm for proof in proofs]),
        holds=best is None or all(proof.cost - best.cost <= proof.gap for proof in proofs),
    )


def _describe(distances: Sequence[Distance]) -> str:
    known = sorted((d for d in distances if d.best and d.above.n), key=lambda d: -d.above.mean)
    bounded = [d for d in distances if d.bound.n]
    if known:
        ends = [
            f"{d.setting} ends {d.above.mean:.2g} nats ({d.share:.2g} %) above the best cost"
            for d in known[:MOST_NAMED]
        ]
        proofs = listed([f"{d.bound.mean:.2g}" for d in known[:MOST_NAMED]])
        return (
            f"{listed(ends)}. The certificates, which take one pass and know no optimum, prove at "
            f"most {proofs} nats."
        )
    if bounded:
        ends = [f"{d.setting} at most {d.bound.mean:.2g} nats" for d in bounded[:MOST_NAMED]]
        return f"Certified by one pass each: {listed(ends)} above the best possible cost."
    return "Without a penalty, λ = 0, no bound on the distance from the best cost exists."


def distance_chart(distances: Sequence[Distance]) -> Chart | None:
    """True distances beside their bounds; None where no setting has both."""
    shown = [d for d in distances if d.bound.n and d.above.n and d.above.mean > 0.0]
    if not shown:
        return None
    title = "Cost above the optimum: true and certified"
    rows = [
        (d.setting, [Dot(i, s.mean, s.low, s.high) for i, s in enumerate((d.above, d.bound))])
        for d in shown
    ]
    labels = ("true distance, J − J*", "certified bound")
    axis = Axis("J − J* / nats", log=True, format="~g")
    return dot_chart("distance", title, axis, labels, rows)


def _table(distances: Sequence[Distance]) -> Table:
    columns = [
        Column("setting", words=True),
        *(Column(name) for name in ("cost J reached / nats", "best cost J* / nats")),
        *(Column(name, group="J − J* / nats") for name in ("true", "certified, at most")),
        Column("bound on ‖W − W*‖"),
        Column("‖∂J/∂W‖"),
    ]
    return make_table("Distance from the optimum", columns, map(_row, distances))


def _row(d: Distance) -> list[Cell | str]:
    gradient = f"{d.gradient.mean:.2g}" if d.gradient.n else "–"
    if d.l2 == 0.0:
        none = "no bound without λ"
        return [d.setting, spread_cell(d.cost, ".4f"), "–", "–", none, "–", gradient]
    above = Cell("–")
    if d.above.n:
        deviation = number(d.above.deviation, ".4f") if d.above.n > 1 else ""
        share = f"{number(d.share, '.2g')} % of J*"
        above = Cell(number(d.above.mean, ".4f"), deviation, share, strong=True)
    return [
        d.setting,
        spread_cell(d.cost, ".4f"),
        number(d.best.cost, ".4f") if d.best else "–",
        above,
        spread_cell(d.bound, ".4f"),
        spread_cell(d.weights, ".3f"),
        gradient,
    ]
