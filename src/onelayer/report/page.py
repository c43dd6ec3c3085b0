"""The page of a `Result`: one file that needs no network, and the charts beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from onelayer.report.facts import gather_facts
from onelayer.report.rendering import fill_template, write_page
from onelayer.report.sections import Contents, gather
from onelayer.result import Result

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
        >>> from onelayer import Run, load, train
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
