"""The page of a λ path: one file that needs no network, and the charts beside it.

What the page of a λ path says in words: the headline, how λ was chosen, what was proven.

What the page of a λ path holds, gathered from its record.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onelayer.files.atomic import staged_file
from onelayer.report.chart import Chart
from onelayer.report.path_charts import path_charts
from onelayer.report.path_summary import PathLine, Scores, best_line, scores_of, summarise_path
from onelayer.report.render import Painter, fill_template, write_page
from onelayer.report.summary import DATA_NAMES, SCALINGS, describe_rows, unbroken, without_paths
from onelayer.report.weight_images import MOST_FRAMES, TemplateSheet, draw_sheet, template_drawing
from onelayer.solver import Path


@dataclass(frozen=True)
class PathFacts:
    """Sentences and figures of the page.

    Attributes:
        title: the page's heading.
        lead: the chosen λ, what it scores, what was proven.
        data: the data, in a sentence.
        held_out: what the rows are called that λ is chosen by.
        choosing: how λ was chosen, in a sentence or two.
        proving: what was proven of all λ, in a sentence.
        edge: advice where the chosen λ is at the end of those tried, or ''.
        test: accuracy and loss of the chosen model on the test rows; None without them.
        classes: K.
        source: where the data came from, without this machine's paths.
        scaling: what is done to features, in words.
        environment: what it ran on, name and value.
        seconds: wall time of each phase, name and text.
        command: the command line that made it, without this machine's paths, or ''.
    """

    title: str
    lead: str
    data: str
    held_out: str
    choosing: str
    proving: str
    edge: str
    test: Scores | None
    classes: int
    source: str
    scaling: str
    environment: tuple[tuple[str, str], ...]
    seconds: tuple[tuple[str, str], ...]
    command: str


def gather_path_facts(path: Path, lines: Sequence[PathLine]) -> PathFacts:
    """Put a path into words.

    Args:
        path: solved.
        lines: its figures.

    Returns:
        The facts.
    """
    card = path.data
    name = DATA_NAMES.get(card.name, card.name)
    test = scores_of((path.test,)) if path.test else None
    chosen = lines[path.chosen]
    features = path.best.W.shape[1]
    return PathFacts(
        title=f"How much to shrink: the λ path on {name}",
        lead=unbroken(_lead(path, chosen, test)),
        data=f"{describe_rows(card, features)}; {len(lines)} value{'s' * (len(lines) != 1)} of λ.",
        held_out=held_out_name(path),
        choosing=unbroken(_choosing(path, lines)),
        proving=unbroken(_proving(lines)),
        edge=_edge(lines, chosen),
        test=test,
        classes=len(card.class_names),
        source=without_paths(card.source),
        scaling=SCALINGS.get(path.scaling.name, path.scaling.name),
        environment=tuple((k, without_paths(v)) for k, v in path.environment.items()),
        seconds=tuple((name, f"{value:.2f}") for name, value in path.seconds.items()),
        command=without_paths(path.command.line) if path.command else "",
    )


def held_out_name(path: Path) -> str:
    """What the rows are called that λ is chosen by.

    Args:
        path: solved.

    Returns:
        "validation", or how many folds.
    """
    folds = path.folds
    return f"held out, {folds} folds" if folds else "validation"


def _lead(path: Path, chosen: PathLine, test: Scores | None) -> str:
    rows = path.test.rows if path.test else 0
    share = (
        f"With it the classifier gets {_percent(test)} of the {rows:,} test rows right"
        if test
        else "There are no test rows to score it on"
    )
    if not chosen.bounded:
        proof = "without a penalty no bound on its cost exists"
    else:
        proof = (
            f"its cost is proven to be at most {100.0 * chosen.relative_gap:.2g} % above the best "
            "that any weights can have"
        )
    return f"λ = {chosen.l2:.3g} is chosen. {share}, and {proof}."


def _percent(scores: Scores) -> str:
    return f"{scores.accuracy.mean:.2f} ± {scores.accuracy.error:.2f} %"


def _choosing(path: Path, lines: Sequence[PathLine]) -> str:
    by = path.choice.by
    best, chosen = best_line(lines, by), lines[path.chosen]
    rows = (
        f"rows held out in {path.folds} folds of the training rows"
        if path.folds
        else f"{path.held_out[0][0].rows:,} validation rows"
    )
    what = "highest accuracy" if by == "accuracy" else "lowest loss"
    top = f"{_score(best, by)} at λ = {best.l2:.3g}"
    if path.choice.rule == "best":
        return f"λ is chosen for the {what} on the {rows}: {top}."
    further = (
        "which is that very λ"
        if best.l2 == chosen.l2
        else f"which is λ = {chosen.l2:.3g} with {_score(chosen, by)}"
    )
    return (
        f"The {what} on the {rows} is {top}. Models within one standard error of it are hardly to "
        f"be told apart, so the one that shrinks W most among them is taken, {further}."
    )


def _score(line: PathLine, by: str) -> str:
    if by == "accuracy":
        return _percent(line.held_out)
    return f"{line.held_out.loss.mean:.4f} ± {line.held_out.loss.error:.4f} nats"


def _proving(lines: Sequence[PathLine]) -> str:
    bounded = [line for line in lines if line.bounded]
    tol = lines[0].tol
    if not bounded:
        return "Without a penalty, λ = 0, no bound on the distance from the best cost exists."
    near = sum(line.relative_gap <= tol for line in bounded)
    which = "all" if near == len(bounded) else f"{near} of"
    passes = sum(line.passes for line in lines)
    worst = max(line.relative_gap for line in bounded)
    without = "" if len(bounded) == len(lines) else " For λ = 0 no bound exists."
    return (
        f"{which[0].upper()}{which[1:]} {len(bounded)} λ > 0 have a cost proven to be within "
        f"{100.0 * tol:.2g} % of the best possible, as requested (the largest bound is "
        f"{100.0 * worst:.2g} %), after {passes} passes over the training rows in all.{without}"
    )


def _edge(lines: Sequence[PathLine], chosen: PathLine) -> str:
    l2s = [line.l2 for line in lines]
    if len(lines) < 2 or chosen.l2 == 0.0:
        return ""
    if chosen.l2 == min(l2s):
        return "The chosen λ is the smallest that was tried: a still smaller one may do better."
    if chosen.l2 == max(l2s):
        return "The chosen λ is the largest that was tried: a still larger one may do better."
    return ""


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


def gather_path(path: Path) -> PathContents:
    """Gather the page's contents.

    Args:
        path: solved.

    Returns:
        The contents.
    """
    card = path.data
    lines = summarise_path(path)
    facts = gather_path_facts(path, lines)
    title = f"Templates of W at the chosen λ = {path.best.l2:.3g}"
    return PathContents(
        lines=lines,
        charts=path_charts(lines, path.choice, facts.held_out),
        facts=facts,
        templates=_templates(path, lines),
        template_svg=template_drawing(path.best.W, card.class_names, card.image_shape, title),
    )


def _templates(path: Path, lines: Sequence[PathLine]) -> TemplateSheet | None:
    """The templates of every λ, smallest first as on the charts; the chosen one is shown first."""
    card = path.data
    if card.image_shape is None:
        return None
    places = _some(len(lines), path.chosen)
    return draw_sheet(
        [path.models[i].W for i in places],
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


TEMPLATE = "path.html.j2"


def write_path_report(
    path: Path,
    folder: pathlib.Path,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> pathlib.Path:
    """Write the page of a λ path and its charts as PNG and SVG, from the record alone.

    Args:
        path: solved.
        folder: an existing folder; report.html and charts/ in it are replaced.
        on_progress: called with how many charts are written of how many.

    Returns:
        Path of the page.

    Raises:
        OSError: when the disk refuses.

    Example:
        >>> import tempfile
        >>> from onelayer.data import load
        >>> from onelayer.solver import solve_path
        >>> path = solve_path(load("digits"), [0.1, 0.001])
        >>> with tempfile.TemporaryDirectory() as place:
        ...     write_path_report(path, pathlib.Path(place)).name
        'report.html'
    """
    return write_page(folder, lambda: gather_path(path), render_path_page, on_progress)


def write_path_page(path: Path, file: pathlib.Path) -> pathlib.Path:
    """Write the page alone, as one file.

    Args:
        path: solved.
        file: where; an existing file is replaced.

    Returns:
        The file.

    Raises:
        SaveError: when it cannot be written.
    """
    with Painter() as painter, staged_file(file) as staging:
        page = render_path_page(gather_path(path), painter.scripts())
        staging.write_text(page, encoding="utf-8")
    return file


def render_path_page(contents: PathContents, scripts: str) -> str:
    """Fill the page's template.

    Args:
        contents: what it shows.
        scripts: Vega and its companions, as `Painter.scripts` returns them.

    Returns:
        HTML.
    """
    return fill_template(TEMPLATE, contents, scripts, facts=contents.facts)
