"""Sections on one setting or model: curves, distance from the optimum, confusion, mistakes, W."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.dataset import DataCard
from onelayer.model.calibration import Calibration
from onelayer.model.certificate import Certificate
from onelayer.model.evaluation import Mistakes, pairs_of
from onelayer.model.model import Model
from onelayer.report import model_tables, summary
from onelayer.report.chart import (
    MOST_WITH_NUMBERS,
    Axis,
    Chart,
    Curve,
    Dot,
    HeatCell,
    Marks,
    dot_chart,
    heat_map,
    is_wide,
    line_chart,
)
from onelayer.report.render import Picture, Section
from onelayer.report.summary import Records, SettingSummary, Spread
from onelayer.report.table import Cell, Column, make_table, spread_cell
from onelayer.report.weight_images import MOST_CLASSES, picture_uri, pictures_of
from onelayer.training.result import Result

EPOCHS = Axis("epoch", "epoch {:g}", whole=True)
NATS = "mean cross-entropy / nats"


def curve_of(label: str, values: NDArray[np.float64], runs: Sequence[str]) -> Curve:
    """A curve over epochs, from values (n, epochs + 1) of one row a run; ended runs are NaN."""
    epochs = np.flatnonzero(np.isfinite(values).any(axis=0))
    there = np.where(np.isfinite(values), values, np.nan)[:, epochs]
    with np.errstate(over="ignore"):
        mean = np.nanmean(there, axis=0).tolist()
    rows = tuple(zip(runs, there.tolist(), strict=True))
    if len(rows) == 1:
        return Curve(label, epochs.tolist(), mean, runs=rows)
    low, high = np.nanmin(there, axis=0).tolist(), np.nanmax(there, axis=0).tolist()
    return Curve(label, epochs.tolist(), mean, low, high, runs=rows)


def settings_section(records: Records) -> Section:
    """Loss, cost and accuracy over epochs of every setting that is drawn."""
    drawn, count = records.drawn, len(records.settings)
    shown = f"The {len(drawn)} of {count} settings with the best validation accuracy are drawn."
    return Section(
        anchor="settings",
        heading="Settings",
        text=(shown,) if len(drawn) < count else (),
        note=f"{summary.OVER_SEEDS}. Thick lines are means over seeds; bands reach from the "
        "smallest to the largest.",
        sections=tuple(
            # More settings than this are folded.
            _setting(records, anchor, setting, folded=len(drawn) > 4)
            for anchor, setting in drawn.items()
        ),
    )


def _setting(records: Records, anchor: str, setting: SettingSummary, *, folded: bool) -> Section:
    result = records.result
    parts = [("validation", setting.validation), ("training", setting.train.measured)]
    if summary.is_tested(result, setting):
        parts.append(("test", setting.test.measured))
    runs = len(setting.positions)
    words = [f"{part} accuracy {spread_cell(of).plain} %" for part, of in parts if of.n]
    words += [f"{runs} {'run' if runs == 1 else 'runs'}, {setting.status}"]
    words += ["chaotic"] if setting.chaotic else []
    text = [" · ".join(words)]
    unpenalised = setting.l2 == setting.l1 == 0.0
    text += ["λ = 0: loss and cost are equal."] if unpenalised else []
    best = len(records.settings) > 1 and setting.positions == result.ranking[0].positions
    heading = f"{setting.name} (best by validation)" if best else setting.name
    charts = _curves(result, setting, anchor)
    return Section(f"setting-{anchor}", heading, tuple(text), charts=charts, folded=folded)


def _curves(result: Result, setting: SettingSummary, anchor: str) -> tuple[Chart, ...]:
    positions, history = list(setting.positions), result.history
    names = summary.run_names(result, positions)

    def chart(measure: str, unit: str, factor: float = 1.0) -> Chart:
        curves = [
            curve_of(label, factor * getattr(history, f"{part}_{measure}")[positions], names)
            for part, label in (("train", "training"), ("validation", "validation"))
        ]
        axis = Axis(unit, log=measure != "accuracy" and is_wide(curves))
        heading = measure.capitalize()
        title = f"{heading}, {setting.name}"
        return line_chart(f"{measure}-{anchor}", title, heading, EPOCHS, axis, curves, zoom=True)

    norm = "‖W_d‖" if setting.grouped else "|W|"
    penalties = "".join(
        [" + λ Σ W²"] * (setting.l2 > 0.0) + [f" + λ₁ Σ {norm}"] * (setting.l1 > 0.0)
    )
    cost = (chart("cost", f"loss{penalties} / nats"),) if penalties else ()
    return chart("loss", NATS), *cost, chart("accuracy", "share of rows / %", 100.0)


# The sentence names this many settings; the table has all.
MOST_NAMED = 4


@dataclass(frozen=True)
class Distance:
    """How far the runs of one setting ended from the best cost J* of its λ.

    A certificate bounds J − J* by one pass over the rows and knows no optimum; where the optimum
    was solved as well, J* lies between its lower bound and its cost, and the true distance is
    known. Without a penalty there is no bound, only the gradient.
    """

    setting: str
    l2: float
    l1: float
    cost: Spread  # J with the kept weights, nats
    bound: Spread  # certified, on J − J*, nats
    best: Certificate | None  # of the solved optimum
    above: Spread  # J less the cost of that optimum, nats
    weights: Spread  # bound on ‖W − W*‖
    gradient: Spread  # ‖∇_W J‖
    holds: bool  # whether no run is farther from the optimum than was certified

    @property
    def share(self) -> float:
        """J − J* in percent of J*; NaN without an optimum."""
        cost = self.best.cost if self.best else 0.0
        return 100.0 * self.above.mean / cost if cost else math.nan


def distance_section(records: Records) -> Section | None:
    """How far each setting ended from its optimum; None without certificates."""
    if not records.result.certificates:
        return None
    distances = measure_distances(records.result, records.settings)
    holds = all(distance.holds for distance in distances)
    chart = _distance_chart(distances)
    note = (
        "On the training rows, with the weights of the last epoch. The certificate of a run bounds "
        "its distance from the best cost by one pass over the rows, from the gradient alone."
    )
    if chart:
        known_to = f"{max(d.best.gap for d in distances if d.best):.0e}".replace("-", "\u2011")
        note += (
            " J* is the cost of the optimum, which was solved as well and is certified to "
            f"{known_to} nats, so the true distance is known"
            + (": the bound is never under it." if holds else ".")
        )
    contradiction = (
        "A bound is smaller than the true distance, which cannot be: these records are not of the "
        "same rows."
    )
    heading, rows = "Distance from the optimum", map(_distance_row, distances)
    table = make_table(heading, DISTANCE_COLUMNS, rows, note=summary.OVER_SEEDS)
    return Section(
        anchor="distance",
        heading=heading,
        text=(describe_distances(distances),),
        asides=() if holds else (contradiction,),
        charts=(chart,) if chart else (),
        note=note,
        table=table,
    )


def measure_distances(result: Result, settings: Sequence[SettingSummary]) -> list[Distance]:
    """How far each setting ended from its optimum, in the order of the result."""
    optima = {(optimum.l2, optimum.l1, optimum.grouped): optimum for optimum in result.optima}
    distances = []
    for setting in settings:
        proofs = [result.certificates[i] for i in setting.counted]
        best = optima.get((setting.l2, setting.l1, setting.grouped))
        # A run may end closer to J* than the solver was asked to; it is then not below it.
        above = [max(proof.cost - best.cost, 0.0) for proof in proofs] if best else []
        distances.append(
            Distance(
                setting.name,
                setting.l2,
                setting.l1,
                cost=summary.spread([proof.cost for proof in proofs]),
                bound=summary.spread([proof.gap for proof in proofs]),
                best=best,
                above=summary.spread(above),
                weights=summary.spread([proof.distance for proof in proofs]),
                gradient=summary.spread([proof.gradient_norm for proof in proofs]),
                holds=all(over <= p.gap for over, p in zip(above, proofs, strict=False)),
            )
        )
    return distances


def describe_distances(distances: Sequence[Distance]) -> str:
    """The farthest settings in a sentence."""
    known = sorted((d for d in distances if d.above.n), key=lambda d: -d.above.mean)[:MOST_NAMED]
    if known:
        ends = [
            f"{d.setting} ends {d.above.mean:.2g} nats ({d.share:.2g} %) above the best cost"
            for d in known
        ]
        proofs = summary.listed([f"{d.bound.mean:.2g}" for d in known])
        return (
            f"{summary.listed(ends)}. The certificates, which take one pass and know no optimum, "
            f"prove at most {proofs} nats."
        )
    ends = [f"{d.setting} at most {d.bound.mean:.2g} nats" for d in distances if d.bound.n]
    if ends:
        bounds = summary.listed(ends[:MOST_NAMED])
        return f"Certified by one pass each: {bounds} above the best possible cost."
    return "Without a penalty, λ = 0, no bound on the distance from the best cost exists."


def _distance_chart(distances: Sequence[Distance]) -> Chart | None:
    rows = [
        (d.setting, [Dot(i, s.mean, s.low, s.high) for i, s in enumerate((d.above, d.bound))])
        for d in distances
        if d.bound.n and d.above.n and d.above.mean > 0.0
    ]
    if not rows:
        return None
    title = "Cost above the optimum: true and certified"
    labels = ("true distance, J − J*", "certified bound")
    return dot_chart("distance", title, Axis("J − J* / nats", log=True, format="~g"), labels, rows)


DISTANCE_COLUMNS: tuple[Column | str, ...] = (
    Column("setting", words=True),
    *("cost J reached / nats", "best cost J* / nats"),
    *(Column(name, group="J − J* / nats") for name in ("true", "certified, at most")),
    *("bound on ‖W − W*‖", "‖∂J/∂W‖"),
)


def _distance_row(d: Distance) -> list[Cell | str]:
    above = Cell("–")
    if d.above.n:
        deviation = summary.number(d.above.deviation, ".4f") if d.above.n > 1 else ""
        share = f"{summary.number(d.share, '.2g')} % of J*"
        above = Cell(summary.number(d.above.mean, ".4f"), deviation, share, strong=True)
    return [
        d.setting,
        spread_cell(d.cost, ".4f"),
        summary.number(d.best.cost, ".4f") if d.best else "–",
        above,
        spread_cell(d.bound, ".4f") if d.l2 or d.l1 else "no bound without λ",
        spread_cell(d.weights, ".3f"),
        f"{d.gradient.mean:.2g}" if d.gradient.n else "–",
    ]


def confusion_section(records: Records) -> Section | None:
    """A heat map of each setting whose test rows are shown; of many classes the mistakes."""
    result, names = records.result, records.result.data.class_names
    charts, lists = [], []
    for anchor, setting in records.drawn.items():
        counts = result.confusion[list(setting.counted)].sum(axis=0)
        place = f"confusion-{anchor}"
        if not summary.is_tested(result, setting) or not counts.any():
            continue
        # With more classes the cells have no room for numbers, and then none for the eye.
        if len(names) > 40:
            table = model_tables.mistakes_of(pairs_of(counts), names)
            lists.append(Section(place, setting.name, table=table))
        else:
            charts.append(_confusion_chart(place, setting.name, counts, names))
    if not charts and not lists:
        return None
    heading = "Most frequent test confusions" if lists else "Test confusion"
    text = ("Percent of each true class.",)
    return Section("confusion", heading, text, charts=tuple(charts), sections=tuple(lists))


def _confusion_chart(
    name: str, setting: str, counts: NDArray[np.int64], class_names: tuple[str, ...]
) -> Chart:
    percent = summary.share_of_rows(counts)
    right = np.diag(percent)
    best, worst = int(right.argmax()), int(right.argmin())
    names = [name[:40] for name in class_names]
    size = 34 if len(class_names) <= MOST_WITH_NUMBERS else 18
    title = f"Test confusion, {setting}, % of the true class"
    said = (
        f"Best recognised: {class_names[best]}, {right[best]:.0f} %; "
        f"worst: {class_names[worst]}, {right[worst]:.0f} %."
    )
    columns, rows, cells = ("predicted class", names), ("true class", names), []
    for (i, j), share in np.ndenumerate(percent):
        tip = (class_names[i], class_names[j], f"{share:.1f}")
        cells.append(HeatCell(j, i, float(share), f"{share:.0f}", tip))
    look: dict[str, Any] = {"ramp": (0.0, 100.0), "cell_size": (size, size), "legend": False}
    look |= {"tips": ("true class", "predicted as", "% of the true class")}
    return heat_map(name, title, setting, said, columns, rows, cells, **look)


def reliability_section(records: Records) -> Section | None:
    """Accuracy by confidence of the settings whose test rows are shown; None without records."""
    curves, errors = [], []
    for setting in records.drawn.values():
        bins = records.result.reliability.get(setting.positions[0])
        if bins is None or not summary.is_tested(records.result, setting):
            continue
        there = np.flatnonzero(bins.rows)
        at, right = bins.confidence[there].tolist(), bins.accuracy[there].tolist()
        words = [f"{bins.accuracy[m]:.3f} of {np.round(bins.rows[m], 1):,} rows" for m in there]
        if words:
            curves.append(Curve(setting.name, at, right, words=words))
            errors.append(f"{100.0 * bins.error:.2f} % for {setting.name}")
    if not curves:
        return None
    x = Axis("confidence", "{:.3f}", domain=(0.0, 1.0))
    y = Axis("share of rows that are right", domain=(0.0, 1.0))
    heading, marks = "Accuracy by confidence", Marks(diagonal=True)
    title = f"{heading} on the test rows"
    chart = line_chart("reliability", title, heading, x, y, curves, points=True, marks=marks)
    return Section(
        anchor="reliability",
        heading="Reliability",
        text=(
            f"Expected calibration error: {summary.listed(errors)}."
            " Under the diagonal a model is right less often than it is confident, above it more "
            "often.",
        ),
        charts=(chart,),
        note="Test rows in bins of the confidence of their prediction, one run of each setting.",
    )


CALIBRATION_COLUMNS: tuple[Column | str, ...] = (
    Column("model", words=True),
    *("rows", "T"),
    *(Column(name, group="log loss / nats") for name in ("before", "after")),
    *(Column(name, group="calibration error / %") for name in ("before", "after")),
    Column("file", words=True),
)


def calibration_section(calibrations: Sequence[Calibration]) -> Section | None:
    """The temperatures of a run's models, and what each changed; None where there are none."""
    if not calibrations:
        return None
    heading, number = "Calibration", summary.number
    rows = [
        [
            of.model,
            f"{of.rows:,}",
            f"{of.temperature:.4g}",
            f"{of.loss_before:.4f}",
            f"{of.loss:.4f}",
            number(100 * of.error_before),
            number(100 * of.error),
            of.file,
        ]
        for of in calibrations
    ]
    sentences = [
        f"The scores of {of.model} are divided by T = {of.temperature:.4g}, the temperature of the "
        f"lowest log loss on {of.rows:,} rows that it was not trained on: from "
        f"{of.loss_before:.4f} to {of.loss:.4f} nats, and the calibration error from "
        f"{number(100 * of.error_before)} to {number(100 * of.error)} %."
        for of in calibrations[:MOST_NAMED]
    ]
    return Section(
        anchor="calibration",
        heading=heading,
        text=(" ".join(sentences),),
        table=make_table(f"{heading} by a temperature", CALIBRATION_COLUMNS, rows),
        note="Labels stay the same. Other figures of this page are of the weights before.",
    )


def mistakes_section(mistakes: Mistakes | None, card: DataCard, name: str) -> Section | None:
    """The test rows that the model of this name gets wrong with the most confidence; or None."""
    if mistakes is None or not len(mistakes.rows):
        return None
    lines = [
        (
            str(row) if mistakes.ids is None else mistakes.ids[i],
            card.class_names[mistakes.true[i]],
            card.class_names[mistakes.predicted[i]],
            # One that is not 1 is never called 100 %.
            f"{100 * p:.1f} %" if (p := float(mistakes.confidence[i])) < 0.9995 else "> 99.9 %",
        )
        for i, row in enumerate(mistakes.rows)
    ]
    text = f"The test rows that {name} gets wrong with the most confidence."
    note = "" if mistakes.ids is not None else "Test rows are numbered from 0."
    pictures, table = [], None
    if mistakes.images is not None and card.image_shape is not None:
        uris = map(picture_uri, pictures_of(mistakes.images, card.image_shape))
        pictures = [Picture(uri, *line) for uri, line in zip(uris, lines, strict=True)]
        note = f"Point at a picture to see which row it is. {note}"
    else:
        words = [Column(name, words=True) for name in ("true class", "predicted class")]
        table = make_table("Confident mistakes", ["row", *words, "probability"], lines[:12])
    return Section(
        anchor="mistakes",
        heading="Confident mistakes",
        text=(text,),
        pictures=tuple(pictures),
        table=table,
        note=note,
    )


def weights_section(model: Model, name: str) -> Section | None:
    """A heat map of few weights, the strongest of many by name; None for images."""
    if model.image_shape is not None:
        return None
    W, class_names, names = model.W, model.class_names, model.feature_names
    weighed = model_tables.weighed_features(model)
    # More features than this are listed by name, the strongest of each class.
    if model.features > 40 or model.classes > MOST_CLASSES:
        table = model_tables.strongest_table(model)
        text = f"The strongest weights on the {weighed}, {name}."
        return Section("weights", "Weights", (text,), table=table)
    values = np.nan_to_num(W.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    k, j = np.unravel_index(int(np.abs(values).argmax()), values.shape)
    most = float(abs(values[k, j])) or 1.0
    first = model.settings.get("first_index")
    columns = [model_tables.feature_name(names, j, first)[:24] for j in range(model.features)]
    rows = [one[:24] for one in class_names]
    title = f"Weights on the {weighed}, {name}"
    said = f"Largest: {values[k, j]:.3g} for {class_names[k]} and {columns[j]}."
    cells = [
        HeatCell(j, k, float(w), tip=(class_names[k], columns[j], f"{w:.4g}"))
        for (k, j), w in np.ndenumerate(values)
    ]
    look: dict[str, Any] = {"ramp": (-most, 0.0, most), "cell_size": (26, 30)}
    look |= {"tips": ("class", "feature", "weight")}
    chart = heat_map("weights", title, title, said, ("", columns), ("", rows), cells, **look)
    note = "A weight above 0 is for the class, below 0 against it."
    return Section("weights", "Weights", charts=(chart,), note=note)
