"""The most accurate linear classifier of raw pixels: a loss near the error rate, moved images.

    v ← μ v + M⁻¹ g                  g: gradient of a batch's mean L_q + λ Σ W²
    θ ← θ − η_t (M⁻¹ g + μ v)        θ = (W, b) on centred features, M(λ) = c Σ + 2λ I

L_q is the generalised cross-entropy (`onelayer.objective.loss`), M the solver's preconditioner
(`onelayer.solver.lbfgs`). Each row of a batch is moved by its own draw; flips are exact, for W is
kept its own mirror image. η_t is constant after an epoch of warm-up, and the classifier is the mean
of θ over the last half of the steps, which averages out the noise of the batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data import Dataset, Splits
from onelayer.data.dataset import data_card, require_rows, training_rows
from onelayer.data.rows import Rows, rows_of
from onelayer.data.scaling import fit_scaling
from onelayer.data.sparse import sparse_rows
from onelayer.data.split import stratified_folds
from onelayer.data.streaming import stored_rows
from onelayer.engines import Engine, Weights, streaming
from onelayer.errors import (
    SettingsError,
    known_options,
    make_plain,
    plain,
    require_number,
    require_whole,
)
from onelayer.files.provenance import describe_environment
from onelayer.model.model import Model
from onelayer.objective.loss import GeneralisedCrossEntropy, targets
from onelayer.objective.penalty import Penalty
from onelayer.solver.lbfgs import SAMPLE_ROWS, Preconditioner, fit_preconditioner
from onelayer.training.loop import steps_of_epoch
from onelayer.training.row_order import row_order
from onelayer.training.run import Run

Shape = tuple[int, int, int]
Float64 = NDArray[np.float64]


def drawn_moves(seed: int, epoch: int, rows: int, most: int) -> NDArray[np.int64]:
    """Pixels down and right, −most … most, of each row that an epoch (from 1) visits, (N, 2)."""
    # Moves must not draw from the stream that orders the rows under the same seed.
    rng = np.random.default_rng([seed, epoch, 2])
    return rng.integers(-most, most, (rows, 2), endpoint=True)


def moved(
    X: NDArray[np.generic], shape: Shape, moves: NDArray[np.int64], most: int
) -> NDArray[np.generic]:
    """Move images (B, D) by pixels down and right, (B, 2), |move| ≤ most; edges are repeated."""
    images = X.reshape(len(X), *shape)
    border = ((0, 0), (0, 0), (most, most), (most, most))
    wide = np.pad(images, border, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(wide, shape[1:], axis=(2, 3))
    down, right = (most - moves).T
    return np.ascontiguousarray(windows[np.arange(len(X)), :, down, right]).reshape(X.shape)


def symmetric(V: Float64, shape: Shape) -> Float64:
    """The mean of images (K, D) and their mirror images, left and right exchanged.

    A flipped row has the score that the row has under mirrored weights, so for weights that are
    their own mirror image this mean of a gradient is the gradient over the rows and their flips.
    """
    images = V.reshape(len(V), *shape)
    return np.asarray(0.5 * (images + images[..., ::-1])).reshape(V.shape)


@dataclass(frozen=True)
class Recipe:
    """Settings of a fit. The defaults are those that CIFAR-10's validation rows chose.

    Attributes:
        q: loss exponent, 0 … 1; 0 is cross-entropy, 1 the expected error rate.
        l2: λ ≥ 0, multiplies Σ W² of the weights on features scaled to 0 … 1.
        moves: maximum random shift in pixels, up, down, left and right, ≥ 0.
        flips: whether to augment with horizontal flips.
        epochs: passes over the rows, ≥ 1.
        batch_size: B ≥ 1.
        learning_rate: η > 0, as a fraction of a Newton step.
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
        make_plain(self)
        above_one = math.nextafter(1.0, 2.0)
        require_number("q", self.q, "a number from 0 to 1", least=0, below=above_one)
        require_whole("moves", self.moves, 0)
        require_whole("epochs", self.epochs, 1)
        self.run(seed=0)

    def check(self, dataset: Dataset) -> None:
        """Raise SettingsError for rows in files, and for rows that cannot be moved or flipped."""
        if stored_rows(dataset.X) is not None:
            raise SettingsError(
                f"{dataset.name}: fit_best_linear needs rows in memory, but these stay in their "
                "files; load them with stream=False (--no-stream)."
            )
        if sparse_rows(dataset.X) is not None:
            raise SettingsError(
                f"the rows of {dataset.name} are sparse, and fit_best_linear is for arrays; take "
                "solve, or convert them with toarray()."
            )
        dataset.refuse_offsets("fit_best_linear")
        if dataset.many_labels:
            raise SettingsError(
                f"the rows of {dataset.name} have many labels, and fit_best_linear is for one "
                "class a row; take solve, or train with loss='sigmoid'."
            )
        if dataset.image_shape is None and (self.moves or self.flips):
            raise SettingsError(
                f"there are no images to move or flip in {dataset.name}; set moves=0 and "
                "flips=False (--moves 0 --no-flips)."
            )

    def run(self, seed: int) -> Run:
        """The steps of a fit, as a run has them: their rates, their averages and their order."""
        how: dict[str, Any] = {"momentum": self.momentum, "nesterov": True, "shuffle_seed": seed}
        how |= {"warmup": min(1.0, self.epochs / 2), "averaging": "tail:0.5"}
        return Run(self.learning_rate, self.l2, seed, self.batch_size, self.epochs, **how)


@known_options
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
        data: the training rows; of splits the training part (`train_and_validation` joins the
            validation rows to it).
        recipe: loss, penalty, augmentation and steps; None is the one that CIFAR-10's validation
            rows chose, without moves and flips where the rows are no images.
        seed: random seed of the row order and the moves, ≥ 0.
        engine: what does the arithmetic, or its name; None is "native".
        on_progress: called with epochs done and their number.

    Returns:
        A model of the rows as stored; the same bits for the same seed and engine.

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
    require_rows("fit_best_linear", data)
    dataset, engine = training_rows(data), streaming(engine)
    if recipe is None:
        recipe = Recipe() if dataset.image_shape else Recipe(moves=0, flips=False)
    recipe.check(dataset)
    seed = plain(seed)
    require_whole("seed", seed, 0)
    scaling = fit_scaling("unit", dataset.X, dataset.max_value)
    problem = _Problem(recipe, seed, rows_of(dataset, scaling), dataset.image_shape)
    preconditioner = fit_preconditioner(engine, problem.sample(), dataset.classes)
    centred = replace(problem.rows, offset=problem.rows.offset - preconditioner.mean)
    start = np.zeros((dataset.classes, dataset.features + 1))
    theta = replace(problem, rows=centred).descend(start, preconditioner, on_progress)
    W, b = theta[:, :-1].astype(np.float32), theta[:, -1] - theta[:, :-1] @ preconditioner.mean
    settings = {"made_by": "best-linear", "seed": seed} | asdict(recipe)
    environment = describe_environment() | engine.describe()
    return Model.of_data(W, b, scaling, data_card(data), environment, settings, None)


@dataclass(frozen=True, eq=False)
class _Problem:
    """A recipe, and the rows that it is fitted to."""

    recipe: Recipe
    seed: int
    rows: Rows
    image_shape: Shape | None

    def sample(self) -> Rows:
        """Some rows as the first epoch moves them, so that a border that is black varies."""
        order = row_order(self.seed, 1, self.rows.count)
        assert order is not None  # noqa: S101  # there is a seed
        moves = drawn_moves(self.seed, 1, self.rows.count, self.recipe.moves)
        return self._batch(order[:SAMPLE_ROWS], moves[:SAMPLE_ROWS])

    def descend(
        self,
        theta: Float64,
        preconditioner: Preconditioner,
        on_progress: Callable[[int, int], None] | None,
    ) -> Float64:
        """Take all steps from θ (K, D + 1), and return the mean over the last of them."""
        recipe, run, count = self.recipe, self.recipe.run(self.seed), self.rows.count
        velocity, mean = np.zeros_like(theta), theta.copy()
        for epoch in range(1, recipe.epochs + 1):
            steps = steps_of_epoch([run], epoch, count)
            assert steps.order is not None  # noqa: S101  # the run is shuffled
            assert steps.averaging is not None  # noqa: S101  # and averages
            moves = drawn_moves(self.seed, epoch, count, recipe.moves)
            for t, (eta,) in enumerate(steps.learning_rate):
                visits = slice(t * recipe.batch_size, (t + 1) * recipe.batch_size)
                batch = self._batch(steps.order[visits], moves[visits])
                gradient = self._gradient(preconditioner.engine, batch, theta)
                direction = preconditioner.divide(gradient, Penalty.of(recipe))
                direction = self._mirrored(np.asarray(direction, np.float64))
                velocity = recipe.momentum * velocity + direction
                theta = theta - eta * (direction + recipe.momentum * velocity)
                mean += steps.averaging[t] * (theta - mean)
            if on_progress is not None:
                on_progress(epoch, recipe.epochs)
        return mean

    def _batch(self, visited: NDArray[np.int64], moves: NDArray[np.int64]) -> Rows:
        rows, X = self.rows, self.rows.X[visited]
        if self.image_shape is not None and self.recipe.moves:
            X = moved(X, self.image_shape, moves, self.recipe.moves)
        return Rows(X, rows.y[visited], rows.scale, rows.offset)

    def _gradient(self, engine: Engine, batch: Rows, theta: Float64) -> Float64:
        rounded = theta.astype(np.float32)[None]
        weights = Weights(np.ascontiguousarray(rounded[..., :-1]), rounded[..., -1])
        S = np.asarray(engine.scores(batch, weights)[0], np.float64)
        loss = GeneralisedCrossEntropy(self.recipe.q)
        residual = loss.residual(S, targets(batch.y, S.shape[1])) / batch.count
        sums = engine.weighted_sums(batch, residual.astype(np.float32)[None])[0]
        G = sums + Penalty.of(self.recipe).gradient(theta[:, :-1])
        return self._mirrored(np.column_stack([G, residual.sum(axis=0)]))

    def _mirrored(self, vector: Float64) -> Float64:
        """The part of the vector that leaves W its own mirror image, where flips are used."""
        if self.recipe.flips and self.image_shape is not None:
            vector[:, :-1] = symmetric(vector[:, :-1], self.image_shape)
        return vector


# Flips, moves and the loss are added one by one; then neighbours of the recipe. λ is the best of a
# coarse grid for each loss and augmentation.
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
    """Accuracies of a recipe on each fold of the training rows, shape (folds,)."""

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
    data: Dataset | Splits,
    recipes: Sequence[Recipe] = CANDIDATES,
    *,
    folds: int = 5,
    seed: int = 0,
    engine: Engine | str | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[HeldOut]:
    """Cross-validate recipes: fit each on the rows outside every fold, evaluate on the fold."""
    require_rows("compare_recipes", data)
    dataset = training_rows(data)
    if not recipes:
        raise SettingsError("compare_recipes needs at least one recipe.")
    for recipe in recipes:
        recipe.check(dataset)
    total, done = folds * sum(recipe.epochs for recipe in recipes), 0
    accuracies = np.empty((len(recipes), folds))
    for j, (kept, held_out) in enumerate(stratified_folds(dataset.y, folds, seed)):
        train, judge = dataset.take(kept), dataset.take(held_out)
        for i, recipe in enumerate(recipes):

            def report(epoch: int, _: int, before: int = done) -> None:
                on_progress(before + epoch, total)

            model = fit_best_linear(train, recipe, seed=seed, engine=engine, on_progress=report)
            accuracies[i, j] = model.evaluate(judge, engine, include_training_rows=True).accuracy
            done += recipe.epochs
    return [HeldOut(recipe, row) for recipe, row in zip(recipes, accuracies, strict=True)]


def mean_model(models: Sequence[Model]) -> Model:
    """The model whose scores are the means of those of models that differ only in their seeds."""
    first = models[0]
    settings = {name: value for name, value in first.settings.items() if name != "seed"}
    return replace(
        first,
        W=np.asarray(np.mean([model.W for model in models], axis=0), np.float32),
        b=np.mean([model.b for model in models], axis=0),
        settings=settings | {"seeds": [model.settings["seed"] for model in models]},
    )
