"""The page of a λ path: one file that needs no network, and the charts beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from onelayer.path_record import PathRecord
from onelayer.report.path_sections import PathContents, gather_path
from onelayer.report.rendering import fill_template, write_page

TEMPLATE = "path.html.j2"


def write_path_report(
    record: PathRecord,
    folder: Path,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write the page of a λ path and its charts as PNG and SVG, from the record alone.

    Args:
        record: of the path.
        folder: an existing folder; report.html and charts/ in it are replaced.
        on_progress: called with how many charts are written of how many.

    Returns:
        Path of the page.

    Raises:
        OSError: when the disk refuses.

    Example:
        >>> import tempfile
        >>> from onelayer.data import load
        >>> from onelayer.optimum import solve_path
        >>> from onelayer.result import DataCard
        >>> path = solve_path(load("digits"), [0.1, 0.001])
        >>> card = DataCard("digits", "scikit-learn", tuple("0123456789"), (1, 8, 8), 1, 1, 1)
        >>> with tempfile.TemporaryDirectory() as place:
        ...     write_path_report(PathRecord(path, card), Path(place)).name
        'report.html'
    """
    return write_page(folder, lambda: gather_path(record), render_path_page, on_progress)


def render_path_page(contents: PathContents, scripts: str) -> str:
    """Fill the page's template.

    Args:
        contents: what it shows.
        scripts: Vega and its companions, as `Painter.scripts` returns them.

    Returns:
        HTML.
    """
    return fill_template(TEMPLATE, contents, scripts, facts=contents.facts)
