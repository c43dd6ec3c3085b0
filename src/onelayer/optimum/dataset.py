"""The optimum, the certificate and the advice for a `Dataset`: what most callers want."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from onelayer.data import Dataset
from onelayer.engines import Engine, Rows, streaming
from onelayer.errors import SettingsError
from onelayer.objective import Loss
from onelayer.optimum.advice import Advice, advise
from onelayer.optimum.certificate import Certificate, certify_weights
from onelayer.optimum.metric import fit_metric
from onelayer.optimum.solver import Optimum, Progress, Solver, Target
from onelayer.plan import check_loss
from onelayer.ranges import require_number, require_whole
from onelayer.scaling import Scaling, fit_scaling


def rows_of(dataset: Dataset, scaling: Scaling) -> Rows:
    """A data set as engines read it.

    Args:
        dataset: the rows.
        scaling: applied while they are read.

    Returns:
        The rows; nothing is copied.
    """
    width = dataset.image_shape[2] if dataset.image_shape else 0
    return Rows(dataset.X, dataset.y, scaling.scale, scaling.offset, image_width=width)


def solve(
    dataset: Dataset,
    l2: float,
    *,
    tol: float = 1e-6,
    max_passes: int = 1000,
    scaling: str = "unit",
    engine: Engine | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Optimum:
    """Find the best model there is for one λ, and prove how near it is.

    W*, b* = argmin −(1/N) Σ log(yᵀ p) + λ Σ W²

    Args:
        dataset: the training rows.
        l2: λ ≥ 0. For λ = 0 nothing can be proven, and on separable rows there is no optimum:
            the search ends when the gradient has fallen to tol of what it was.
        tol: relative gap to prove, > 0: gap ≤ tol · J.
        max_passes: over the rows, ≥ 1.
        scaling: "none", "unit" or "standardize", fitted on these rows. λ acts on the weights of
            the scaled features.
        engine: what does the arithmetic; None takes the default engine.
        on_progress: called after every pass.

    Returns:
        Weights, certificate and status; the search never fails without saying what it reached.

    Raises:
        SettingsError: for a value outside its range.

    Source:
        Böhning (1992), Multinomial logistic regression algorithm, for the metric; Nocedal &
        Wright (2006), ch. 7, for L-BFGS.

    Example:
        >>> from onelayer.data import load
        >>> optimum = solve(load("digits").train, l2=0.01)
        >>> optimum.status, optimum.certificate.gap <= 1e-6 * optimum.certificate.cost
        ('optimal', True)
    """
    target = Target(l2, tol, max_passes)
    fitted = fit_scaling(scaling, dataset.X, dataset.max_value)
    rows = rows_of(dataset, fitted)
    chosen_engine = streaming(engine)
    metric = fit_metric(chosen_engine, rows, dataset.classes)
    return Solver(chosen_engine, rows, dataset.classes, metric, on_progress).solve(target)


def certify(
    dataset: Dataset,
    W: ArrayLike,
    b: ArrayLike,
    l2: float,
    *,
    scaling: Scaling,
    engine: Engine | None = None,
) -> Certificate:
    """Prove how far a model can be from the best for its λ, however it was trained.

    J(W, b) − J* ≤ J(W, b) − J(W, b°) + ‖∇_W J(W, b°)‖² / (4λ), with b° the best bias for W.

    Args:
        dataset: the rows that the cost is the mean over, usually the training rows.
        W: weights, shape (K, D).
        b: bias, shape (K,).
        l2: λ ≥ 0; for 0 the gap is infinite.
        scaling: the map that W expects of its features.
        engine: what does the arithmetic; None takes the default engine.

    Returns:
        The certificate.

    Raises:
        SettingsError: for a λ outside its range, or weights of another shape or not finite.

    Source:
        docs/formulations.md, "The certificate".

    Example:
        >>> from onelayer import Run, load, train
        >>> splits = load("digits")
        >>> result = train(splits, [Run(learning_rate=0.1, l2=0.01)])
        >>> certify(splits.train, result.W[0], result.b[0], 0.01, scaling=result.scaling).sentence
        'cost 0.99393, at most 0.034 above the best possible'
    """
    require_number("l2 (λ)", l2, "a finite number, 0 or above", least=0)
    W, b = np.asarray(W, np.float64), np.asarray(b, np.float64)
    shape = (dataset.classes, dataset.features)
    if W.shape != shape or b.shape != shape[:1]:
        raise SettingsError(
            f"W and b must have the shapes {shape} and {shape[:1]} that {dataset.name} calls for, "
            f"but they have {W.shape} and {b.shape}."
        )
    if not (np.isfinite(W).all() and np.isfinite(b).all()):
        raise SettingsError("W and b must be finite numbers, but they hold a NaN or an infinity.")
    rows = rows_of(dataset, scaling)
    return certify_weights(streaming(engine), rows, W, b, l2).given


def suggest(
    dataset: Dataset,
    *,
    l2: float = 0.0,
    batch_size: int = 100,
    loss: Loss = "softmax",
    scaling: str = "unit",
    engine: Engine | None = None,
) -> Advice:
    """Measure which learning rates are stable on a data set, before training.

    Args:
        dataset: the training rows.
        l2: λ ≥ 0.
        batch_size: B ≥ 1; more than N counts as N.
        loss: "softmax" or "sigmoid".
        scaling: "none", "unit" or "standardize".
        engine: what does the arithmetic; None takes the default engine.

    Returns:
        Bounds on the learning rate, and one to take.

    Raises:
        SettingsError: for a value outside its range.

    Source:
        Böhning (1992); Gower et al. (2019), SGD: General Analysis and Improved Rates.

    Example:
        >>> from onelayer.data import load
        >>> advice = suggest(load("digits").train)
        >>> 0 < advice.learning_rate < advice.batch_stable <= advice.stable < advice.start_stable
        True
    """
    require_number("l2 (λ)", l2, "a finite number, 0 or above", least=0)
    require_whole("batch_size", batch_size, 1)
    check_loss(loss, 0.0)
    rows = rows_of(dataset, fit_scaling(scaling, dataset.X, dataset.max_value))
    return advise(streaming(engine), rows, dataset.classes, l2, batch_size, loss)
