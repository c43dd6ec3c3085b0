"""Pages: what every page is made of, and how it is written.

A page is a header, sections and a footer; a section is one object (anchor, heading, sentences,
charts, table), and one template loops over them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain
from pathlib import Path

from onelayer.errors import SaveError, SettingsError, one_line, printable
from onelayer.files.atomic import staged_file
from onelayer.files.manifest import CHARTS_FOLDER, PAGE_FILE
from onelayer.model.model import Model
from onelayer.report.chart import Chart, Key, dash_of
from onelayer.report.painter import Drawer, DrawingError, Painter
from onelayer.report.summary import (
    DATA_NAMES,
    describe_rows,
    describe_scaling,
    unbroken,
    without_paths,
)
from onelayer.report.table import Table
from onelayer.report.theme import DARK, LIGHT, chart_config, inks_of
from onelayer.report.weight_images import TemplateGrid, template_drawing
from onelayer.solver import Path as LambdaPath
from onelayer.training.result import Result
from onelayer.training.suite import Suite


def as_json(value: object) -> str:
    """JSON that can stand inside a script element: no text in it can end that element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


# The heading of the section of templates, on both pages.
TEMPLATES = "Templates: the rows of W"


@dataclass(frozen=True)
class Picture:
    """A row that is an image: its picture as a data URI, its name, and how it is predicted."""

    uri: str
    name: str
    true: str
    predicted: str
    confidence: str


@dataclass(frozen=True)
class Section:
    """A part of a page. What is empty is not shown."""

    anchor: str
    heading: str
    text: tuple[str, ...] = ()
    asides: tuple[str, ...] = ()  # paragraphs that need attention
    items: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()  # side by side, under one legend
    templates: TemplateGrid | None = None  # rows of W as pictures, with one slider
    pictures: tuple[Picture, ...] = ()
    note: str = ""  # small print under the charts
    table: Table | None = None
    sections: tuple[Section, ...] = ()
    folded: bool = False

    @property
    def legend(self) -> tuple[Key, ...]:
        """Entries of all charts, each once: equal keys of a section are the same curve."""
        return tuple({key.key: key for chart in self.charts for key in chart.legend}.values())

    @property
    def runs(self) -> tuple[Key, ...]:
        """Entries of single runs of all charts, each once."""
        return tuple({key.key: key for chart in self.charts for key in chart.runs}.values())

    @property
    def hidden(self) -> tuple[str, ...]:
        """Keys that are hidden at first."""
        return tuple(key for chart in self.charts for key in chart.hidden)

    @property
    def all(self) -> tuple[Section, ...]:
        """This section and those in it, in the order of the page."""
        return (self, *chain.from_iterable(section.all for section in self.sections))


@dataclass(frozen=True)
class Page:
    """A page: what it is about, the data in a sentence, its sections, and how it was made."""

    title: str
    lead: str
    data: str
    sections: tuple[Section, ...]  # the first is the summary
    facts: tuple[tuple[str, str], ...]
    command: str  # that made it, or ''
    many_labels: bool = False  # whether rows have many labels
    sparse: str = ""  # "l1" where the cost has λ₁, "grouped" where it groups classes, or "both"

    @property
    def sparse_words(self) -> str:
        """What λ₁ adds to the cost, to be read aloud."""
        norms = {"l1": "absolute values of W", "grouped": "norms of each feature's weights"}
        norms["both"] = " or of the ".join(norms.values())
        return f", plus lambda one times the sum of the {norms[self.sparse]}" if self.sparse else ""

    @property
    def all(self) -> tuple[Section, ...]:
        """Every section and those in it, in the order of the page."""
        return tuple(chain.from_iterable(section.all for section in self.sections))

    @property
    def charts(self) -> tuple[Chart, ...]:
        """Every chart, in the order of the page."""
        return tuple(chart for section in self.all for chart in section.charts)

    @property
    def grids(self) -> dict[str, TemplateGrid]:
        """Grids of templates, by the anchor of their section."""
        return {s.anchor: s.templates for s in self.all if s.templates}

    @property
    def drawings(self) -> dict[str, str]:
        """Finished SVG texts, by file name without ending."""
        return dict(chain.from_iterable(grid.drawings.items() for grid in self.grids.values()))

    def section(self, anchor: str) -> Section | None:
        """The section of that anchor, or None."""
        return next((section for section in self.all if section.anchor == anchor), None)


def make_page(
    record: Result | LambdaPath | Suite,
    *,
    title: str,
    lead: str,
    trained: str,
    sections: Iterable[Section | None],
) -> Page:
    """The page of a record: sections that it allows, its data, and how it was made."""
    card = record.data
    if isinstance(record, Suite):
        scalings = [head.model.scaling for head in record.heads]
    else:
        others = record.other_scalings.values() if isinstance(record, Result) else ()
        scalings = [record.scaling, *others]
    sizes = [len(scaling.scale) for scaling in scalings]
    scaled = dict.fromkeys(describe_scaling(scaling) for scaling in scalings)
    sparse = ""
    if isinstance(record, Result) and (kinds := {run.grouped for run in record.runs if run.l1}):
        sparse = "both" if len(kinds) > 1 else "grouped" if kinds == {True} else "l1"
    if isinstance(record, LambdaPath) and record.is_sparse:
        sparse = "grouped" if record.best.settings.get("grouped") else "l1"
    facts = {
        "Data": card.source,
        "Features": "; or ".join(scaled),
        **record.environment,
    }
    return Page(
        title=f"{title} on {DATA_NAMES.get(card.name, card.name)}",
        lead=lead,
        data=f"{describe_rows(card, min(sizes), max(sizes))}; {trained}.",
        sections=tuple(filter(None, sections)),
        facts=(
            *((key, without_paths(value)) for key, value in facts.items()),
            *((key, f"{value:.2f} s") for key, value in record.seconds.items()),
        ),
        command=without_paths(record.command.line) if record.command else "",
        many_labels=card.many_labels,
        sparse=sparse,
    )


def write_page(place: Path, make: Callable[[], Page]) -> Path:
    """Write a page into an existing folder with its charts as PNG and SVG, or as one file alone."""
    with _drawing_errors(), Painter() as painter:  # first, so that it works while charts are made
        if place.is_dir():
            painter.start()
        page = make()
        if not place.is_dir():
            with staged_file(place) as staging:
                staging.write_text(render_page(page, painter.scripts(), ""), encoding="utf-8")
            return place
        export_charts(page, place / CHARTS_FOLDER, painter)
        file = place / PAGE_FILE
        file.write_text(render_page(page, painter.scripts()), encoding="utf-8")
    return file


def export_charts(page: Page, folder: Path, painter: Painter) -> None:
    """Write every chart as SVG, in the light theme, and have its PNG painted."""
    folder.mkdir(exist_ok=True)
    config = {"config": chart_config(LIGHT, paper=True)}
    for chart in page.charts:
        painter.draw(folder / chart.name, chart.paper | config)
    for name, svg in page.drawings.items():
        Path(folder, f"{name}.svg").write_text(svg, encoding="utf-8")
        painter.paint(folder / name)


def render_page(page: Page, scripts: str, charts_folder: str = CHARTS_FOLDER) -> str:
    """HTML of a page; without a folder of charts it has no links to their files."""
    from markupsafe import Markup

    data = {
        "config": {"light": chart_config(LIGHT), "dark": chart_config(DARK)},
        "params": {"light": inks_of(LIGHT), "dark": inks_of(DARK)},
        "charts": {chart.name: chart.page for chart in page.charts},
        "grids": {anchor: grid.data() for anchor, grid in page.grids.items()},
    }
    # Series whose dash the legend has to know.
    dashes = [dash_of(series) for series in range(36)]
    # What is marked as safe here is ours, or JSON in which no markup can stand.
    return fill_template(
        "page.html.j2",
        page=page,
        charts_folder=charts_folder,
        style=Markup(_read("page.css")),  # noqa: S704
        script=Markup(_read("page.js")),  # noqa: S704
        scripts=Markup(scripts),  # noqa: S704
        data=Markup(as_json(data)),  # noqa: S704
        light=LIGHT.css(),
        dark=DARK.css(),
        dashes=[" ".join(map(str, dash)) if dash[1] else "none" for dash in dashes],
    )


def fill_template(name: str, **values: object) -> str:
    """A template of this package with its names filled in; text in them stays text."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_read),
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.filters["unbroken"] = unbroken
    return environment.get_template(name).render(values)


def _read(name: str) -> str:
    return (files("onelayer.report") / name).read_text(encoding="utf-8")


def write_templates(model: Model, path: Path, title: str) -> None:
    """Draw each class's row of W as a picture, by the rule of `weight_images`."""
    ending = path.suffix.lower()
    if ending not in (".png", ".svg"):
        raise SettingsError(f"pictures are written as .png or .svg, but {path.name} was given.")
    if model.image_shape is None:
        raise SettingsError(
            "this model's features are no image, so there is no picture to write; inspect it "
            "without --out."
        )
    drawing = template_drawing(model.W, model.class_names, model.image_shape, title)
    with _drawing_errors(), staged_file(path) as staging:
        stem = staging.with_name("drawing")
        Path(f"{stem}.svg").write_text(drawing, encoding="utf-8")
        if ending == ".png":
            drawer = Drawer()
            drawer.send("png", stem)
            drawer.finish()
        os.replace(f"{stem}{ending}", staging)


@contextmanager
def _drawing_errors() -> Iterator[None]:
    try:
        yield
    except DrawingError as error:
        raise SaveError(f"a picture could not be drawn: {one_line(error)}") from error
