"""Recipes compared on held-out training rows, and what is made of the one that wins."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onelayer.best_linear.fitting import fit_best_linear
from onelayer.best_linear.recipe import Recipe
from onelayer.data import Dataset, Splits
from onelayer.engines import Engine
from onelayer.errors import SettingsError
from onelayer.evaluation import evaluate
from onelayer.model import Model
from onelayer.optimum.folds import stratified_folds

Float64 = NDArray[np.float64]

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
            accuracies[i, j] = evaluate(model, judge, engine).accuracy
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
