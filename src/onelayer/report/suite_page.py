"""The page of a suite: the best feature set, curves over layers, the map of layers × poolings."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from onelayer.model.intervals import Z95
from onelayer.report.chart import (
    Axis,
    Chart,
    Curve,
    HeatCell,
    Marks,
    heat_map,
    is_wide,
    l2_axis,
    line_chart,
)
from onelayer.report.path_summary import Estimate, scores_of
from onelayer.report.render import Page, Section, make_page
from onelayer.report.selection import ramp_of
from onelayer.report.settings import weights_section
from onelayer.report.summary import plural
from onelayer.report.tables import baseline_table, suite_table
from onelayer.solver.path import IN_SCORES
from onelayer.training.suite import Head, Suite

# Heads whose λ path is drawn: more curves cannot be told apart.
MOST_PATHS = 6

ACCURACY, LOSS = "share of rows / %", "mean cross-entropy / nats"


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
    solutions = sum(len(head.solutions) for head in suite.heads)
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
        f"Test rows; bands are 95 % intervals, {_INTERVALS}. The upright line is the set that is "
        f"best on the rows that λ was chosen by."
    )
    sentences = [f"{sentence[0].upper()}{sentence[1:]}." for sentence in suite.findings]
    return Section(
        anchor="curve",
        heading="Over the layers" if several else "Summary",
        text=(" ".join(sentences),),
        charts=_curves(figures) if several else (),
        note=note if several else "",
    )


_INTERVALS = "Wilson's for accuracy, ± 1.96 standard errors for the loss"


def _curves(figures: SuiteFigures) -> tuple[Chart, ...]:
    axis, places = figures.axis()
    best = figures.suite.best
    marks = Marks(next(places[layer] for (layer, _), h in figures.places.items() if h is best))

    def draw(name: str, heading: str, unit: str, of: Callable[[Head], Sequence[float]]) -> Chart:
        curves = []
        for pooling in figures.poolings:
            own = [(places[at], h) for (at, p), h in figures.places.items() if p == pooling]
            xs, heads = zip(*sorted(own, key=lambda one: one[0]), strict=True)
            mean, low, high = zip(*map(of, heads), strict=True)
            curves.append(Curve(pooling or "test", xs, mean, low, high))
        if figures.poolings == ("",):
            scores = [scores_of(head.best.held_out).of(name) for head in heads]
            curves.append(Curve(figures.held_out, xs, [score.mean for score in scores]))
            if name == "accuracy":
                curves += _baseline_curves(xs, heads)
        log = name == "log_loss" and is_wide(curves)
        y, around = Axis(unit, log=log), "95 % interval"
        title = f"{heading} of each feature set"
        return line_chart(
            f"suite-{IN_SCORES[name]}", title, heading, axis, y, curves, around=around, points=True,
            marks=marks,
        )  # fmt: skip

    return (
        draw("accuracy", "Test accuracy", ACCURACY, _accuracy),
        draw("log_loss", "Test loss", LOSS, _loss),
    )


def _baseline_curves(xs: Sequence[float], heads: Sequence[Head]) -> list[Curve]:
    """The test accuracy of baselines over the layers, where all heads have them.

    That of the majority class is the same for all, and so far below that it would flatten the rest.
    """
    named = [{one.name: 100.0 * one.test.accuracy for one in head.baselines} for head in heads]
    shown = [name for name in [*named[0]][1:] if all(name in of_head for of_head in named)]
    return [Curve(name, xs, [of_head[name] for of_head in named]) for name in shown]


def _accuracy(head: Head) -> tuple[float, float, float]:
    low, high = head.test_interval
    return 100.0 * head.test.accuracy, 100.0 * low, 100.0 * high


def _loss(head: Head) -> tuple[float, float, float]:
    loss, error = head.test.loss, Z95 * head.test.loss_error
    return loss, loss - error, loss + error


def map_section(figures: SuiteFigures) -> Section | None:
    """Test accuracy by layer and pooling; None where names do not have two parts."""
    layers, poolings, suite = figures.layers, figures.poolings, figures.suite
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
            percent = 100.0 * head.test.accuracy
            held_out = scores_of(head.best.held_out).accuracy
            words = f"{percent:.2f} %", f"{held_out.mean:.2f} %", f"{head.l2:.3g}"
            rank = str(ranks[head.name])
            cells.append(HeatCell(x, y, percent, f"{percent:.1f}", (layer, pooling, *words, rank)))
            if head is suite.best:
                framed = (x, y)
    best = suite.best
    title = "Test accuracy / % by layer and pooling"
    chart = heat_map(
        "suite-map",
        title,
        title,
        f"Best by {figures.held_out}: {best.name}, {100.0 * best.test.accuracy:.2f} %.",
        ("pooling", poolings),
        (axis.title, axis.names or [f"{at[layer]:g}" for layer in layers]),
        cells,
        ramp=ramp_of([cell.value for cell in cells if cell.value is not None]),
        tips=("layer", "pooling", "test accuracy", figures.held_out, "λ", "rank"),
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
    paths_section,
    table_section,
    baselines_section,
    strongest_section,
)


def _lead(suite: Suite) -> str:
    best = suite.best
    accuracy = best.test_words
    if len(suite.heads) == 1:
        return f"The probe of {best.name} has a test accuracy of {accuracy}."
    rows = f"{suite.folds} folds" if suite.folds else "the validation rows"
    return (
        f"Of {len(suite.heads)} feature sets {best.name} is the best by "
        f"{suite.choice.metric.title} on {rows}. Its test accuracy on {best.test.rows:,} rows is "
        f"{accuracy}."
    )
