"""Charts as files: SVG by Vega, and PNG of the SVG at twice its size."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Executor
from itertools import chain
from pathlib import Path

from onelayer.report.charts import Chart
from onelayer.report.theme import LIGHT, chart_config

PNG_SCALE = 2.5
# The page's script needs one function of the bundle.
EXPOSE = "window.vegaEmbed = vegaEmbed;"


def export_charts(
    charts: tuple[Chart, ...],
    drawings: dict[str, str],
    folder: Path,
    beside: Executor,
    on_progress: Callable[[int, int], None],
) -> None:
    """Write every chart as SVG and PNG, in the light theme.

    Args:
        charts: written as <name>.svg and <name>.png.
        drawings: finished SVG texts by file name, written likewise.
        folder: an existing folder.
        beside: makes the PNGs while the next SVG is drawn.
        on_progress: called with how many are done of how many.

    Raises:
        OSError: when the disk refuses.
    """
    import vl_convert

    config = chart_config(LIGHT, paper=True)
    texts = ((c.name, vl_convert.vegalite_to_svg(c.paper | {"config": config})) for c in charts)
    writing = [
        beside.submit(_write, svg, folder / name) for name, svg in chain(texts, drawings.items())
    ]
    for done, written in enumerate(writing, 1):
        written.result()
        on_progress(done, len(writing))


def _write(svg: str, stem: Path) -> None:
    import vl_convert

    # Setting names hold dots ("lambda-0.1"), so the ending is appended, not replaced.
    stem.with_name(f"{stem.name}.svg").write_text(svg, encoding="utf-8")
    png = vl_convert.svg_to_png(svg, scale=PNG_SCALE)
    stem.with_name(f"{stem.name}.png").write_bytes(png)


def page_scripts() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script that needs no network.

    Returns:
        JavaScript, fit to stand inside a script element.
    """
    import vl_convert

    script = vl_convert.javascript_bundle(EXPOSE)
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def as_json(value: object) -> str:
    """JSON that can stand inside a script element: no text in it can end that element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
