"""How every page is made: templates filled, charts and scripts inlined, files written.

A second process that bundles the page's scripts and paints PNGs while the first draws charts.

vl-convert holds the interpreter's lock while it works, so threads would take turns; the two halves
of a page take about the same time and share nothing but files. The painter is told the stem of an
SVG file a line, paints <stem>.png from <stem>.svg, and at the end of its input hands back the
scripts. It runs nothing but vl-convert on files that this process wrote.

Charts as files: SVG by Vega, and PNG of the SVG, painted beside.

The templates of one model as one picture on disk.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from importlib.resources import files
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from onelayer.errors import SettingsError
from onelayer.files.atomic import staged_file
from onelayer.model.model import Model
from onelayer.report.chart import DARK, DASHES, LIGHT, Chart, Theme, chart_config
from onelayer.report.summary import number
from onelayer.report.weight_images import TemplateSheet, template_drawing

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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._process.kill()
        self._process.communicate()

    def paint(self, stem: Path) -> None:
        """Paint <stem>.png from <stem>.svg, which is there already."""
        assert self._process.stdin is not None  # noqa: S101  # opened above
        try:
            self._process.stdin.write(f"{stem}\n")
            self._process.stdin.flush()
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
    """Bundle the scripts, then paint a picture for each line of the input.

    Args:
        stems: paths without their endings, one a line.

    Returns:
        JavaScript, fit to stand inside a script element.

    Raises:
        OSError: when the disk refuses a picture.
    """
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


def export_charts(
    charts: tuple[Chart, ...],
    drawings: Mapping[str, str],
    folder: Path,
    painter: Painter,
    on_progress: Callable[[int, int], None],
) -> None:
    """Write every chart as SVG, in the light theme, and have its PNG painted.

    Args:
        charts: written as <name>.svg and <name>.png.
        drawings: finished SVG texts by file name, written likewise.
        folder: an existing folder.
        painter: makes the PNGs while the next SVG is drawn.
        on_progress: called with how many are drawn of how many.

    Raises:
        OSError: when the disk refuses.
    """
    import vl_convert

    config = chart_config(LIGHT, paper=True)
    texts = ((c.name, vl_convert.vegalite_to_svg(c.paper | {"config": config})) for c in charts)
    total = len(charts) + len(drawings)
    for done, (name, svg) in enumerate(chain(texts, drawings.items()), 1):
        stem = folder / name
        stem.with_name(f"{name}.svg").write_text(svg, encoding="utf-8")
        painter.paint(stem)
        on_progress(done, total)


def as_json(value: object) -> str:
    """JSON that can stand inside a script element: no text in it can end that element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


PAGE_FILE = "report.html"

CHARTS_FOLDER = "charts"

STYLE, SCRIPT = "page.css", "page.js"


class Drawn(Protocol):
    """What any page's contents have."""

    @property
    def charts(self) -> tuple[Chart, ...]:
        """Every chart, in the order of the page."""

    @property
    def drawings(self) -> Mapping[str, str]:
        """Finished SVG texts, by file name without ending."""

    @property
    def sheets(self) -> Mapping[str, TemplateSheet]:
        """Templates that a slider goes through, by their place on the page."""


Contents = TypeVar("Contents", bound=Drawn)


def write_page(
    folder: Path,
    gather: Callable[[], Contents],
    render: Callable[[Contents, str], str],
    on_progress: Callable[[int, int], None],
) -> Path:
    """Write a page, and its charts as PNG and SVG.

    Args:
        folder: an existing folder; report.html and charts/ in it are replaced.
        gather: makes what the page shows.
        render: makes HTML of that and of the scripts.
        on_progress: called with how many charts are written of how many.

    Returns:
        Path of the page.

    Raises:
        OSError: when the disk refuses.
    """
    with Painter() as painter:  # first, so that it bundles the scripts while charts are made
        contents = gather()
        charts = folder / CHARTS_FOLDER
        charts.mkdir(exist_ok=True)
        export_charts(contents.charts, contents.drawings, charts, painter, on_progress)
        page = folder / PAGE_FILE
        page.write_text(render(contents, painter.scripts()), encoding="utf-8")
    return page


def fill_template(template: str, contents: Drawn, scripts: str, **shown: Any) -> str:
    """Fill a page's template.

    Args:
        template: its file name.
        contents: what it shows; the template calls it `page`.
        scripts: Vega and its companions, as `Painter.scripts` returns them.
        **shown: what else the template speaks of.

    Returns:
        HTML.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_read),
    )
    environment.filters["number"] = number
    # What is marked as safe here is ours, or JSON in which no markup can stand.
    return environment.get_template(template).render(
        page=contents,
        charts_folder=CHARTS_FOLDER,
        style=Markup(_read(STYLE)),  # noqa: S704
        script=Markup(_read(SCRIPT)),  # noqa: S704
        scripts=Markup(scripts),  # noqa: S704
        data=Markup(as_json(_chart_data(contents))),  # noqa: S704
        light=LIGHT.css(),
        dark=DARK.css(),
        dashes=[" ".join(map(str, dash)) if dash[1] else "none" for dash in DASHES],
        **shown,
    )


def _chart_data(contents: Drawn) -> dict[str, Any]:
    """What the page's script draws from."""
    shown = ("uri", "width", "height", "labels", "start", "readings")
    return {
        "config": {"light": chart_config(LIGHT), "dark": chart_config(DARK)},
        "params": {"light": _inks(LIGHT), "dark": _inks(DARK)},
        "charts": {chart.name: chart.page for chart in contents.charts},
        "sheets": {
            place: {name: value for name, value in asdict(sheet).items() if name in shown}
            for place, sheet in contents.sheets.items()
        },
    }


def _inks(theme: Theme) -> dict[str, str | int]:
    return {
        "inkOnLow": theme.ink_on_low,
        "inkOnHigh": theme.ink_on_high,
        "inkSwitch": theme.ink_switch,
    }


def _read(name: str) -> str:
    return (files("onelayer.report") / name).read_text(encoding="utf-8")


def write_templates(model: Model, path: Path, title: str) -> None:
    """Draw each class's row of W as a picture, by the rule of `report.pictures`.

    Args:
        model: whose features are an image.
        path: ends in .png or .svg; a file that is there is replaced.
        title: printed above.

    Raises:
        SettingsError: when the features are no image, or for another ending.
        SaveError: when the file cannot be written.
    """
    import vl_convert

    ending = path.suffix.lower()
    if ending not in (".png", ".svg"):
        raise SettingsError(f"pictures are written as .png or .svg, but {path.name} was given.")
    drawing = template_drawing(model.W, model.class_names, model.image_shape, title)
    if drawing is None:
        raise SettingsError(
            "this model's features are no image, so there is no picture to write; leave --out out."
        )
    content = drawing.encode()
    if ending == ".png":
        content = vl_convert.svg_to_png(drawing, scale=PNG_SCALE)
    with staged_file(path) as staging:
        staging.write_bytes(content)
