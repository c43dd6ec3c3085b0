"""What the page holds: the result's records, gathered section by section."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from onelayer.report.charts import Chart, slug, unique_slugs
from onelayer.report.confusion import Mistake, confusion_chart, frequent_mistakes, share_of_rows
from onelayer.report.curves import curve_chart
from onelayer.report.distance_chart import distance_chart
from onelayer.report.distances import DistanceFinding, measure_distances
from onelayer.report.grouping import run_names
from onelayer.report.heat_map import heat_maps
from onelayer.report.learning_rates import RateFinding, compare_rates
from onelayer.report.penalties import penalty_charts
from onelayer.report.pictures import TemplateSheet, template_drawing, template_sheet
from onelayer.report.selection import Selection, select_setting
from onelayer.report.series import Series
from onelayer.report.shrinkage import PenaltyFinding, compare_penalties
from onelayer.report.stability import StabilityFinding, compare_curvatures
from onelayer.report.stability_chart import stability_chart
from onelayer.report.summary import SettingSummary, summarise
from onelayer.result import Result

# Settings drawn in full; a grid of hundreds has all of its figures in the table.
MOST_SETTINGS = 8
LABELS = {"train": "training", "validation": "validation"}


@dataclass(frozen=True)
class SettingSection:
    """What is drawn for one setting.

    Attributes:
        name: the setting's name.
        anchor: its place on the page and in file names.
        summary: its figures.
        cost_is_loss: whether λ = 0, so that cost and loss are the same curve.
        curves: loss, and cost where it differs.
        confusion: the heat map; None for many classes.
        mistakes: the most frequent confusions, for many classes.
        templates: rows of W as pictures; None when the features are no picture.
        template_svg: the same at the last epoch, for a paper.
    """

    name: str
    anchor: str
    summary: SettingSummary
    cost_is_loss: bool
    curves: tuple[Chart, ...]
    confusion: Chart | None
    mistakes: tuple[Mistake, ...]
    templates: TemplateSheet | None
    template_svg: str | None


@dataclass(frozen=True)
class Contents:
    """Everything on the page.

    Attributes:
        result: the records.
        settings: the lines of the table.
        sections: the settings drawn in full.
        selection: the best setting and the grids of η and λ around it, if they are whole.
        heat_maps: its charts.
        rates: conclusion 1, if the runs allow it.
        rate_charts: its charts.
        stability: the curvature that runs met against what their steps allow, if it was measured.
        stability_chart: its chart.
        penalties: conclusion 2, if the runs allow it.
        penalty_charts: its charts.
        distances: how far training ended from the best cost, if that was certified.
        distance_chart: its chart, where a best cost is known.
    """

    result: Result
    settings: tuple[SettingSummary, ...]
    sections: tuple[SettingSection, ...]
    selection: Selection | None
    heat_maps: tuple[Chart, ...]
    rates: RateFinding | None
    rate_charts: tuple[Chart, ...]
    stability: StabilityFinding | None
    stability_chart: Chart | None
    penalties: PenaltyFinding | None
    penalty_charts: tuple[Chart, ...]
    distances: DistanceFinding | None
    distance_chart: Chart | None

    @property
    def charts(self) -> tuple[Chart, ...]:
        """Every chart, in the order of the page."""
        drawn = [*self.heat_maps, *self.rate_charts]
        drawn += [self.stability_chart] if self.stability_chart else []
        drawn += self.penalty_charts
        drawn += [self.distance_chart] if self.distance_chart else []
        for section in self.sections:
            drawn += section.curves
            drawn += [section.confusion] if section.confusion else []
        return tuple(drawn)

    @property
    def drawings(self) -> dict[str, str]:
        """Finished SVG texts, by file name without ending."""
        return {
            f"templates-{section.anchor}": section.template_svg
            for section in self.sections
            if section.template_svg
        }

    @property
    def sheets(self) -> dict[str, TemplateSheet]:
        """Templates that a slider goes through, by their place on the page."""
        return {s.anchor: s.templates for s in self.sections if s.templates}


def gather(result: Result) -> Contents:
    """Gather the page's contents from a result.

    Args:
        result: the records.

    Returns:
        The contents; sections that the records do not allow are None or empty.
    """
    settings = summarise(result)
    chosen = choose_settings(settings)
    anchors = unique_slugs(setting.name for setting in chosen)
    rates, penalties = compare_rates(result, settings), compare_penalties(result, settings)
    stability = compare_curvatures(result, settings)
    distances = measure_distances(result, settings)
    selection = select_setting(result)
    return Contents(
        result=result,
        settings=settings,
        sections=tuple(_section(result, s, anchors[s.name]) for s in chosen),
        selection=selection,
        heat_maps=heat_maps(selection) if selection else (),
        rates=rates,
        rate_charts=_rate_charts(rates) if rates else (),
        stability=stability,
        stability_chart=stability_chart(stability.bends) if stability else None,
        penalties=penalties,
        penalty_charts=penalty_charts(penalties) if penalties else (),
        distances=distances,
        distance_chart=distance_chart(distances.distances) if distances else None,
    )


def choose_settings(
    settings: Sequence[SettingSummary], most: int = MOST_SETTINGS
) -> tuple[SettingSummary, ...]:
    """Choose the settings that are drawn in full: all, or the best by validation accuracy.

    Args:
        settings: of the result.
        most: how many at most.

    Returns:
        The chosen ones, in their order in the result.
    """

    def rank(setting: SettingSummary) -> float:
        return setting.validation.mean if setting.validation.n else -math.inf

    best = sorted(settings, key=rank, reverse=True)[:most]
    names = {setting.name for setting in best}
    return tuple(setting for setting in settings if setting.name in names)


def _section(result: Result, summary: SettingSummary, anchor: str) -> SettingSection:
    name, positions = summary.name, list(summary.positions)
    counts = result.confusion[list(summary.counted)].sum(axis=0)
    percent = share_of_rows(counts)
    title = f"Test confusion, {name}, % of the true class"
    heat_map = confusion_chart(f"confusion-{anchor}", title, percent, result.data.class_names)
    shown = next((i for i in positions if i in result.snapshots), summary.counted[0])
    return SettingSection(
        name=name,
        anchor=anchor,
        summary=summary,
        cost_is_loss=summary.l2 == 0.0,
        curves=_curves(result, summary, anchor),
        confusion=heat_map,
        mistakes=() if heat_map else frequent_mistakes(percent, result.data.class_names),
        templates=template_sheet(result, shown),
        template_svg=template_drawing(
            result.W[shown],
            result.data.class_names,
            result.data.image_shape,
            f"Templates of W, {name}",
        ),
    )


def _curves(result: Result, summary: SettingSummary, anchor: str) -> tuple[Chart, ...]:
    positions, history = list(summary.positions), result.history
    names = run_names(result, positions)

    def chart(measure: str, heading: str, unit: str, factor: float = 1.0) -> Chart:
        series = [
            Series(label, factor * getattr(history, f"{part}_{measure}")[positions], names)
            for part, label in LABELS.items()
        ]
        title = f"{heading}, {summary.name}"
        return curve_chart(f"{measure}-{anchor}", title, heading, unit, series)

    loss, accuracy = "mean cross-entropy / nats", "share of rows / %"
    penalty = () if summary.l2 == 0.0 else (chart("cost", "Cost", "loss + λ Σ W² / nats"),)
    return (
        chart("loss", "Loss" if penalty else "Loss, which is the cost", loss),
        *penalty,
        chart("accuracy", "Accuracy", accuracy, 100.0),
    )


def _rate_charts(finding: RateFinding) -> tuple[Chart, ...]:
    def chart(part: str, series: tuple[Series, ...]) -> Chart:
        return curve_chart(
            f"rates-{slug(part)}",
            f"{part.capitalize()} loss at λ = {finding.l2:g}, by learning rate",
            f"{part.capitalize()} loss",
            "mean cross-entropy / nats",
            series,
            show_runs=True,
        )

    return chart("training", finding.training), chart("validation", finding.validation)
