"""Writes the page: one file that needs no network, and the charts beside it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from onelayer.report.export import as_json, export_charts
from onelayer.report.facts import gather_facts
from onelayer.report.painter import Painter
from onelayer.report.sections import Contents, gather
from onelayer.report.theme import DARK, DASHES, LIGHT, Theme, chart_config
from onelayer.result import Result

PAGE_FILE = "report.html"
CHARTS_FOLDER = "charts"
TEMPLATE, STYLE, SCRIPT = "page.html.j2", "page.css", "page.js"


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
        >>> from onelayer import Run, load, train
        >>> result = train(load("digits"), [Run(learning_rate=0.1, epochs=1)])
        >>> with tempfile.TemporaryDirectory() as place:
        ...     write_report(result, Path(place)).name
        'report.html'
    """
    with Painter() as painter:  # first, so that it bundles the scripts while charts are made
        contents = gather(result)
        charts = folder / CHARTS_FOLDER
        charts.mkdir(exist_ok=True)
        export_charts(contents.charts, contents.drawings, charts, painter, on_progress)
        page = folder / PAGE_FILE
        page.write_text(render_page(contents, painter.scripts()), encoding="utf-8")
    return page


def render_page(contents: Contents, scripts: str) -> str:
    """Fill the page's template.

    Args:
        contents: what it shows.
        scripts: Vega and its companions, as `Painter.scripts` returns them.

    Returns:
        HTML.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.lstrip_blocks = True
    environment.filters["number"] = _number
    # What is marked as safe here is ours, or JSON in which no markup can stand.
    return environment.from_string(_read(TEMPLATE)).render(
        page=contents,
        result=contents.result,
        facts=gather_facts(contents),
        with_reported=bool(contents.result.reported),
        charts_folder=CHARTS_FOLDER,
        style=Markup(_read(STYLE)),  # noqa: S704
        script=Markup(_read(SCRIPT)),  # noqa: S704
        scripts=Markup(scripts),  # noqa: S704
        data=Markup(as_json(_chart_data(contents))),  # noqa: S704
        light=LIGHT.css(),
        dark=DARK.css(),
        dashes=[" ".join(map(str, dash)) if dash[1] else "none" for dash in DASHES],
    )


def _chart_data(contents: Contents) -> dict[str, Any]:
    """What the page's script draws from."""
    sheets = [section for section in contents.sections if section.templates]
    return {
        "config": {"light": chart_config(LIGHT), "dark": chart_config(DARK)},
        "params": {"light": _inks(LIGHT), "dark": _inks(DARK)},
        "charts": {chart.name: chart.page for chart in contents.charts},
        "sheets": {
            section.anchor: {
                "uri": section.templates.uri,
                "width": section.templates.width,
                "height": section.templates.height,
                "epochs": section.templates.epochs,
                "readings": section.templates.readings,
            }
            for section in sheets
            if section.templates
        },
    }


def _inks(theme: Theme) -> dict[str, str | int]:
    return {
        "inkOnLow": theme.ink_on_low,
        "inkOnHigh": theme.ink_on_high,
        "inkSwitch": theme.ink_switch,
    }


def _number(value: float | None, form: str = ".2f") -> str:
    """A number as text, or a dash for none."""
    if value is None or value != value:
        return "–"
    text = format(value, form).replace("-", "−")
    # What rounds to nothing has no sign.
    return text.lstrip("+−") if not text.strip("+−0.") else text


def _read(name: str) -> str:
    return (files("onelayer.report") / name).read_text(encoding="utf-8")
