"""What the page of a λ path holds, gathered from its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onelayer.path_record import PathRecord
from onelayer.report.charts import Chart
from onelayer.report.path_charts import path_charts
from onelayer.report.path_facts import PathFacts, gather_path_facts
from onelayer.report.path_summary import PathLine, summarise_path
from onelayer.report.pictures import MOST_FRAMES, TemplateSheet, draw_sheet, template_drawing

TEMPLATES = "path"


@dataclass(frozen=True)
class PathContents:
    """Everything on the page.

    Attributes:
        lines: the table, largest λ first.
        charts: over λ.
        facts: what is said.
        templates: rows of W as pictures, along the path; None when the features are no picture.
        template_svg: those of the chosen model, for a paper.
    """

    lines: tuple[PathLine, ...]
    charts: tuple[Chart, ...]
    facts: PathFacts
    templates: TemplateSheet | None
    template_svg: str | None

    @property
    def rings(self) -> bool:
        """Whether a chart shows what decided: the best score and one standard error from it."""
        return any(chart.page["datasets"]["deciding"] for chart in self.charts)

    @property
    def drawings(self) -> Mapping[str, str]:
        """Finished SVG texts, by file name without ending."""
        return {f"templates-{TEMPLATES}": self.template_svg} if self.template_svg else {}

    @property
    def sheets(self) -> Mapping[str, TemplateSheet]:
        """Templates that a slider goes through, by their place on the page."""
        return {TEMPLATES: self.templates} if self.templates else {}


def gather_path(record: PathRecord) -> PathContents:
    """Gather the page's contents.

    Args:
        record: of a path.

    Returns:
        The contents.
    """
    path, card = record.path, record.data
    lines = summarise_path(path)
    facts = gather_path_facts(record, lines)
    title = f"Templates of W at the chosen λ = {path.best.l2:.3g}"
    return PathContents(
        lines=lines,
        charts=path_charts(lines, path.choice, facts.held_out),
        facts=facts,
        templates=_templates(record, lines),
        template_svg=template_drawing(path.best.W, card.class_names, card.image_shape, title),
    )


def _templates(record: PathRecord, lines: Sequence[PathLine]) -> TemplateSheet | None:
    """The templates of every λ, smallest first as on the charts; the chosen one is shown first."""
    path, card = record.path, record.data
    if card.image_shape is None:
        return None
    places = _some(len(lines), path.chosen)
    return draw_sheet(
        [path.optima[i].W for i in places],
        card.class_names,
        card.image_shape,
        step="λ",
        labels=tuple(f"λ = {lines[i].l2:.3g}" for i in places),
        start=places.index(path.chosen),
        readings=tuple(_reading(lines[i]) for i in places),
        caption="From the smallest λ, left, to the largest" if len(places) > 1 else "The only λ",
    )


def _some(count: int, chosen: int) -> list[int]:
    """At most MOST_FRAMES positions, last first, spread evenly, the chosen one among them."""
    evenly = np.linspace(0, count - 1, min(count, MOST_FRAMES - 1)).round()
    return sorted({*(int(i) for i in evenly), chosen}, reverse=True)


def _reading(line: PathLine) -> str:
    accuracy = line.held_out.accuracy.mean
    chosen = "chosen; " if line.chosen else ""
    return f"{chosen}‖W‖ = {line.norm:.3g}, held-out accuracy {accuracy:.2f} %"
