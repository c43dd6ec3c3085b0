"""Charts as files: SVG by Vega, and PNG of the SVG, painted beside."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path

from onelayer.report.charts import Chart
from onelayer.report.painter import Painter
from onelayer.report.theme import LIGHT, chart_config


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
