"""How every page is made: templates filled, charts and scripts inlined, files written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol, TypeVar

from onelayer.report.charts import Chart
from onelayer.report.export import as_json, export_charts
from onelayer.report.painter import Painter
from onelayer.report.pictures import TemplateSheet
from onelayer.report.theme import DARK, DASHES, LIGHT, Theme, chart_config

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


def number(value: float | None, form: str = ".2f") -> str:
    """A number as text, or a dash for none.

    Example:
        >>> number(-1.5), number(-0.001), number(None)
        ('−1.50', '0.00', '–')
    """
    if value is None or value != value:
        return "–"
    text = format(value, form).replace("-", "−")
    # What rounds to nothing has no sign.
    return text.lstrip("+−") if not text.strip("+−0.") else text


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
