"""The report's four experiments: their settings and the figures that were reported for them.

Source: the report that started the project (KTH DD2424, assignment 1); n_epochs = 40,
n_batch = 100, pixels / 255, batches in file order, trained on data_batch_1, validated on
data_batch_2, tested on test_batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onelayer.errors import SettingsError
from onelayer.plan import Run, grid
from onelayer.result import ReportedFigures


@dataclass(frozen=True)
class Experiment:
    """One row of the report's table.

    Attributes:
        key: short name for the command line.
        l2: λ.
        learning_rate: η.
        train_accuracy: as reported, a share in [0, 1].
        test_accuracy: as reported, a share in [0, 1].
    """

    key: str
    l2: float
    learning_rate: float
    train_accuracy: float
    test_accuracy: float

    @property
    def name(self) -> str:
        """The setting's name in tables and charts, as `Run` makes it."""
        return Run(learning_rate=self.learning_rate, l2=self.l2).name

    @property
    def reported(self) -> ReportedFigures:
        """The reported accuracies under the setting's name."""
        return ReportedFigures(self.name, self.train_accuracy, self.test_accuracy)


EXPERIMENTS = (
    Experiment("eta-0.1", l2=0.0, learning_rate=0.1, train_accuracy=0.2881, test_accuracy=0.2478),
    Experiment("eta-0.01", l2=0.0, learning_rate=0.01, train_accuracy=0.4160, test_accuracy=0.3687),
    Experiment("l2-0.1", l2=0.1, learning_rate=0.01, train_accuracy=0.3419, test_accuracy=0.3338),
    Experiment("l2-1", l2=1.0, learning_rate=0.01, train_accuracy=0.2227, test_accuracy=0.2192),
)


def choose_experiments(keys: Sequence[str] = ()) -> tuple[Experiment, ...]:
    """Choose experiments by their keys; none named means all four.

    Args:
        keys: of "eta-0.1", "eta-0.01", "l2-0.1", "l2-1".

    Returns:
        The experiments, in the report's order.

    Raises:
        SettingsError: for an unknown setting name.

    Example:
        >>> [experiment.name for experiment in choose_experiments(["l2-1"])]
        ['λ=1, η=0.01']
    """
    known = [experiment.key for experiment in EXPERIMENTS]
    for key in keys:
        if key not in known:
            raise SettingsError(f"unknown setting {key!r}; the settings are {', '.join(known)}.")
    return tuple(e for e in EXPERIMENTS if not keys or e.key in keys)


def plan_experiments(
    experiments: Sequence[Experiment] = EXPERIMENTS,
    *,
    seeds: int = 8,
    epochs: int = 40,
    batch_size: int = 100,
) -> tuple[Run, ...]:
    """Plan each experiment once for each seed; all share one pass over the data.

    Args:
        experiments: which of the four.
        seeds: how many initial weights each starts from, ≥ 1; they are seeds 0, 1, 2 …
        epochs: passes over the training rows.
        batch_size: rows of a batch.

    Returns:
        The runs, experiment by experiment.

    Raises:
        SettingsError: for a value outside its range.

    Example:
        >>> len(plan_experiments(seeds=8))
        32
    """
    if seeds < 1:
        raise SettingsError(f"seeds must be a whole number, 1 or above, but {seeds} was given.")
    return tuple(
        run
        for e in experiments
        for run in grid(
            learning_rate=e.learning_rate,
            l2=e.l2,
            epochs=epochs,
            batch_size=batch_size,
            seed=range(seeds),
        )
    )
