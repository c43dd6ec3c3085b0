"""HTML of results, paths, models and evaluations in a notebook: a table and a small chart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from onelayer.model.evaluation import Evaluation
from onelayer.model.model import Model
from onelayer.report.path_summary import summarise_path
from onelayer.report.tables import (
    Table,
    best_on_test,
    evaluation_tables,
    model_table,
    path_table,
    result_table,
    strongest_table,
)
from onelayer.report.weight_images import MOST_CLASSES, picture_uri, pictures_of
from onelayer.solver import Path
from onelayer.training.result import Result

WIDTH, HEIGHT, EDGE = 340, 200, 44

# More settings than this have their table and no chart.
MOST_DOTS = 12


def result_html(result: Result) -> str:
    """The ranked settings of a result, and their validation accuracies as dots with ± 1 sd.

    Example:
        >>> from onelayer import Run, load, train
        >>> "<svg" in result_html(train(load("digits"), [Run(0.1, epochs=1), Run(0.2, epochs=1)]))
        True
    """
    ranked = [one for one in result.ranking if math.isfinite(one.mean)][:MOST_DOTS]
    chart = ""
    if len(ranked) > 1:
        dots = [(one.name, 100 * one.mean, 100 * one.sd) for one in ranked]
        chart = _dots("validation accuracy / %", dots)
    return _beside(result_table(result), chart, best_on_test(result))


def path_html(path: Path) -> str:
    """The table of a λ path, and the score that λ is chosen by as a curve over λ."""
    lines = [line for line in summarise_path(path) if line.l2 > 0.0]
    scores = [line.held_out.of(path.choice.by).mean for line in lines]
    chart = ""
    if len(lines) > 1:
        unit = "accuracy / %" if path.choice.by == "accuracy" else "loss / nats"
        ticks = [f"{line.l2:.2g}" for line in (lines[-1], lines[0])]
        points = [(math.log10(line.l2), score) for line, score in zip(lines, scores, strict=True)]
        chosen = [p for p, line in zip(points, lines, strict=True) if line.chosen]
        chart = _curve("λ, log scale", f"held-out {unit}", points, ticks, chosen)
    return _beside(path_table(path), chart)


def model_html(model: Model) -> str:
    """What a model is, with its templates as pictures or its strongest features."""
    facts = model_table(model, "Model")
    if model.image_shape is None:
        return _beside(facts, "") + _beside(strongest_table(model), "")
    pictures = pictures_of(model.W[:MOST_CLASSES], model.image_shape)
    shown = "".join(
        f'<figure style="display:inline-block;margin:4px;text-align:center">'
        f'<img width="64" alt="Template of {escape(name)}" style="image-rendering:pixelated" '
        f'src="{picture_uri(picture)}"><figcaption>{escape(name[:24])}</figcaption></figure>'
        for name, picture in zip(model.class_names, pictures, strict=False)
    )
    return _beside(facts, "") + f"<div>{shown}</div>"


def evaluation_html(evaluation: Evaluation) -> str:
    """Figures and classes of an evaluation, and its reliability diagram."""
    figures, classes, *_ = evaluation_tables(evaluation, "Evaluation")
    curve = evaluation.reliability
    points = [
        (float(curve.confidence[m]), float(curve.accuracy[m])) for m in np.flatnonzero(curve.rows)
    ]
    chart = _curve("confidence", "accuracy", points, ("0", "1"), diagonal=True)
    return _beside(figures, chart) + _beside(classes, "")


def _beside(table: Table, chart: str, words: str = "") -> str:
    """A table with its title, a chart beside it and words below."""
    note = f"<p>{escape(words)}</p>" if words else ""
    return (
        '<div style="display:flex;flex-wrap:wrap;gap:24px;align-items:center">'
        f"<div><p><strong>{escape(table.title)}</strong></p>{table.html()}{note}</div>"
        f"<div>{chart}</div></div>"
    )


def _svg(label: str, height: int, marks: Sequence[str]) -> str:
    """A drawing in the notebook's own text colour, light or dark."""
    return (
        f'<svg width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(label)}" font-size="12" fill="currentColor" '
        f'stroke="none">{"".join(marks)}</svg>'
    )


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="currentColor" {style}/>'


def _dots(unit: str, dots: Sequence[tuple[str, float, float]]) -> str:
    """One row a setting: a dot at the mean, a bar of ± 1 sd."""
    low = min(mean - sd for _, mean, sd in dots)
    high = max(mean + sd for _, mean, sd in dots)
    left, right = 140, WIDTH - 16
    marks = []

    def place(value: float) -> float:
        return left + (right - left) * (value - low) / ((high - low) or 1.0)

    for i, (name, mean, sd) in enumerate(dots):
        y = 16 + 20 * i
        marks += [
            _text(left - 12, y + 4, name[:20], "end"),
            _line(place(mean - sd), y, place(mean + sd), y, 'stroke-width="2" opacity=".5"'),
            f'<circle cx="{place(mean):.1f}" cy="{y}" r="4"/>',
        ]
    bottom = 16 + 20 * len(dots)
    marks += [
        _line(left, bottom, right, bottom, 'opacity=".5"'),
        _text(left, bottom + 16, f"{low:.1f}", "middle"),
        _text(right, bottom + 16, f"{high:.1f}", "end"),
        _text((left + right) / 2, bottom + 30, unit, "middle"),
    ]
    return _svg(f"{unit} of each setting, ± 1 standard deviation over seeds", bottom + 36, marks)


def _curve(
    x_title: str,
    y_title: str,
    points: Sequence[tuple[float, float]],
    ticks: Sequence[str],
    chosen: Sequence[tuple[float, float]] = (),
    *,
    diagonal: bool = False,
) -> str:
    """Points joined by a line; `chosen` are ringed, a diagonal spans from (0, 0) to (1, 1)."""
    xs, ys = zip(*points, *([(0.0, 0.0), (1.0, 1.0)] if diagonal else []), strict=True)
    left, right, top, bottom = EDGE, WIDTH - 16, 24, HEIGHT - 40

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - min(xs)) / ((max(xs) - min(xs)) or 1.0)
        up = (y - min(ys)) / ((max(ys) - min(ys)) or 1.0)
        return left + (right - left) * across, bottom - (bottom - top) * up

    shown = [place(*point) for point in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in shown)
    rings = [place(*point) for point in chosen]
    marks = [
        _line(left, bottom, right, bottom, 'opacity=".5"'),
        _line(left, top, left, bottom, 'opacity=".5"'),
        *([_line(*place(0, 0), *place(1, 1), 'stroke-dasharray="4 4" opacity=".6"')] * diagonal),
        f'<polyline points="{path}" fill="none" stroke="currentColor" stroke-width="2"/>',
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in shown),
        *(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="7" fill="none" stroke="currentColor"/>'
            for x, y in rings
        ),
        _text(left - 6, bottom + 4, f"{min(ys):.3g}", "end"),
        _text(left - 6, top + 4, f"{max(ys):.3g}", "end"),
        _text(left, bottom + 16, ticks[0], "middle"),
        _text(right, bottom + 16, ticks[-1], "end"),
        _text((left + right) / 2, bottom + 32, x_title, "middle"),
        _text(left, 12, y_title, "start"),
    ]
    ringed = ", the chosen one ringed" if rings else ""
    return _svg(f"{y_title} over {x_title}{ringed}", HEIGHT, marks)
