"""Pictures of times on two logarithmic axes, all in one look."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

FONT = "Helvetica, Arial, DejaVu Sans, sans-serif"
INK, FAINT = "#222222", "#8a8a8a"
# Thousands are set apart by a thin space: 16 384.
GROUPED = "replace(format(datum.value, ',~r'), /,/g, '\u2009')"
COLOURS = {
    "onelayer": "#0072B2",
    "NumPy float32": "#D55E00",
    "scikit-learn lbfgs": "#D55E00",
    "scikit-learn lbfgs, float32": "#E69F00",
    "scikit-learn lbfgs, X centred": "#8C510A",
    "scikit-learn newton-cholesky": "#CC79A7",
    "scikit-learn-intelex lbfgs": "#009E73",
    "PyTorch LBFGS, float32": "#7A5195",
}


def save(chart: Any, folder: Path, name: str) -> None:
    """Write the picture as SVG and PNG, in one look for all."""
    chart = (
        chart.properties(padding=14, background="white")
        .configure(font=FONT)
        .configure_title(fontSize=15, subtitleFontSize=12, color=INK, subtitleColor="#555555")
        .configure_axis(
            labelFontSize=12,
            titleFontSize=12.5,
            titleFontWeight="normal",
            labelColor=INK,
            titleColor=INK,
            gridColor="#e6e6e6",
            domainColor=FAINT,
            tickColor=FAINT,
            titlePadding=8,
        )
        .configure_legend(
            orient="top-left",
            labelFontSize=12,
            labelColor=INK,
            symbolSize=500,
            symbolStrokeWidth=2.2,
            labelLimit=300,
            fillColor="white",
            padding=6,
            offset=4,
        )
        .configure_view(stroke=None)
    )
    folder.mkdir(parents=True, exist_ok=True)
    chart.save(folder / f"{name}.svg")
    chart.save(folder / f"{name}.png", scale_factor=2)


def log_axis(channel: Any, low: float, high: float, **axis: Any) -> Any:
    """The channel on a logarithmic axis with few ticks."""
    scaled = channel.scale(type="log", domain=[low, high], nice=False)
    return scaled.axis(**{"values": log_ticks(low, high), "labelExpr": GROUPED, **axis})


def log_ticks(low: float, high: float) -> list[float]:
    """Ticks of a logarithmic axis: 1, 2, 5 of every decade on a short one, powers of ten else.

    Example:
        >>> log_ticks(3.0, 120.0)
        [5.0, 10.0, 20.0, 50.0, 100.0]
    """
    steps = (1, 2, 5) if math.log10(high / low) < 3.3 else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
    return [tick for tick in ticks if low <= tick <= high]
