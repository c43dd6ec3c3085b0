"""The page of a `Result`: what it says first, and its sections in order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from onelayer.objective.gradcheck import GradientCheck
from onelayer.report.chart import Axis, Chart, Dot, dot_chart
from onelayer.report.conclusions import learning_rate_section, penalty_section
from onelayer.report.path_page import path_page
from onelayer.report.render import Page, Section, write_page
from onelayer.report.selection import best_section
from onelayer.report.settings import (
    confusion_section,
    distance_section,
    reliability_section,
    settings_section,
    weights_section,
)
from onelayer.report.summary import (
    DATA_NAMES,
    SCALINGS,
    Comparison,
    Records,
    SettingSummary,
    Spread,
    describe_rows,
    percent_on_test,
    records_of,
    spread,
    unbroken,
    without_paths,
)
from onelayer.report.tables import accuracy_table, gradient_table, ranking_table, spread_cell
from onelayer.report.weight_images import template_grid
from onelayer.solver import Path as LambdaPath
from onelayer.training.result import Result

MOST_TROUBLES = 20

# The summary draws this many settings; the tables have all.
MOST_DOTS = 10


def write_report(
    record: Result | LambdaPath,
    place: Path,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write the page of a result or of a λ path, from the records alone.

    Args:
        record: what the page is of.
        place: an existing folder, in which report.html and the charts in charts/ are replaced; or
            a file, which is written alone.
        on_progress: called with how many charts are written of how many.

    Returns:
        Path of the page.

    Raises:
        OSError: when the disk refuses.
        SaveError: when it refuses a page alone.

    Example:
        >>> import tempfile
        >>> from onelayer import Run, load, train
        >>> result = train(load("digits"), [Run(learning_rate=0.1, epochs=1)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_report(result, Path(folder)).name
        'report.html'
    """
    if isinstance(record, LambdaPath):
        return write_page(place, lambda: path_page(record), on_progress)
    return write_page(place, lambda: result_page(record), on_progress)


def result_page(result: Result) -> Page:
    """What the page of a result shows; sections that the records do not allow are left out."""
    records = records_of(result)
    name = DATA_NAMES.get(result.data.name, result.data.name)
    scalings = [result.scaling.name, *(one.name for one in result.other_scalings.values())]
    facts = {
        "Data": result.data.source,
        "Features": "; or ".join(SCALINGS.get(name, name) for name in dict.fromkeys(scalings)),
        **result.environment,
    }
    return Page(
        title=f"One linear layer on {name}",
        lead=_lead(result, name),
        data=_data(result),
        sections=tuple(filter(None, (section(records) for section in SECTIONS))),
        facts=(
            *((key, without_paths(value)) for key, value in facts.items()),
            *((key, f"{value:.2f} s") for key, value in result.seconds.items()),
        ),
        command=without_paths(result.command.line) if result.command else "",
    )


def summary_section(records: Records) -> Section:
    """Three sentences, and the accuracies as dots."""
    sentences = (_reported(records), _chosen(records), _endings(records))
    return Section(
        anchor="summary",
        heading="Summary",
        text=(unbroken(" ".join(filter(None, sentences))),),
        charts=_reported_charts(records) if records.result.reported else _ranking_chart(records),
        note="Dots are means over seeds; bars reach from the smallest to the largest."
        if max(len(setting.counted) for setting in records.settings) > 1
        else "",
    )


def results_section(records: Records) -> Section:
    """The table: reported against measured, or every setting by validation accuracy."""
    result = records.result
    chaotic = [setting for setting in records.settings if setting.chaotic][:MOST_TROUBLES]
    reported, several = bool(result.reported), len(records.settings) > 1
    differences = (
        "; differences are measured minus reported, in percentage points" if reported else ""
    )
    intro = (
        "Accuracies with the weights of the last epoch, in per cent. Measured figures are the mean "
        "± standard deviation over runs that differ only in their seed, with the smallest and the "
        f"largest value below{differences}."
        if reported or not several
        else "Settings by the validation accuracy of their last weights, mean ± standard deviation "
        "over runs that differ only in their seed. Test accuracy is shown for the best alone, "
        "because a setting that is chosen by test rows cannot be judged by them."
    )
    return Section(
        anchor="results",
        heading="Reported and measured" if reported else "Results",
        text=(intro,),
        asides=tuple(f"{setting.name}. {setting.chaos}" for setting in chaotic),
        table=accuracy_table(result)
        if reported or not several
        else ranking_table(result, len(records.settings)),
        sections=tuple(filter(None, (_troubles(records),))),
    )


def _troubles(records: Records) -> Section | None:
    messages = [
        f"{setting.name}: {message}"
        for setting in records.settings
        for message in dict.fromkeys(setting.troubles)
    ]
    if not messages:
        return None
    more = len(messages) - MOST_TROUBLES
    return Section(
        anchor="troubles",
        heading="Runs that did not finish",
        text=(
            "A diverged run keeps the weights of its last finite epoch and is left out of the "
            "figures, unless every run of its setting diverged.",
        ),
        items=(*messages[:MOST_TROUBLES], *([f"and {more} more."] if more > 0 else [])),
    )


def templates_section(records: Records) -> Section | None:
    """Rows of W as pictures, settings × classes, under one slider; None without images."""
    result = records.result
    positions = [
        next((i for i in setting.positions if i in result.snapshots), setting.counted[0])
        for setting in records.drawn.values()
    ]
    grid = template_grid(result, positions, tuple(records.drawn))
    if grid is None:
        return None
    return Section("templates", "Templates: the rows of W", templates=grid, note=grid.note)


def strongest_section(records: Records) -> Section | None:
    """The weights of the best setting as a heat map or by name; None for images."""
    result = records.result
    if result.data.image_shape is not None:
        return None
    best = result.ranking[0]
    data = result.data
    return weights_section(
        result.W[best.positions[0]], data.class_names, data.feature_names, best.name
    )


def gradient_section(records: Records) -> Section | None:
    """Analytic against numerical gradients; None where they were not checked."""
    checks = records.result.gradient_checks
    if not checks:
        return None
    worst = {parameter: _worst(checks, parameter) for parameter in ("W", "b")}
    return Section(
        anchor="gradients",
        heading="Gradient check",
        text=(
            "The analytic gradient against five-point central differences, at every entry of W and "
            "b, in float64: the largest relative error |ga − gn| ∕ (|ga| + |gn|) is "
            f"{worst['W']} for W and {worst['b']} for b; the report reached less than 10⁻³ for W "
            "and less than 10⁻⁶ for b.",
        ),
        table=gradient_table(checks),
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
    reliability_section,
    settings_section,
    gradient_section,
)


def _worst(checks: Sequence[GradientCheck], parameter: str) -> str:
    errors = [check.max_error for check in checks if check.parameter == parameter]
    return f"{max(errors):.1e}" if errors else "not checked"


def _lead(result: Result, name: str) -> str:
    runs, settings = len(result.runs), len(result.settings)
    what = (
        "The four experiments of the report, run again"
        if result.reported
        else f"{settings} setting{'s' * (settings != 1)} of mini-batch gradient descent"
    )
    return (
        f"{what}: a softmax classifier with a single linear layer, trained on {name}, "
        f"{runs} run{'s' * (runs != 1)} in all."
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


def _whole(name: str) -> str:
    """A setting's name without a line break."""
    return name.replace(" ", "\u00a0")


def _reported(records: Records) -> str:
    """How near the measured accuracies are to the reported ones."""
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
    """The best setting by validation rows, and what it scores on test rows."""
    result = records.result
    best = result.ranking[0]
    if math.isnan(best.mean):
        return "No validation accuracy was measured."
    of = [i for i in best.positions if result.outcomes[i].status != "diverged"]
    reached = spread_cell(spread(100.0 * result.validation_accuracy[of])).plain
    several = len(records.settings) > 1
    words = (
        f"{_whole(best.name)} has the best validation accuracy, {reached} %, of "
        f"{len(records.settings)} settings"
        if several
        else f"The validation accuracy is {reached} %"
    )
    test = spread(percent_on_test(result)[of])
    if not test.n:
        return f"{words}; there are no test rows."
    counts = result.confusion[of[0]].sum(axis=1)
    largest = 100.0 * counts.max() / counts.sum()
    unused = " (not used for selection)" if several else ""
    return (
        f"{words}; its test accuracy{unused} is {spread_cell(test).plain} %, where always naming "
        f"the largest class gives {largest:.2f} %."
    )


def _endings(records: Records) -> str:
    """How the runs ended, and which settings depend on the seed."""
    result = records.result
    total = len(result.runs)
    counts = {
        words: sum(outcome.status == status for outcome in result.outcomes)
        for status, words in (
            ("diverged", "diverged"),
            ("interrupted", "were interrupted"),
            ("stopped", "stopped early"),
        )
    }
    parts = [f"{count} {words}" for words, count in counts.items() if count]
    ended = f"Of {total} runs, {', '.join(parts)}" if parts else "Every run finished"
    chaotic = [setting.name for setting in records.settings if setting.chaotic]
    if not chaotic:
        return f"{ended}."
    which = _whole(chaotic[0]) if len(chaotic) == 1 else f"{len(chaotic)} settings"
    return f"{ended}; the accuracy of {which} depends strongly on the seed."


def _reported_charts(records: Records) -> tuple[Chart, ...]:
    def chart(part: str, figures: Callable[[SettingSummary], Comparison]) -> Chart:
        rows = []
        for setting in records.settings:
            figure = figures(setting)
            dots = [_dot(1, figure.measured)]
            if figure.reported is not None:
                dots.insert(0, Dot(0, figure.reported))
            rows.append((setting.name, dots))
        title = f"{part.capitalize()} accuracy / %"
        axis = Axis("share of rows / %")
        return dot_chart(f"summary-{part}", title, axis, ("reported", "measured"), rows)

    return chart("training", lambda s: s.train), chart("test", lambda s: s.test)


def _ranking_chart(records: Records) -> tuple[Chart, ...]:
    """Validation accuracies of the best settings; none for a single setting."""
    measured = {s.name: s.validation for s in records.settings if s.validation.n}
    ranked = [one.name for one in records.result.ranking if one.name in measured]
    if len(ranked) < 2:
        return ()
    rows = [(name, [_dot(0, measured[name])]) for name in ranked[:MOST_DOTS]]
    best = f" of the best {MOST_DOTS} settings" if len(ranked) > MOST_DOTS else ""
    title = f"Validation accuracy / %{best}"
    return (dot_chart("summary", title, Axis("share of rows / %"), ("validation",), rows),)


def _dot(series: int, measured: Spread) -> Dot:
    return Dot(series, measured.mean, measured.low, measured.high)
