"""Which class is taken for which: a heat map for few classes, the most frequent pairs for many."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onelayer.report.chart import LIGHT, Chart, Specs, finished_specs, short

if TYPE_CHECKING:
    import altair as alt

# With more classes the cells have no room for numbers, and then none for the eye.
MOST_WITH_NUMBERS = 12

MOST_DRAWN = 40

CELL = 34


def confusion_chart(
    name: str, title: str, percent: NDArray[np.float64], class_names: tuple[str, ...]
) -> Chart | None:
    """Draw the confusion matrix as a heat map.

    Args:
        name: of the files.
        title: on paper.
        percent: as `share_of_rows` returns it, shape (K, K).
        class_names: K names.

    Returns:
        The chart; None for more than MOST_DRAWN classes.
    """
    if len(class_names) > MOST_DRAWN:
        return None
    specs = _specs(class_names)
    tables = {"cells": _table(percent, class_names)}
    right = np.diag(percent)
    best, worst = int(right.argmax()), int(right.argmin())
    return Chart(
        name=name,
        title=title,
        heading="Test confusion matrix",
        description=(
            f"{title}. Best recognised: {class_names[best]}, {right[best]:.0f} %; "
            f"worst: {class_names[worst]}, {right[worst]:.0f} %."
        ),
        page=specs.page_with(tables),
        paper=specs.paper_with(tables, title),
    )


def _table(percent: NDArray[np.float64], class_names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {"i": i, "j": j, "t": class_names[i], "p": class_names[j], "v": short(float(v), 4)}
        for (i, j), v in np.ndenumerate(percent)
    ]


@lru_cache(maxsize=8)
def _specs(class_names: tuple[str, ...]) -> Specs:
    classes = len(class_names)
    size = max(240, CELL * classes if classes <= MOST_WITH_NUMBERS else 18 * classes)
    cells = _cells(class_names)
    return finished_specs(cells, cells, height=min(size + 60, 720), paper_size=(size + 40, size))


def _cells(class_names: tuple[str, ...]) -> alt.LayerChart | alt.FacetChart:
    import altair as alt

    names = _axis_of_names(class_names)
    base = alt.Chart(alt.NamedData("cells")).encode(
        x=alt.X("j:O", title="predicted class", axis=names),
        y=alt.Y("i:O", title="true class", axis=names),
        tooltip=[
            alt.Tooltip("t:N", title="true class"),
            alt.Tooltip("p:N", title="predicted as"),
            alt.Tooltip("v:Q", title="% of the true class", format=".1f"),
        ],
    )
    scale = alt.Scale(domain=[0, 100])
    squares = base.mark_rect(stroke=None).encode(color=alt.Color("v:Q", scale=scale, legend=None))
    # Which ink is readable on a cell depends on the theme, so both are parameters of the chart.
    inks = [
        alt.param(name="inkOnLow", value=LIGHT.ink_on_low),
        alt.param(name="inkOnHigh", value=LIGHT.ink_on_high),
        alt.param(name="inkSwitch", value=LIGHT.ink_switch),
    ]
    if len(class_names) > MOST_WITH_NUMBERS:
        return alt.layer(squares)
    numbers = base.mark_text(fontSize=12).encode(
        text=alt.Text("v:Q", format=".0f"),
        color=alt.condition(
            "datum.v > inkSwitch",
            alt.value(alt.ExprRef("inkOnHigh")),
            alt.value(alt.ExprRef("inkOnLow")),
        ),
    )
    return alt.layer(squares, numbers).add_params(*inks)


def _axis_of_names(class_names: tuple[str, ...]) -> alt.Axis:
    import json

    import altair as alt

    names = json.dumps([name[:40] for name in class_names], ensure_ascii=False)
    return alt.Axis(labelExpr=f"({names})[datum.value]", labelLimit=110, ticks=False, domain=False)
