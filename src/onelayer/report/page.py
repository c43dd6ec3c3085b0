"""The page of a `Result`: what it says first, and its sections in order.

A new chart is a function in a file beside this one, and a line in `SECTIONS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from onelayer.report import summary, tables
from onelayer.report.chart import Axis, Chart, Dot, dot_chart
from onelayer.report.conclusions import learning_rate_section, penalty_section
from onelayer.report.path_page import path_page
from onelayer.report.render import TEMPLATES, Page, Section, make_page, write_page
from onelayer.report.selection import best_section
from onelayer.report.settings import (
    calibration_section,
    confusion_section,
    distance_section,
    mistakes_section,
    reliability_section,
    settings_section,
    weights_section,
)
from onelayer.report.suite_page import suite_page
from onelayer.report.summary import Comparison, Records, Spread
from onelayer.report.table import spread_cell
from onelayer.report.weight_images import template_grid
from onelayer.solver import Path as LambdaPath
from onelayer.training.result import Result
from onelayer.training.run import changed, differing, spell
from onelayer.training.suite import Suite

MOST_TROUBLES = 20

# The summary draws this many settings; the tables have all.
MOST_DOTS = 10


def write_report(record: Result | LambdaPath | Suite, place: Path) -> Path:
    """Write the page of a record: into a folder with its charts, or as one file alone."""
    if isinstance(record, LambdaPath):
        return write_page(place, lambda: path_page(record))
    if isinstance(record, Suite):
        return write_page(place, lambda: suite_page(record))
    return write_page(place, lambda: result_page(record))


def result_page(result: Result) -> Page:
    """What the page of a result shows; sections that the records do not allow are left out."""
    records = summary.records_of(result)
    runs, settings = len(result.runs), len(result.settings)
    what = (
        "The four experiments of the report, run again"
        if result.reported
        else f"{summary.plural(settings, 'setting')} of mini-batch gradient descent"
    )
    epochs = sorted({run.epochs for run in result.runs})
    batches = sorted({run.batch for run in result.runs})
    shared = changed(result.runs) - {*differing(result.runs)}
    also = "".join(f", {words}" for words in spell(result.runs[:1], shared) if words)
    name = summary.DATA_NAMES.get(result.data.name, result.data.name)
    many = result.data.many_labels
    kind = "classifier of many labels a row" if many else "softmax classifier"
    return make_page(
        result,
        title="One linear layer",
        lead=f"{what}: a {kind} with a single linear layer, trained on {name}, "
        f"{summary.plural(runs, 'run')} in all.",
        trained=f"{_either(epochs)} epoch{'s' * (epochs[-1] != 1)}, batches of {_either(batches)}"
        + also,
        sections=(section(records) for section in SECTIONS),
    )


def summary_section(records: Records) -> Section:
    """Three sentences, and the accuracies as dots."""
    sentences = (_reported(records), _chosen(records), _endings(records))
    several = max(len(setting.counted) for setting in records.settings) > 1
    note = f"{summary.OVER_SEEDS}. Dots are means over seeds; bars reach from the smallest to the "
    note += "largest."
    return Section(
        anchor="summary",
        heading="Summary",
        text=(" ".join(filter(None, sentences)),),
        charts=_reported_charts(records) if records.result.reported else _ranking_chart(records),
        note=note if several else "",
    )


def results_section(records: Records) -> Section:
    """The table: reported against measured, or every setting by validation accuracy."""
    result = records.result
    chaotic = [setting for setting in records.settings if setting.chaotic][:MOST_TROUBLES]
    ranked = not result.reported and len(records.settings) > 1
    if ranked:
        table = tables.ranking_table(result, len(records.settings))
        intro = (
            f"Settings by the mean validation {result.metric.title} of their last weights over "
            "seeds. Test accuracy is shown for the best alone, because a setting that is chosen by "
            "test rows cannot be judged by them."
        )
    else:
        table = tables.accuracy_table(result)
        intro = (
            "Accuracies with the weights of the last epoch, in percent. Measured figures are means "
            "over seeds, with the smallest and the largest value below"
        )
        differences = "; differences are measured minus reported, in percentage points"
        intro += f"{differences * bool(result.reported)}."
    return Section(
        anchor="results",
        heading="Reported and measured" if result.reported else "Results",
        text=(intro,),
        asides=tuple(f"{setting.name}. {setting.chaos}" for setting in chaotic),
        table=table,
        sections=_troubles(records),
    )


def _troubles(records: Records) -> tuple[Section, ...]:
    messages = [
        f"{setting.name}: {message}"
        for setting in records.settings
        for message in dict.fromkeys(setting.troubles)
    ]
    if not messages:
        return ()
    more = len(messages) - MOST_TROUBLES
    part = Section(
        anchor="troubles",
        heading="Runs that did not finish",
        text=(
            "A diverged run keeps the weights of its last finite epoch and is left out of the "
            "figures, unless every run of its setting diverged.",
        ),
        items=(*messages[:MOST_TROUBLES], *([f"and {more} more."] if more > 0 else [])),
    )
    return (part,)


def templates_section(records: Records) -> Section | None:
    """Rows of W as pictures, settings × classes, under one slider; None without images."""
    result = records.result
    positions = [
        next((i for i in setting.positions if i in result.snapshots), setting.counted[0])
        for setting in records.drawn.values()
    ]
    grid = template_grid(result, positions, tuple(records.drawn))
    return Section("templates", TEMPLATES, templates=grid) if grid else None


def strongest_section(records: Records) -> Section | None:
    """The weights of the best setting as a heat map or by name; None for images."""
    best = records.result.ranking[0]
    return weights_section(records.result.model(best.positions[0]), best.name)


def confident_section(records: Records) -> Section | None:
    """The most confident mistakes of the best run."""
    result = records.result
    position = result.best_position
    name = f"{result.runs[position].name}, seed {result.runs[position].seed},"
    return mistakes_section(result.mistakes.get(position), result.data, name)


def gradient_section(records: Records) -> Section | None:
    """Analytic against numerical gradients; None where they were not checked."""
    checks = records.result.gradient_checks
    if not checks:
        return None
    for_W, for_b = (
        f"{max(check.max_error for check in checks if check.parameter == name):.1e}"
        for name in ("W", "b")
    )
    return Section(
        anchor="gradients",
        heading="Gradient check",
        text=(
            "The analytic gradient against five-point central differences, at every entry of W and "
            "b, in float64: the largest relative error |ga − gn| ∕ (|ga| + |gn|) is "
            f"{for_W} for W and {for_b} for b; the report reached less than 10⁻³ for W and less "
            "than 10⁻⁶ for b.",
        ),
        table=tables.gradient_table(checks),
        note="The cost is known to a few units in its last place, and a difference divides that "
        "rounding noise by the step h: no difference can be trusted below "
        "3∕2 · 2⁻⁵² · (|J| + 1) ∕ h. An entry whose gradients are too near to that bound for even "
        "a perfect gradient to meet the tolerance counts as too small and is held to the bound "
        "instead, so that no entry is left unchecked.",
    )


# Every section of the page, in order.
SECTIONS: tuple[Callable[[Records], Section | None], ...] = (
    summary_section,
    best_section,
    results_section,
    learning_rate_section,
    penalty_section,
    distance_section,
    templates_section,
    strongest_section,
    confusion_section,
    confident_section,
    reliability_section,
    lambda records: calibration_section(records.result.calibrations),
    settings_section,
    gradient_section,
)


def _either(numbers: list[int]) -> str:
    if len(numbers) <= 3:
        return " or ".join(map(str, numbers))
    return f"{numbers[0]} to {numbers[-1]}"


def _whole(name: str) -> str:
    """A setting's name without a line break."""
    return name.replace(" ", "\u00a0")


def _reported(records: Records) -> str:
    compared = [
        (figure, setting)
        for setting in records.settings
        for figure in (setting.train, setting.test)
        if figure.reported is not None and figure.measured.n
    ]
    if not compared:
        return ""
    farthest, setting = max(compared, key=lambda one: abs(one[0].difference or 0.0))
    part = "training" if farthest is setting.train else "test"
    words = (
        f"The mean measured accuracies differ from the {len(compared)} reported ones by at most "
        f"{abs(farthest.difference or 0.0):.2f} points ({part}, {_whole(setting.name)})"
    )
    several = [figure for figure, _ in compared if figure.measured.n > 1]
    if not several:
        return f"{words}."
    inside = sum(figure.inside for figure in several)
    return f"{words}; {inside} of {len(several)} reported figures lie within the range over seeds."


def _chosen(records: Records) -> str:
    result = records.result
    best = result.ranking[0]
    if math.isnan(best.mean):
        return "No validation accuracy was measured."
    if best.untrained:
        return "None is best: the runs were interrupted before their first epoch."
    of = [i for i in best.positions if result.outcomes[i].status != "diverged"]
    spread = summary.spread(100.0 * result.validation_accuracy[of])
    accuracy = f"{spread_cell(spread).plain} %"
    several = len(records.settings) > 1
    metric, reached = result.metric, accuracy
    if metric.name != "accuracy":
        reached = f"{metric.words(best.score)}, and an accuracy of {accuracy}"
    words = (
        f"{_whole(best.name)} has the best validation {metric.title}, {reached}, of "
        f"{len(records.settings)} settings"
        if several
        else f"The validation accuracy is {accuracy}"
    )
    test = tables.accuracy_on_test(result, of)
    if not test:
        return f"{words}; there are no test rows."
    unused = " (not used for selection)" if several else ""
    words = f"{words}; its test accuracy{unused} is {test}"
    counts = result.confusion[of[0]].sum(axis=1)
    if not counts.size:  # of many labels a row, all of which have to be right
        return f"{words}, counting rows of which all labels are right."
    largest = 100.0 * counts.max() / counts.sum()
    return f"{words}, where always naming the largest class gives {largest:.2f} %."


def _endings(records: Records) -> str:
    result = records.result
    parts = [f"{count} {words}" for words, count in summary.count_endings(result.outcomes).items()]
    ended = f"Of {len(result.runs)} runs, {', '.join(parts)}" if parts else "Every run finished"
    chaotic = [setting.name for setting in records.settings if setting.chaotic]
    if not chaotic:
        return f"{ended}."
    which = _whole(chaotic[0]) if len(chaotic) == 1 else f"{len(chaotic)} settings"
    return f"{ended}; the accuracy of {which} depends strongly on the seed."


def _reported_charts(records: Records) -> tuple[Chart, ...]:
    def chart(part: str, figures: Sequence[Comparison]) -> Chart:
        rows = []
        for setting, figure in zip(records.settings, figures, strict=True):
            reported = [] if figure.reported is None else [Dot(0, figure.reported)]
            rows.append((setting.name, [*reported, _dot(1, figure.measured)]))
        title = f"{part.capitalize()} accuracy / %"
        axis = Axis("share of rows / %")
        return dot_chart(f"summary-{part}", title, axis, ("reported", "measured"), rows)

    return (
        chart("training", [setting.train for setting in records.settings]),
        chart("test", [setting.test for setting in records.settings]),
    )


def _ranking_chart(records: Records) -> tuple[Chart, ...]:
    measured = {s.positions: s for s in records.settings if s.validation.n}
    ranked = [measured[one.positions] for one in records.result.ranking
              if one.positions in measured]  # fmt: skip
    if len(ranked) < 2:
        return ()
    rows = [(one.name, [_dot(0, one.validation)]) for one in ranked[:MOST_DOTS]]
    best = f" of the best {MOST_DOTS} settings" if len(ranked) > MOST_DOTS else ""
    title = f"Validation accuracy / %{best}"
    return (dot_chart("summary", title, Axis("share of rows / %"), ("validation",), rows),)


def _dot(series: int, measured: Spread) -> Dot:
    return Dot(series, measured.mean, measured.low, measured.high)
