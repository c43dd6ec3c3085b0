"""Charts of a λ path: accuracy, loss, ‖W‖ and the certified gap, each over λ.

λ is on a logarithmic axis. λ = 0 has no place there; it is drawn apart, left of the smallest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onelayer.optimum import Choice
from onelayer.report.charts import Chart, Key, Tables, finished_specs, short
from onelayer.report.curves import BAND
from onelayer.report.path_axis import L2Axis, axis_of
from onelayer.report.path_drawing import PathDrawing, Side
from onelayer.report.path_summary import Estimate, PathLine, best_line

# Drawn in place of a gap of exactly 0, which a logarithmic axis does not know.
SMALLEST_GAP = 1e-17
# Values that span more than this factor are drawn on a logarithmic axis.
WIDE = 8.0
# Room for words in a chart, as shares of its height and width.
WORDS_HEIGHT, WORDS_WIDTH = 0.08, 0.5


@dataclass(frozen=True)
class Curve:
    """One curve over λ: what the legend calls it, and its value for each λ."""

    label: str
    values: tuple[Estimate, ...]


@dataclass(frozen=True)
class Asked:
    """A horizontal line: what was asked for, and the words beside it."""

    value: float
    words: str


def path_charts(lines: Sequence[PathLine], choice: Choice, held_out: str) -> tuple[Chart, ...]:
    """Draw a path.

    Args:
        lines: its figures.
        choice: how λ was chosen; the chart of that score shows the band that decided.
        held_out: what the held-out rows are called.

    Returns:
        Four charts.
    """
    draw = _Drawer(tuple(lines), axis_of([line.l2 for line in lines]), choice)
    train_a, held_a = (
        tuple(getattr(line, rows).accuracy for line in lines) for rows in ("train", "held_out")
    )
    train_l, held_l = (
        tuple(getattr(line, rows).loss for line in lines) for rows in ("train", "held_out")
    )
    norms = tuple(Estimate(line.norm, 0.0) for line in lines)
    gaps = tuple(Estimate(max(line.relative_gap, SMALLEST_GAP), 0.0) for line in lines)
    asked = Asked(lines[0].tol, f"asked for: {lines[0].tol:.0e}".replace("e-0", "e-"))
    both = ("training", held_out)
    return (
        draw.chart("accuracy", "Accuracy", "share of rows / %", both, (train_a, held_a)),
        draw.chart("loss", "Loss", "mean cross-entropy / nats", both, (train_l, held_l)),
        draw.chart("norm", "Norm of W", "‖W‖ (Frobenius norm)", ("‖W‖",), (norms,)),
        draw.chart(
            "gap", "Certified gap", "bound on (J − J*) / J", ("gap / J",), (gaps,), asked=asked
        ),
    )


@dataclass(frozen=True)
class _Drawer:
    """What all charts of a path have in common."""

    lines: tuple[PathLine, ...]
    axis: L2Axis
    choice: Choice

    def chart(
        self,
        name: str,
        heading: str,
        unit: str,
        labels: tuple[str, ...],
        values: tuple[tuple[Estimate, ...], ...],
        asked: Asked | None = None,
    ) -> Chart:
        curves = tuple(map(Curve, labels, values))
        tables = self._tables(name, curves, asked)
        drawing = self._drawing(unit, curves, tables["deciding"], asked)
        specs = finished_specs(drawing.on_page(), drawing.on_paper())
        title = f"{heading} against λ"
        keys = tuple(Key(f"c{i}", label, i) for i, label in enumerate(labels))
        band = (Key(BAND, "± 1 standard error"),) if drawing.with_band else ()
        return Chart(
            name=f"path-{name}",
            title=title,
            heading=heading,
            description=self._describe(title, curves, asked),
            page=specs.page_with(tables),
            paper=specs.paper_with(tables, title),
            legend=keys + band if len(keys) > 1 else (),
        )

    def _drawing(
        self,
        unit: str,
        curves: Sequence[Curve],
        deciding: list[dict[str, Any]],
        asked: Asked | None,
    ) -> PathDrawing:
        log = asked is not None or _is_wide(curves)
        return PathDrawing(
            labels=tuple(curve.label for curve in curves),
            unit=f"{unit}, log scale" if log else unit,
            log=log,
            axis=self.axis,
            with_band=any(value.error for curve in curves for value in curve.values),
            # Where the solver stopped under what was asked has no trend that a line could show.
            joined=asked is None,
            side=_side_with_room(curves, deciding) if deciding else self._far_from_chosen(),
            # A gap has many zeros before its digits.
            log_format="~g" if asked is None else "~e",
        )

    def _tables(self, name: str, curves: Sequence[Curve], asked: Asked | None) -> Tables:
        return {
            "means": self._means(curves),
            "tips": self._tips(curves),
            "chosen": [{"x": self.axis.place(line.l2)} for line in self.lines if line.chosen],
            "best": self._best(name),
            "deciding": self._deciding(name),
            "asked": [{"v": asked.value, "w": asked.words}] if asked else [],
        }

    def _means(self, curves: Sequence[Curve]) -> list[dict[str, Any]]:
        return [
            {"c": f"c{i}", "x": self.axis.place(line.l2), "apart": line.l2 == 0.0}
            | {"m": short(v.mean), "l": short(v.low), "h": short(v.high)}
            for i, curve in enumerate(curves)
            for line, v in zip(self.lines, curve.values, strict=True)
            if math.isfinite(v.mean)
        ]

    def _tips(self, curves: Sequence[Curve]) -> list[dict[str, Any]]:
        tips = []
        for position, line in enumerate(self.lines):
            tip: dict[str, Any] = {"x": self.axis.place(line.l2), "w": f"{line.l2:.3g}"}
            for i, curve in enumerate(curves):
                tip[f"t{i}"] = _words(curve.values[position])
            tips.append(tip)
        return tips

    def _decides(self, name: str) -> bool:
        return name == self.choice.by and self.choice.rule == "one-standard-error"

    def _deciding(self, name: str) -> list[dict[str, Any]]:
        """From the best held-out score to one standard error worse: who is in there is as good."""
        if not self._decides(name):
            return []
        best = best_line(self.lines, self.choice.by).held_out.of(self.choice.by)
        worst = best.low if self.choice.by == "accuracy" else best.high
        low, high = sorted((best.mean, worst))
        return [{"l": short(low), "h": short(high), "w": "within 1 standard error"}]

    def _far_from_chosen(self) -> Side:
        """The end of a line that the word over the chosen λ does not reach."""
        chosen = next(i for i, line in enumerate(self.lines) if line.chosen)
        return Side(right=2 * chosen >= len(self.lines))

    def _best(self, name: str) -> list[dict[str, Any]]:
        if not self._decides(name):
            return []
        best = best_line(self.lines, self.choice.by)
        m = short(best.held_out.of(self.choice.by).mean)
        return [{"x": self.axis.place(best.l2), "m": m, "c": "c1"}]

    def _describe(self, title: str, curves: Sequence[Curve], asked: Asked | None) -> str:
        parts = []
        for curve in curves:
            shown = [
                (line, value)
                for line, value in zip(self.lines, curve.values, strict=True)
                if math.isfinite(value.mean)
            ]
            if shown:
                (first, start), (last, end) = shown[0], shown[-1]
                parts.append(
                    f"{curve.label} goes from {start.mean:.4g} at λ = {first.l2:.3g} "
                    f"to {end.mean:.4g} at λ = {last.l2:.3g}"
                )
        chosen = next(line for line in self.lines if line.chosen)
        parts += [asked.words] if asked else []
        return f"{title}. {'; '.join(parts)}. Chosen: λ = {chosen.l2:.3g}."


def _words(value: Estimate) -> str:
    if not math.isfinite(value.mean):
        return "no bound"
    return f"{value.mean:.4g}" + (f" ± {value.error:.2g}" if value.error else "")


def _is_wide(curves: Sequence[Curve]) -> bool:
    values = [v.mean for curve in curves for v in curve.values if math.isfinite(v.mean)]
    return bool(values) and min(values) > 0 and max(values) / min(values) > WIDE


def _side_with_room(curves: Sequence[Curve], deciding: list[dict[str, Any]]) -> Side:
    """Where words of some height and width beside the stripe are farthest from all curves."""
    low, high = deciding[0]["l"], deciding[0]["h"]
    means = [[value.mean for value in curve.values] for curve in curves]
    height = WORDS_HEIGHT * (max(map(max, means)) - min(map(min, means)))
    count = max(1, round(WORDS_WIDTH * len(means[0])))

    def room(side: Side) -> float:
        bottom, top = (high, high + height) if side.above else (low - height, low)
        near = (
            mean for of_one in means for mean in (of_one[:count], of_one[-count:])[not side.right]
        )
        return float(min(max(bottom - mean, mean - top) for mean in near))

    return max((Side(right, above) for right in (False, True) for above in (False, True)), key=room)
