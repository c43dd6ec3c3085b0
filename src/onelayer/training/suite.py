"""`Suite`: the heads of many feature sets, and how they are kept on disk as they come.

While a suite is worked for, its run folder holds checkpoints/head-000001.safetensors and so on, one
for each finished head, after head-000000, which says how many there will be; and the λ path of the
head under way in path.NAME-000001.safetensors, NAME a hash of the set's name; then its scores on
few shots in shots.NAME-000001.safetensors.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

import numpy as np

from onelayer.data.dataset import DataCard
from onelayer.errors import CheckpointWarning, DataError, SaveError, SettingsError, one_line
from onelayer.files.atomic import durable_file
from onelayer.files.manifest import CHECKPOINTS, own_checkpoints
from onelayer.files.provenance import Command
from onelayer.files.records import MAY_LACK
from onelayer.files.saved import Saved
from onelayer.model.calibration import Calibration
from onelayer.model.certificate import Certificate
from onelayer.model.intervals import Z95
from onelayer.model.metrics import Measurement, Metric, metric_of
from onelayer.model.model import Model
from onelayer.solver.path import Path
from onelayer.solver.selection import (
    IN_SCORES,
    Choice,
    Score,
    accuracy_interval,
    accuracy_words,
    merit,
)
from onelayer.solver.solver import Status
from onelayer.training.checkpoint import (
    HEAD,
    PATH,
    SHOTS,
    Checkpoint,
    Fingerprint,
    differences,
    newest_first,
    read_state,
    write_state,
)


@dataclass(frozen=True)
class Solution:
    """One λ of a head: what was proven, and how it scores.

    Attributes:
        certificate: cost and gap.
        status: how the solver ended.
        passes: over the training rows.
        seconds: wall time.
        train: score on the training rows.
        held_out: scores on the rows that λ is chosen by: one for the validation rows, or one for
            each fold.
    """

    certificate: Certificate
    status: Status
    passes: int
    seconds: float
    train: Score
    held_out: tuple[Score, ...]

    @property
    def l2(self) -> float:
        """λ."""
        return self.certificate.l2


class _Judged:
    """What is judged on the test rows."""

    test: Score
    test_metrics: tuple[Measurement, ...]

    def test_of(self, by: str) -> tuple[float, float, float] | None:
        """A metric on the test rows with its 95 % interval; None where it was not measured."""
        for one in self.test_metrics:
            if one.metric == by:
                return one.value, one.low, one.high
        if by not in IN_SCORES:
            return None
        if by == "accuracy":
            return self.test.accuracy, *self.test.interval
        loss, error = self.test.of(by)
        return loss, loss - Z95 * error, loss + Z95 * error


@dataclass(frozen=True)
class Baseline(_Judged):
    """How far a classifier comes on the features of a head that is no probe.

    Attributes:
        name: "majority class", "class means", "5 nearest" or "20 nearest".
        test: score on the test rows.
        test_metrics: other metrics on the test rows, with their intervals; see `Path`.
    """

    name: str
    test: Score
    test_metrics: tuple[Measurement, ...] = ()


@dataclass(frozen=True)
class FewShots:
    """Heads of few training rows, one for each repeat, all of one λ.

    Attributes:
        shots: training rows of each class; None where a fraction of each was taken.
        fraction: of the training rows of each class; None where there are shots.
        rows: training rows of a repeat.
        validation_rows: rows of a repeat that λ was chosen by.
        l2s: the λ that were tried, largest first, (P,).
        held_out: for each λ a score for each repeat, on its own validation rows, (P, R).
        chosen: position of the λ with the best mean of them.
        test: a score for each repeat on the test rows, (R,).
        certificates: of the chosen heads, (R,).
        optimal: how many of the P · R solutions have the gap that was asked for.
        gap: the largest gap of all, relative to its cost; infinite where λ = 0 alone was tried.
        seconds: wall time.
    """

    shots: int | None
    fraction: float | None
    rows: int
    validation_rows: int
    l2s: tuple[float, ...]
    held_out: tuple[tuple[Score, ...], ...]
    chosen: int
    test: tuple[Score, ...]
    certificates: tuple[Certificate, ...]
    optimal: int
    gap: float
    seconds: float

    @property
    def l2(self) -> float:
        """The chosen λ."""
        return self.l2s[self.chosen]

    @property
    def repeats(self) -> int:
        """R, how often rows were drawn."""
        return len(self.test)

    @property
    def size(self) -> float:
        """Shots, or the fraction."""
        return float(self.shots or self.fraction or 0.0)

    @property
    def label(self) -> str:
        """The size in words, as in "4 shots" and "10 %"."""
        if self.shots is None:
            return f"{100.0 * self.size:g} %"
        return f"{self.shots} shot{'s' if self.shots > 1 else ''}"

    def mean(self, by: str = "accuracy") -> tuple[float, float]:
        """Mean of the test scores over the repeats, and their standard deviation."""
        values = [one.of(by)[0] for one in self.test]
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        return float(np.mean(values)), spread


@dataclass(frozen=True, eq=False)
class Head(_Judged):
    """The chosen model of one feature set, and the figures of every λ that was solved.

    Attributes:
        name: of the feature set.
        model: of the chosen λ, with its certificate.
        solutions: one for each λ, largest first.
        chosen: position of the chosen λ.
        test: score of the model on the test rows.
        dtype: type of the features as stored.
        seconds: wall time of the whole head.
        made_from: sizes and hashes of the rows, and the settings.
        test_metrics: other metrics on the test rows, with their intervals; see `Path`.
        baselines: other classifiers on the same features; empty where none were asked for.
        few_shots: what heads of fewer training rows do, fewest first.
    """

    name: str
    model: Model
    solutions: tuple[Solution, ...]
    chosen: int
    test: Score
    dtype: str
    seconds: float
    made_from: Fingerprint = field(repr=False)
    test_metrics: tuple[Measurement, ...] = field(default=(), metadata=MAY_LACK)
    baselines: tuple[Baseline, ...] = field(default=(), metadata=MAY_LACK)
    few_shots: tuple[FewShots, ...] = field(default=(), metadata=MAY_LACK)

    @classmethod
    def of_path(cls, name: str, path: Path, dtype: str, made_from: Fingerprint) -> Head:
        """The head of a feature set from its path."""
        assert path.test is not None  # noqa: S101  # of a path that was just solved
        scored = zip(path.models, path.model_seconds, path.train, path.held_out, strict=True)
        return cls(
            name=name,
            model=replace(path.best, settings={**path.best.settings, "name": name}),
            solutions=tuple(
                Solution(
                    model.require_certificate(),
                    model.settings["status"],
                    model.settings["passes"],
                    seconds,
                    train,
                    held_out,
                )
                for model, seconds, train, held_out in scored
            ),
            chosen=path.chosen,
            test=path.test,
            dtype=dtype,
            seconds=sum(path.seconds.values()),
            made_from=made_from,
            test_metrics=path.test_metrics,
        )

    @property
    def solved(self) -> int:
        """How many solutions it took."""
        return len(self.solutions) + sum(len(few.l2s) * few.repeats for few in self.few_shots)

    @property
    def best(self) -> Solution:
        """The solution of the chosen λ."""
        return self.solutions[self.chosen]

    @property
    def l2(self) -> float:
        """The chosen λ."""
        return self.best.l2

    @property
    def test_interval(self) -> tuple[float, float]:
        """The 95 % interval of the test accuracy: Wilson's, or of whole groups."""
        return accuracy_interval(self.test, self.test_metrics)[:2]

    def test_words(self, by: str = "accuracy") -> str:
        """A metric on the test rows with its interval."""
        found, metric = self.test_of(by), metric_of(by)
        if by == "accuracy" or found is None:
            return accuracy_words(self.test, self.test_metrics)
        ends = f"{metric.number(found[1])} to {metric.words(found[2])}"
        return f"{metric.words(found[0])} (95 % interval {ends})"

    @property
    def at_edge(self) -> bool:
        """Whether the chosen λ > 0 is the smallest or the largest of several that were tried."""
        ends = {self.solutions[0].l2, self.solutions[-1].l2}
        return len(ends) > 1 and self.l2 > 0.0 and self.l2 in ends


@dataclass(frozen=True, eq=False, repr=False)
class Suite(Saved):
    """Certified heads of many feature sets, all of the same rows, labels and parts.

    Attributes:
        heads: one for each feature set, in the order of the sets.
        choice: how λ was chosen, and what heads are ranked by.
        data: the rows that all sets share.
        sets: number of feature sets; more than heads where it was interrupted.
        folds: number of folds that chose λ; 0 where the validation rows did.
        seconds: wall time of each phase.
        environment: engine, library versions, processor, threads.
        command: the command line that made it; None when it was made from Python.
        interrupted: whether Ctrl-C ended it.
        calibrations: of the models that `onelayer calibrate` wrote for this run folder.

    Example:
        >>> import numpy as np, onelayer as ol
        >>> rng = np.random.default_rng(0)
        >>> labels = rng.integers(0, 2, 200)
        >>> noise = rng.normal(size=(200, 2, 5))
        >>> suite = ol.probe(noise + [[[0.0], [2.0]]] * labels[:, None, None], labels, l2=[0.1])
        >>> suite.best.name, suite["layer1"].l2
        ('layer1', 0.1)
    """

    heads: tuple[Head, ...]
    choice: Choice
    data: DataCard
    sets: int
    folds: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    command: Command | None = None
    interrupted: bool = False
    calibrations: tuple[Calibration, ...] = field(default=(), metadata=MAY_LACK)

    def __getitem__(self, name: str) -> Head:
        """The head of the feature set of that name."""
        for head in self.heads:
            if head.name == name:
                return head
        known = ", ".join(self.names)
        raise SettingsError(f"there is no feature set {name!r}; feature sets: {known}.")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the feature sets that have a head."""
        return tuple(head.name for head in self.heads)

    @property
    def ranking(self) -> tuple[Head, ...]:
        """Heads by their score on the rows that λ was chosen by, best first; ties in order."""
        by = self.choice.by
        return tuple(sorted(self.heads, key=lambda head: -merit(head.best.held_out, by)[0]))

    @property
    def best(self) -> Head:
        """The first of the ranking: `best.name`, `best.model`."""
        return self.ranking[0]

    @property
    def test_metric(self) -> Metric:
        """What test scores are shown by: the metric of the choice, or accuracy without it."""
        by = self.choice.by
        measured = all(head.test_of(by) is not None for head in self.heads)
        return metric_of(by if measured else "accuracy")

    @property
    def proof_sentence(self) -> str:
        """How many solutions have the gap that was asked for, and the largest gap."""
        solutions = [one for head in self.heads for one in head.solutions]
        bounded = [one.certificate for one in solutions if one.l2 > 0.0]
        few = [one for head in self.heads for one in head.few_shots]
        near = sum(one.status == "optimal" for one in solutions) + sum(one.optimal for one in few)
        count = sum(head.solved for head in self.heads)
        words = f"{near:,} of {count:,} solutions are optimal to the gap that was asked for"
        gaps = [one.gap / one.cost for one in bounded]
        gaps += [one.gap for one in few if math.isfinite(one.gap)]
        if not gaps:
            return f"{words}; for λ = 0 no bound exists"
        worst = max(gaps)
        return f"{words}; the largest is {worst:.1e} of the cost"

    @property
    def findings(self) -> tuple[str, ...]:
        """Sentences on all heads: what was proven, λ at an edge, and what an interruption left."""
        sentences = [self.proof_sentence]
        if edges := [head.name for head in self.heads if head.at_edge]:
            named = ", ".join(edges[:4]) + (f", … ({len(edges)} sets)" if len(edges) > 4 else "")
            sentences.append(f"the chosen λ is the smallest or largest that was tried: {named}")
        if self.best.baselines:
            beside = [f"{one.name} {100 * one.test.accuracy:.2f} %" for one in self.best.baselines]
            words = f"test accuracy on the features of {self.best.name} without a probe"
            sentences.append(f"{words}: {', '.join(beside)}")
        if len(self.heads) < self.sets:
            sentences.append(f"interrupted: {len(self.heads)} of {self.sets} heads are finished")
        return tuple(sentences)

    @property
    def verdict(self) -> tuple[str, ...]:
        """Sentences: the best set, its test accuracy, and the findings on all heads."""
        best, several, shown = self.best, len(self.heads) > 1, self.test_metric
        rows = f"{self.folds} folds" if self.folds else "the validation rows"
        how = f" of {len(self.heads)} by {self.choice.metric.title} on {rows}" if several else ""
        return (
            f"best feature set{how}: {best.name}, λ = {best.l2:.3g}",
            f"test {shown.title} of {best.name}: {best.test_words(shown.name)}",
            *self.findings,
        )


@dataclass(frozen=True, eq=False)
class HeadState:
    """A finished head, and how many of all heads are; no head says how many there will be."""

    head: Head | None
    done: int
    total: int


class HeadKeeper:
    """Keeps heads in a run folder as they come, and knows those that are there."""

    def __init__(
        self, checkpoint: Checkpoint, before: Sequence[Head], names: Sequence[str]
    ) -> None:
        self._checkpoint, self._place = checkpoint, FilePath(checkpoint.folder) / CHECKPOINTS
        self.heads = {head.name: head for head in before}
        files = [file for _, file in newest_first(self._place, HEAD)]
        if not checkpoint.resume:
            _remove(self._place, HEAD, PATH, SHOTS)
            files = []
        plans = [file for file in files if not self._take(file)]
        self.total = len({*names, *self.heads})
        if checkpoint.resume and checkpoint.log is not None:
            done = f"{len(self.heads)} of {self.total} heads done"
            checkpoint.log(f"resuming from {checkpoint.folder}: {done}")
        self._write(None)
        for file in plans:
            file.unlink(missing_ok=True)

    def checkpoint_of(self, name: str) -> Checkpoint:
        """Where the path of a head is kept while it is under way."""
        return replace(self._checkpoint, name=_own_name(PATH, name), overwrite=True, log=None)

    def checkpoint_of_shots(self, name: str) -> Checkpoint:
        """Where what is learned of few rows is kept while a head is under way."""
        return replace(self.checkpoint_of(name), name=_own_name(SHOTS, name))

    def require(self, head: Head, made_from: Mapping[str, Any]) -> None:
        """Raise `SaveError` unless a head is of these rows and settings."""
        own = {name: head.made_from.get(name) for name in made_from}
        if changed := "; ".join(differences(own, made_from)):
            raise SaveError(
                f"cannot resume {self._checkpoint.folder}: for the feature set {head.name!r}, "
                f"{changed}. Use the original data and settings, or name another folder."
            )

    def keep(self, head: Head) -> None:
        """Write a finished head; its path under way is then of no more use."""
        self.heads[head.name] = head
        self._write(head)
        _remove(self._place, *(_own_name(kind, head.name) for kind in (PATH, SHOTS)))

    def _take(self, file: FilePath) -> bool:
        """Take the head of a file; whether there was one."""
        try:
            state, _ = read_state(file, HeadState)
        except (OSError, DataError) as error:
            reason = error.strerror if isinstance(error, OSError) else one_line(error)
            _warn(f"cannot read {file}, its head is solved again: {reason}")
            return False
        if state.head is not None:
            self.heads.setdefault(state.head.name, state.head)
        return state.head is not None

    def _write(self, head: Head | None) -> None:
        state = HeadState(head, len(self.heads), self.total)
        number = max((n for n, _ in newest_first(self._place, HEAD)), default=-1) + 1
        made_from = {} if head is None else head.made_from
        try:
            self._place.mkdir(parents=True, exist_ok=True)
            with durable_file(self._place / f"{HEAD}-{number:06d}.safetensors") as stream:
                write_state(stream, state, made_from, self._checkpoint.command)
        except OSError as error:
            _warn(f"cannot keep a head in {self._place}: {error.strerror or error}.")


def _own_name(kind: str, name: str) -> str:
    return f"{kind}.{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _remove(place: FilePath, *names: str) -> None:
    """Remove the checkpoints of these names and of their parts."""
    for file in own_checkpoints(place.parent):
        name = file.name.removeprefix(".").removesuffix(".part").rpartition("-")[0]
        if name in names or name.partition(".")[0] in names:
            file.unlink(missing_ok=True)


def _warn(message: str) -> None:
    warnings.warn(message, CheckpointWarning, stacklevel=4)
