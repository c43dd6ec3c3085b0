"""One chart: a description for the page, one for paper, and the words that go with it.

Both come from the same data. On the page a chart takes the width of its box and its legend is a
row of buttons beside it (so that a keyboard can hide a curve); on paper it has a fixed size, and
the legend is part of the drawing.

Colours and type, declared once for the page's style sheet and for the charts on it.

Series colours are Okabe and Ito's, which readers with any common colour blindness tell apart,
darkened for white paper and lightened for the dark mode until each has a contrast of at least
3 : 1 with its ground. Curves differ in their dashes as well, so colour is never the only sign.

Source: Okabe & Ito, Color Universal Design (2008); WCAG 2.2, success criteria 1.4.3 and 1.4.11.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt

    AltairChart = alt.LayerChart | alt.FacetChart

Tables = dict[str, list[dict[str, Any]]]

PAPER_WIDTH, PAPER_HEIGHT = 460, 280

GREEK = {"λ": "lambda", "η": "eta"}


@dataclass(frozen=True)
class Key:
    """One entry of a chart's legend.

    Attributes:
        key: what the chart's `hidden` parameter calls it.
        label: what the reader sees.
        series: number of its colour and dash; None for entries that are not one curve.
        solid: whether the curve is drawn without its dash.
    """

    key: str
    label: str
    series: int | None = None
    solid: bool = False


@dataclass(frozen=True)
class Chart:
    """A chart of the page.

    Attributes:
        name: name of its files and of its box on the page, without an ending.
        title: what it shows, with the setting.
        heading: the title within its section of the page.
        description: alternative text: what a reader who cannot see it should know.
        page: Vega-Lite for the page.
        paper: Vega-Lite for PNG and SVG.
        legend: entries that can be hidden.
        runs: entries of single runs, which can be hidden as well.
        hidden: keys hidden at first.
        interactive: whether it can be zoomed and moved.
    """

    name: str
    title: str
    heading: str
    description: str
    page: dict[str, Any]
    paper: dict[str, Any]
    legend: tuple[Key, ...] = ()
    runs: tuple[Key, ...] = ()
    hidden: tuple[str, ...] = ()
    interactive: bool = False


@dataclass(frozen=True)
class Specs:
    """Vega-Lite of one chart for the page and for paper, without data, title and theme.

    Charts that differ in their data only share them: to build them costs more than to draw them.
    """

    page: dict[str, Any]
    paper: dict[str, Any]

    def page_with(self, tables: Tables) -> dict[str, Any]:
        """The page's chart with its data."""
        return self.page | {"datasets": tables}

    def paper_with(self, tables: Tables, title: str) -> dict[str, Any]:
        """The chart on paper with its data, and the title that the page has as a heading."""
        return self.paper | {"datasets": tables, "title": title}


def finished_specs(
    on_page: AltairChart,
    on_paper: AltairChart,
    *,
    height: int = PAPER_HEIGHT,
    paper_size: tuple[int, int] = (PAPER_WIDTH, PAPER_HEIGHT),
) -> Specs:
    """Turn two Altair charts, whose data are named and not held, into plain Vega-Lite.

    Args:
        on_page: the chart for the page.
        on_paper: the chart for PNG and SVG.
        height: of the chart on the page, px.
        paper_size: width and height on paper, px.

    Returns:
        Vega-Lite for both.
    """
    width, paper_height = paper_size
    page = on_page.properties(width="container", height=height)
    return Specs(_plain(page), _plain(on_paper.properties(width=width, height=paper_height)))


def _plain(chart: AltairChart) -> dict[str, Any]:
    # Validation against the whole schema of Vega-Lite costs more than drawing; the tests do it.
    spec: dict[str, Any] = chart.to_dict(validate=False)
    return {k: v for k, v in spec.items() if k not in ("config", "$schema")}


def short(value: float, digits: int = 5) -> float | None:
    """Round to significant digits, so that a page of curves stays small; None for no number.

    Example:
        >>> short(0.123456789), short(float("nan"))
        (0.12346, None)
    """
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def words_near_pointer(fields: Mapping[str, str]) -> Any:
    """A tooltip for the mark nearest to the pointer.

    Vega-Lite 6 hands a tooltip of text fields not the row but the cell around its mark, which
    holds the row as `datum`, so that every text would read "undefined"; this asks both.

    Args:
        fields: field of the table by the label that stands beside it.

    Returns:
        For Altair's tooltip channel.

    Example:
        >>> words_near_pointer({"λ": "w"})["value"].expr
        '{"λ": (datum.datum || datum)["w"] || "–"}'
    """
    import altair as alt

    items = (
        f"{json.dumps(label, ensure_ascii=False)}: (datum.datum || datum)[{json.dumps(field)}]"
        ' || "–"'
        for label, field in fields.items()
    )
    return alt.value(alt.ExprRef(f"{{{', '.join(items)}}}"))


def slug(text: str) -> str:
    """A file name for a setting: plain letters, digits, dots and dashes.

    Args:
        text: any name.

    Returns:
        A name that every file system takes; never empty.

    Example:
        >>> slug("λ=0.1, η=0.01")
        'lambda-0.1-eta-0.01'
    """
    for letter, word in GREEK.items():
        text = text.replace(letter, word)
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9.]+", "-", ascii_text).strip("-.")
    return words[:60].rstrip("-.") or "setting"


def unique_slugs(names: Iterable[str]) -> dict[str, str]:
    """A file name for each setting, no two alike.

    Args:
        names: names of settings, each once.

    Returns:
        File names by setting.

    Example:
        >>> unique_slugs(["a b", "a-b"])
        {'a b': 'a-b', 'a-b': 'a-b-2'}
    """
    taken: set[str] = set()
    chosen: dict[str, str] = {}
    for name in names:
        stem = slug(name)
        candidate, number = stem, 1
        while candidate in taken:
            number += 1
            candidate = f"{stem}-{number}"
        taken.add(candidate)
        chosen[name] = candidate
    return chosen


# The smallest type on the page, in CSS pixels.
SMALLEST = 12

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

# What vl-convert carries with it, so that a chart on disk looks the same on every machine.
PAPER_FONT = "Liberation Sans, Arial, Helvetica, sans-serif"

# Dashes go with the colours: series i has colour i and dash i, both in turn.
DASHES = ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3), (10, 4), (4, 2, 1, 2))

SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")


@dataclass(frozen=True)
class Theme:
    """Colours of one reading mode.

    Attributes:
        ground: the page.
        panel: boxes on it.
        ink: text; at least 7 : 1 on ground and panel.
        soft: secondary text; at least 4.5 : 1.
        line: rules and grids.
        accent: links and focus.
        warn: text of warnings; at least 4.5 : 1.
        series: colours of curves, in order; at least 3 : 1 on panel.
        ramp: from none to all, for shares in a heat map.
        ink_on_low: text on the ramp up to ink_switch percent.
        ink_on_high: text beyond.
        ink_switch: where on the ramp both inks can be read equally well, percent.
    """

    ground: str
    panel: str
    ink: str
    soft: str
    line: str
    accent: str
    warn: str
    series: tuple[str, ...]
    ramp: tuple[str, ...]
    ink_on_low: str
    ink_on_high: str
    ink_switch: int

    def css(self) -> dict[str, str]:
        """The colours as CSS custom properties, by name."""
        plain = {k: v for k, v in asdict(self).items() if isinstance(v, str)}
        return plain | {f"series-{i}": colour for i, colour in enumerate(self.series)}


LIGHT = Theme(
    ground="#fbfaf8",
    panel="#ffffff",
    ink="#1b1e23",
    soft="#565c66",
    line="#dedcd6",
    accent="#005a8f",
    warn="#9a3b00",
    series=("#0072b2", "#d55e00", "#00795a", "#a8487f", "#7a6300", "#444b55"),
    ramp=("#f6f9fc", "#b9d7ec", "#5fa6d3", "#1f77b4", "#0b3c66"),
    ink_on_low="#000000",
    ink_on_high="#ffffff",
    ink_switch=73,
)

DARK = Theme(
    ground="#111417",
    panel="#191d21",
    ink="#e9ebee",
    soft="#a9b0ba",
    line="#343a41",
    accent="#7cc4f2",
    warn="#ffb37a",
    series=("#56b4e9", "#ff9a4d", "#3fd0a4", "#e79ac6", "#f0e442", "#c3c9d1"),
    ramp=("#1d2328", "#17425f", "#1f73a8", "#56b4e9", "#c9e8fb"),
    ink_on_low="#ffffff",
    ink_on_high="#000000",
    ink_switch=52,
)


def chart_config(theme: Theme, *, paper: bool = False) -> dict[str, Any]:
    """Vega's configuration for one reading mode, or for a chart on disk.

    Args:
        theme: the colours.
        paper: a white ground and fonts that every machine has.

    Returns:
        A Vega-Lite config; no text in it is under SMALLEST pixels.
    """
    text = {"labelColor": theme.soft, "titleColor": theme.ink}
    sizes = {"labelFontSize": SMALLEST, "titleFontSize": 13, "titleFontWeight": "normal"}
    return {
        "background": theme.panel if paper else "transparent",
        "font": PAPER_FONT if paper else FONT,
        "padding": 12 if paper else 2,
        "view": {"stroke": None},
        "title": {"color": theme.ink, "fontSize": 15, "fontWeight": 600, "anchor": "start"}
        | {"subtitleColor": theme.soft, "subtitleFontSize": SMALLEST, "offset": 12},
        "axis": text
        | sizes
        | {"gridColor": theme.line, "domainColor": theme.soft, "tickColor": theme.soft}
        | {"gridOpacity": 0.7, "labelOverlap": True, "titlePadding": 8},
        "legend": text
        | sizes
        | {"orient": "bottom", "title": None, "symbolStrokeWidth": 2.5, "symbolSize": 320}
        | {"columns": 3, "labelLimit": 400},
        "range": {"category": list(theme.series), "heatmap": list(theme.ramp)},
        "text": {"color": theme.ink, "fontSize": SMALLEST},
        "rule": {"color": theme.soft},
    }
