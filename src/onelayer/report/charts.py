"""One chart: a description for the page, one for paper, and the words that go with it.

Both come from the same data. On the page a chart takes the width of its box and its legend is a
row of buttons beside it (so that a keyboard can hide a curve); on paper it has a fixed size, and
the legend is part of the drawing.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
