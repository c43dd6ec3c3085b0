"""The page of a λ path: what was chosen, what was proven, and how everything changes with λ."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onelayer.model.metrics import Metric
from onelayer.report.chart import Axis, Chart, Curve, Level, Marks, is_wide, l2_axis, line_chart
from onelayer.report.model_tables import feature_name
from onelayer.report.render import TEMPLATES, Page, Section, make_page
from onelayer.report.settings import calibration_section, mistakes_section, weights_section
from onelayer.report.summary import (
    Estimate,
    PathLine,
    Scores,
    best_line,
    plural,
    standard_error,
    summarise_path,
)
from onelayer.report.tables import path_table
from onelayer.report.weight_images import MOST_FRAMES, TemplateGrid, TemplateRow
from onelayer.solver import Path
from onelayer.solver.selection import IN_SCORES, Rule

ONE_ERROR: Rule = "one-standard-error"


@dataclass(frozen=True)
class PathFigures:
    """A path with the figures of each λ."""

    path: Path
    lines: tuple[PathLine, ...]

    @property
    def chosen(self) -> PathLine:
        """The figures of the chosen λ."""
        return self.lines[self.path.chosen]

    @property
    def chosen_name(self) -> str:
        """What the chosen model is called."""
        return f"the chosen {self.named(self.path.best_strength)}"

    def named(self, strength: float) -> str:
        """One of the λ, or λ₁, by its value."""
        return f"{self.path.symbol} = {strength:.3g}"

    @property
    def held_out(self) -> str:
        """What the rows are called that λ is chosen by."""
        folds = self.path.folds
        return f"held out, {folds} folds" if folds else "validation"

    @property
    def error_words(self) -> str:
        """What stands behind the ± of scores on those rows."""
        return standard_error(self.path.folds, self.path.held_out[0][0].groups)


def path_page(path: Path) -> Page:
    """What the page of a λ path shows; sections that the record does not allow are left out."""
    figures = PathFigures(path, summarise_path(path))
    return make_page(
        path,
        title=f"How much to shrink: the {path.symbol} path",
        lead=_lead(figures),
        trained=f"{path.symbol}: {plural(len(path.models), 'value')}",
        sections=(section(figures) for section in SECTIONS),
    )


def curves_section(figures: PathFigures) -> Section:
    """How λ was chosen, what was proven, and accuracy, loss, ‖W‖ and the gap over λ."""
    edge, symbol = figures.path.edge_sentence, figures.path.symbol
    ring = (
        "; the ring is the best held-out score, the grey stripe reaches one standard error from it"
        if figures.path.choice.rule == ONE_ERROR
        else ""
    )
    return Section(
        anchor="path",
        heading="Along the path",
        text=(_choosing(figures), _proving(figures)),
        asides=(edge,) if edge else (),
        charts=path_charts(figures),
        note=f"To the right {symbol} is larger and W is shrunk more. The upright line is the "
        f"chosen {symbol}; bands are ± {standard_error(0)} for the training rows, ± "
        f"{figures.error_words} for those held out{ring}.",
    )


# More curves than this cannot be told apart.
MOST_PROFILES = 10


def profiles_section(figures: PathFigures) -> Section:
    """How the weights shrink along the path: those of each class, or of the strongest features."""
    path, lines = figures.path, figures.lines
    weights = [np.asarray(model.W, np.float64) for model in path.models]
    card = path.data
    of_features = card.image_shape is None
    axis = 0 if of_features else 1
    norms = np.stack([np.linalg.norm(W, axis=axis) for W in weights])
    order = np.argsort(-norms[path.chosen], kind="stable")[:MOST_PROFILES]
    count = norms.shape[1]
    if of_features:
        names = [feature_name(card.feature_names, int(j), card.first_index) for j in order]
        what, unit = "features", "norm over classes, ‖W·j‖"
    else:
        order = np.sort(order)
        names = [card.class_names[k] for k in order]
        what, unit = "classes", "norm of the class's row, ‖Wk‖"
    strengths = [line.strength for line in lines]
    curves = [
        Curve(name[:30], strengths, norms[:, place].tolist())
        for name, place in zip(names, order, strict=True)
    ]
    title = f"Weights of the {what} against {path.symbol}"
    x, y = l2_axis(strengths, symbol=path.symbol), Axis(unit, log=is_wide(curves))
    marks = Marks(figures.chosen.strength)
    chart = line_chart("path-profiles", title, title, x, y, curves, points=True, marks=marks)
    largest = f" The {MOST_PROFILES} of {count} {what} with the largest weights at the chosen "
    largest += f"{path.symbol}."
    return Section(
        anchor="profiles",
        heading="Coefficient profiles",
        charts=(chart,),
        note=f"The upright line is the chosen {path.symbol}."
        + (largest if count > MOST_PROFILES else ""),
    )


def templates_section(figures: PathFigures) -> Section | None:
    """The templates of every λ, smallest first; the chosen one is shown first."""
    path, lines = figures.path, figures.lines
    class_names, shape = path.data.class_names, path.data.image_shape
    if shape is None:
        return None
    places = _some(len(lines), path.chosen)
    row = TemplateRow(
        "Optimum",
        [path.models[i].W for i in places],
        tuple(range(len(places))),
        tuple(_reading(figures, lines[i]) for i in places),
        drawn=path.best.W,
        title=f"Templates of W at {figures.chosen_name}",
        file="templates-path",
    )
    labels = tuple(figures.named(lines[i].strength) for i in places)
    grid = TemplateGrid(path.symbol, labels, places.index(path.chosen), (row,), class_names, shape)
    return Section("templates", TEMPLATES, templates=grid)


def table_section(figures: PathFigures) -> Section:
    """Every λ with its figures."""
    return Section(
        anchor="table",
        heading=f"Every {figures.path.symbol}",
        text=(
            f"Largest {figures.path.symbol} first. Cost and gap are those of the training rows: "
            "the best possible cost lies between cost − gap and cost.",
        ),
        table=path_table(figures.path),
    )


# Every section of the page, in order.
SECTIONS: tuple[Callable[[PathFigures], Section | None], ...] = (
    curves_section,
    profiles_section,
    templates_section,
    lambda figures: weights_section(figures.path.best, figures.chosen_name),
    lambda f: mistakes_section(f.path.mistakes, f.path.data, f.chosen_name),
    lambda figures: calibration_section(figures.path.calibrations),
    table_section,
)


def path_charts(figures: PathFigures) -> tuple[Chart, ...]:
    """Accuracy, loss, ‖W‖ and the certified gap over λ."""
    lines, choice, chosen = figures.lines, figures.path.choice, figures.chosen.strength
    symbol = figures.path.symbol
    strengths = [line.strength for line in lines]

    def curve(label: str, values: Sequence[Estimate]) -> Curve:
        around = any(value.error for value in values)
        low = [value.low for value in values] if around else ()
        high = [value.high for value in values] if around else ()
        words = [_words(value) for value in values]
        return Curve(label, strengths, [value.mean for value in values], low, high, words)

    def draw(name: str, heading: str, y: Axis, curves: Sequence[Curve], marks: Marks) -> Chart:
        # Where the solver stopped under what was asked has no trend that a line could show.
        look: dict[str, Any] = {"joined": name != "gap", "points": True, "marks": marks}
        look |= {"around": "± 1 standard error"}
        if marks.rings:
            look |= {"note": "ring: the best; grey: within one standard error of it"}
        title, x = f"{heading} against {symbol}", l2_axis(strengths, symbol=symbol)
        return line_chart(f"path-{name}", title, heading, x, y, curves, **look)

    def scores(measure: str, heading: str, unit: str) -> Chart:
        curves = [
            curve("training", [line.train.of(measure) for line in lines]),
            curve(figures.held_out, [line.held_out.of(measure) for line in lines]),
        ]
        marks = Marks(chosen)
        if choice.by == measure and choice.rule == ONE_ERROR:
            best = best_line(lines, measure)
            score = best.held_out.of(measure)
            end = score.low if choice.metric.greater else score.high
            low, high = sorted((score.mean, end))
            marks = Marks(chosen, ((1, best.strength, score.mean),), ((low, high),))
        log = measure == "log_loss" and is_wide(curves)
        name = IN_SCORES.get(measure, measure)
        return draw(name, heading, Axis(unit, log=log), curves, marks)

    norms = curve("‖W‖", [Estimate(line.norm) for line in lines])
    # A logarithmic axis does not know a gap of exactly 0.
    gaps = curve("gap / J", [Estimate(max(line.relative_gap, 1e-17)) for line in lines])
    asked = Level(lines[0].tol, f"asked for: {lines[0].tol:.0e}".replace("e-0", "e-"))
    norm_axis = Axis("‖W‖ (Frobenius norm)", log=is_wide([norms]))
    gap_axis = Axis("bound on (J − J*) / J", log=True, format="~e")
    title = choice.metric.title[0].upper() + choice.metric.title[1:]
    chosen_by = () if choice.by in IN_SCORES else (scores(choice.by, title, choice.metric.axis),)
    counts: tuple[Chart, ...] = ()
    if figures.path.is_sparse:
        of_lines = curve("features", [Estimate(line.features) for line in lines])
        axis = Axis("features that are not 0")
        counts = (draw("features", "Features chosen", axis, [of_lines], Marks(chosen)),)
    return (
        *chosen_by,
        *counts,
        scores("accuracy", "Accuracy", "share of rows / %"),
        scores("log_loss", "Loss", "mean cross-entropy / nats"),
        draw("norm", "Norm of W", norm_axis, [norms], Marks(chosen)),
        draw("gap", "Certified gap", gap_axis, [gaps], Marks(chosen, levels=(asked,))),
    )


def _words(value: Estimate) -> str:
    if not math.isfinite(value.mean):
        return "no bound"
    return f"{value.mean:.4g}" + (f" ± {value.error:.2g}" if value.error else "")


def _lead(figures: PathFigures) -> str:
    test, chosen = figures.path.test, figures.chosen
    scored = "There are no test rows to score it on"
    if test:
        scored = f"Its test accuracy on {test.rows:,} rows is {figures.path.test_words}"
    for one in figures.path.test_metrics:
        metric = figures.path.choice.metric
        ends = f"{metric.number(one.low)} to {metric.words(one.high)}"
        scored += f"; its {metric.title} {metric.words(one.value)} (95 % bootstrap interval {ends})"
    proof = "without a penalty no bound on its cost exists"
    if chosen.bounded:
        proof = (
            f"its cost is proven to be at most {100.0 * chosen.relative_gap:.2g} % above the best "
            "that any weights can have"
        )
    values = figures.path.strengths
    tried = ""
    if len(values) > 1:
        tried = f" of {len(values)} from {values.max():.3g} to {values.min():.3g}"
    kept = f" It keeps {chosen.features:,} of {figures.path.best.features:,} features."
    kept = kept if figures.path.is_sparse else ""
    return f"{figures.named(chosen.strength)} is chosen{tried}.{kept} {scored}, and {proof}."


def _score(scores: Scores, metric: Metric) -> str:
    score, form = scores.of(metric.name), ".2f" if metric.unit == "%" else ".4f"
    return f"{score.mean:{form}} ± {score.error:{form}} {metric.unit}".rstrip()


def _choosing(figures: PathFigures) -> str:
    path, by, chosen = figures.path, figures.path.choice.metric, figures.chosen
    best = best_line(figures.lines, by.name)
    rows = (
        f"rows held out in {path.folds} folds of the training rows"
        if path.folds
        else f"{path.held_out[0][0].rows:,} validation rows"
    )
    what = f"{'highest' if by.greater else 'lowest'} {by.title}"
    top = f"{_score(best.held_out, by)} ({figures.error_words})"
    top += f" at {figures.named(best.strength)}"
    if path.choice.rule != ONE_ERROR:
        return f"{path.symbol} is chosen for the {what} on the {rows}: {top}."
    further = f"that {path.symbol}"
    if best is not chosen:
        further = f"{figures.named(chosen.strength)} with {_score(chosen.held_out, by)}"
    return (
        f"The {what} on the {rows} is {top}. Models within one standard error of it cannot be told "
        f"apart, so the one of them that shrinks W most is taken, which is {further}."
    )


def _proving(figures: PathFigures) -> str:
    lines, symbol = figures.lines, figures.path.symbol
    bounded = [line for line in lines if line.bounded]
    if not bounded:
        return "Without a penalty, λ = 0, no bound on the distance from the best cost exists."
    tol, worst = lines[0].tol, max(line.relative_gap for line in bounded)
    near = sum(line.relative_gap <= tol for line in bounded)
    which = "All" if near == len(bounded) else f"{near} of"
    passes = sum(line.passes for line in lines)
    without = "" if len(bounded) == len(lines) else " For λ = 0 no bound exists."
    return (
        f"{which} {len(bounded)} {symbol} > 0 have a cost proven to be within {100.0 * tol:.2g} % "
        f"of the best possible, as requested (the largest bound is {100.0 * worst:.2g} %), after "
        f"{passes} passes over the training rows in all.{without}"
    )


def _some(count: int, chosen: int) -> list[int]:
    """At most MOST_FRAMES positions, last first, spread evenly, the chosen one among them."""
    evenly = np.linspace(0, count - 1, min(count, MOST_FRAMES - 1)).round()
    return sorted({*(int(i) for i in evenly), chosen}, reverse=True)


def _reading(figures: PathFigures, line: PathLine) -> str:
    accuracy = line.held_out.accuracy.mean
    chosen = "chosen; " if line.chosen else ""
    named = figures.named(line.strength)
    return f"{chosen}{named}: ‖W‖ = {line.norm:.3g}, held-out accuracy {accuracy:.2f} %"
