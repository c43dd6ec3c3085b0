"""What training left on the table: how far each setting ended from the best cost of its λ.

A certificate bounds J − J* by one pass over the rows and knows no optimum; where the optimum was
solved as well, J* lies between its lower bound and its cost, and the true distance is known.

A chart of what training left: how far each setting ended from its best cost, and the bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onelayer.model.model import Certificate
from onelayer.report.chart import SHAPES, Chart, Key, finished_specs, short
from onelayer.report.summary import SettingSummary, Spread, listed, spread, unbroken
from onelayer.training.result import Result

if TYPE_CHECKING:
    from onelayer.report.chart import AltairChart

# The sentence names this many settings; the table has all.
MOST_SAID = 4


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
    """The settings' distances from their optima.

    Attributes:
        heading: with the number of epochs.
        distances: of the settings, in their order in the result.
        sentence: what the numbers say.
    """

    heading: str
    distances: tuple[Distance, ...]
    sentence: str

    @property
    def holds(self) -> bool:
        """Whether no bound is under a true distance, as it must be."""
        return all(distance.holds for distance in self.distances)

    @property
    def known_to(self) -> float:
        """To how many nats the best costs themselves are known; NaN without any."""
        return max((d.best.gap for d in self.distances if d.best), default=math.nan)


def measure_distances(result: Result, settings: Sequence[SettingSummary]) -> DistanceFinding | None:
    """Gather how far each setting ended from its optimum.

    Args:
        result: the records.
        settings: its settings, summarised.

    Returns:
        The finding, or None for a result without certificates.
    """
    if not result.certificates:
        return None
    best = {optimum.l2: optimum for optimum in result.optima}
    distances = tuple(_distance(result, setting, best.get(setting.l2)) for setting in settings)
    epochs = sorted({run.epochs for run in result.runs})
    if len(epochs) == 1:
        what = f"{epochs[0]} epoch{'s' * (epochs[0] != 1)}"
    else:
        what = f"{epochs[0]} to {epochs[-1]} epochs"
    return DistanceFinding(f"What {what} left on the table", distances, unbroken(_say(distances)))


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


def _say(distances: Sequence[Distance]) -> str:
    known = sorted((d for d in distances if d.best and d.above.n), key=lambda d: -d.above.mean)
    bounded = [d for d in distances if d.bound.n]
    if known:
        ends = [
            f"{d.setting} ends {d.above.mean:.2g} nats ({d.share:.2g} %) above the best cost"
            for d in known[:MOST_SAID]
        ]
        proofs = listed([f"{d.bound.mean:.2g}" for d in known[:MOST_SAID]])
        return (
            f"{listed(ends)}. The certificates, which take one pass and know no optimum, prove at "
            f"most {proofs} nats."
        )
    if bounded:
        ends = [f"{d.setting} at most {d.bound.mean:.2g} nats" for d in bounded[:MOST_SAID]]
        return f"Certified by one pass each: {listed(ends)} above the best cost there is."
    return "Without a penalty, λ = 0, no bound on the distance from the best cost exists."


NAME = "distance-to-best"

TITLE = "Above the best cost: true and certified"

LABELS = ("true distance, J − J*", "certified bound")

KEYS = ("c0", "c1")

ROW, LEAST_HEIGHT = 42, 120


def distance_chart(distances: Sequence[Distance]) -> Chart | None:
    """Draw true distances beside their bounds.

    Args:
        distances: of the settings; those without a bound or a known optimum are left out.

    Returns:
        The chart; None when none is left.
    """
    shown = [d for d in distances if d.bound.n and d.above.n and d.above.mean > 0.0]
    if not shown:
        return None
    names = [d.setting for d in shown]
    height = max(LEAST_HEIGHT, ROW * len(shown))
    specs = finished_specs(
        _layers(names, paper=False),
        _layers(names, paper=True),
        height=height,
        paper_size=(460, height),
    )
    tables = {
        "ends": [row for d in shown for row in _ends(d)],
        "ways": [
            {"s": d.setting, "l": short(d.above.mean), "h": short(d.bound.mean)} for d in shown
        ],
    }
    words = "; ".join(
        f"{d.setting}: {d.above.mean:.3g} nats, certified at most {d.bound.mean:.3g}" for d in shown
    )
    return Chart(
        name=NAME,
        title=TITLE,
        heading=TITLE,
        description=f"{TITLE}. Means over the runs: {words}.",
        page=specs.page_with(tables),
        paper=specs.paper_with(tables, TITLE),
        legend=tuple(
            Key(k, label, i) for i, (k, label) in enumerate(zip(KEYS, LABELS, strict=True))
        ),
    )


def _ends(distance: Distance) -> list[dict[str, Any]]:
    return [
        {"s": distance.setting, "c": key, "v": short(spread.mean), "t": label, "w": _words(spread)}
        for key, label, spread in zip(KEYS, LABELS, (distance.above, distance.bound), strict=True)
    ]


def _words(spread: Spread) -> str:
    over = f" ({spread.low:.4g} to {spread.high:.4g}, {spread.n} runs)" if spread.n > 1 else ""
    return f"{spread.mean:.4g}{over}"


def _layers(names: list[str], *, paper: bool) -> AltairChart:
    import json

    import altair as alt

    scale = alt.Scale(type="log", nice=False, padding=30)
    title = "J − J* / nats, log scale"
    axis = alt.Axis(tickCount=4, format="~g", labelSeparation=8)
    y = alt.Y("s:N", sort=names, title=None, axis=alt.Axis(labelLimit=150, ticks=False))
    ways = alt.Chart(alt.NamedData("ways")).mark_rule(strokeWidth=1.5)
    words = f"({json.dumps(dict(zip(KEYS, LABELS, strict=True)), ensure_ascii=False)})[datum.value]"
    legend = alt.Legend(labelExpr=words, symbolSize=90, symbolOpacity=1) if paper else None
    ends = alt.Chart(alt.NamedData("ends")).mark_point(filled=True, size=120, opacity=1)
    if not paper:
        ends = ends.transform_filter("indexof(hidden, datum.c) < 0")
    points = ends.encode(
        x=alt.X("v:Q", title=title, scale=scale, axis=axis),
        y=y,
        color=alt.Color("c:N", scale=alt.Scale(domain=list(KEYS)), legend=legend),
        shape=alt.Shape(
            "c:N", scale=alt.Scale(domain=list(KEYS), range=list(SHAPES[:2])), legend=legend
        ),
        tooltip=[
            alt.Tooltip("s:N", title="setting"),
            alt.Tooltip("t:N", title="of"),
            alt.Tooltip("w:N", title="nats"),
        ],
    )
    between = ways.encode(x=alt.X("l:Q", title=title, scale=scale, axis=axis), x2="h:Q", y=y)
    chart = alt.layer(between, points)
    return chart if paper else chart.add_params(alt.param(name="hidden", value=[]))
