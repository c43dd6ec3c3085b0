"""The page of a `Result`: one file that needs no network, and the charts beside it.

What the page holds: the result's records, gathered section by section.

What the page says in words about the whole result: title, data, troubles, how it was made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from onelayer.objective.gradcheck import GradientCheck
from onelayer.report.chart import Chart, slug, unique_slugs
from onelayer.report.confusion import confusion_chart
from onelayer.report.curves import Series, curve_chart
from onelayer.report.distance import DistanceFinding, distance_chart, measure_distances
from onelayer.report.learning_rate import (
    RateFinding,
    StabilityFinding,
    compare_curvatures,
    compare_rates,
    stability_chart,
)
from onelayer.report.penalty import PenaltyFinding, compare_penalties, penalty_charts
from onelayer.report.render import fill_template, write_page
from onelayer.report.selection import Selection, heat_maps, select_setting
from onelayer.report.summary import (
    DATA_NAMES,
    SCALINGS,
    Mistake,
    SettingSummary,
    describe_rows,
    frequent_mistakes,
    run_names,
    share_of_rows,
    summarise,
    without_paths,
)
from onelayer.report.weight_images import TemplateSheet, template_drawing, template_sheet
from onelayer.training.result import Result

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


MOST_TROUBLES = 20


@dataclass(frozen=True)
class Facts:
    """Sentences and figures of the page that belong to no single setting.

    Attributes:
        title: the page's heading.
        lead: what this is, in a sentence.
        data: the data, in a sentence.
        source: where the data came from, without this machine's paths.
        scaling: what is done to features, in words.
        named: whether settings have names that λ and η do not tell.
        classes: K.
        chaotic: settings whose seeds disagree widely, the first MOST_TROUBLES.
        left_out: which settings are not drawn, or ''.
        troubles: messages of runs that did not finish, the first MOST_TROUBLES.
        more_troubles: how many there are besides.
        worst_of_weights: largest relative error of the gradient of W.
        worst_of_biases: largest relative error of the gradient of b.
        environment: what it ran on, name and value.
        seconds: wall time of each phase, name and text.
        command: the command line that made it, without this machine's paths, or ''.
    """

    title: str
    lead: str
    data: str
    source: str
    scaling: str
    named: bool
    classes: int
    chaotic: tuple[SettingSummary, ...]
    left_out: str
    troubles: tuple[str, ...]
    more_troubles: int
    worst_of_weights: str
    worst_of_biases: str
    environment: tuple[tuple[str, str], ...]
    seconds: tuple[tuple[str, str], ...]
    command: str
    infinity: float = math.inf


def gather_facts(contents: Contents) -> Facts:
    """Put a result's circumstances into words.

    Args:
        contents: of the page.

    Returns:
        The facts.
    """
    result = contents.result
    troubles = tuple(
        f"{setting.name}: {message}"
        for setting in contents.settings
        for message in dict.fromkeys(setting.troubles)
    )
    left_out = len(contents.settings) - len(contents.sections)
    name = DATA_NAMES.get(result.data.name, result.data.name)
    return Facts(
        title=f"One linear layer on {name}",
        lead=_lead(result, name),
        data=_data(result),
        source=without_paths(result.data.source),
        scaling=_scalings(result),
        named=any(_has_own_name(setting) for setting in contents.settings),
        classes=len(result.data.class_names),
        chaotic=tuple(s for s in contents.settings if s.chaotic)[:MOST_TROUBLES],
        left_out=_left_out(left_out, len(contents.sections)),
        troubles=troubles[:MOST_TROUBLES],
        more_troubles=max(0, len(troubles) - MOST_TROUBLES),
        worst_of_weights=_worst(result.gradient_checks, "W"),
        worst_of_biases=_worst(result.gradient_checks, "b"),
        environment=tuple((k, without_paths(v)) for k, v in result.environment.items()),
        seconds=tuple((name, f"{value:.2f}") for name, value in result.seconds.items()),
        command=without_paths(result.command.line) if result.command else "",
    )


def _scalings(result: Result) -> str:
    names = [result.scaling.name, *(one.name for one in result.other_scalings.values())]
    return "; or ".join(SCALINGS.get(name, name) for name in dict.fromkeys(names))


def _lead(result: Result, name: str) -> str:
    runs, settings = len(result.runs), len(result.settings)
    what = (
        "The four experiments of the report, run again"
        if result.reported
        else (f"{settings} setting{'s' * (settings != 1)} of mini-batch gradient descent")
    )
    return (
        f"{what}: a softmax classifier with a single linear layer, trained on {name}, "
        f"{runs} run{'s' * (runs != 1)} in all, with what they learned, how they learned it, "
        "and how far chance moves the figures."
    )


def _data(result: Result) -> str:
    epochs = sorted({run.epochs for run in result.runs})
    batches = sorted({run.batch_size for run in result.runs})
    return (
        f"{describe_rows(result.data, result.W.shape[2])}; "
        f"{_either(epochs)} epoch{'s' * (epochs[-1] != 1)}, batches of {_either(batches)}."
    )


def _either(numbers: list[int]) -> str:
    if len(numbers) <= 3:
        return " or ".join(map(str, numbers))
    return f"{numbers[0]} to {numbers[-1]}"


def _has_own_name(setting: SettingSummary) -> bool:
    return setting.name != f"λ={setting.l2:g}, η={setting.learning_rate:g}"


def _left_out(left_out: int, drawn: int) -> str:
    if not left_out:
        return ""
    return (
        f"Of {left_out + drawn} settings, the {drawn} with the best validation accuracy are drawn; "
        "the table above has all."
    )


def _worst(checks: Sequence[GradientCheck], parameter: str) -> str:
    errors = [check.max_error for check in checks if check.parameter == parameter]
    return f"{max(errors):.1e}" if errors else "not checked"


TEMPLATE = "page.html.j2"


def write_report(
    result: Result,
    folder: Path,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write the page of a result and its charts as PNG and SVG, from the records alone.

    Args:
        result: the records.
        folder: an existing folder; report.html and charts/ in it are replaced.
        on_progress: called with how many charts are written of how many.

    Returns:
        Path of the page.

    Raises:
        OSError: when the disk refuses.

    Example:
        >>> import tempfile
        >>> from onelayer import Run, load
        >>> from onelayer import train
        >>> result = train(load("digits"), [Run(learning_rate=0.1, epochs=1)])
        >>> with tempfile.TemporaryDirectory() as place:
        ...     write_report(result, Path(place)).name
        'report.html'
    """
    return write_page(folder, lambda: gather(result), render_page, on_progress)


def render_page(contents: Contents, scripts: str) -> str:
    """Fill the page's template.

    Args:
        contents: what it shows.
        scripts: Vega and its companions, as `Painter.scripts` returns them.

    Returns:
        HTML.
    """
    return fill_template(
        TEMPLATE,
        contents,
        scripts,
        result=contents.result,
        facts=gather_facts(contents),
        with_reported=bool(contents.result.reported),
    )
