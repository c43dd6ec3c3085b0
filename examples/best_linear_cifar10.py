"""Fit the best linear classifier of raw CIFAR-10 pixels, and look at the test rows once.

The recipe was chosen on held-out training rows: docs/guide/best-linear-classifier.md says how. Some
minutes on two cores; `onelayer best-linear` does the same with a bar that shows the time left.
"""

from onelayer import load
from onelayer.data import Splits
from onelayer.experiments.best_linear import Recipe, compare_recipes, fit_best_linear, mean_model


def main(splits: Splits, recipe: Recipe, seeds: int = 5, folds: int = 0) -> None:
    """Judge the recipe by folds, fit it to all training rows, save the mean map, then test it."""
    rows = splits.train_and_validation
    if folds:
        [held_out] = compare_recipes(rows, [recipe], folds=folds)
        print(f"held out: {held_out.accuracy:.4f} ± {held_out.standard_error:.4f}")
    maps = [fit_best_linear(rows, recipe, seed=seed) for seed in range(seeds)]
    best = mean_model(maps)
    best.save("best-linear.safetensors")
    print("each seed:", *(f"{one.evaluate(splits.test).accuracy:.4f}" for one in maps))
    judged = best.evaluate(splits.test)
    print(f"their mean: {judged.accuracy:.4f}, 95 % interval {judged.interval}")


if __name__ == "__main__":
    main(load(train_batches=(1, 2, 3, 4), validation_batches=(5,)), Recipe(), folds=5)
