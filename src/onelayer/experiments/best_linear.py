"""Fit a linear map by the generalised cross-entropy: Nesterov's momentum in the solver's metric.

    v ← μ v + M⁻¹ g                  g: gradient of a batch's mean L_q + λ Σ W²
    θ ← θ − η_t (M⁻¹ g + μ v)        θ = (W, b) on centred features, M(λ) = c Σ + 2λ I

`onelayer.solver.lbfgs` has M. A batch is copied as stored, each row moved by its own draw; flips
are exact, for W is kept its own mirror image. η_t is constant after an epoch of warm-up, and the
map is the mean of θ over the last half of the steps, which takes the noise of the batches out.

Pictures moved and mirrored: a batch of rows as stored, and weights as pictures.

How the best linear map is fitted: loss, penalty, augmentation and steps, all in one record.

Recipes compared on held-out training rows, and what is made of the one that wins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onelayer.data import Dataset, Splits
from onelayer.data.rows import Rows, rows_of
from onelayer.data.scaling import fit_scaling
from onelayer.data.split import stratified_folds
from onelayer.data.streaming import stored_rows
from onelayer.engines import Engine, Weights, streaming
from onelayer.errors import SettingsError, require_number, require_whole
from onelayer.model.model import Model
from onelayer.objective.loss import GeneralisedCrossEntropy, targets
from onelayer.objective.penalty import Penalty
from onelayer.solver.lbfgs import SAMPLE_ROWS, Preconditioner, fit_preconditioner
from onelayer.training.schedule import averaging_shares, learning_rate_factors, row_order

Shape = tuple[int, int, int]

Float64 = NDArray[np.float64]

# Moves must not draw from the stream that orders the rows under the same seed.
_MOVES = 2


def drawn_moves(seed: int, epoch: int, rows: int, most: int) -> NDArray[np.int64]:
    """How far each row that an epoch visits is moved: every move by at most `most` is as likely.

    Args:
        seed: ≥ 0.
        epoch: 1, 2, …
        rows: N.
        most: pixels, ≥ 0.

    Returns:
        Pixels down and right, −most … most, by place in the order of visits, shape (N, 2). They
        depend on nothing else.

    Example:
        >>> drawn_moves(seed=0, epoch=1, rows=2, most=0).tolist()
        [[0, 0], [0, 0]]
    """
    rng = np.random.default_rng([seed, epoch, _MOVES])
    return rng.integers(-most, most, (rows, 2), endpoint=True)


def moved(
    X: NDArray[np.generic], shape: Shape, moves: NDArray[np.int64], most: int
) -> NDArray[np.generic]:
    """Move each picture by whole pixels; what comes in from outside repeats the nearest edge.

    Args:
        X: a batch of rows as stored, shape (B, D).
        shape: (channels, height, width) of a row.
        moves: pixels down and right of each row, −most … most, shape (B, 2).
        most: pixels.

    Returns:
        The batch moved, shape (B, D), in X's type.

    Example:
        >>> moved(np.array([[1, 2, 3]]), (1, 1, 3), np.array([[0, 1]]), most=1)
        array([[1, 1, 2]])
    """
    pictures = X.reshape(len(X), *shape)
    border = ((0, 0), (0, 0), (most, most), (most, most))
    wide = np.pad(pictures, border, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(wide, shape[1:], axis=(2, 3))
    down, right = (most - moves).T
    return np.ascontiguousarray(windows[np.arange(len(X)), :, down, right]).reshape(X.shape)


def symmetric(V: Float64, shape: Shape) -> Float64:
    """The mean of pictures and their mirror images, left and right exchanged.

    A flipped row has the score that the row has under mirrored weights, so for weights that are
    their own mirror image this mean of a gradient is the gradient over the rows and their flips.

    Args:
        V: pictures, shape (K, D).
        shape: (channels, height, width).

    Returns:
        Shape (K, D).

    Example:
        >>> symmetric(np.array([[1.0, 2.0, 5.0]]), (1, 1, 3))
        array([[3., 2., 3.]])
    """
    pictures = V.reshape(len(V), *shape)
    return np.asarray(0.5 * (pictures + pictures[..., ::-1])).reshape(V.shape)


@dataclass(frozen=True)
class Recipe:
    """Settings of a fit. The defaults are those that CIFAR-10's held-out training rows chose.

    Attributes:
        q: of the generalised cross-entropy, 0 … 1; 0 is cross-entropy, 1 the expected share of
            wrong rows.
        l2: λ ≥ 0, multiplies Σ W² of the weights on features scaled to 0 … 1.
        moves: pixels that a picture is moved at most, up, down, left and right, ≥ 0.
        flips: whether pictures count as much as their mirror images.
        epochs: passes over the rows, ≥ 1.
        batch_size: B ≥ 1.
        learning_rate: η > 0, as a share of a Newton step.
        momentum: μ of Nesterov's momentum, 0 ≤ μ < 1.

    Raises:
        SettingsError: for a value outside its range.

    Example:
        >>> Recipe(q=2.0)
        Traceback (most recent call last):
        ...
        onelayer.errors.SettingsError: q must be a number from 0 to 1, but 2.0 was given.
    """

    q: float = 0.6
    l2: float = 2e-5
    moves: int = 1
    flips: bool = True
    epochs: int = 60
    batch_size: int = 2000
    learning_rate: float = 0.03
    momentum: float = 0.9

    def __post_init__(self) -> None:
        require_number("q", self.q, "a number from 0 to 1", least=0)
        if self.q > 1:
            raise SettingsError(f"q must be a number from 0 to 1, but {self.q!r} was given.")
        require_number("l2 (λ)", self.l2, "a finite number, 0 or above", least=0)
        require_whole("moves", self.moves, 0)
        require_whole("epochs", self.epochs, 1)
        require_whole("batch_size", self.batch_size, 1)
        require_number("learning_rate (η)", self.learning_rate, "a finite number above 0", above=0)
        require_number("momentum", self.momentum, "a number from 0 to below 1", least=0, below=1)

    def check(self, dataset: Dataset) -> None:
        """Refuse rows that stay in their files, and rows that cannot be moved or mirrored.

        Args:
            dataset: the rows.

        Raises:
            SettingsError: when the rows stay in their files, or are no pictures and shall be moved
                or flipped.
        """
        if stored_rows(dataset.X) is not None:
            raise SettingsError(
                f"{dataset.name}: the best linear map is fitted to rows in memory, but these stay "
                "in their files; load them with stream=False (--no-stream)."
            )
        if dataset.image_shape is None and (self.moves or self.flips):
            raise SettingsError(
                f"{dataset.name} holds no pictures, so its rows can be neither moved nor flipped: "
                "set moves to 0 and flips to False (--moves 0 --no-flips)."
            )


WARMUP_EPOCHS = 1.0

TAIL = "tail:0.5"


@dataclass(frozen=True, eq=False)
class _Problem:
    """What a step needs beside θ."""

    recipe: Recipe
    rows: Rows
    image_shape: tuple[int, int, int] | None
    metric: Preconditioner
    seed: int


def fit_best_linear(
    data: Dataset | Splits,
    recipe: Recipe | None = None,
    *,
    seed: int = 0,
    engine: Engine | str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Model:
    """Fit the linear classifier that a recipe describes.

    W, b = argmin (1/N) Σ (1 − p_y^q) / q + λ Σ W², over rows, their moves and their flips

    Args:
        data: the training rows; of splits the training part (`whole_training_set` joins the
            validation rows to it).
        recipe: loss, penalty, augmentation and steps; None is the one that CIFAR-10's validation
            rows chose.
        seed: random seed of the row order and the moves, ≥ 0.
        engine: what does the arithmetic, or its name; None is "native".
        on_progress: called with epochs done and their number.

    Returns:
        One linear map of the rows as stored; the same bits for the same seed and engine.

    Raises:
        SettingsError: for a seed or recipe that does not fit.

    Source:
        Zhang & Sabuncu (2018) for the loss; docs/guide/best-linear-classifier.md for the rest.

    Example:
        >>> from onelayer import load
        >>> model = fit_best_linear(load("digits").train, Recipe(epochs=3, moves=0, flips=False))
        >>> model.W.shape
        (10, 64)
    """
    dataset = data.train if isinstance(data, Splits) else data
    recipe = recipe or Recipe()
    recipe.check(dataset)
    require_whole("seed", seed, 0)
    scaling = fit_scaling("unit", dataset.X, dataset.max_value)
    engine = streaming(engine)
    rows = rows_of(dataset, scaling)
    metric = fit_preconditioner(
        engine, _met(rows, dataset.image_shape, recipe, seed), dataset.classes
    )
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


def _descend(
    problem: _Problem, at: Float64, on_progress: Callable[[int, int], None] | None
) -> Float64:
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
            towards = _kept(problem, problem.metric.divide(gradient, Penalty.of(recipe)))
            velocity = recipe.momentum * velocity + towards
            at = at - recipe.learning_rate * factors[step] * (towards + recipe.momentum * velocity)
            mean += shares[step] * (at - mean)
        if on_progress is not None:
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
    S = np.asarray(engine.scores(batch, weights)[0], np.float64)
    pull = GeneralisedCrossEntropy(recipe.q).residual(S, targets(batch.y, S.shape[1])) / len(
        visited
    )
    sums = engine.weighted_sums(batch, pull.astype(np.float32)[None])[0]
    gradient = np.column_stack([sums + Penalty.of(recipe).gradient(at[:, :-1]), pull.sum(axis=0)])
    return _kept(problem, gradient)


def _kept(problem: _Problem, vector: Float64) -> Float64:
    """The vector's part that leaves W its own mirror image, where flips are asked for."""
    if problem.recipe.flips and problem.image_shape is not None:
        vector[:, :-1] = symmetric(vector[:, :-1], problem.image_shape)
    return vector


# One thing after the other: flips, moves, the loss; then what lies around the recipe. λ is the
# best of a coarse grid for each loss and augmentation.
CANDIDATES = (
    Recipe(q=0.0, l2=3e-4, moves=0, flips=False),
    Recipe(q=0.0, l2=3e-4, moves=0, flips=True),
    Recipe(q=0.0, l2=1e-4, moves=2),
    Recipe(q=0.6, l2=1e-4, moves=0),
    Recipe(q=0.6, l2=2e-5, moves=1),
    Recipe(q=0.3, l2=1e-5, moves=2),
    Recipe(q=0.6, l2=1e-5, moves=2),
    Recipe(q=1.0, l2=1e-5, moves=2),
    Recipe(q=0.6, l2=1e-5, moves=3),
)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What a recipe gives on training rows that it was not fitted to.

    Attributes:
        recipe: that was fitted.
        accuracies: share of each fold's rows classified right, shape (folds,).
    """

    recipe: Recipe
    accuracies: Float64

    @property
    def accuracy(self) -> float:
        """Mean over the folds."""
        return float(self.accuracies.mean())

    @property
    def standard_error(self) -> float:
        """Of that mean, by the spread over the folds."""
        return float(self.accuracies.std(ddof=1)) / math.sqrt(len(self.accuracies))


def compare_recipes(
    dataset: Dataset,
    recipes: Sequence[Recipe] = CANDIDATES,
    *,
    folds: int = 5,
    seed: int = 0,
    engine: Engine | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[HeldOut]:
    """Fit each recipe once for each fold, on the rows outside it, and judge it on the fold.

    Args:
        dataset: all training rows.
        recipes: to compare, at least one.
        folds: 2 … N; all recipes see the same ones.
        seed: ≥ 0, draws the folds, the order of rows and their moves.
        engine: what does the arithmetic; None takes the default engine.
        on_progress: told of epochs done and their number, over all fits.

    Returns:
        One comparison a recipe, in their order.

    Raises:
        SettingsError: without recipes, for fewer than 2 folds, or a recipe that does not fit.

    Example:
        >>> from onelayer import load
        >>> digits = load("digits").train
        >>> [plain] = compare_recipes(digits, [Recipe(moves=0, flips=False, epochs=2)], folds=2)
        >>> plain.accuracies.shape
        (2,)
    """
    if not recipes:
        raise SettingsError("recipes must hold at least one, but none was given.")
    for recipe in recipes:
        recipe.check(dataset)
    total, done = folds * sum(recipe.epochs for recipe in recipes), 0
    accuracies = np.empty((len(recipes), folds))
    for j, (kept, held_out) in enumerate(stratified_folds(dataset.y, folds, seed)):
        train, judge = dataset.take(kept), dataset.take(held_out)
        for i, recipe in enumerate(recipes):

            def tell(epoch: int, _: int, before: int = done) -> None:
                on_progress(before + epoch, total)

            model = fit_best_linear(train, recipe, seed=seed, engine=engine, on_progress=tell)
            accuracies[i, j] = model.evaluate(judge, engine).accuracy
            done += recipe.epochs
    return [HeldOut(recipe, row) for recipe, row in zip(recipes, accuracies, strict=True)]


def mean_model(models: Sequence[Model]) -> Model:
    """The mean of linear maps of the same rows, which is one linear map.

    Args:
        models: of one recipe and data set, at least one; they differ in their seeds.

    Returns:
        The map whose scores are the means of theirs; its settings name their seeds.

    Example:
        >>> from onelayer import load
        >>> digits = load("digits").train
        >>> plain = Recipe(moves=0, flips=False, epochs=2)
        >>> mean_model([fit_best_linear(digits, plain, seed=s) for s in (0, 1)]).settings["seeds"]
        [0, 1]
    """
    first = models[0]
    settings = {name: value for name, value in first.settings.items() if name != "seed"}
    return replace(
        first,
        W=np.asarray(np.mean([model.W for model in models], axis=0), np.float32),
        b=np.mean([model.b for model in models], axis=0),
        settings=settings | {"seeds": [model.settings["seed"] for model in models]},
    )


def whole_training_set(splits: Splits) -> Dataset:
    """Training and validation rows as one set: all that there is but the test rows.

    Args:
        splits: of one data set.

    Returns:
        The training rows, then the validation rows; they are copied.

    Example:
        >>> from onelayer import load
        >>> whole_training_set(load("digits")).rows
        1397
    """
    both = splits.train, splits.validation
    return replace(
        splits.train,
        X=np.concatenate([part.X for part in both]),
        y=np.concatenate([part.y for part in both]),
    )
