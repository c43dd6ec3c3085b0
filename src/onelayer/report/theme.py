"""Colours and type, declared once for the page's style sheet and for the charts on it.

Series colours are Okabe and Ito's, which readers with any common colour blindness tell apart,
darkened for white paper and lightened for the dark mode until each has a contrast of at least
3 : 1 with its ground. Curves differ in their dashes as well, so colour is never the only sign.

Source: Okabe & Ito, Color Universal Design (2008); WCAG 2.2, success criteria 1.4.3 and 1.4.11.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

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
    """Colours of one reading mode, with the contrast that they have on ground and panel."""

    ground: str  # the page
    panel: str  # boxes on it
    ink: str  # text; at least 7 : 1
    soft: str  # secondary text; at least 4.5 : 1
    line: str  # rules and grids
    accent: str  # links and focus; at least 4.5 : 1
    warn: str  # text of warnings; at least 4.5 : 1
    series: tuple[str, ...]  # curves, in order; at least 3 : 1
    ramp: tuple[str, ...]  # from none to all, for shares in a heat map
    diverging: tuple[str, ...]  # from most negative to most positive
    ink_on_low: str  # text on the ramp up to ink_switch percent
    ink_on_high: str  # text beyond
    ink_switch: int  # where on the ramp both inks can be read equally well, percent

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
    diverging=("#a34a00", "#f0b98a", "#f4f3f0", "#9ac7e6", "#00548a"),
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
    diverging=("#ffb070", "#8a4a1c", "#23282d", "#1f6391", "#8fd0f7"),
    ink_on_low="#ffffff",
    ink_on_high="#000000",
    ink_switch=52,
)


def chart_config(theme: Theme, *, paper: bool = False) -> dict[str, Any]:
    """Vega's configuration for one reading mode, or for a chart on disk."""
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
        "range": {"category": list(theme.series), "heatmap": list(theme.ramp)}
        | {"diverging": list(theme.diverging)},
        "text": {"color": theme.ink, "fontSize": SMALLEST},
        "rule": {"color": theme.soft},
    }


def inks_of(theme: Theme) -> dict[str, str | int]:
    """Parameters of a heat map: which ink is readable on a cell depends on the theme."""
    inks = {"inkOnLow": theme.ink_on_low, "inkOnHigh": theme.ink_on_high}
    return {**inks, "inkSwitch": theme.ink_switch}
