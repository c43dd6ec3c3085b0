"""The optimum of one λ, with its proof.

    W*, b* = argmin −(1/N) Σ log(yᵀ p) + λ Σ W²

For λ > 0 the gap to the optimum is proven by a certificate; for λ = 0 the search ends where the
gradient vanishes. The search is L-BFGS on centred features (`onelayer.solver.lbfgs`). It gets a
better preconditioner, the curvature of each class where it stands, when its steps have cost as much
as that does; when they have cost as much as Newton's method, that takes over, and the smallest
problems take it at once (`onelayer.solver.newton`). A start that costs more than W = 0, such as
weights of features that changed scale, is replaced by it. Passes are in float32 as long as that is
precise enough, for the proof as well, then in float64.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onelayer.data.dataset import DataCard
from onelayer.data.mapped import check_mapped
from onelayer.data.rows import Rows
from onelayer.data.scaling import EQUAL, Scaling
from onelayer.engines import Engine, Weights, tiles
from onelayer.engines.native import add_penalty, default_threads, without_shared
from onelayer.errors import SettingsError, make_plain, require_number, require_whole
from onelayer.files.records import MAY_LACK
from onelayer.model.certificate import Certificate
from onelayer.model.model import Model, chosen_features, no_optimum_words
from onelayer.model.rows import TILE_ENTRIES
from onelayer.objective.penalty import L2_RANGE, MAX_L2, Penalty
from onelayer.solver.certificate import (
    ABSENT_BELOW,
    FLOAT64,
    ROUNDING,
    Arithmetic,
    Certified,
    Pass,
    Rounding,
    RowSums,
    Sample,
    Search,
    full_gradient,
    improve_biases,
    of_classes,
    passes_of,
)
from onelayer.solver.free import FreeProof, free_rows, prove_with_free
from onelayer.solver.lbfgs import (
    PAIR_BYTES,
    SPARSE_PAIR_BYTES,
    Descent,
    Memory,
    Pair,
    Point,
    Preconditioner,
    descend,
    step_along,
)
from onelayer.solver.linalg import inner, matvec, norm, one_blas_thread
from onelayer.solver.newton import (
    CACHED_ENTRIES,
    LINE_ROWS,
    ClassCurvature,
    DenseRows,
    Ends,
    LineSample,
    Newton,
    Prices,
    choose_preconditioner,
)
from onelayer.solver.own_rows import ClassMeans, OwnCurvature, OwnRows

Float64 = NDArray[np.float64]

Floats = NDArray[np.floating]

# The gap is ≤ tol · J (for λ = 0 the gradient fell by tol); max_passes was reached; the arithmetic
# gives no more; for λ = 0 classes can be separated, so nothing is optimal; or Ctrl-C.
Status = Literal["optimal", "passes", "rounding", "separated", "interrupted"]

DType = Literal["float32", "float64"]

# A pass of fewer products costs no more in float64, or little more where features are far from 0,
# of which less is left in float32.
FLOAT64_PRODUCTS, FAR_FLOAT64_PRODUCTS = 5e5, 2e7

# The relative gap that a descent aims at first, of that to be proven.
FIRST_AIM = 0.5

# What rounding hides of float32 gradients, relative to that at W = 0, and the least gap there; for
# a smaller gap than the last, p̄ is brought to π in float64.
FLOAT32_NOISE, LEAST_FLOAT32_GAP, FLOAT32_TOL = 1e-6, 1e-9, 1e-7

# What is no rounding: a cost so far above that of W = 0, and a relative gap of this size.
SLACK, MAX_ROUNDING_GAP = 1e-6, 1e-9

# The least relative gap that is aimed at; and how many proofs in a row may fail to halve the gap
# before what is left of it counts as rounding.
LEAST_AIM, MAX_STALLED_PROOFS = 1e-40, 4

# The residual of a truncated step of Newton's: of the root of the relative gap, of the root of what
# the gap is to fall by, and at most; and the products with the rows that cost as much as a step of
# L-BFGS.
CHANGE, LAST_RESIDUAL, LARGEST_RESIDUAL, PRODUCTS_OF_STEP = 0.5, 0.3, 0.2, 3

# The relative gap from which on a step by the Hessian is as long as lowers the cost most.
FAR = 0.1

# A sample of rows says it where rows are not in memory, and are at least so many times as many,
# until a step is right as it is.
MANY_ON_LINE, FEW_ON_LINE = 8, 2

# Steps that are still to be taken where the curvature is taken.
STEPS_AFTER = 8

# The change of the loss for which the curvature by own rows is taken anew; what one more step by it
# divides the mixture of a proof by, about, and the most such steps.
CHANGED, ONE_STEP, MOST_FOR_BIAS = 1.5, 4.0, 2

TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Progress:
    """State of the solver after a pass."""

    l2: float
    passes: int  # over the rows so far
    cost: float  # J, nats
    gap: float  # estimate of J − J*, nats; the certificate at the end proves it


@dataclass(frozen=True, eq=False)
class Optimum:
    """What the solver returns for one λ."""

    W: NDArray[np.floating]  # of the scaled features, (K, D), float32 or float64: what sufficed
    b: Float64  # shape (K,)
    certificate: Certificate
    status: Status
    passes: int  # over the rows, those of the certificate too
    seconds: float
    tol: float  # the relative gap that was asked for
    # Classes that planes of features without a penalty, all where λ = 0, part from the rest.
    separated: tuple[tuple[int, ...], ...] = ()
    constant: tuple[int, ...] = ()  # of many labels a row those that no row or every row has

    @property
    def l2(self) -> float:
        """λ."""
        return self.certificate.l2

    def completed(self) -> Optimum:
        """The optimum itself, unless Ctrl-C ended the search: then KeyboardInterrupt again."""
        if self.status == "interrupted":
            raise KeyboardInterrupt
        return self

    def model(
        self,
        scaling: Scaling,
        data: DataCard,
        environment: Mapping[str, str],
        settings: Mapping[str, Any] | None = None,
    ) -> Model:
        """The solution as a model, with these settings beside its own."""
        own = {
            "made_by": "optimum",
            "l2": self.l2,
            "status": self.status,
            "tol": self.tol,
            "passes": self.passes,
        }
        names = [[data.class_names[k] for k in group] for group in self.separated]
        constant = [data.class_names[k] for k in self.constant]
        settings = own | ({"separated": names} if names else {}) | dict(settings or {})
        settings |= {"constant_labels": constant} if constant else {}
        if self.certificate.l1:
            settings |= {"l1": self.certificate.l1, "grouped": self.certificate.grouped}
        return Model.of_data(self.W, self.b, scaling, data, environment, settings, self.certificate)


def describe_solution(solved: Optimum | Model) -> str:
    """What the solver reached, and what to do where it is less than was asked for."""
    certificate = solved.certificate
    assert certificate is not None  # noqa: S101  # the solver gives one
    reached = f"{certificate.penalty}: {certificate.sentence} ({solved.passes} passes)"
    if certificate.l1:
        reached += f"; {chosen_features(solved.W)}"
    groups = solved.settings.get("separated", ()) if isinstance(solved, Model) else solved.separated
    if groups:
        reached += f"; {no_optimum_words(groups, len(solved.W), proven=certificate.is_bound)}"
        if solved.status != "interrupted":
            return reached
    constant = solved.settings.get("constant_labels", ()) if isinstance(solved, Model) else ()
    if constant:
        reached += f"; {constant_words(constant)}"
    remedy = {
        "optimal": "",
        "passes": "; max_passes was reached before tol, allow more passes",
        "rounding": "; float64 gives no more",
        "separated": "",
        "interrupted": "; interrupted",
    }[str(solved.status)]
    return reached + remedy


def constant_words(labels: Sequence[str]) -> str:
    """What becomes of labels that no row has, or every row."""
    named = ", ".join(map(repr, labels[:8])) + (", …" if len(labels) > 8 else "")
    several = "labels" if len(labels) > 1 else "label"
    return (
        f"no row or every row has the {several} {named}, for which no bias is best: the weights "
        f"are 0 and the bias is ∓{ABSENT_BELOW:g}"
    )


@dataclass(frozen=True)
class Target:
    """What a solution has to reach: λ, the relative gap, and the passes allowed."""

    l2: float
    tol: float = 1e-6
    max_passes: int = 1000
    l1: float = 0.0
    grouped: bool = False

    def __post_init__(self) -> None:
        make_plain(self)
        require_number("l2 (λ)", self.l2, L2_RANGE, least=0, below=MAX_L2)
        require_number("l1 (λ₁)", self.l1, L2_RANGE, least=0, below=MAX_L2)
        if not isinstance(self.grouped, bool):
            raise SettingsError(f"grouped must be True or False, but {self.grouped!r} was given.")
        if self.grouped and not self.l1:
            raise SettingsError("grouped needs l1, the penalty that groups the classes; give l1=….")
        require_number("tol", self.tol, "a finite number above 0", above=0)
        require_whole("max_passes", self.max_passes, 1)

    @cached_property
    def penalty(self) -> Penalty:
        """λ Σ W², and λ₁ Σ |W| where λ₁ is not 0."""
        return Penalty.of(self)


@dataclass(frozen=True, eq=False)
class SolverState:
    """All that the next solution depends on besides the rows."""

    at: Float64  # of the last one, (K, D + 1)
    moved: Float64  # to it from the one before
    pairs: tuple[Pair, ...]
    dtype: DType  # of the passes
    l2: float  # whose steps the pairs are
    newton: bool
    curvature: Float64 | None  # where the curvature of the classes was taken, and steps since then
    steps: int
    # For ℓ1 of two classes, as of `Slopes.state`.
    slopes_at: Float64 | None = field(default=None, metadata=MAY_LACK)


class AtZero(NamedTuple):
    """The loss where W = 0, and the norm of its gradient there."""

    loss: float
    norm: float


class Solver:
    """Solves one λ after another on the same rows; each starts where the last one ended.

    The steps remembered from one λ serve the next: with g = ∇L + 2λW, the change y of the gradient
    along a step s becomes y + 2(λ' − λ)s, exactly.
    """

    def __init__(
        self,
        engine: Engine,
        rows: Rows,
        classes: int,
        preconditioner: Preconditioner | Callable[[], Preconditioner],
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._engine, self._rows, self._given = engine, rows, preconditioner
        self._on_progress = on_progress
        frequencies = rows.cold_probabilities(classes)
        self._present = frequencies > 0.0
        # How rows of a point are taken: as they are where no class is absent.
        self._chosen = slice(None) if self._present.all() else self._present
        self._shape = classes, rows.X.shape[1] + 1
        self._frequencies = frequencies
        self._at = self._solved = self._cold
        self._moved = np.zeros(self._shape)
        most = FAR_FLOAT64_PRODUCTS if self._centred.extreme else FLOAT64_PRODUCTS
        cheap = rows.products * classes < most
        self._dtype: DType = "float64" if cheap else "float32"
        self._threads = default_threads()
        most = PAIR_BYTES if rows.is_dense else SPARSE_PAIR_BYTES
        self._memory = Memory(self._shape, most)
        self._target, self._penalty = Target(l2=0.0), Penalty(0.0)
        self._passes, self._near = 0, 0.0
        self._sample: Sample | None = None  # of rows for steps of the bias, at this λ
        self._begun: tuple[Point, Search] | None = None  # at the last point that was looked at
        self._held: DenseRows | None = None  # in float32, for passes and curvature
        self._curvature: ClassCurvature | OwnCurvature | None = None
        self._lost = math.inf  # the loss where the curvature by own rows was taken
        self._patience = 0  # steps for the bias alone
        self._newton: Newton | None = None
        self._steps = 0  # of L-BFGS since the curvature was taken
        self._since: tuple[int, float] | None = None  # steps and gap where their rate counts from
        self._prices = Prices.of_rows(rows, classes)
        cached = (
            self._prices.holds_rows and math.prod(self._shape) * rows.count <= 2 * CACHED_ENTRIES
        )
        self._is_pair = False  # whether two classes make their passes in memory
        if self._prices.takes_newton_at_once:
            self._take_newton()
        elif cached and classes == 2 and self._present.all():
            self._held = self._hold_rows("float32")
            self._is_pair = self._held.is_pair

    @cached_property
    def _preconditioner(self) -> Preconditioner:
        given = self._given
        return given if isinstance(given, Preconditioner) else given()

    @cached_property
    def _centred(self) -> Rows:
        return self._preconditioner.centre(self._rows)

    @cached_property
    def _proven(self) -> Rows:
        """The rows whose passes are proofs: centred, with the classes that have rows."""
        exact = replace(self._rows, offset=self._rows.offset - self._preconditioner.mean)
        return of_classes(exact, self._present)

    @cached_property
    def _cold(self) -> Float64:
        """W = 0 and the best bias for it."""
        cold = np.zeros(self._shape)
        cold[:, -1] = first_bias(self._rows, len(cold))
        return cold

    @property
    def moved(self) -> Float64:
        """From the last solution but one to the last, (K, D + 1)."""
        return self._moved

    def go_on_from(self, found: Optimum) -> None:
        """Take the first solution from elsewhere."""
        self.start_at(found.W, found.b)
        self._moved, self._solved = self._at - self._solved, self._at
        self._dtype = str(found.W.dtype)  # type: ignore[assignment]

    def _hold_rows(self, dtype: DType) -> DenseRows:
        held = DenseRows(self._centred, self._present, dtype)
        self._centred = held.rows
        return held

    @cached_property
    def _sums(self) -> RowSums:
        rows = self._rows
        if self._present.all() and not (
            rows.is_dense or rows.extreme
        ):  # the preconditioner took them
            sums = RowSums.of(self._engine, rows, len(self._present))
            return sums.centred_at(self._preconditioner.mean)
        return RowSums.of(self._engine, self._proven, int(self._present.sum()))

    @property
    def _arithmetic(self) -> Arithmetic:
        if self._dtype == "float64":
            return FLOAT64
        # NumPy's products of rows in memory have an order of their own.
        # A pass over sparse rows in float64 takes little longer than one that would prove nothing.
        waits = self._rows.is_dense
        return Arithmetic("float32", None if self._is_pair else self._rounding, waits=waits)

    @cached_property
    def _rounding(self) -> Rounding | None:
        return Rounding.of(self._engine, self._proven, self._sums)

    def _take_newton(self) -> None:
        self._newton, self._dtype = Newton(self._hold_rows("float64")), "float64"
        self._held = self._curvature = None
        self._memory.clear()

    @cached_property
    def _own(self) -> OwnRows | None:
        """The rows of each class, or their mean, where all of its curvature costs more."""
        if self._prices.curvature < math.inf or not self._present.all():
            return None
        centred, K = self._centred, self._shape[0]
        if OwnRows.suit(centred, K):
            return OwnRows(centred, K)
        suits = ClassMeans.suit(centred, K) and ClassMeans.tell(self._sums)
        return ClassMeans(centred, self._sums) if suits else None

    def _take_curvature(self, at: Float64) -> None:
        self._held = self._held or self._hold_rows("float32")
        self._curvature, self._steps, self._since = ClassCurvature(self._held, at), 0, None
        self._memory.clear()

    def _take_own_curvature(self, at: Float64) -> None:
        """By the probabilities at a point; remembered steps are brought there."""
        weights = Weights(*(of.astype(np.float32)[None] for of in (at[:, :-1], at[:, -1])))
        losses = self._engine.classify(self._centred, weights).loss[0]
        self._passes += 1
        of_rows = self._centred.row_weights
        loss = float(losses.mean() if of_rows is None else losses @ of_rows / of_rows.sum())
        self._set_own_curvature(-np.expm1(-losses), loss)
        self._renew_memory(lambda _: 0.0)

    def _set_own_curvature(self, missing: Float64, loss: float) -> None:
        """Take that of 1 − p of each row's own class, where this is the mean loss."""
        assert self._own is not None  # noqa: S101  # it was asked for
        self._curvature = OwnCurvature(self._own, self._preconditioner, missing)
        self._lost = loss

    def _wants_own_curvature(self, point: Point) -> bool:
        """Whether the loss has changed so much that the curvature has too.

        From the last solution of a path, its steps know enough.
        """
        if self._own is None or not self._is_cold or self._target.l2 == 0.0:
            return False
        loss = max(point.cost - self._penalty.value(point.at[:, :-1]), TINY)
        return not 1.0 / CHANGED < loss / self._lost < CHANGED

    def _wants_bias(self, point: Point) -> bool:
        """Whether steps by the curvature of own rows, which know the bias, leave it far off."""
        target, own = self._target, self._curvature
        tells = isinstance(own, OwnCurvature) and own.tells_bias
        if not tells or self._patience >= MOST_FOR_BIAS:
            return False
        bound = self._search_at(point).best.bound
        asked = target.tol * bound.cost
        return asked < bound.gap and bound.mixing <= ONE_STEP * asked

    def _step_by_margins(self, near: float, point: Point) -> Point:
        """The first step from W = 0, where own rows say more than the curvature there."""
        if self._own is None or not self._is_cold or self._target.l2 == 0.0:
            return point
        missing = 1.0 - self._frequencies[self._rows.labels]
        model = OwnCurvature(self._own, self._preconditioner, missing)
        direction = model.step(point.gradient, self._penalty)
        slope = inner(direction, point.gradient)
        if not slope < 0.0 or self._estimated_gap(point) <= near:
            return point
        length = None
        if self._line is not None:
            length = self._line.best_length(point.at, direction, self._penalty, slope)
        descent = replace(self._descent(near), first_length=lambda *_: length or 1.0)
        reached = step_along(descent, point, direction, slope)
        if reached is None:
            return point
        taken = inner(reached.at - point.at, direction) / inner(direction, direction)
        loss = self._pass_at(reached).loss
        self._set_own_curvature(model.missing_after(taken, loss), loss)
        return reached

    @property
    def _in_memory(self) -> DenseRows | None:
        """The rows where they are held."""
        return self._held if self._newton is None else self._newton.rows

    def start_at(self, W: NDArray[np.floating], b: Float64) -> None:
        """Start the next solution from these weights; remembered steps are kept."""
        with np.errstate(over="ignore", invalid="ignore"):
            self._at = self._point_of(W, b)

    def _point_of(self, W: NDArray[np.floating], b: Float64) -> Float64:
        bias = (b + matvec(W, self._preconditioner.mean)) * self._rows.intercept
        return self._without_shared(np.column_stack([W, bias]))

    def move(self, step: Float64) -> None:
        """Start the next solution this far from the last; steps of other features are not taken."""
        if step.shape == self._at.shape:
            self._at = self._at + step

    @property
    def state(self) -> SolverState:
        """What to `restore` for the next solution to have the same bits."""
        of_classes = self._curvature
        return SolverState(
            self._at,
            self._moved,
            self._memory.pairs,
            self._dtype,
            self._target.l2,
            newton=self._newton is not None,
            curvature=of_classes.at if isinstance(of_classes, ClassCurvature) else None,
            steps=self._steps,
        )

    def restore(self, state: SolverState) -> None:
        """Go on from a state of a solver of the same rows."""
        if state.newton and self._newton is None:
            self._take_newton()
        if state.curvature is not None and not state.newton:
            with one_blas_thread():
                self._take_curvature(state.curvature)
        self._steps = state.steps
        self._at = self._solved = state.at
        self._moved, self._dtype = state.moved, state.dtype
        self._memory.restore(state.pairs)
        self._target = replace(self._target, l2=state.l2)

    def _set_target(self, target: Target) -> None:
        """Take another λ, and bring the remembered steps there."""
        if isinstance(self._curvature, OwnCurvature):
            self._curvature, self._lost = None, math.inf
        self._penalty = replace(target.penalty, factors=self._rows.penalty_factors)
        added = replace(self._penalty, l2=target.l2 - self._target.l2)
        self._target = target
        self._renew_memory(partial(_slope, added))

    def _renew_memory(self, slope: Callable[[Float64], Any]) -> None:
        """Bring remembered steps to the curvature of now, and to a penalty more of this slope."""
        most = max(1, TILE_ENTRIES // math.prod(self._shape)) if self._curvature is None else 1
        self._memory.renew(self._divide, slope, most)

    def _without_shared(self, at: Float64) -> Float64:
        """The point without what all classes share, which changes no probability."""
        kept = at[self._chosen]
        return self._with(kept - np.add.reduce(kept, axis=0) / len(kept))

    def solve(self, target: Target, *, find_separated: bool = True) -> Optimum:
        """Solve for one λ; Ctrl-C ends the search and gives what was found, certified."""
        started, self._passes = time.perf_counter(), 0
        self._set_target(target)
        self._sample = self._begun = None
        separated: tuple[tuple[int, ...], ...] = ()
        with one_blas_thread() if self._prices.holds_rows else nullcontext():
            try:
                status, certified = self._search()
                if target.l2 == 0.0 and find_separated:
                    separated = self._separated(certified.bias)
                    status = "separated" if separated else status
                elif self._rows.has_free:
                    separated = self._separated_by_free
            except KeyboardInterrupt:
                status = "interrupted"
                certified = self._certify(self._search_from(self._evaluate(self._at)))
        self._moved, self._solved = self._at - self._solved, self._at
        check_mapped(self._rows.X)
        return Optimum(
            W=self._at[:, :-1].astype(self._dtype),
            b=certified.bias,
            certificate=certified.best,
            status=status,
            passes=max(self._passes, 1),  # the read of sums, where W = 0 is the solution
            seconds=time.perf_counter() - started,
            tol=target.tol,
            separated=separated,
        )

    def _separated(self, bias: Float64) -> tuple[tuple[int, ...], ...]:
        """Groups of classes that a hyperplane parts from all others: no weights fit them best.

        Classes that the solution mixes up stay in one group; each group is then proven alone, by
        the fit of two classes in which no row's loss reaches log 2.
        """
        weights, K = Weights(self._at[None, :, :-1], bias[None]), len(bias)
        mixed = np.zeros((K, K), bool)
        for _, tile in tiles(self._rows, max(1, TILE_ENTRIES // max(self._at.shape))):
            S, y = self._engine.scores(tile, weights)[0], tile.labels
            counts = np.ones(len(y), bool) if tile.row_weights is None else tile.row_weights > 0.0
            np.logical_or.at(mixed, y[counts], (S[np.arange(len(y)), y, None] <= S)[counts])
        mixed = mixed[np.ix_(self._present, self._present)]
        reach = mixed | mixed.T
        while not np.array_equal(wider := (reach.astype(float) @ reach) > 0.0, reach):
            reach = wider
        numbers = np.flatnonzero(self._present)
        groups = sorted((numbers[group] for group in np.unique(reach, axis=0)), key=len)
        if len(groups) < len(numbers):  # else the solution itself separates all classes
            if len(groups) <= 2:
                groups.pop()  # of two, it is what the other is separated from
            groups = [group for group in groups if self._is_separable(group)]
        return tuple(tuple(group.tolist()) for group in groups)

    @cached_property
    def _separated_by_free(self) -> tuple[tuple[int, ...], ...]:
        return separated_by_free(self._engine, self._rows, len(self._cold))

    def _is_separable(self, group: NDArray[np.int64]) -> bool:
        y = np.isin(self._rows.y, group).astype(np.int64)
        rows = replace(self._rows, y=y, score_offsets=None)  # finite scores separate nothing
        solver = Solver(self._engine, rows, 2, choose_preconditioner(self._engine, rows, 2))
        fitted = solver.solve(Target(0.0, tol=1e-8), find_separated=False).completed()
        weights = rows.row_weights
        least = 1.0 if weights is None else float(weights[weights > 0.0].min())
        return fitted.certificate.cost * rows.mass / least < math.log(2.0)

    def _search(self) -> tuple[Status, Certified]:
        """Search from the start, and from the cold one where that stopped short of rounding."""
        found = self._prove(self._first_point())
        short = self.relative_gap(found[1].best)
        if found[0] != "rounding" or self._is_cold or short < MAX_ROUNDING_GAP:
            return found
        ended = self._at
        again = self._prove(self._restart())
        if self.relative_gap(again[1].best) < short:
            return again
        self._at = ended
        return found

    def _prove(self, point: Point) -> tuple[Status, Certified]:
        """Descend, certify, and continue with a smaller aim or finer arithmetic until proven."""
        target, aim = self._target, max(FIRST_AIM * self._target.tol, LEAST_AIM)
        point, self._patience = self._step_by_margins(aim, point), 0
        least, stalled = math.inf, 0
        while True:
            coarse = self._dtype == "float32"
            near = max(aim, self._float32_gap()) if coarse else aim
            if self._newton is not None and self._prices.takes_newton_at_once:
                point = self._descend_in_kernel(near, point)
            point = descend(self._descent(near), point)
            reached = self._estimated_gap(point) <= near
            if not reached and self._passes < target.max_passes and self._newton is None:
                if self._wants_own_curvature(point):
                    self._take_own_curvature(point.at)
                    continue
                if self._wants_curvature(self._estimated_gap(point), near):
                    self._take_curvature(point.at)
                    continue
                dear = self._passes >= self._prices.steps_of_newton
                if self._prices.newton < math.inf and (dear or not coarse):
                    self._take_newton()
                    point = self._evaluate(self._at)
                    continue
            fine = not coarse or (near == aim and target.tol >= FLOAT32_TOL and not self._is_pair)
            if (reached and fine) or self._passes >= target.max_passes or not coarse:
                search = self._search_from(point)
                gap = self.relative_gap(search.certified().best)
                stalls = not coarse and 0.5 * least < gap < MAX_ROUNDING_GAP
                least, stalled = min(least, gap), stalled + 1 if stalls else 0
                ends = not reached or stalled == MAX_STALLED_PROOFS
                if gap <= target.tol or self._passes >= target.max_passes or ends:
                    certified = self._certify(search)
                    gap = self.relative_gap(certified.best)
                    if gap <= target.tol:
                        return "optimal", certified
                    if self._passes >= target.max_passes:
                        return "passes", certified
                    if ends:
                        return "rounding", certified
                aim = max(aim * min(0.5, max(0.1, 0.5 * target.tol / gap)), LEAST_AIM)
                at = self._with(np.column_stack([search.W, search.reached]))
                point = self._point(at, search.found)
            if coarse and not (reached and fine):
                point = self._with_bias(point)
                self._dtype = "float64"
                point = self._evaluate(point.at)

    def _descend_in_kernel(self, near: float, point: Point) -> Point:
        """Steps of Newton's method in one call, or one in each where somebody is told of them."""
        target, newton = self._target, self._newton
        if newton is None or not self._present.all():
            return point
        if target.l2:
            times = 2.0 * near * float(self._penalty.curvature)
            ends = Ends(0.0, times, math.inf, FAR / near)
        else:
            least = near * self._norm_at_zero()
            ends = Ends(least**2, 0.0, math.inf, (FAR / near) ** 2)
        # The proof takes the last steps of the bias: rounding may leave none that lowers the cost.
        tell = self._descent(near).is_done
        while self._passes < target.max_passes:
            most = target.max_passes - self._passes if self._on_progress is None else 1
            at, cost, gradient, costs = newton.descend(point.at, self._penalty, ends, most)
            self._passes += costs
            if np.array_equal(at, point.at):
                return point
            point = Point(at, cost, gradient, steepness=norm(gradient[:, :-1]))
            tell(point)
            if self._on_progress is None:
                return point
        return point

    def _first_point(self) -> Point:
        """The start, or the cold one where that costs less: far from both, steps lead nowhere."""
        self._begin(is_cold=self._at is self._cold)
        if self._is_cold:
            return self._evaluate_cold()
        with np.errstate(over="ignore", invalid="ignore"):
            point = self._evaluate(self._at)
        slack = SLACK * (1.0 + self._at_cold.loss)
        return point if point.cost <= self._at_cold.loss + slack else self._restart()

    def _restart(self) -> Point:
        """Begin again at W = 0 and the bias that is best there; steps are forgotten."""
        self._at = self._cold
        self._begin(is_cold=True)
        self._memory.clear()
        return self._evaluate_cold()

    def _begin(self, *, is_cold: bool) -> None:
        self._is_cold, self._since, self._is_far = is_cold, None, True
        if self._newton is not None:
            self._newton.damping = 0.0

    def _descent(self, near: float) -> Descent:
        self._near = near

        def is_done(point: Point) -> bool:
            gap = self._estimated_gap(point)
            if self._at is not point.at:
                self._at = point.at
                self._steps += 1
                if self._newton is not None:
                    self._newton.damp_less()
                if self._on_progress is not None:
                    self._on_progress(
                        Progress(self._target.l2, self._passes, point.cost, gap * point.cost)
                    )
            if self._passes >= self._target.max_passes:
                return True
            if gap <= near:
                if not self._wants_bias(point):
                    return True
                self._patience += 1
                return False
            if self._wants_own_curvature(point):
                return True
            if self._newton is not None:
                return False
            if self._since is None:
                self._since = self._steps, gap
            return self._wants_curvature(gap, near) or (
                self._passes >= self._prices.steps_of_newton
            )

        return Descent(
            evaluate=self._evaluate,
            inverse_hessian=self._inverse_hessian,
            memory=None if self._newton or self._is_pair else self._memory,
            rounding=ROUNDING[self._dtype],
            is_done=is_done,
            is_damped=self._is_damped,
            first_length=self._first_length,
        )

    def _wants_curvature(self, gap: float, near: float) -> bool:
        """Whether steps have cost as much as curvature, and so will those to come at their rate."""
        price = self._prices.steps_of_curvature
        if self._steps < price or gap <= near or self._since is None:
            return False
        steps, fallen = self._steps - self._since[0], math.log(self._since[1] / gap)
        return math.log(gap / near) * steps >= fallen * (price + STEPS_AFTER)

    def _is_damped(self, point: Point) -> bool:
        """Damp Newton's method more, where its step failed for another reason than rounding."""
        if self._newton is None or not self._newton.damp_more():
            return False
        return self._estimated_gap(point) >= MAX_ROUNDING_GAP

    def _inverse_hessian(self, point: Point) -> Floats:
        if self._newton is not None:
            return self._newton.step(point.at, point.gradient, self._penalty)
        if not self._is_pair or self._held is None:
            return self._divide(point.gradient)
        # No smaller than what the Hessian's change along the step leaves, or the end asks for.
        gap = self._estimated_gap(point)
        residual = max(CHANGE * math.sqrt(gap), LAST_RESIDUAL * math.sqrt(self._near / gap))
        residual = min(LARGEST_RESIDUAL, residual)
        step, products = self._held.truncated_step(
            point.at, point.gradient, self._penalty, self._divide, residual
        )
        self._passes += products
        self._steps += products // PRODUCTS_OF_STEP
        return step

    def _first_length(self, point: Point, direction: Float64) -> float:
        """Of a step by the Hessian far from the optimum what lowers the cost most, else 1."""
        if self._estimated_gap(point) < FAR:
            return 1.0
        rows, penalty = self._in_memory, self._penalty
        if rows is not None and (self._newton or self._is_pair):
            return rows.best_length(point.at, direction, penalty)
        if self._line is None or not self._is_far:
            return 1.0
        falls = inner(point.gradient, direction)
        length = self._line.best_length(point.at, direction, penalty, falls) or 1.0
        self._is_far = not 0.5 <= length <= 2.0
        return length if self._is_far else 1.0

    @cached_property
    def _line(self) -> LineSample | None:
        many = MANY_ON_LINE if self._own is None else FEW_ON_LINE
        enough = self._rows.count >= many * LINE_ROWS
        return LineSample(self._engine, self._centred) if enough else None

    def _divide(self, gradient: Float64) -> Floats:
        return (self._curvature or self._preconditioner).divide(gradient, self._penalty)

    def _evaluate(self, at: Float64) -> Point:
        """J and its gradient on centred features: one pass over the rows.

        The minimum has no part that all classes share, and λ alone would bend the cost along one:
        what rounding made of it is taken out of the point and of the gradient.
        """
        self._passes += 1
        wide = self._dtype == "float64"
        at = np.ascontiguousarray(at, np.float64)
        at, W, bias = without_shared(at, self._present, wide, self._threads)
        rows = self._in_memory
        if rows is not None and (self._newton or (self._is_pair and not wide)):
            loss, gradient = rows.cost(at)
            kept = gradient[self._chosen]
            return self._point(at, Pass(loss, kept[:, :-1], kept[:, -1]))
        weights = Weights(W[None], bias[None])
        (found,) = passes_of(full_gradient(self._engine, self._centred, weights))
        found = found._replace(G=found.G[self._chosen], g=found.g[self._chosen])
        return self._point(at, found)

    def _point(self, at: Float64, found: Pass) -> Point:
        """A point with what a pass found there."""
        at, G, g = (np.ascontiguousarray(of, np.float64) for of in (at, found.G, found.g))
        bends = np.full(at.shape[1] - 1, self._penalty.curvatures, np.float64)
        gradient, value, squares = add_penalty(at, self._present, G, g, bends, self._threads)
        return Point(at, found.loss + value, gradient, found.rounded, math.sqrt(squares))

    def _evaluate_cold(self) -> Point:
        """Where W = 0: all rows have the same probabilities, and their sums say it all.

        With offsets they have not.
        """
        if self._rows.score_offsets is not None:
            return self._evaluate(self._cold)
        G = np.where(self._centred.scale != 0.0, -self._sums.centred, 0.0)
        return self._point(self._cold, Pass(self._at_cold.loss, G, np.zeros(len(G))))

    @cached_property
    def _at_cold(self) -> AtZero:
        if self._rows.score_offsets is not None:
            found = self._pass_at(self._evaluate(self._cold))
            return AtZero(found.loss, norm(found.G))
        return AtZero(entropy(self._frequencies), norm(self._sums.centred))

    def _pass_at(self, point: Point) -> Pass:
        """What the pass found of the loss, for the classes that have rows."""
        W, penalty = point.at[:, :-1], self._penalty
        slope = (point.gradient - _slope(penalty, point.at))[self._chosen]
        loss = point.cost - penalty.value(W)
        return Pass(loss, slope[:, :-1], slope[:, -1], point.rounded)

    def _float32_gap(self) -> float:
        """The relative gap that rounding of float32 passes may hide."""
        if self._target.l2 == 0.0:
            return FLOAT32_NOISE
        noise = FLOAT32_NOISE * self._norm_at_zero()
        bend = float(self._penalty.curvature)
        return max(noise**2 / (2.0 * bend * max(self._at_cold.loss, TINY)), LEAST_FLOAT32_GAP)

    def _estimated_gap(self, point: Point) -> float:
        """The relative gap that a certificate would find here if the bias were at its best."""
        if self._target.l2 == 0.0:
            return point.steepness / self._norm_at_zero()
        bend = float(self._penalty.curvature)
        return point.steepness**2 / (2.0 * bend * max(point.cost, TINY))

    def relative_gap(self, certificate: Certificate) -> float:
        """Gap / J, or for λ = 0 the norm of the gradient relative to its first one."""
        if self._target.l2 == 0.0:
            return certificate.gradient_norm / self._norm_at_zero()
        return certificate.gap / max(certificate.cost, TINY)

    def _norm_at_zero(self) -> float:
        """‖∇_W J‖ at W = 0 with the bias that fits the class frequencies."""
        return self._at_cold.norm or 1.0

    def _search_from(self, point: Point) -> Search | FreeProof:
        """Bring the bias near to its best for the weights of a point, in its arithmetic."""
        if self._rows.has_free:
            at = point.at[self._chosen]
            W = np.ascontiguousarray(at[:, :-1])
            proof = prove_with_free(self._engine, self._proven, W, at[:, -1], self._penalty)
            self._passes += proof.passes
            return proof
        search, self._begun = self._search_at(point), None
        if self._in_memory is not None and not search.is_done:
            point = self._evaluate(self._with_bias(point).at)
            search.b = point.at[self._chosen, -1]
            search.look(self._pass_at(point), self._arithmetic)
        self._improve(search, self._arithmetic)
        return search

    def _search_at(self, point: Point) -> Search:
        """A search that has looked at a point, and at nothing else."""
        if self._begun is None or self._begun[0] is not point:
            at = point.at[self._chosen]
            W = np.ascontiguousarray(at[:, :-1])
            search = Search(W, at[:, -1], self._penalty, self._sums, self._target.tol)
            search.sample = self._sample
            search.look(self._pass_at(point), self._arithmetic)
            self._begun = point, search
        return self._begun[1]

    def _with_bias(self, point: Point) -> Point:
        """Where rows in memory tell what is best, the point with a step of its bias."""
        if self._in_memory is None or not self._rows.intercept:
            return point
        at = point.at.copy()
        at[:, -1] += self._in_memory.bias_step(point.at, point.gradient[:, -1])
        return point._replace(at=at)

    def _improve(self, search: Search, arithmetic: Arithmetic) -> None:
        before = search.passes
        improve_biases(self._engine, self._proven, [search], arithmetic)
        self._sample = search.sample
        self._passes += search.passes - before
        self._at = self._with(np.column_stack([search.W, search.best.bias]))

    def _with(self, kept: Float64) -> Float64:
        """The point (K, D + 1) with these rows for the classes that have rows."""
        if len(kept) == len(self._cold):
            return kept
        at = self._cold.copy()
        at[self._present] = kept
        return at

    def _certify(self, search: Search | FreeProof) -> Certified:
        """The proof, from passes over the rows as they are, and the solution's own bias.

        The passes of the search are such unless it left out classes, or features that are constant,
        or was in float32 where more is needed.
        """
        if isinstance(search, FreeProof):
            self._at = self._with(np.column_stack([search.W, search.reached]))
            shift = matvec(self._at[:, :-1], self._preconditioner.mean)
            return replace(search.certified(), bias=self._at[:, -1] - shift)
        constant = self._centred.scale != self._rows.scale
        # ‖G‖² of such features, at most: it is of their squares that are left, times 2.
        with np.errstate(over="ignore"):  # of 1e300, say, which is far from hidden
            hidden = float(np.sum((EQUAL * self._proven.offset[constant]) ** 2))
        least = ROUNDING["float64"] * float(self._penalty.curvature) * self._at_cold.loss
        of_all = search.is_sharp and self._present.all()
        if not (of_all and hidden <= 1e-6 * least):
            search.begin()
            self._improve(search, FLOAT64)
        shift = matvec(self._at[:, :-1], self._preconditioner.mean)
        return replace(search.certified(), bias=self._at[:, -1] - shift)


def first_bias(rows: Rows, classes: int) -> Float64:
    """The best bias for W = 0: log of the class frequencies, shape (K,), of mean 0.

    A class without rows has its bias far below. Without an intercept it is 0.
    """
    if not rows.intercept:
        return np.zeros(classes)
    frequencies = rows.class_frequencies(classes)
    present = frequencies > 0.0
    b = np.log(frequencies, where=present, out=np.zeros_like(frequencies))
    b[present] -= b[present].mean()
    return np.where(present, b, -ABSENT_BELOW)


def entropy(frequencies: Float64) -> float:
    """−Σ π log π of class frequencies π, nats: J at W = 0 and the best bias for it."""
    present = frequencies[frequencies > 0.0]
    return float(-np.sum(present * np.log(present)))


def separated_by_free(engine: Engine, rows: Rows, classes: int) -> tuple[tuple[int, ...], ...]:
    """Groups of classes that hyperplanes of the features without a penalty part from all others."""
    rows = free_rows(rows)
    solver = Solver(engine, rows, classes, choose_preconditioner(engine, rows, classes))
    return solver.solve(Target(0.0, tol=1e-8)).completed().separated


def _slope(penalty: Penalty, at: Float64) -> Float64:
    """The penalty's gradient at (W, b): 2λW, and 0 for the bias."""
    slope = np.zeros_like(at)
    slope[:, :-1] = penalty.gradient(at[:, :-1])
    return slope
