"""Fit a linear map by the generalised cross-entropy: Nesterov's momentum in the solver's metric.

    v ← μ v + M⁻¹ g                  g: gradient of a batch's mean L_q + λ Σ W²
    θ ← θ − η_t (M⁻¹ g + μ v)        θ = (W, b) on centred features, M(λ) = c Σ + 2λ I

`onelayer.optimum.metric` has M. A batch is copied as stored, each row moved by its own draw; flips
are exact, for W is kept its own mirror image. η_t is constant after an epoch of warm-up, and the
map is the mean of θ over the last half of the steps, which takes the noise of the batches out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onelayer.averages import averaging_shares
from onelayer.best_linear.images import drawn_moves, moved, symmetric
from onelayer.best_linear.loss import residuals
from onelayer.best_linear.recipe import Recipe
from onelayer.data import Dataset
from onelayer.engines import Engine, Rows, Weights, make_engine
from onelayer.model import Model
from onelayer.optimum.dataset import rows_of
from onelayer.optimum.metric import SAMPLE_ROWS, Metric, fit_metric
from onelayer.ranges import require_whole
from onelayer.row_order import row_order
from onelayer.scaling import fit_scaling
from onelayer.schedules import learning_rate_factors

Float64 = NDArray[np.float64]

WARMUP_EPOCHS = 1.0
TAIL = "tail:0.5"


@dataclass(frozen=True, eq=False)
class _Problem:
    """What a step needs beside θ."""

    recipe: Recipe
    rows: Rows
    image_shape: tuple[int, int, int] | None
    metric: Metric
    seed: int


def fit_best_linear(
    dataset: Dataset,
    recipe: Recipe | None = None,
    *,
    seed: int = 0,
    engine: Engine | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Model:
    """Fit the linear map that a recipe describes.

    W, b = argmin (1/N) Σ (1 − p_y^q) / q + λ Σ W², over rows, their moves and their flips

    Args:
        dataset: all training rows; nothing is held out.
        recipe: of the fit; None takes the one that CIFAR-10's held-out rows chose.
        seed: ≥ 0, draws the order of the rows and their moves.
        engine: what does the arithmetic; None takes the default engine.
        on_progress: told of epochs done and their number.

    Returns:
        One linear map of the rows as stored; the same bits for the same seed and engine.

    Raises:
        SettingsError: for a seed or recipe that does not fit.

    Source:
        Zhang & Sabuncu (2018) for the loss; docs/best-linear-classifier.md for the rest.

    Example:
        >>> from onelayer import load
        >>> model = fit_best_linear(load("digits").train, Recipe(epochs=3, moves=0, flips=False))
        >>> model.W.shape
        (10, 64)
    """
    recipe = recipe or Recipe()
    recipe.check(dataset)
    require_whole("seed", seed, 0)
    scaling = fit_scaling("unit", dataset.X, dataset.max_value)
    engine = engine or make_engine()
    rows = rows_of(dataset, scaling)
    metric = fit_metric(engine, _met(rows, dataset.image_shape, recipe, seed), dataset.classes)
    centred = replace(rows, offset=rows.offset - metric.mean)
    problem = _Problem(recipe, centred, dataset.image_shape, metric, seed)
    at = _descend(problem, np.zeros((dataset.classes, dataset.features + 1)), on_progress)
    return Model(
        W=at[:, :-1].astype(np.float32),
        b=at[:, -1] - at[:, :-1] @ metric.mean,
        scaling=scaling,
        class_names=dataset.class_names,
        image_shape=dataset.image_shape,
        feature_names=dataset.feature_names,
        settings={"made_by": "best-linear", "seed": seed, "train_rows": dataset.rows}
        | asdict(recipe),
    )


def _met(rows: Rows, image_shape: tuple[int, int, int] | None, recipe: Recipe, seed: int) -> Rows:
    """Some rows as the first epoch meets them: a border that is black until it moves varies."""
    order = row_order(seed, 1, rows.count)
    assert order is not None  # noqa: S101  # there is a seed
    chosen = order[:SAMPLE_ROWS]
    X = rows.X[chosen]
    if image_shape is not None and recipe.moves:
        moves = drawn_moves(seed, 1, rows.count, recipe.moves)
        X = moved(X, image_shape, moves[: len(chosen)], recipe.moves)
    return Rows(X, rows.y[chosen], rows.scale, rows.offset)


def _descend(problem: _Problem, at: Float64, on_progress: Callable[[int, int], None]) -> Float64:
    """Take all steps from a start, and give the mean over the last of them."""
    recipe, count = problem.recipe, problem.rows.count
    velocity, mean = np.zeros_like(at), at.copy()
    steps = -(-count // recipe.batch_size)
    warmup = min(WARMUP_EPOCHS, recipe.epochs / 2)
    for epoch in range(1, recipe.epochs + 1):
        factors = learning_rate_factors("constant", warmup, recipe.epochs, steps, epoch)
        shares = averaging_shares(TAIL, recipe.epochs, steps, epoch)
        order = row_order(problem.seed, epoch, count)
        assert order is not None  # noqa: S101  # there is a seed
        moves = drawn_moves(problem.seed, epoch, count, recipe.moves)
        for step in range(steps):
            visits = slice(step * recipe.batch_size, (step + 1) * recipe.batch_size)
            gradient = _gradient(problem, at, order[visits], moves[visits])
            towards = _kept(problem, problem.metric.divide(gradient, recipe.l2))
            velocity = recipe.momentum * velocity + towards
            at = at - recipe.learning_rate * factors[step] * (towards + recipe.momentum * velocity)
            mean += shares[step] * (at - mean)
        on_progress(epoch, recipe.epochs)
    return mean


def _gradient(
    problem: _Problem, at: Float64, visited: NDArray[np.int64], moves: NDArray[np.int64]
) -> Float64:
    """Gradient of the batch's mean loss and of the penalty, shape (K, D + 1)."""
    rows, recipe, engine = problem.rows, problem.recipe, problem.metric.engine
    X = rows.X[visited]
    if problem.image_shape is not None and recipe.moves:
        X = moved(X, problem.image_shape, moves, recipe.moves)
    batch = Rows(X, rows.y[visited], rows.scale, rows.offset)
    rounded = at.astype(np.float32)[None]
    weights = Weights(np.ascontiguousarray(rounded[..., :-1]), rounded[..., -1])
    pull = residuals(engine.scores(batch, weights)[0], batch.y, recipe.q) / len(visited)
    sums = engine.weighted_sums(batch, pull.astype(np.float32)[None])[0]
    gradient = np.column_stack([sums + 2.0 * recipe.l2 * at[:, :-1], pull.sum(axis=0)])
    return _kept(problem, gradient)


def _kept(problem: _Problem, vector: Float64) -> Float64:
    """The vector's part that leaves W its own mirror image, where flips are asked for."""
    if problem.recipe.flips and problem.image_shape is not None:
        vector[:, :-1] = symmetric(vector[:, :-1], problem.image_shape)
    return vector
