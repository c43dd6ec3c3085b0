"""How often 95 % intervals cover the figure of the population, on simulated sets of rows.

    python -m tests.model.coverage [SETS] [RESAMPLES]

prints a table; of 2000 sets a coverage is known to ± 0.5 %. The population's figure is that of
400 000 rows. Sets of rows are drawn with the population's classes ("fixed") or freely.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onelayer.model.metrics import measure, metrics_of
from onelayer.model.scored_rows import scored_rows

FREQUENCIES = {2: [0.65, 0.35], 3: [0.5, 0.3, 0.2], 4: [0.4, 0.3, 0.2, 0.1]}

NAMES = {
    2: ["accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "matthews_corrcoef", "roc_auc",
        "average_precision", "log_loss", "brier_score", "ece", "recall_at_fpr_0.1"],
    4: ["accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "matthews_corrcoef",
        "roc_auc_ovr", "roc_auc_ovo", "average_precision", "log_loss", "brier_score", "ece",
        "top_2_accuracy"],
}  # fmt: skip


def draw(
    random: np.random.Generator, rows: int, classes: int, *, fixed: bool = True, noise: float = 0.0
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels and scores of an overconfident model, with noise of its own."""
    frequencies = np.array(FREQUENCIES[classes])
    counts = (
        np.round(rows * frequencies).astype(int) if fixed else random.multinomial(rows, frequencies)
    )
    y = np.repeat(np.arange(classes), counts)
    x = random.normal(size=(len(y), classes))
    x[np.arange(len(y)), y] += 1.3
    return y, 1.8 * (x + noise * random.normal(size=x.shape)) + 0.3 * np.arange(classes)


def coverage(
    names: Sequence[str], classes: int, rows: int, sets: int, resamples: int, *, fixed: bool = True
) -> dict[str, float]:
    """The fraction of sets whose interval covers the population's figure, of each metric."""
    metrics = metrics_of(names)
    population = scored_rows(*draw(np.random.default_rng(99), 400_000, classes))
    true = np.array([metric.value(population) for metric in metrics])
    covered = np.zeros(len(metrics))
    for i in range(sets):
        scored = scored_rows(*draw(np.random.default_rng(i), rows, classes, fixed=fixed))
        found = measure(metrics, scored, resamples=resamples, seed=i)
        low, high = np.array([(one.low, one.high) for one in found]).T
        covered += (low <= true) & (true <= high)
    return dict(zip((metric.name for metric in metrics), covered / sets, strict=True))


def main() -> None:
    sets, resamples = (int(word) for word in (*sys.argv[1:], "2000", "1000")[:2])
    for classes, names in NAMES.items():
        columns = {}
        for rows in (200, 1000):
            for fixed in (True, False):
                column = f"{rows} rows, {'fixed' if fixed else 'free'} classes"
                columns[column] = coverage(names, classes, rows, sets, resamples, fixed=fixed)
        print(f"{classes} classes, {sets} sets: {'; '.join(columns)}")
        for name in columns[column]:
            print(f"  {name:20s}", *(f"{100 * of[name]:5.1f} %" for of in columns.values()))


if __name__ == "__main__":
    main()
