"""The λ path: the optimum of many λ on the same rows, each certified, and one of them chosen.

From the largest λ down, each solution starts where the last one ended, moved on by the last change,
and inherits its steps; the preconditioner is fitted once. With folds, the models of each fold are a
path of their own that shares the preconditioner and moves from one λ to the next as the solution of
all rows did. The start tells nothing of the held-out rows: for λ > 0 J is strictly convex, so its
minimum is the same from every start, and the proven gap holds W near it, ‖W − W*‖² ≤ gap / λ. For
λ = 0 many W may be as good, and with a wide tol W stays near its start: then each fold starts where
its own last solution ended.

Where no λ are given, the data say which. At W = 0 and the best bias for it, the certificate is

    J(0, b°) − J* ≤ ‖G₀‖² / (4λ)      G₀ = ∇_W J(0, b°) = (1/N) Σ (π − yᵢ) xᵢᵀ      J(0, b°) = H(π)

with the class frequencies π and their entropy H, so at λ = ‖G₀‖² / (4 ε H) no weights lower the
cost by more than the fraction ε: the solution is as good as nothing. From there λ goes down until
the held-out score has turned, as long as its lower end is best.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from numbers import Integral
from types import MappingProxyType
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.data import Splits
from onelayer.data.dataset import DataCard
from onelayer.data.rows import Rows
from onelayer.data.scaling import Scaling
from onelayer.engines import Engine, Weights
from onelayer.errors import SettingsError, as_values, is_number, one_line, plain
from onelayer.files.provenance import Command
from onelayer.files.records import MAY_LACK, MaybeNone
from onelayer.files.saved import Saved
from onelayer.model.calibration import Calibration
from onelayer.model.evaluation import Mistakes
from onelayer.model.metrics import Measurement
from onelayer.model.model import Model
from onelayer.objective.penalty import Penalty
from onelayer.solver.certificate import certify_weights
from onelayer.solver.linalg import norm
from onelayer.solver.many_labels import first_biases
from onelayer.solver.proximal import ProximalSolver, ProximalSolvers, Sparsity
from onelayer.solver.reduction import AnySolver, Solvers
from onelayer.solver.selection import (
    IN_SCORES,
    Choice,
    Part,
    Score,
    accuracy_interval,
    accuracy_words,
    choose,
    has_turned,
    merit,
    score,
)
from onelayer.solver.solver import TINY, Optimum, SolverState, Target, first_bias

Float64 = NDArray[np.float64]


# ε of the largest λ, and the decades under it that hold the given number of λ. No more than twice
# as many decades are tried; features come one after another within two.
NOTHING, DECADES, L1_DECADES = 0.01, 4, 2

# Probabilities are far off where their loss is higher by this than need be, nats: as that of 0.9
# for what is certain.
FAR = 0.1

# The largest tol with which folds move as all rows do: W is then within √tol · √(J/λ) of W*.
SHARED_TOL = 1e-4


@dataclass(frozen=True, eq=False, repr=False)
class Path(Saved):
    """Certified optima of P values of λ on the same training rows, and the chosen one.

    Attributes:
        models: one for each λ, largest λ first, each with its certificate, status and passes.
        train: scores on the training rows, P of them.
        held_out: scores on the rows that λ is chosen by, for each λ: one for the validation rows,
            or one for each fold.
        chosen: position of the chosen λ.
        choice: how it was chosen.
        data: the data that it was solved on.
        test: score of the chosen model on the test rows.
        folds: number of folds; 0 where the validation rows were used.
        model_seconds: wall time of each solution.
        seconds: wall time of each phase.
        environment: engine, library versions, processor, threads.
        command: the command line that made it; None when it was made from Python.
        l2_from_data: whether the λ were taken from the data.
        interrupted: whether Ctrl-C ended it.
        mistakes: test rows that the chosen model gets wrong with the most confidence.
        test_metrics: the metric that λ was chosen by on the test rows, with its interval, unless it
            is accuracy or log loss, or is not defined there; and, where rows have groups, accuracy
            with an interval of whole groups.
        refitted: a model of the chosen λ fitted to the training and validation rows, with its
            certificate, which `best` and `test` then are; None where it was not asked for.
        calibrations: of the models that `onelayer calibrate` wrote for this run folder.

    Example:
        >>> import onelayer as ol
        >>> path = ol.solve_path(ol.load("digits"), l2=[1.0, 0.01])
        >>> path.best.l2, path.best.status, round(path.test.accuracy, 3)
        (0.01, 'optimal', 0.935)
    """

    models: tuple[Model, ...]
    train: tuple[Score, ...]
    held_out: tuple[tuple[Score, ...], ...]
    chosen: int
    choice: Choice
    data: DataCard
    test: Score | MaybeNone = None
    folds: int = 0
    model_seconds: tuple[float, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    command: Command | None = None
    l2_from_data: bool = False
    interrupted: bool = False
    mistakes: Mistakes | None = field(default=None, metadata=MAY_LACK)
    test_metrics: tuple[Measurement, ...] = field(default=(), metadata=MAY_LACK)
    refitted: Model | None = field(default=None, metadata=MAY_LACK)
    calibrations: tuple[Calibration, ...] = field(default=(), metadata=MAY_LACK)

    @classmethod
    def of_optima(
        cls,
        optima: Sequence[Optimum],
        held_out: Sequence[tuple[Score, ...]],
        *,
        scaling: Scaling,
        settings: Mapping[str, Any] = MappingProxyType({}),
        **parts: Any,
    ) -> Path:
        """A path of the solver's results, whose models have these settings beside their own.

        The other parts are attributes by name.
        """
        models = []
        for position, (optimum, scores) in enumerate(zip(optima, held_out, strict=True)):
            chosen = {"folds": parts.get("folds", 0), "chosen": position == parts["chosen"]}
            own = {
                "validation_accuracy": float(np.mean([score.accuracy for score in scores])),
                "choice": asdict(parts["choice"]) | chosen,
            }
            environment = parts.get("environment", {})
            models.append(optimum.model(scaling, parts["data"], environment, {**settings, **own}))
        seconds = tuple(optimum.seconds for optimum in optima)
        return cls(tuple(models), held_out=tuple(held_out), model_seconds=seconds, **parts)

    @property
    def best(self) -> Model:
        """The chosen model, or the one of its λ that was fitted to the validation rows as well."""
        return self.models[self.chosen] if self.refitted is None else self.refitted

    @property
    def l2(self) -> Float64:
        """λ of each model, shape (P,), descending."""
        return np.array([model.l2 for model in self.models])

    @property
    def l1(self) -> Float64:
        """λ₁ of each model, shape (P,), descending; 0 where there is none."""
        return np.array([model.require_certificate().l1 for model in self.models])

    @property
    def strengths(self) -> Float64:
        """What the path goes through, shape (P,): λ₁, or λ where there is none."""
        return np.array([model.require_certificate().strength for model in self.models])

    @property
    def symbol(self) -> str:
        """The name of what the path goes through: λ₁ or λ."""
        return "λ₁" if self.is_sparse else "λ"

    @property
    def is_sparse(self) -> bool:
        """Whether it goes through λ₁, so that solutions choose features."""
        return bool(self.l1.any())

    @property
    def best_strength(self) -> float:
        """The chosen λ₁ or λ."""
        return self.best.require_certificate().strength

    @property
    def scaling(self) -> Scaling:
        """The scaling of all models."""
        return self.models[0].scaling

    @property
    def edge(self) -> Literal["smallest", "largest"] | None:
        """Which end of the λ that were tried was chosen; None inside, or for λ = 0."""
        l2s, best = self.strengths, self.best_strength
        if len(l2s) < 2 or best == 0.0 or l2s.min() < best < l2s.max():
            return None
        return "smallest" if best == l2s.min() else "largest"

    @property
    def test_interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the test accuracy: Wilson's, or of whole groups."""
        return None if self.test is None else accuracy_interval(self.test, self.test_metrics)[:2]

    @property
    def test_words(self) -> str:
        """The test accuracy with its interval, in percent; empty without test rows."""
        return "" if self.test is None else accuracy_words(self.test, self.test_metrics)

    @property
    def edge_sentence(self) -> str:
        """That the chosen λ lies at an end of those tried; empty where it does not."""
        if self.edge is None:
            return ""
        further = {"smallest": "smaller", "largest": "larger"}[self.edge]
        then = f"a still {further} one may do better."
        if self.edge == "largest" and self.l2_from_data:
            then = "at it the features say hardly more than the class frequencies."
        elif len({merit(scores, self.choice.by)[0] for scores in self.held_out}) == 1:
            return f"All {self.symbol} that were tried do equally well: others may do better."
        return f"The chosen {self.symbol} is the {self.edge} that was tried: {then}"

    @property
    def calibration_sentence(self) -> str:
        """That the probabilities of a λ chosen by accuracy are far off; empty where they are not.

        They are where another λ has a held-out loss that is lower by more than twice the standard
        error of the chosen one's, and by 0.1.
        """
        chosen, error = merit(self.held_out[self.chosen], "log_loss")
        best = choose(self.held_out, Choice("log_loss"))
        lowest = merit(self.held_out[best], "log_loss")[0]
        if self.choice.by == "log_loss" or lowest - chosen <= max(2.0 * error, FAR):
            return ""
        return (
            f"The probabilities of {self.symbol} = {self.best_strength:.3g} are far off: its "
            f"held-out loss is {-chosen:.3g}, and {-lowest:.3g} at {self.symbol} = "
            f"{self.strengths[best]:.3g}. For probabilities "
            'choose by log loss (scoring="neg_log_loss", --scoring neg_log_loss).'
        )

    @property
    def verdict(self) -> tuple[str, ...]:
        """Sentences: the chosen λ, whether it lies at an edge, its rows, and its test accuracy."""
        l2s, best, symbol = self.strengths, self.best_strength, self.symbol
        of = f" of {len(l2s)} from {l2s.max():.3g} to {l2s.min():.3g}" if len(l2s) > 1 else ""
        sentences = [f"chosen: {symbol} = {best:.3g}{of}", self.edge_sentence]
        if self.is_sparse:
            sentences.insert(1, self.best.features_sentence)
        if self.refitted is not None:
            rows = self.data.train_rows + self.data.validation_rows
            sentences.append(
                f"then refitted to all {rows:,} training and validation rows: "
                f"{self.refitted.require_certificate().sentence}"
            )
        elif self.folds:
            sentences.append(
                f"its model was fitted to all {self.data.train_rows:,} training rows; the "
                f"{self.data.validation_rows:,} validation rows were not used"
            )
        if self.test is not None:
            sentences.append(f"test accuracy of {symbol} = {best:.3g}: {self.test_words}")
        others = [one for one in self.test_metrics if one.metric not in IN_SCORES]
        sentences += [f"on the test rows: {measured}" for measured in others]
        sentences.append(self.calibration_sentence)
        return tuple(filter(None, sentences))


@dataclass(frozen=True)
class PathProgress:
    """State of a path: `done` of `total` solutions."""

    done: int
    total: int


def l2_values(l2: int | ArrayLike, name: str = "l2") -> tuple[float, ...] | int:
    """The values of λ of a sequence, each once, descending; or how many the data shall give.

    Example:
        >>> l2_values([0.1, 1, 0.1]), l2_values(5)
        ((1.0, 0.1), 5)
    """
    count, symbol = plain(l2), "λ₁" if name == "l1" else "λ"
    if is_number(count, Integral):
        if count < 2:
            raise SettingsError(
                f"{name} must be values of {symbol}, as in [0.1], or how many the data give, 2 or "
                f"more, but {l2!r} was given."
            )
        return int(count)
    values = as_values(l2)
    if not values or not all(map(is_number, values)):
        raise SettingsError(
            f"{name} must be a number of values of {symbol}, or at least one value, but "
            f"{one_line(repr(l2))} was given."
        )
    return tuple(sorted(map(float, set(values)), reverse=True))


def largest_l2(engine: Engine, rows: Rows, classes: int) -> float:
    """‖G₀‖² / (4 ε H), to three digits: above it W is as good as 0; one pass over the rows.

    With weights that are not penalised, or offsets, G₀ is where those are best.
    """
    W = np.zeros((classes, rows.X.shape[1]))
    b = first_biases(rows, classes) if rows.y.ndim == 2 else first_bias(rows, classes)
    if rows.penalty_factors is None and rows.score_offsets is None:
        loss, G, *_ = engine.gradient(rows, Weights(W[None], b[None]))
        cost, slope = float(loss[0]), norm(G)
    else:
        best = certify_weights(engine, rows, W, b, Penalty(1.0)).best
        cost, slope = best.cost, best.gradient_norm
    largest = slope**2 / (4.0 * NOTHING * max(cost, TINY))
    return float(f"{largest:.2e}") or 1.0


@dataclass(frozen=True, eq=False)
class PathState:
    """A path between two λ: its solutions, and all that the next one depends on.

    Attributes:
        optima: the solutions so far, largest λ first.
        scores: of each on the held-out rows of every part.
        solvers: of all rows, then of each part that models of its own are fitted to.
        seconds: wall time so far.
        total: λ there will be, unless the scores turn later.
    """

    optima: tuple[Optimum, ...] = ()
    scores: tuple[tuple[Score, ...], ...] = ()
    solvers: tuple[SolverState, ...] = ()
    seconds: float = 0.0
    total: int = 0

    @property
    def done(self) -> int:
        """λ that are solved."""
        return len(self.optima)

    def sizes(self, K: int, D: int, folds: int) -> Iterator[tuple[str, Any, Any]]:
        """Name, size and expected size of what must fit together."""
        for optimum in self.optima:
            yield "optima", (optimum.W.shape, optimum.b.shape), ((K, D), (K,))
        yield "scores", [len(of) for of in self.scores], [max(folds, 1)] * self.done
        yield "solvers", len(self.solvers), 1 + folds if self.done else 0
        for solver in self.solvers:
            arrays = [solver.at, solver.moved, *(part for pair in solver.pairs for part in pair)]
            width = min(solver.at.shape[-1], D + 1)  # less in coordinates of the rows' span
            yield "solvers", [array.shape for array in arrays], [(K, width)] * len(arrays)


class KeepsStates(Protocol):
    """Writes states of a path and finds the latest one: a `CheckpointManager`."""

    def latest(self, check: Callable[[PathState], None]) -> PathState | None:
        """The latest one that `check` does not refuse."""

    def hold(self, state: PathState) -> None:
        """Write it if it is time for that."""

    def flush(self) -> None:
        """Write the last one that was held, unless it is written."""


class Keeps(Protocol):
    """Where states of a path are written: a `Checkpoint`, which is of a higher package."""

    def managing_path(
        self, kind: type[PathState], data: Splits, engine: Engine, settings: dict[str, Any]
    ) -> AbstractContextManager[KeepsStates]:
        """Writes them while the block runs."""


def extrapolation(l2: Sequence[float], done: int) -> float:
    """Of the step to the last of the solutions that are done, what the next one takes again.

    W changes about evenly with log λ.

    Example:
        >>> [round(extrapolation([1.0, 0.1, 0.01, 0.005, 0.0], done), 3) for done in range(5)]
        [0.0, 0.0, 1.0, 0.301, 0.0]
    """
    if done < 2 or l2[done] == 0.0:
        return 0.0
    before, last, following = l2[done - 2 : done + 1]
    return min(1.0, math.log(last / following) / math.log(before / last))


def solve_each(
    engine: Engine,
    rows: Rows,
    classes: int,
    l2: Sequence[float] | int,
    target: Target,
    parts: Sequence[Part],
    by: str,
    on_progress: Callable[[PathProgress], None] | None = None,
    start: PathState = PathState(),  # frozen
    keep: Callable[[PathState], None] | None = None,
    sparsity: Sparsity | None = None,
) -> tuple[PathState, bool]:
    """Solve one λ after another, largest first, and score each on the held-out rows of every part.

    The λ are those given, descending, or so many to four decades from the largest that the data
    give, until the score has turned. With a sparsity they are λ₁, over two decades. The other aims
    are the target's. It goes on from a `start` to the same bits, gives each state to `keep`, and
    says whether Ctrl-C ended it.
    """
    began = time.perf_counter() - start.seconds
    planned = l2 if isinstance(l2, int) else len(l2)
    paths = 1 + sum(kept is not None for kept, _ in parts)
    made: Solvers | ProximalSolvers = (
        Solvers(engine, rows, classes, planned * paths)
        if sparsity is None
        else ProximalSolvers(engine, rows, classes)
    )
    solver = made.of_all()
    if isinstance(l2, int):
        decades = DECADES if sparsity is None else L1_DECADES
        decade = math.ceil((l2 - 1) / decades)
        exponents = -decades / (l2 - 1) * np.arange(2 * l2 - 1)
        if sparsity is not None and isinstance(solver, ProximalSolver):
            largest = solver.largest_l1(grouped=sparsity.grouped) or 1.0
        else:
            largest = largest_l2(engine, rows, classes)
        l2 = [float(value) for value in largest * 10.0**exponents]
    else:
        decade = planned
    if sparsity is None:
        targets = [replace(target, l2=value) for value in l2]
    else:
        targets = [sparsity.target(target, value, classes) for value in l2]
    judges: list[tuple[AnySolver | ProximalSolver, Rows]] = []
    for kept, held_out in parts:
        judges.append((solver, held_out) if kept is None else made.of_part(kept, held_out))
    solvers = list(dict.fromkeys([solver, *(of for of, _ in judges)]))
    for each, before in zip(solvers, start.solvers, strict=False):
        each.restore(before)

    def has_ended(state: PathState) -> bool:
        turned = state.done > 0 and has_turned(state.scores, by, decade)
        return turned or state.done == len(targets)

    state = start
    try:
        while not has_ended(state):
            done = state.done
            if again := extrapolation(l2, done):
                solver.move(again * solver.moved)
            optimum = solver.solve(targets[done]).completed()
            if l2[done] > 0.0 and target.tol <= SHARED_TOL:
                for other in solvers[1:]:
                    other.move(solver.moved)
            judged = [
                optimum if of is solver else of.solve(targets[done]).completed() for of, _ in judges
            ]
            scores = tuple(
                score(engine, held_out, [(o.W, o.b)], by)[0]
                for o, (_, held_out) in zip(judged, judges, strict=True)
            )
            done += 1
            state = PathState(  # in one step, or Ctrl-C comes between its parts
                (*state.optima, optimum),
                (*state.scores, scores),
                () if keep is None else tuple(of.state for of in solvers),
                time.perf_counter() - began,
                max(done, planned),
            )
            if has_ended(state):
                state = replace(state, total=done)
            if keep is not None:
                keep(state)
            if on_progress is not None:
                on_progress(PathProgress(done, state.total))
    except KeyboardInterrupt:
        return state, True
    return state, False
