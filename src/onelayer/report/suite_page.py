"""The page of a suite: the best feature set, curves over layers, the map of layers × poolings."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from onelayer.model.metrics import Metric, metric_of
from onelayer.report.chart import (
    Axis,
    Chart,
    Curve,
    HeatCell,
    Level,
    Marks,
    heat_map,
    is_wide,
    l2_axis,
    line_chart,
)
from onelayer.report.render import Page, Section, make_page
from onelayer.report.selection import ramp_of
from onelayer.report.settings import calibration_section, weights_section
from onelayer.report.summary import Estimate, plural, scores_of
from onelayer.report.tables import (
    baseline_table,
    interval_kind,
    shots_metric,
    shots_table,
    suite_table,
)
from onelayer.solver.selection import IN_SCORES, mean_score
from onelayer.training.suite import Head, Suite

# Heads whose λ path is drawn: more curves cannot be told apart.
MOST_PATHS = 6

AXES = {"accuracy": "share of rows / %", "log_loss": "mean cross-entropy / nats"}


@dataclass(frozen=True)
class SuiteFigures:
    """A suite, and its heads by layer and pooling: the parts of names such as "layer3/mean"."""

    suite: Suite
    layers: tuple[str, ...]
    poolings: tuple[str, ...]
    places: dict[tuple[str, str], Head]

    @classmethod
    def of(cls, suite: Suite) -> SuiteFigures:
        """Names without two parts are layers of one pooling without a name."""
        split = all("/" in name.strip("/") for name in suite.names)
        places = {}
        for head in suite.heads:
            layer, _, pooling = head.name.rpartition("/") if split else (head.name, "", "")
            places[layer, pooling] = head
        layers, poolings = (tuple(dict.fromkeys(part)) for part in zip(*places, strict=True))
        return cls(suite, layers, poolings, places)

    @property
    def held_out(self) -> str:
        """What the rows are called that λ is chosen by."""
        return f"held out, {self.suite.folds} folds" if self.suite.folds else "validation"

    def axis(self) -> tuple[Axis, dict[str, float]]:
        """The axis of layers, and the place of each: its number, where names have one number."""
        found = [re.fullmatch(r"(\D*)(\d{1,9})(\D*)", layer) for layer in self.layers]
        numbers = {m[0]: float(m[2]) for m in found if m}
        alike = len({(m and m[1], m and m[3]) for m in found}) == 1
        if alike and len(set(numbers.values())) == len(self.layers):
            word = (found[0][1] if found[0] else "").strip(" ._-/") or "layer"
            ends = min(numbers.values()) - 0.4, max(numbers.values()) + 0.4
            return Axis(word, f"{word} {{:g}}", whole=True, domain=ends), numbers
        places = {layer: float(place) for place, layer in enumerate(self.layers)}
        return Axis("feature set", names=self.layers), places


def suite_page(suite: Suite) -> Page:
    """What the page of a suite shows; sections that the record does not allow are left out."""
    figures = SuiteFigures.of(suite)
    solutions = sum(head.solved for head in suite.heads)
    return make_page(
        suite,
        title="Linear probes",
        lead=_lead(suite),
        trained=f"{plural(len(suite.heads), 'feature set')}, {plural(solutions, 'solution')}",
        sections=(section(figures) for section in SECTIONS),
    )


def curve_section(figures: SuiteFigures) -> Section:
    """What was chosen and proven; accuracy and loss over the layers, with intervals."""
    suite = figures.suite
    several = len(figures.layers) > 1
    note = (
        f"Test rows; bands are {interval_kind(suite)}. The upright line is the set that is best on "
        "the rows that λ was chosen by."
    )
    sentences = [f"{sentence[0].upper()}{sentence[1:]}." for sentence in suite.findings]
    return Section(
        anchor="curve",
        heading="Over the layers" if several else "Summary",
        text=(" ".join(sentences),),
        charts=_curves(figures) if several else (),
        note=note if several else "",
    )


def _curves(figures: SuiteFigures) -> tuple[Chart, ...]:
    axis, places = figures.axis()
    best = figures.suite.best
    marks = Marks(next(places[layer] for (layer, _), h in figures.places.items() if h is best))

    def draw(metric: Metric) -> Chart:
        name, curves = metric.name, []
        heading = f"Test {_TITLES.get(name, metric.title)}"
        for pooling in figures.poolings:
            own = [(places[at], h) for (at, p), h in figures.places.items() if p == pooling]
            xs, heads = zip(*sorted(own, key=lambda one: one[0]), strict=True)
            figures_of = (head.test_of(name) or (math.nan,) * 3 for head in heads)
            mean, low, high = (metric.factor * np.array([*figures_of]).T).tolist()
            curves.append(Curve(pooling or "test", xs, mean, low, high))
        if figures.poolings == ("",):
            by = figures.suite.choice.by
            scores = [scores_of(head.best.held_out, by).of(name) for head in heads]
            curves.append(Curve(figures.held_out, xs, [score.mean for score in scores]))
            if metric.greater:
                curves += _baseline_curves(xs, heads, metric)
        log = name == "log_loss" and is_wide(curves)
        y, around = Axis(AXES.get(name, metric.axis), log=log), "95 % interval"
        title = f"{heading} of each feature set"
        return line_chart(
            f"suite-{IN_SCORES.get(name, 'metric')}", title, heading, axis, y, curves,
            around=around, points=True, marks=marks,
        )  # fmt: skip

    shown = figures.suite.test_metric
    other = "log_loss" if shown.name == "accuracy" else "accuracy"
    return draw(shown), draw(metric_of(other))


# What a chart's heading calls a metric where that differs from its title.
_TITLES = {"log_loss": "loss"}


def shots_section(figures: SuiteFigures) -> Section | None:
    """Scores over the number of labelled rows; None where no few shots were asked for."""
    suite = figures.suite
    heads = [head for head in suite.ranking if head.few_shots]
    if not heads:
        return None
    metric, first = shots_metric(suite), heads[0].few_shots
    in_shots, repeats = first[0].shots is not None, max(few.repeats for few in first)
    unit, kind = 1.0 if in_shots else 100.0, "label" if suite.data.many_labels else "class"
    curves = [_shots_curve(head, metric, unit) for head in heads[:MOST_PATHS]]
    sizes = sorted({unit * few.size for head in heads[:MOST_PATHS] for few in head.few_shots})
    of_all = heads[0].test_of(metric.name) or heads[0].test_of("accuracy") or (math.nan,)
    words = f"{heads[0].name}, all {suite.data.train_rows:,} rows"
    title = f"training rows of each {kind}" if in_shots else "training rows / %"
    axis = Axis(
        f"{title}, log scale",
        "{:g} shots" if in_shots else "{:g} %",
        log=True,
        domain=(sizes[0] / 1.15, sizes[-1] * 1.15),
        ticks=tuple(sizes),
    )
    heading = f"Test {_TITLES.get(metric.name, metric.title)}"
    chart = line_chart(
        "suite-shots",
        f"{heading} against the number of training rows",
        heading,
        axis,
        Axis(AXES.get(metric.name, metric.axis)),
        curves,
        around="± standard deviation",
        points=True,
        marks=Marks(levels=(Level(metric.factor * of_all[0], words, 0),)),
    )
    text = (
        f"Mean over {plural(repeats, 'draw')} of the training rows, every {kind} alike; smaller "
        "draws are part of larger ones. For each size one λ serves all draws: the best by their "
        f"mean {suite.choice.metric.title} on as many validation rows. The test rows had no say."
    )
    shown = f"The {MOST_PATHS} best sets of {len(heads)}. " if len(heads) > MOST_PATHS else ""
    note = f"{shown}Bands are ± one standard deviation over the draws."
    return Section(
        "shots", "Few labels", (text,), charts=(chart,), note=note, table=shots_table(suite)
    )


def _baseline_curves(xs: Sequence[float], heads: Sequence[Head], metric: Metric) -> list[Curve]:
    """The test scores of baselines over the layers, where all heads have them.

    That of the majority class is the same for all, and so far below that it would flatten the rest.
    """
    named = [{one.name: one.test_of(metric.name) for one in head.baselines} for head in heads]
    shown = [name for name in [*named[0]][1:] if all(of_head.get(name) for of_head in named)]
    return [
        Curve(name, xs, [metric.factor * (of_head[name] or (math.nan,))[0] for of_head in named])
        for name in shown
    ]


def _shots_curve(head: Head, metric: Metric, unit: float) -> Curve:
    found = [[metric.factor * one for one in few.mean(metric.name)] for few in head.few_shots]
    draws = zip(*(few.test for few in head.few_shots), strict=True)
    return Curve(
        head.name[:30],
        [unit * few.size for few in head.few_shots],
        [mean for mean, _ in found],
        [mean - deviation for mean, deviation in found],
        [mean + deviation for mean, deviation in found],
        [f"{mean:.4g} ± {deviation:.2g}" for mean, deviation in found],
        [
            (f"draw {i}", [metric.factor * one.of(metric.name)[0] for one in of_draw])
            for i, of_draw in enumerate(draws, 1)
        ],
    )


def map_section(figures: SuiteFigures) -> Section | None:
    """Test scores by layer and pooling; None where names do not have two parts."""
    layers, poolings, suite = figures.layers, figures.poolings, figures.suite
    metric = suite.test_metric
    if len(layers) < 2 or len(poolings) < 2:
        return None
    axis, at = figures.axis()
    layers = tuple(sorted(layers, key=at.__getitem__))
    ranks = {head.name: rank for rank, head in enumerate(suite.ranking, 1)}
    cells, framed = [], None
    for y, layer in enumerate(layers):
        for x, pooling in enumerate(poolings):
            head = figures.places.get((layer, pooling))
            if head is None:
                cells.append(HeatCell(x, y, None, "–", (layer, pooling, "no such set", "", "")))
                continue
            value = (head.test_of(metric.name) or (math.nan,))[0]
            held_out, unit = mean_score(head.best.held_out, suite.choice.by)[0], metric.factor
            chosen_by = suite.choice.metric.words(held_out)
            words = metric.words(value), chosen_by, f"{head.l2:.3g}", str(ranks[head.name])
            text = f"{unit * value:.{1 if metric.unit == '%' else 3}f}"
            cells.append(HeatCell(x, y, unit * value, text, (layer, pooling, *words)))
            if head is suite.best:
                framed = (x, y)
    best = suite.best
    title = f"Test {metric.axis} by layer and pooling"
    value = (best.test_of(metric.name) or (math.nan,))[0]
    chart = heat_map(
        "suite-map",
        title,
        title,
        f"Best by {figures.held_out}: {best.name}, {metric.words(value)}.",
        ("pooling", poolings),
        (axis.title, axis.names or [f"{at[layer]:g}" for layer in layers]),
        cells,
        ramp=ramp_of([c.value for c in cells if c.value is not None], greater=metric.greater),
        tips=("layer", "pooling", f"test {metric.title}", figures.held_out, "λ", "rank"),
        cell_size=(100, 30),
        framed=framed,
    )
    note = "The frame is around the set that is best on the rows that λ was chosen by."
    return Section("map", "Layers and poolings", charts=(chart,), note=note)


def paths_section(figures: SuiteFigures) -> Section | None:
    """Held-out score over λ of the best sets; None for a single λ."""
    suite = figures.suite
    by, shown = suite.choice.by, suite.ranking[:MOST_PATHS]
    if max(len(head.solutions) for head in shown) < 2:
        return None
    curves = []
    for head in shown:
        scores = [scores_of(one.held_out, by).of(by) for one in head.solutions]
        curves.append(
            Curve(
                head.name[:30],
                [one.l2 for one in head.solutions],
                [score.mean for score in scores],
                words=[_words(score) for score in scores],
            )
        )
    metric = suite.choice.metric
    heading = f"{metric.title[0].upper()}{metric.title[1:]}, {figures.held_out}"
    chart = line_chart(
        "suite-paths",
        f"{heading}, against λ",
        heading,
        l2_axis(one.l2 for head in shown for one in head.solutions),
        Axis(metric.axis, log=by == "log_loss" and is_wide(curves)),
        curves,
        points=True,
        marks=Marks(suite.best.l2),
    )
    first = f"The {len(shown)} best sets. " if len(suite.heads) > len(shown) else ""
    note = f"{first}The upright line is the λ that was chosen for {suite.best.name}."
    return Section("paths", "λ paths", charts=(chart,), note=note)


def _words(score: Estimate) -> str:
    return f"{score.mean:.4g} ± {score.error:.2g}"


def strongest_section(figures: SuiteFigures) -> Section | None:
    """The weights of the best head as a heat map or by name."""
    best = figures.suite.best
    return weights_section(best.model, f"{best.name}, λ = {best.l2:.3g}")


def table_section(figures: SuiteFigures) -> Section:
    """Every head, best first."""
    rows = f"{figures.suite.folds} folds" if figures.suite.folds else "the validation rows"
    text = (
        f"Ranked by {figures.suite.choice.metric.title} on {rows}. The test rows had no say in the "
        "ranking or in λ; the best of many test scores would be too good."
    )
    return Section("table", "Every feature set", (text,), table=suite_table(figures.suite))


def baselines_section(figures: SuiteFigures) -> Section | None:
    """Every head beside nearest neighbours, class means and the majority class."""
    if not figures.suite.best.baselines:
        return None
    text = (
        "Nearest neighbours are those of the smallest angle among the training rows; class means "
        "predict the class whose mean is nearest, of two classes by the difference of means; the "
        "majority class is the largest class of the training rows. All read the features as "
        "stored, without scaling. Below a figure stands its 95 % interval, below a log loss its "
        "standard error."
    )
    table = baseline_table(figures.suite)
    return Section("baselines", "Beside baselines", (text,), table=table)


# Every section of the page, in order.
SECTIONS: tuple[Callable[[SuiteFigures], Section | None], ...] = (
    curve_section,
    map_section,
    shots_section,
    paths_section,
    table_section,
    baselines_section,
    lambda figures: calibration_section(figures.suite.calibrations),
    strongest_section,
)


def _lead(suite: Suite) -> str:
    best = suite.best
    metric = suite.test_metric
    words = best.test_words(metric.name)
    if len(suite.heads) == 1:
        return f"The probe of {best.name} has a test {metric.title} of {words}."
    rows = f"{suite.folds} folds" if suite.folds else "the validation rows"
    return (
        f"Of {len(suite.heads)} feature sets {best.name} is the best by "
        f"{suite.choice.metric.title} on {rows}. Its test {metric.title} on {best.test.rows:,} "
        f"rows is {words}."
    )
