"""Pages: what every page is made of, and how it is written.

A page is a header, sections and a footer; a section is one object (anchor, heading, sentences,
charts, table), and one template loops over them.

A second process bundles the page's scripts and paints PNGs while the first draws charts: vl-convert
holds the interpreter's lock while it works, so threads would take turns. The painter reads one stem
a line, paints <stem>.png from <stem>.svg, and prints the scripts at the end of its input. It runs
nothing but vl-convert on files that this process wrote.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Self

from onelayer.data.progress import printable
from onelayer.errors import SettingsError
from onelayer.files.atomic import staged_file
from onelayer.files.manifest import CHARTS_FOLDER, PAGE_FILE
from onelayer.model.model import Model
from onelayer.report.chart import Chart, Key, dash_of
from onelayer.report.summary import DATA_NAMES, SCALINGS, describe_rows, unbroken, without_paths
from onelayer.report.tables import Table
from onelayer.report.theme import DARK, LIGHT, chart_config, inks_of
from onelayer.report.weight_images import TemplateGrid, template_drawing
from onelayer.solver import Path as LambdaPath
from onelayer.training.result import Result

PNG_SCALE = 2.5

# The page's script needs one function of the bundle.
EXPOSE = "window.vegaEmbed = vegaEmbed;"

DISK_REFUSED = 3


class Painter:
    """The first process's end: tell it charts, then ask for the scripts.

    Raises:
        OSError: from `scripts`, when the disk refused a picture.
    """

    def __enter__(self) -> Self:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            encoding="utf-8",
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._process.kill()
        self._process.communicate()

    def paint(self, stem: Path) -> None:
        """Paint <stem>.png from <stem>.svg, which is there already."""
        try:
            print(stem, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            self.scripts()

    def scripts(self) -> str:
        """Wait until all is painted; return Vega and its companions as one script."""
        printed, _ = self._process.communicate()
        if self._process.returncode == DISK_REFUSED:
            number, _, reason = printed.partition(" ")
            raise OSError(int(number), reason)
        if self._process.returncode != 0:
            raise OSError(0, f"the painting process ended with {self._process.returncode}")
        return printed


def paint_all(stems: Iterable[str]) -> str:
    """Bundle the scripts, then paint a picture for each line of the input."""
    import vl_convert

    script = vl_convert.javascript_bundle(EXPOSE)
    for line in stems:
        # Setting names hold dots ("lambda-0.1"), so the ending is appended, not replaced.
        stem = line.removesuffix("\n")
        svg = Path(f"{stem}.svg").read_text(encoding="utf-8")
        Path(f"{stem}.png").write_bytes(vl_convert.svg_to_png(svg, scale=PNG_SCALE))
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def main() -> None:
    """Be the second process: stems on standard input, scripts on standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the first process to answer
    sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    try:
        sys.stdout.write(paint_all(sys.stdin))
    except OSError as error:
        sys.stdout.write(f"{error.errno or 0} {error.strerror or error}")
        sys.exit(DISK_REFUSED)


def as_json(value: object) -> str:
    """JSON that can stand inside a script element: no text in it can end that element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


# The heading of the section of templates, on both pages.
TEMPLATES = "Templates: the rows of W"

# Series whose dash the legend has to know.
MOST_SERIES = 36


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
    record: Result | LambdaPath,
    *,
    title: str,
    lead: str,
    trained: str,
    sections: Iterable[Section | None],
) -> Page:
    """The page of a record: sections that it allows, its data, and how it was made."""
    card = record.data
    others = record.other_scalings.values() if isinstance(record, Result) else ()
    scalings = dict.fromkeys(scaling.name for scaling in (record.scaling, *others))
    facts = {
        "Data": card.source,
        "Features": "; or ".join(SCALINGS[name] for name in scalings),
        **record.environment,
    }
    return Page(
        title=f"{title} on {DATA_NAMES.get(card.name, card.name)}",
        lead=lead,
        data=f"{describe_rows(card, len(record.scaling.scale))}; {trained}.",
        sections=tuple(filter(None, sections)),
        facts=(
            *((key, without_paths(value)) for key, value in facts.items()),
            *((key, f"{value:.2f} s") for key, value in record.seconds.items()),
        ),
        command=without_paths(record.command.line) if record.command else "",
    )


def write_page(place: Path, make: Callable[[], Page]) -> Path:
    """Write a page into an existing folder with its charts as PNG and SVG, or as one file alone."""
    with Painter() as painter:  # first, so that it bundles the scripts while charts are made
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
    import vl_convert

    folder.mkdir(exist_ok=True)
    config = {"config": chart_config(LIGHT, paper=True)}
    texts = ((c.name, vl_convert.vegalite_to_svg(c.paper | config)) for c in page.charts)
    for name, svg in chain(texts, page.drawings.items()):
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
    dashes = [dash_of(series) for series in range(MOST_SERIES)]
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
    import vl_convert

    ending = path.suffix.lower()
    if ending not in (".png", ".svg"):
        raise SettingsError(f"pictures are written as .png or .svg, but {path.name} was given.")
    if model.image_shape is None:
        raise SettingsError(
            "this model's features are no image, so there is no picture to write; leave --out out."
        )
    drawing = template_drawing(model.W, model.class_names, model.image_shape, title)
    content = drawing.encode()
    if ending == ".png":
        content = vl_convert.svg_to_png(drawing, scale=PNG_SCALE)
    with staged_file(path) as staging:
        staging.write_bytes(content)
