"""What training leaves behind: one record that holds everything the page needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from onelayer.command import Command
from onelayer.data import Splits
from onelayer.errors import SettingsError
from onelayer.gradcheck import GradientCheck
from onelayer.optimum import Certificate
from onelayer.plan import Run
from onelayer.scaling import Scaling

Status = Literal["finished", "stopped", "diverged", "interrupted"]
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """How one run ended.

    Attributes:
        status: "finished" (all epochs), "stopped" (early, by its patience), "diverged" (its cost
            stopped being finite) or "interrupted" (Ctrl-C).
        epochs: whole epochs behind the weights that were kept: the last, or with patience those
            of the lowest validation loss.
        message: one sentence for the user when it diverged or was interrupted; else empty.
    """

    status: Status
    epochs: int
    message: str = ""


@dataclass(frozen=True, eq=False)
class History:
    """What was measured before training and after each epoch, for each run.

    Every array has shape (R, epochs + 1); column 0 is the initial weights, and NaN stands where a
    run had already stopped. Losses are mean cross-entropies in nats, costs add λ Σ W², accuracies
    are shares in [0, 1], and the weight norm is ‖W‖ (Frobenius).
    """

    train_loss: Float64
    train_cost: Float64
    train_accuracy: Float64
    validation_loss: Float64
    validation_cost: Float64
    validation_accuracy: Float64
    weight_norm: Float64

    @classmethod
    def empty(cls, runs: int, epochs: int) -> History:
        """A history of that size with nothing measured yet: NaN everywhere."""
        return cls(**{name: np.full((runs, epochs + 1), np.nan) for name in cls.measures()})

    @classmethod
    def measures(cls) -> tuple[str, ...]:
        """Names of the measured quantities, in the order of the columns on disk."""
        return tuple(item.name for item in fields(cls))


@dataclass(frozen=True)
class DataCard:
    """Which data a result was trained on.

    Attributes:
        name: the data set's name, "cifar10" or "digits".
        source: where its files came from, a sentence.
        class_names: names of the K classes.
        image_shape: (channels, height, width) when the D features are an image, else None.
        train_rows: rows trained on.
        validation_rows: rows of the validation set.
        test_rows: rows of the test set.
        feature_names: names of the D features, or None.
    """

    name: str
    source: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int] | None
    train_rows: int
    validation_rows: int
    test_rows: int
    feature_names: tuple[str, ...] | None = None


def data_card(splits: Splits) -> DataCard:
    """What a record remembers of its data.

    Args:
        splits: the data.

    Returns:
        Names and sizes, no rows.
    """
    return DataCard(
        name=splits.name,
        source=splits.source,
        class_names=splits.train.class_names,
        image_shape=splits.train.image_shape,
        train_rows=splits.train.rows,
        validation_rows=splits.validation.rows,
        test_rows=splits.test.rows,
        feature_names=splits.train.feature_names,
    )


@dataclass(frozen=True)
class ReportedFigures:
    """What the report prints for a setting: its name, and accuracies as shares in [0, 1]."""

    name: str
    train_accuracy: float
    test_accuracy: float


@dataclass(frozen=True)
class Curvature:
    """How sharply the cost bent where a run was: λmax of the Hessian of J on the training rows.

    Attributes:
        epochs: when it was measured, ascending; 0 is the initial weights.
        values: λmax, as many; a step η is stable there while η < 2/λmax.
    """

    epochs: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Result:
    """R trained runs with their history, what they score on the test set, and how they were made.

    Attributes:
        runs: the settings, R of them.
        outcomes: how each ended, R of them.
        W: weights after the last whole epoch, shape (R, K, D).
        b: biases, shape (R, K).
        scaling: the affine map that W expects of its features.
        other_scalings: for the runs of a sweep that expect another one (key: position), that one;
            `scaling_of` tells it of any run.
        history: losses, costs, accuracies and ‖W‖ at every epoch.
        test_loss: mean cross-entropy on the test set, shape (R,), nats.
        confusion: test rows by true class (axis 1) and predicted class (axis 2), (R, K, K), int64.
        snapshots: for some runs (key: position), W at every epoch, (epochs + 1, K, D), float16:
            enough for pictures, not for arithmetic.
        data: which data it was.
        reported: figures to set beside the measured ones, by setting name; may be empty.
        gradient_checks: numerical against analytic gradients; may be empty.
        certificates: how far each run's kept weights can be from the optimum of their λ, R of
            them; empty when none were asked for or training was interrupted.
        optima: the best cost there is for each λ > 0 of the runs, as certificates of the solved
            optimum: J* lies between its lower_bound and its cost. May be empty.
        curvatures: for some runs (key: position), the curvature met during training.
        environment: engine, library versions, processor, threads.
        seconds: wall time of each phase, in s.
        command: the command line that made it; None when it was made from Python.
    """

    runs: tuple[Run, ...]
    outcomes: tuple[Outcome, ...]
    W: NDArray[np.floating]
    b: NDArray[np.floating]
    scaling: Scaling
    history: History
    test_loss: Float64
    confusion: NDArray[np.int64]
    data: DataCard
    snapshots: Mapping[int, NDArray[np.float16]] = field(default_factory=dict)
    reported: tuple[ReportedFigures, ...] = ()
    gradient_checks: tuple[GradientCheck, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    optima: tuple[Certificate, ...] = ()
    curvatures: Mapping[int, Curvature] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    command: Command | None = None
    other_scalings: Mapping[int, Scaling] = field(default_factory=dict)

    def scaling_of(self, position: int) -> Scaling:
        """The affine map that the weights of a run expect of their features."""
        return self.other_scalings.get(position, self.scaling)

    @property
    def certificate(self) -> Certificate:
        """The certificate of the only run; of several, `certificates` holds one for each.

        Raises:
            SettingsError: when there is not exactly one.
        """
        if len(self.certificates) != 1:
            raise SettingsError(
                "certificate is there for a result of one certified run, but this one holds "
                f"{len(self.certificates)}; take one of certificates."
            )
        return self.certificates[0]

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended training."""
        return any(outcome.status == "interrupted" for outcome in self.outcomes)

    @property
    def settings(self) -> tuple[str, ...]:
        """Names of the settings, each once, in the order in which they first appear."""
        return tuple(dict.fromkeys(run.name for run in self.runs))

    def positions(self, setting: str) -> list[int]:
        """Positions of the runs of that setting, one a seed."""
        return [i for i, run in enumerate(self.runs) if run.name == setting]

    @property
    def train_accuracy(self) -> Float64:
        """Accuracy on the training rows with the weights that were kept, shape (R,)."""
        return self._kept(self.history.train_accuracy)

    @property
    def validation_accuracy(self) -> Float64:
        """Accuracy on the validation rows with the weights that were kept, shape (R,)."""
        return self._kept(self.history.validation_accuracy)

    @property
    def test_accuracy(self) -> Float64:
        """Accuracy on the test rows with the weights that were kept, shape (R,)."""
        right = np.trace(self.confusion, axis1=1, axis2=2)
        return np.asarray(right / self.confusion.sum(axis=(1, 2)))

    @property
    def weight_norm(self) -> Float64:
        """‖W‖ of the weights that were kept, shape (R,)."""
        return self._kept(self.history.weight_norm)

    def _kept(self, measured: Float64) -> Float64:
        last = [outcome.epochs for outcome in self.outcomes]
        return np.asarray(measured[np.arange(len(last)), last])

    def with_records(self, **changes: Any) -> Result:
        """The same result with some attributes set, as in `with_records(seconds={})`."""
        return Result(**{f.name: getattr(self, f.name) for f in fields(self)} | changes)
