"""The result of training: one record that holds everything the page needs.

Settings are ranked by the validation rows, over all of their seeds, and never by the test.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from onelayer.data.dataset import DataCard
from onelayer.data.scaling import Scaling
from onelayer.errors import SettingsError
from onelayer.files.provenance import Command
from onelayer.files.records import MAY_LACK
from onelayer.files.saved import Saved
from onelayer.model.calibration import Calibration
from onelayer.model.certificate import Certificate
from onelayer.model.evaluation import Mistakes, Reliability
from onelayer.model.intervals import wilson_interval
from onelayer.model.metrics import Metric, metric_of
from onelayer.model.model import Model
from onelayer.objective.gradcheck import GradientCheck
from onelayer.solver.selection import Score
from onelayer.training.run import FIRST_WORDS, Run, differing, spell

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

    @property
    def is_untrained(self) -> bool:
        """Whether it was interrupted before its first epoch: its weights are the initial ones."""
        return self.status == "interrupted" and self.epochs == 0


@dataclass(frozen=True, eq=False)
class History:
    """What was measured before training and after each epoch, for each run.

    Every array has shape (R, epochs + 1); column 0 is the initial weights, and NaN stands where a
    run had already stopped. Losses are mean cross-entropies in nats, costs add λ Σ W² and
    λ₁ Σ |W|, accuracies are fractions in [0, 1], and the weight norm is ‖W‖ (Frobenius).
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
class ReportedFigures:
    """What the report prints for a setting: its name, and accuracies as fractions in [0, 1]."""

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


@dataclass(frozen=True, eq=False, repr=False)
class Result(Saved):
    """R trained runs with their history, test scores and provenance; printed as a ranked table.

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
        confusion: test rows by true class (axis 1) and predicted class (axis 2), (R, K, K), int64;
            (R, 0, 0) of many labels a row.
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
        reliability: for the runs of `snapshots` (key: position), accuracy by confidence on the test
            rows; only for the softmax loss, whose scores are probabilities.
        mistakes: for the best run, of a sweep for that of each scaling (key: position), the test
            rows that it gets wrong with the most confidence; likewise only for the softmax loss.
        environment: engine, library versions, processor, threads.
        seconds: wall time of each phase, in s.
        cut_short: whether Ctrl-C came after training, so that certificates, optima or what is kept
            of the best run are missing.
        command: the command line that made it; None when it was made from Python.
        scoring: the metric that settings are ranked by on the validation rows.
        validation_scores: this metric of each run's kept weights, shape (R,); None for accuracy.
        class_weight: "balanced", or weights of classes in the cost, by name; None for none.
        test_scores: of each run on test rows that have weights, R of them; empty where they have
            none, and `confusion` says all.
        calibrations: of the models that `onelayer calibrate` wrote for this run folder.

    Example:
        >>> import onelayer as ol
        >>> result = ol.sweep(ol.load("digits"), learning_rate=[0.1, 0.3], epochs=2)
        >>> result.W.shape, result.history.train_loss.shape
        ((2, 10, 64), (2, 3))
        >>> result.best.settings["learning_rate"]
        0.1
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
    reliability: Mapping[int, Reliability] = field(default_factory=dict)
    mistakes: Mapping[int, Mistakes] = field(default_factory=dict, metadata=MAY_LACK)
    environment: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    command: Command | None = None
    cut_short: bool = field(default=False, metadata=MAY_LACK)
    other_scalings: Mapping[int, Scaling] = field(default_factory=dict)
    scoring: str = field(default="accuracy", metadata=MAY_LACK)
    validation_scores: Float64 | None = field(default=None, metadata=MAY_LACK)
    class_weight: Mapping[str, float] | str | None = field(default=None, metadata=MAY_LACK)
    test_scores: tuple[Score, ...] = field(default=(), metadata=MAY_LACK)
    calibrations: tuple[Calibration, ...] = field(default=(), metadata=MAY_LACK)

    def scaling_of(self, position: int) -> Scaling:
        """The affine map that the weights of a run expect of their features."""
        return self.other_scalings.get(position, self.scaling)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended training, or what follows it."""
        return self.cut_short or any(outcome.status == "interrupted" for outcome in self.outcomes)

    @property
    def settings(self) -> tuple[str, ...]:
        """Names of the settings, in the order in which they first appear."""
        ordered = sorted(self.ranking, key=lambda setting: setting.positions)
        return tuple(setting.name for setting in ordered)

    def model(self, position: int = 0) -> Model:
        """The model of one run: its weights as they were kept, with the settings it was trained by.

        Raises:
            SettingsError: when there is no run at that position, 0 … R−1.

        Example:
            >>> from onelayer import Run, load, train
            >>> result = train(load("digits"), [Run(learning_rate=0.1, epochs=1)])
            >>> result.model().settings["learning_rate"]
            0.1
        """
        if position not in range(len(self.runs)):
            raise SettingsError(
                f"position must be 0 to {len(self.runs) - 1}, but {position} was given."
            )
        outcome = self.outcomes[position]
        accuracy = float(self.validation_accuracy[position])
        settings = self.runs[position].as_dict() | {
            "made_by": "minibatch",
            "status": outcome.status,
            "epochs_kept": outcome.epochs,
            "validation_accuracy": accuracy if math.isfinite(accuracy) else None,
        }
        if self.class_weight is not None:
            settings["class_weight"] = self.class_weight
        proof = self.certificates[position] if self.certificates else None
        W, b, scaling = self.W[position], self.b[position], self.scaling_of(position)
        return Model.of_data(W, b, scaling, self.data, self.environment, settings, proof)

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
        if self.test_scores:
            return np.array([score.accuracy for score in self.test_scores])
        right = np.trace(self.confusion, axis1=1, axis2=2)
        return np.asarray(right / self.confusion.sum(axis=(1, 2)))

    def test_interval(self, position: int) -> tuple[float, float]:
        """The 95 % Wilson interval of a run's accuracy on the test rows."""
        if self.test_scores:
            return self.test_scores[position].interval
        counts = self.confusion[position]
        return wilson_interval(int(np.trace(counts)), int(counts.sum()))

    @property
    def weight_norm(self) -> Float64:
        """‖W‖ of the weights that were kept, shape (R,)."""
        return self._kept(self.history.weight_norm)

    @property
    def metric(self) -> Metric:
        """The metric that settings are ranked by."""
        return metric_of(self.scoring)

    @property
    def scores(self) -> Float64:
        """What settings are ranked by: the metric on the validation rows, shape (R,)."""
        return (
            self.validation_accuracy if self.validation_scores is None else self.validation_scores
        )

    def _kept(self, measured: Float64) -> Float64:
        last = [outcome.epochs for outcome in self.outcomes]
        return np.asarray(measured[np.arange(len(last)), last])

    @cached_property
    def ranking(self) -> tuple[RankedSetting, ...]:
        """Settings by their mean score over seeds on the validation rows, best first.

        The score is accuracy, or what `scoring` says. Of equal ones the lower validation loss is
        better; a setting of which a run diverged comes after all that stayed finite, then one of
        which a run was interrupted before its first epoch, and one that was never measured last.

        Example:
            >>> from onelayer import Run, load, train
            >>> result = train(load("digits"), [Run(1e-9, epochs=1), Run(0.1, epochs=1)])
            >>> [(s.rank, s.name) for s in result.ranking]
            [(1, 'λ=0, η=0.1'), (2, 'λ=0, η=1e-09')]
        """
        scalings = [self.scaling_of(i).name for i in range(len(self.runs))]
        places: dict[tuple[object, ...], list[int]] = {}
        for position, (run, scaling) in enumerate(zip(self.runs, scalings, strict=True)):
            places.setdefault((*run.setting, scaling), []).append(position)
        first = [own[0] for own in places.values()]
        kinds = _kinds([self.runs[i] for i in first], [scalings[i] for i in first])
        sign = 1.0 if self.metric.greater else -1.0
        settings = (_measured(self, *each) for each in zip(places.values(), kinds, strict=True))
        ranked = sorted(
            settings,
            key=lambda s: (
                *(math.isnan(s.score), s.untrained > 0, s.diverged > 0),
                *(-sign * s.score, s.loss),
            ),
        )
        return tuple(replace(setting, rank=rank) for rank, setting in enumerate(ranked, start=1))

    @property
    def best(self) -> Model:
        """The model of the best setting in `ranking`: its seed of the best score.

        Example:
            >>> from onelayer import load, sweep
            >>> result = sweep(load("digits"), learning_rate=[1e-9, 0.1], epochs=2)
            >>> result.best.settings["learning_rate"]
            0.1
        """
        return self.model(self.best_position)

    @property
    def best_position(self) -> int:
        """Position of the run that `best` is the model of."""
        alive = [i for i in self.ranking[0].positions if self.outcomes[i].status != "diverged"]
        return self.best_of(alive or self.ranking[0].positions)

    def best_of(self, positions: Sequence[int]) -> int:
        """The position with the best score; the first of equals, and measured ones first."""
        merits = self.scores if self.metric.greater else -self.scores
        return max(positions, key=lambda i: merits[i] if math.isfinite(merits[i]) else -math.inf)


@dataclass(frozen=True)
class RankedSetting:
    """A setting's place among all settings of a result.

    Attributes:
        rank: from 1.
        name: the setting's name.
        mean: mean validation accuracy over its seeds, a fraction; NaN if none was measured. Runs
            that diverged are left out.
        sd: standard deviation over the seeds, likewise; 0 for one seed.
        score: mean over the same runs of what settings are ranked by.
        score_sd: its standard deviation.
        loss: mean validation loss of the same runs, nats.
        positions: of its runs in the result, one per seed.
        diverged: how many of them diverged.
        untrained: how many were interrupted before their first epoch.
        learning_rate: η.
        l2: λ.
        l1: λ₁.
        grouped: whether λ₁ is of the norm of each feature's weights.
        batch_size: rows of a batch.
        kind: what else sets it apart from other settings of the result, as in "batch 50,
            standardize"; its name where only that does, empty where η and λ say all.
    """

    rank: int
    name: str
    mean: float
    sd: float
    score: float
    score_sd: float
    loss: float
    positions: tuple[int, ...]
    diverged: int
    untrained: int
    learning_rate: float
    l2: float
    l1: float
    grouped: bool
    batch_size: int
    kind: str


def _kinds(runs: Sequence[Run], scalings: Sequence[str]) -> list[str]:
    """What besides η and λ sets each setting apart; its name where nothing else does."""
    words = spell(runs, {*differing(runs)} - {*FIRST_WORDS})
    if len({*scalings}) > 1:
        words = [", ".join(filter(None, both)) for both in zip(words, scalings, strict=True)]
    shown = [(run.l2, run.learning_rate, kind) for run, kind in zip(runs, words, strict=True)]
    times = Counter(shown)
    return [
        own[-1] if times[own] == 1 else ", ".join(filter(None, (own[-1], run.name)))
        for run, own in zip(runs, shown, strict=True)
    ]


def _measured(result: Result, positions: list[int], kind: str) -> RankedSetting:
    run = result.runs[positions[0]]
    kept = [i for i in positions if result.outcomes[i].status != "diverged"]
    last = [result.outcomes[i].epochs for i in kept]
    accuracies = result.validation_accuracy[kept]
    losses, scores = result.history.validation_loss[kept, last], result.scores[kept]
    return RankedSetting(
        rank=0,
        name=run.name,
        mean=float(accuracies.mean()) if kept else math.nan,
        sd=float(accuracies.std(ddof=1)) if len(kept) > 1 else 0.0,
        score=float(scores.mean()) if kept else math.nan,
        score_sd=float(scores.std(ddof=1)) if len(kept) > 1 else 0.0,
        # Divided first, or the sum of the largest losses is infinite.
        loss=float(np.sum(losses / len(kept))) if kept else math.nan,
        positions=tuple(positions),
        diverged=len(positions) - len(kept),
        untrained=sum(result.outcomes[i].is_untrained for i in positions),
        learning_rate=run.eta,
        l2=run.l2,
        l1=run.l1,
        grouped=run.l1 > 0.0 and run.grouped,
        batch_size=run.batch,
        kind=kind,
    )
