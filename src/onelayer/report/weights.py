"""The weights of features that are no image: a heat map of few, the strongest of many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onelayer.report.chart import HeatCell, heat_map, unique_labels
from onelayer.report.render import Section
from onelayer.report.tables import feature_name, strongest_of
from onelayer.report.weight_images import MOST_CLASSES

# More features than this are listed by name, the strongest of each class.
MOST_FEATURES = 40


def weights_section(
    W: NDArray[np.floating],
    class_names: tuple[str, ...],
    feature_names: tuple[str, ...] | None,
    name: str,
) -> Section:
    """The weights of features that are no image: a heat map, or the strongest by name."""
    K, D = W.shape
    heading = "Weights"
    if D > MOST_FEATURES or K > MOST_CLASSES:
        table = strongest_of(W, class_names, feature_names)
        text = f"The strongest weights on the scaled features, {name}."
        return Section("weights", heading, (text,), table=table)
    values = np.nan_to_num(W.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    most = float(np.abs(values).max()) or 1.0
    columns = unique_labels([feature_name(feature_names, j)[:24] for j in range(D)])
    rows = unique_labels([one[:24] for one in class_names])
    cells = [
        HeatCell(columns[j], rows[k], float(w), tip=(class_names[k], columns[j], f"{w:.4g}"))
        for (k, j), w in np.ndenumerate(values)
    ]
    k, j = np.unravel_index(int(np.abs(values).argmax()), values.shape)
    title = f"Weights on the scaled features, {name}"
    chart = heat_map(
        "weights",
        title,
        title,
        f"Largest: {values[k, j]:.3g} for {class_names[k]} and {columns[j]}.",
        ("", columns),
        ("", rows),
        cells,
        domain=(-most, most),
        tips=("class", "feature", "weight"),
        cell_size=(26, 30),
        legend=(-most, 0.0, most),
    )
    note = "A weight above 0 is for the class, below 0 against it."
    return Section("weights", heading, charts=(chart,), note=note)
