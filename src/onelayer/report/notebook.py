"""What Python shows of results, paths, models and evaluations: text, and HTML in a notebook."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from onelayer.data.progress import WIDTH, terminal
from onelayer.errors import printable
from onelayer.model.evaluation import Evaluation, LabelEvaluation
from onelayer.model.inference import Inference
from onelayer.model.model import Model
from onelayer.report.model_tables import (
    evaluation_tables,
    inference_table,
    model_table,
    strongest_table,
)
from onelayer.report.render import fill_template
from onelayer.report.summary import scores_of, summarise_path
from onelayer.report.table import Table
from onelayer.report.tables import record_sentences, record_tables
from onelayer.report.weight_images import picture_uri, templates_of
from onelayer.solver import Path
from onelayer.training.result import Result
from onelayer.training.suite import Suite

# Of a chart, in pixels; the template adds what is around it.
LEFT, RIGHT, TOP, BOTTOM = 44, 324, 24, 160

# More settings than this have their table and no chart.
MOST_DOTS = 12


def record_text(record: Result | Path | Suite) -> str:
    """A record as the terminal shows it."""
    return _text(record_tables(record), record_sentences(record))


def _text(tables: Sequence[Table], words: Sequence[str]) -> str:
    printed = io.StringIO()
    out = terminal(file=printed, width=WIDTH, color_system=None)
    for table in tables:
        out.print(table, crop=False)
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    return "\n".join([*lines, *map(printable, words)])


def record_html(record: Result | Path | Suite) -> str:
    """The table of a record, and a chart of what its choice is made by."""
    chart: dict[str, Any] | None
    if isinstance(record, Path):
        chart = _scores(record)
    elif isinstance(record, Suite):
        by = record.choice.by
        scored = [(h.name, scores_of(h.best.held_out, by).of(by)) for h in record.ranking]
        figures = [(name, score.mean, score.error) for name, score in scored]
        chart = _dots(f"held-out {record.choice.metric.axis}", figures)
    else:
        ranked = [one for one in record.ranking if math.isfinite(one.mean)]
        figures = [(one.name, 100 * one.mean, 100 * one.sd) for one in ranked]
        chart = _dots("validation accuracy / %", figures)
    return _html(*record_tables(record), chart=chart, words=record_sentences(record))


def _scores(path: Path) -> dict[str, Any] | None:
    """The score that λ is chosen by as a curve over λ."""
    lines = [line for line in summarise_path(path) if line.strength > 0.0]
    if len(lines) < 2:
        return None
    unit = path.choice.metric.axis
    ticks = [f"{line.strength:.2g}" for line in (lines[-1], lines[0])]
    points = [(math.log10(line.strength), line.held_out.of(path.choice.by).mean) for line in lines]
    chosen = [point for point, line in zip(points, lines, strict=True) if line.chosen]
    return _curve(f"{path.symbol}, log scale", f"held-out {unit}", points, ticks, chosen)


def model_html(model: Model) -> str:
    """What a model is, with its templates as pictures or its strongest features."""
    facts = model_table(model, "Model")
    if model.image_shape is None:
        return _html(facts, strongest_table(model))
    pictures = map(picture_uri, templates_of(model.W, model.image_shape))
    return _html(facts, pictures=list(zip(model.class_names, pictures, strict=False)))


def evaluation_html(evaluation: Evaluation) -> str:
    """Figures and classes of an evaluation, and its reliability diagram."""
    figures, classes, *_ = evaluation_tables(evaluation, "Evaluation")
    if isinstance(evaluation, LabelEvaluation):
        return _html(figures, classes)
    curve = evaluation.reliability
    points = [(curve.confidence[m], curve.accuracy[m]) for m in np.flatnonzero(curve.rows)]
    chart = _curve("confidence", "accuracy", points, ("0", "1"), corners=((0, 0), (1, 1)))
    return _html(figures, classes, chart=chart)


def inference_text(found: Inference) -> str:
    """The coefficients as the terminal shows them."""
    return _text([inference_table(found)], found.sentences)


def inference_html(found: Inference) -> str:
    """The coefficients, and what their errors are of."""
    return _html(inference_table(found), words=found.sentences)


def _html(
    *tables: Table,
    chart: dict[str, Any] | None = None,
    words: Sequence[str] = (),
    pictures: Sequence[tuple[str, str]] = (),
) -> str:
    """Tables with their titles; the chart and the words stand beside the first."""
    return fill_template(
        "notebook.html.j2", tables=tables, chart=chart, words=words, pictures=pictures
    )


def _dots(unit: str, figures: Sequence[tuple[str, float, float]]) -> dict[str, Any] | None:
    """One row for each of the first: a dot at the mean, a bar of ± 1 sd; None for a single one."""
    if len(figures) < 2:
        return None
    figures = figures[:MOST_DOTS]
    low = min(mean - sd for _, mean, sd in figures)
    high = max(mean + sd for _, mean, sd in figures)
    left = 140

    def place(value: float) -> float:
        return round(left + (RIGHT - left) * (value - low) / ((high - low) or 1.0), 1)

    dots = [
        {
            "name": name[:20],
            "mean": place(mean),
            "low": place(mean - sd),
            "high": place(mean + sd),
            "y": 16 + 20 * i,
        }
        for i, (name, mean, sd) in enumerate(figures)
    ]
    ends = {"low": f"{low:.1f}", "high": f"{high:.1f}"}
    return ends | {
        "unit": unit, "dots": dots, "left": left, "right": RIGHT, "bottom": 16 + 20 * len(dots),
    }  # fmt: skip


def _curve(
    x_title: str,
    y_title: str,
    points: Sequence[tuple[float, float]],
    ticks: Sequence[str],
    chosen: Sequence[tuple[float, float]] = (),
    corners: Sequence[tuple[float, float]] = (),
) -> dict[str, Any]:
    """Points joined by a line; `chosen` are ringed, a diagonal goes from corner to corner."""
    xs, ys = zip(*points, *corners, strict=True)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - min(xs)) / ((max(xs) - min(xs)) or 1.0)
        up = (y - min(ys)) / ((max(ys) - min(ys)) or 1.0)
        return round(LEFT + (RIGHT - LEFT) * across, 1), round(BOTTOM - (BOTTOM - TOP) * up, 1)

    return {
        "x_title": x_title,
        "y_title": y_title,
        "points": [place(*point) for point in points],
        "rings": [place(*point) for point in chosen],
        "diagonal": [end for corner in corners for end in place(*corner)],
        "ticks": ticks,
        "low": f"{min(ys):.3g}",
        "high": f"{max(ys):.3g}",
        **{"left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
    }
