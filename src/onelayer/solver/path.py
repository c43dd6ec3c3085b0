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
from itertools import groupby
from numbers import Integral
from types import MappingProxyType
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.data import Splits
from onelayer.data.dataset import DataCard, data_card
from onelayer.data.progress import notebook_bar, quiet
from onelayer.data.rows import (
    Rows,
    class_weight_setting,
    intercept_setting,
    rows_of,
    rows_to_fit,
    weights_to_fit,
)
from onelayer.data.scaling import Scaling
from onelayer.data.split import fold_setting, folds_among, folds_of
from onelayer.data.weights import ClassWeight
from onelayer.engines import Engine, Weights, streaming
from onelayer.errors import (
    SettingsError,
    as_values,
    is_number,
    known_options,
    one_line,
    plain,
    require_choice,
    require_number,
    require_whole,
)
from onelayer.files.provenance import Command, describe_environment
from onelayer.files.records import MAY_LACK, check_sizes
from onelayer.files.saved import Saved
from onelayer.model.evaluation import Mistakes
from onelayer.model.intervals import (
    GROUPED,
    WILSON,
    interval_words,
    standard_error,
    wilson_interval,
)
from onelayer.model.metrics import Measurement, Metric, metric_of
from onelayer.model.model import Model
from onelayer.model.scored_rows import ScoredRows, read_scores, row_tiles
from onelayer.solver.linalg import norm
from onelayer.solver.many_labels import first_biases
from onelayer.solver.proximal import ProximalSolver, ProximalSolvers, Sparsity, solver_for
from onelayer.solver.reduction import AnySolver, Solvers
from onelayer.solver.solver import (
    TINY,
    Optimum,
    SolverState,
    Target,
    first_bias,
)

Float64 = NDArray[np.float64]

Rule = Literal["best", "one-standard-error"]

# ε of the largest λ, and the decades under it that hold the given number of λ. No more than twice
# as many decades are tried; features come one after another within two.
NOTHING, DECADES, L1_DECADES = 0.01, 4, 2

# Probabilities are far off where their loss is higher by this than need be, nats: as that of 0.9
# for what is certain.
FAR = 0.1

# The largest tol with which folds move as all rows do: W is then within √tol · √(J/λ) of W*.
SHARED_TOL = 1e-4

# W (K, D) and b (K,).
Pair = tuple[NDArray[np.floating], NDArray[np.floating]]

# Of copies of the weights of solutions that are scored in one pass.
WEIGHT_BYTES = 64 << 20

# Rows held out, after the rows that models of their own are fitted to; None takes the path's.
Part = tuple[Rows | None, Rows]


@dataclass(frozen=True)
class Score:
    """Loss and accuracy of a model on some rows, with their standard errors over the rows.

    Attributes:
        loss: mean cross-entropy, nats.
        loss_error: its standard error.
        accuracy: fraction of rows classified right.
        accuracy_error: its standard error, √(a (1 − a) / n).
        rows: n, the number of rows. Where they have weights, means are by weight, and errors take
            (Σ w)² / Σ w² for n (Kish 1965).
        value: of the metric that λ is chosen by, where it is another one; else None.
        value_error: its standard error, by leaving out blocks of rows; None on the training rows
            and on too few rows.
        effective_rows: (Σ w)² / Σ w²; None where rows have no weights.
    """

    loss: float
    loss_error: float
    accuracy: float
    accuracy_error: float
    rows: int
    value: float | None = field(default=None, metadata=MAY_LACK)
    value_error: float | None = field(default=None, metadata=MAY_LACK)
    effective_rows: float | None = field(default=None, metadata=MAY_LACK)

    def __post_init__(self) -> None:
        # From a file they may be anything.
        require_number("accuracy", self.accuracy, "from 0 to 1", least=0, below=1.000001)
        require_whole("rows", self.rows, 1)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the accuracy; of weighted rows with (Σ w)² / Σ w² for n."""
        n = self.effective_rows
        if n is None:
            return wilson_interval(round(self.accuracy * self.rows), self.rows)
        return wilson_interval(min(self.accuracy, 1.0) * n, n)

    def of(self, by: str) -> tuple[float, float]:
        """The score by accuracy, log loss or the metric of `value`, and its standard error."""
        if by in IN_SCORES:
            name = IN_SCORES[by]
            return getattr(self, name), getattr(self, f"{name}_error")
        if self.value is None:
            raise SettingsError(f"{by} was not measured, since λ was chosen by another metric.")
        return self.value, self.value_error or 0.0


# The metrics that every score has, and what it calls them.
IN_SCORES = {"accuracy": "accuracy", "log_loss": "loss"}


def score(
    engine: Engine,
    rows: Rows,
    pairs: Sequence[Pair],
    by: str = "accuracy",
    *,
    errors: bool = True,
) -> tuple[Score, ...]:
    """Score weights and biases, each in the type of its W, several in one pass over the rows.

    A metric that is neither accuracy nor log loss takes another pass for each.
    """
    weights = rows.row_weights
    n = float(rows.count) if weights is None else 1.0 / norm(weights / rows.mass) ** 2
    scores: list[Score] = []
    for group in _together(pairs):
        W, b = (np.stack(parts) for parts in zip(*group, strict=True))
        found = engine.evaluate(rows, Weights(W, b.astype(W.dtype)))
        for loss, square, accuracy in zip(*(map(float, of) for of in found[:3]), strict=True):
            variances = (square - loss**2, accuracy * (1.0 - accuracy))
            loss_error, accuracy_error = (math.sqrt(max(v, 0.0) / n) for v in variances)
            figures = (loss, loss_error, accuracy, accuracy_error, rows.count)
            scores.append(Score(*figures, effective_rows=None if weights is None else n))
    if by not in IN_SCORES:
        scores = [
            replace(one, **_measured(engine, rows, *pair, metric_of(by), errors=errors))
            for one, pair in zip(scores, pairs, strict=True)
        ]
    return tuple(scores)


def _measured(
    engine: Engine, rows: Rows, W: NDArray[Any], b: NDArray[Any], metric: Metric, *, errors: bool
) -> dict[str, Any]:
    """A metric and its standard error, as attributes of a score."""
    scored = read_scores(row_tiles(rows, len(W)), engine, W, b, rows.labels, rows.row_weights)
    figure = metric.of(scored)
    found = standard_error(figure, scored.strata, scored.weights) if errors else math.nan
    error = found if math.isfinite(found) else None  # of too few rows there is none
    return {"value": float(figure(scored.each)[0]), "value_error": error}


def score_of(scored: ScoredRows) -> Score:
    """The score of rows whose scores are at hand."""
    w = scored.each[:, 0] / scored.each.sum()
    n = float(len(w)) if scored.weights is None else 1.0 / norm(w) ** 2
    loss, accuracy = float(w @ scored.loss), float(w @ scored.right)
    variances = (w @ (scored.loss - loss) ** 2, accuracy * (1.0 - accuracy))
    loss_error, accuracy_error = (math.sqrt(max(float(v), 0.0) / n) for v in variances)
    figures = (loss, loss_error, accuracy, accuracy_error, len(w))
    return Score(*figures, effective_rows=None if scored.weights is None else n)


def _together(pairs: Sequence[Pair]) -> Iterator[Sequence[Pair]]:
    """Neighbours with W of one type, as many as WEIGHT_BYTES hold."""
    for _, alike in groupby(pairs, lambda pair: pair[0].dtype):
        group = list(alike)
        size = max(1, WEIGHT_BYTES // group[0][0].nbytes)
        yield from (group[i : i + size] for i in range(0, len(group), size))


@dataclass(frozen=True)
class Choice:
    """How λ is chosen; a SettingsError for other words.

    Attributes:
        by: the metric, measured on the held-out rows: its name, without scikit-learn's neg_.
        rule: "best" takes the best score; "one-standard-error" the largest λ whose score is within
            one standard error of the best (Breiman et al. 1984).
    """

    by: str = "accuracy"
    rule: Rule = "best"

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", metric_of(self.by).name)
        require_choice("rule", self.rule, get_args(Rule))

    @property
    def metric(self) -> Metric:
        """The metric."""
        return metric_of(self.by)


def mean_score(scores: Sequence[Score], by: str) -> tuple[float, float]:
    """Mean score of one λ, and its standard error.

    Of one score the error is that of its rows; of several, one for each fold, that of their spread.

    Example:
        >>> mean_score([Score(1.0, 0.1, 0.5, 0.05, 100)], "log_loss")
        (1.0, 0.1)
    """
    if len(scores) == 1:
        return scores[0].of(by)
    values = [score.of(by)[0] for score in scores]
    return float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))


def merit(scores: Sequence[Score], by: str) -> tuple[float, float]:
    """The same, with a sign by which larger is better."""
    mean, error = mean_score(scores, by)
    return mean if metric_of(by).greater else -mean, error


def choose(scores: Sequence[Sequence[Score]], choice: Choice) -> int:
    """The position that is chosen by held-out scores, largest λ first; ties go to the largest λ.

    Example:
        >>> near = [Score(1.0, 0.1, a, 0.02, 100) for a in (0.50, 0.59, 0.60)]
        >>> [choose([[s] for s in near], Choice(rule=r)) for r in ("best", "one-standard-error")]
        [2, 1]
    """
    merits = [merit(of_one, choice.by) for of_one in scores]
    best = max(range(len(merits)), key=lambda i: (merits[i][0], -i))
    if choice.rule == "best":
        return best
    least = merits[best][0] - merits[best][1]
    return next(i for i, (mean, _) in enumerate(merits) if mean >= least)


def has_turned(scores: Sequence[Sequence[Score]], by: str, steps: int) -> bool:
    """Whether the best score lies `steps` λ back, or twice as many where the last one equals it.

    Accuracy may stay that of the largest class while the loss has long begun to fall: then it has
    to be clearly above that of the first λ, or the loss must have turned as well.
    """

    def turned(by: str) -> bool:
        place = choose(scores, Choice(by))
        level = merit(scores[-1], by)[0] == merit(scores[place], by)[0]
        return place < len(scores) - (2 * steps if level else steps)

    best, error = merit(scores[choose(scores, Choice(by))], by)
    learned = best - merit(scores[0], by)[0] > error
    return turned(by) and (learned or turned("log_loss"))


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
    test: Score | None = None
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


def accuracy_interval(test: Score, measured: Sequence[Measurement]) -> tuple[float, float, str]:
    """The 95 % interval of the accuracy on the test rows, and what it is called."""
    for one in measured:
        if one.metric == "accuracy":
            return one.low, one.high, GROUPED
    return *test.interval, WILSON


def accuracy_words(test: Score, measured: Sequence[Measurement]) -> str:
    """The accuracy on the test rows with its interval, in percent."""
    return f"{100.0 * test.accuracy:.2f} % ({interval_words(*accuracy_interval(test, measured))})"


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
    count = plain(l2)
    if is_number(count, Integral):
        if count < 2:
            raise SettingsError(
                f"{name} must be values of λ, as in [0.1], or how many the data give, 2 or more, "
                f"but {l2!r} was given."
            )
        return int(count)
    values = as_values(l2)
    if not values or not all(map(is_number, values)):
        raise SettingsError(
            f"{name} must be a number of values of λ, or at least one value, but "
            f"{one_line(repr(l2))} was given."
        )
    return tuple(sorted(map(float, set(values)), reverse=True))


def largest_l2(engine: Engine, rows: Rows, classes: int) -> float:
    """‖G₀‖² / (4 ε H), to three digits: above it W is as good as 0; one pass over the rows."""
    W = np.zeros((classes, rows.X.shape[1]))
    b = first_biases(rows, classes) if rows.y.ndim == 2 else first_bias(rows, classes)
    loss, G, _ = engine.gradient(rows, Weights(W[None], b[None]))
    largest = norm(G) ** 2 / (4.0 * NOTHING * max(float(loss[0]), TINY))
    return float(f"{largest:.2e}") or 1.0


@known_options
def solve_path(
    data: Splits,
    l2: int | ArrayLike | None = None,
    *,
    l1: int | ArrayLike | None = None,
    l1_ratio: float = 1.0,
    grouped: bool = False,
    intercept: bool = True,
    class_weight: ClassWeight = None,
    folds: Any = 0,
    scoring: str = "accuracy",
    rule: Rule = "best",
    refit: bool = False,
    tol: float = 1e-6,
    max_passes: int = 1000,
    scaling: str = "auto",
    engine: Engine | str | None = None,
    on_progress: Callable[[PathProgress], None] | None = None,
    checkpoint: Keeps | None = None,
) -> Path:
    """Solve for every λ, prove each, and choose one by the validation rows or by folds.

    Args:
        data: training, validation and test rows; the test rows are used once, for the chosen model.
        l2: values of λ ≥ 0; or n ≥ 2: λ then goes down from ‖∇_W J(0)‖² / (0.04 J(0)), above which
            no weights lower the cost by 1 %, n values to four decades, until the held-out score
            has been falling for a decade, but no further than eight. None is 20 without an l1.
        l1: values of λ₁ > 0 of a penalty λ₁ Σ |W|, which chooses features; or n ≥ 2: from the λ₁ at
            which W = 0 is best, n values to two decades under it, or up to four. λ follows from
            l1_ratio.
        l1_ratio: r in (0, 1], as of scikit-learn and glmnet (their α): λ = λ₁ (1 − r) / 2r beside
            each λ₁, twice that for two classes; 1 is ℓ1 alone.
        grouped: whether l1 chooses features for all classes or for none; see `solve`.
        intercept: whether there is a bias, as of `solve`.
        class_weight: of the training rows, as of `solve`; held-out rows count by their own weights.
        folds: stratified folds of the training rows to choose λ by, 2 or more, no group of the rows
            on two sides; 0 takes the validation rows. Or folds of your own: an array (N,) with the
            fold that holds each training row out, −1 for none; or pairs of row numbers (to fit, to
            hold out), as scikit-learn's splitters give them.
        scoring: the metric on the held-out rows that λ is chosen by, by scikit-learn's names:
            "accuracy", "neg_log_loss", "roc_auc", "f1_macro", … (docs/guide/metrics.md).
        rule: "best", or "one-standard-error": the largest λ whose score is within one standard
            error of the best.
        refit: whether a model of the chosen λ is then fitted to the training and validation rows
            together, scaled anew and proven: `Path.best`, which alone meets the test rows.
        tol: relative gap to prove for each λ, > 0.
        max_passes: passes over the rows for each λ, ≥ 1.
        scaling: "auto", "none", "unit" or "standardize", fitted to the training rows.
        engine: an engine or its name; None is the native engine.
        on_progress: called with `PathProgress` after every solution. Default: a bar in a notebook.
        checkpoint: a `Checkpoint`: where the solutions are kept as they come, and whether to resume
            bit for bit from those that are there; None for none.

    Returns:
        The path. Ctrl-C ends it; the λ solved so far are kept.

    Raises:
        SettingsError: for a value outside its range.
        SaveError: when the folder of the checkpoints cannot be used, or they are of other data or
            settings.

    Source:
        Friedman, Hastie & Tibshirani (2010), Regularization paths for generalized linear models via
        coordinate descent; Breiman et al. (1984) for the one-standard-error rule.

    Example:
        >>> from onelayer import load, solve_path
        >>> path = solve_path(load("digits"), [0.1, 0.001])
        >>> path.best.l2, path.best.status
        (0.001, 'optimal')
    """
    choice = Choice(scoring, rule)
    if refit:
        data.check_in_memory()
    given = data
    target, sparsity = Target(0.0, tol, max_passes), None
    if l1 is None:
        _check_alone(l1_ratio, grouped)
        l2s = l2_values(20 if l2 is None else l2)
    else:
        if l2 is not None:
            raise SettingsError(
                "give either l2 or l1, whose l1_ratio says how much l2 is beside it."
            )
        sparsity, l2s = Sparsity(l1_ratio, grouped), l2_values(l1, "l1")
        if not isinstance(l2s, int) and min(l2s) <= 0.0:
            raise SettingsError("l1 must be values above 0; for λ₁ = 0 give l2.")
    folds, weights = plain(folds), weights_to_fit(data.train, class_weight)
    if not is_number(folds) and weights is not None:
        folds = folds_among(folds, np.flatnonzero(weights), data.train.rows)
    weighing, engine = intercept_setting(intercept), streaming(engine)
    data, fitted, rows = rows_to_fit(data, scaling, class_weight, intercept=intercept)
    train = data.train
    parts: list[Part] = [(None, rows_of(data.validation, fitted))]
    indices = folds_of(data, folds)
    settings: dict[str, Any] = {"l2": l2s, "folds": fold_setting(folds, indices)}
    if sparsity is not None:
        settings = {"l1": settings.pop("l2"), **asdict(sparsity)} | settings
    folds = len(indices)
    if folds:
        judged_rows = rows_of(train, fitted)
        parts = [(rows.only(kept), judged_rows.only(held_out)) for kept, held_out in indices]
    check_parts(choice.metric, parts, train.class_names)
    settings |= {"scoring": choice.by, "tol": tol}
    weighing |= class_weight_setting(class_weight, train)
    settings |= {"max_passes": max_passes, "scaling": fitted.name} | weighing

    def check(state: PathState) -> None:
        check_sizes(state.sizes(train.classes, train.features, folds))

    def solve_from(
        start: PathState | None, keep: Callable[[PathState], None] | None = None
    ) -> tuple[PathState, bool]:
        return solve_each(
            engine,
            rows,
            train.classes,
            l2s,
            target,
            parts,
            choice.by,
            on_progress or notebook_bar("solving"),
            start or PathState(),
            keep,
            sparsity,
        )

    if checkpoint is None:
        state, interrupted = solve_from(None)
    else:
        with checkpoint.managing_path(PathState, data, engine, settings) as manager:
            start = manager.latest(check)
            state, interrupted = solve_from(start, manager.hold)
            manager.flush()
    if not state.optima:
        raise KeyboardInterrupt
    optima, scores, solved = state.optima, state.scores, time.perf_counter()
    chosen = choose(scores, choice)
    train_scores = score(engine, rows, [(o.W, o.b) for o in optima], choice.by, errors=False)
    path = Path.of_optima(
        optima,
        scores,
        scaling=fitted,
        train=train_scores,
        chosen=chosen,
        choice=choice,
        data=data_card(data),
        folds=folds,
        seconds={"solve": state.seconds, "score": time.perf_counter() - solved},
        environment=describe_environment() | engine.describe(),
        settings=weighing,
        l2_from_data=isinstance(l2s, int),
        interrupted=interrupted,
    )
    if refit and not interrupted:
        proof = path.best.require_certificate()
        aim = replace(target, l2=proof.l2, l1=proof.l1, grouped=proof.grouped)
        path = _refitted(path, given, scaling, class_weight, aim, engine, intercept=intercept)
    best = path.best
    (test,) = score(engine, rows_of(data.test, best.scaling), [(best.W, best.b)])
    by_groups = data.test.groups is not None and choice.by != "accuracy"
    measured = (choice.by,) if by_groups or choice.by not in IN_SCORES else ()
    try:
        choice.metric.check(data.test.y, data.test.class_names, "the test rows")
    except SettingsError:
        measured = ()
    judged = best.evaluate(data.test, engine, quiet, include_training_rows=True, scoring=measured)
    of_groups = () if judged.grouped is None else (judged.grouped,)
    found = judged.metrics + of_groups
    return replace(path, test=test, mistakes=judged.mistakes, test_metrics=found)


def _refitted(
    path: Path,
    given: Splits,
    scaling: str,
    class_weight: ClassWeight,
    target: Target,
    engine: Engine,
    *,
    intercept: bool,
) -> Path:
    """The path with a model of its chosen λ of all rows but the test rows; or interrupted."""
    began = time.perf_counter()
    whole = replace(given, train=given.train_and_validation)
    data, fitted, rows = rows_to_fit(whole, scaling, class_weight, intercept=intercept)
    try:
        optimum = solver_for(engine, rows, data.train.classes, target).solve(target).completed()
    except KeyboardInterrupt:
        return replace(path, interrupted=True)
    settings = intercept_setting(intercept) | class_weight_setting(class_weight, data.train)
    settings |= {"refit": True}
    model = optimum.model(fitted, data_card(data), path.environment, settings)
    seconds = {**path.seconds, "refit": time.perf_counter() - began}
    return replace(path, refitted=model, seconds=seconds)


def _check_alone(l1_ratio: float, grouped: bool) -> None:
    """Refuse what means nothing without l1."""
    if l1_ratio != 1.0 or grouped:
        given = "grouped" if grouped else "l1_ratio"
        raise SettingsError(f"{given} needs l1: the values of λ₁, or how many the data give.")


def check_parts(metric: Metric, parts: Sequence[Part], class_names: Sequence[str]) -> None:
    """Raise `SettingsError` where a metric is not defined on held-out rows."""
    for i, (kept, rows) in enumerate(parts):
        whose = "the validation rows" if kept is None else f"the held-out rows of fold {i}"
        weights = rows.row_weights
        metric.check(
            rows.labels if weights is None else rows.labels[weights > 0.0], class_names, whose
        )


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
    made: Solvers | ProximalSolvers = (
        Solvers(engine, rows, classes, planned * len([rows, *parts]))
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
