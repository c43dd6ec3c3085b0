"""Which class is taken for which on the test rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onelayer.report.chart import MOST_WITH_NUMBERS, Chart, HeatCell, heat_map, unique_labels
from onelayer.report.render import Section
from onelayer.report.summary import Records, share_of_rows, tested_settings
from onelayer.report.tables import mistakes_of

# With more classes the cells have no room for numbers, and then none for the eye.
MOST_CLASSES = 40


def confusion_section(records: Records) -> Section | None:
    """A heat map of each setting whose test rows are shown; the frequent mistakes of many classes.

    None without test rows.
    """
    result = records.result
    names = result.data.class_names
    shown = {
        anchor: (setting.name, result.confusion[list(setting.counted)].sum(axis=0))
        for anchor, setting in records.drawn.items()
        if setting.name in tested_settings(result)
    }
    if not any(counts.any() for _, counts in shown.values()):
        return None
    section = Section("confusion", "Test confusion", ("Percent of each true class.",))
    if len(names) > MOST_CLASSES:
        tables = (
            Section(f"confusion-{anchor}", name, table=mistakes_of(counts, names))
            for anchor, (name, counts) in shown.items()
        )
        return replace(section, heading="Most frequent test confusions", sections=tuple(tables))
    charts = (
        confusion_chart(f"confusion-{anchor}", name, counts, names)
        for anchor, (name, counts) in shown.items()
    )
    return replace(section, charts=tuple(charts))


def confusion_chart(
    name: str, setting: str, counts: NDArray[np.int64], class_names: tuple[str, ...]
) -> Chart:
    """The confusion matrix in percent of the true class."""
    percent = share_of_rows(counts)
    right = np.diag(percent)
    best, worst = int(right.argmax()), int(right.argmin())
    names = unique_labels([name[:40] for name in class_names])
    cells = [
        HeatCell(names[j], names[i], float(v), f"{v:.0f}",
                 (class_names[i], class_names[j], f"{v:.1f}"))
        for (i, j), v in np.ndenumerate(percent)
    ]  # fmt: skip
    size = 34 if len(class_names) <= MOST_WITH_NUMBERS else 18
    return heat_map(
        name,
        f"Test confusion, {setting}, % of the true class",
        setting,
        f"Best recognised: {class_names[best]}, {right[best]:.0f} %; "
        f"worst: {class_names[worst]}, {right[worst]:.0f} %.",
        ("predicted class", names),
        ("true class", names),
        cells,
        domain=(0.0, 100.0),
        tips=("true class", "predicted as", "% of the true class"),
        cell_size=(size, size),
    )
