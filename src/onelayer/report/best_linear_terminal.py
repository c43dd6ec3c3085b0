"""The best linear map in the terminal: what recipes gave on held-out rows, and the maps."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from onelayer.best_linear import HeldOut, Recipe
from onelayer.evaluation import Evaluation
from onelayer.report.terminal import plain_table

if TYPE_CHECKING:
    from rich.table import Table


def held_out_table(compared: Sequence[HeldOut], chosen: HeldOut) -> Table:
    """Tabulate what each recipe gave on the rows held out from it.

    Args:
        compared: the recipes.
        chosen: the one that is taken, of them.

    Returns:
        One line a recipe: its settings, and mean ± standard error over the folds.

    Example:
        >>> import numpy as np
        >>> one = HeldOut(Recipe(), np.array([0.4, 0.5]))
        >>> held_out_table([one], one).row_count
        1
    """
    folds = len(chosen.accuracies)
    table = plain_table(f"Training rows held out, {folds} folds: accuracy in percent")
    for name in ("loss", "λ", "moves", "flips", "accuracy", ""):
        table.add_column(name, justify="right" if name in ("λ", "moves", "accuracy") else "left")
    for held_out in compared:
        recipe = held_out.recipe
        table.add_row(
            loss_words(recipe), f"{recipe.l2:g}", f"±{recipe.moves}" if recipe.moves else "0",
            "yes" if recipe.flips else "no",
            f"{100 * held_out.accuracy:.2f} ± {100 * held_out.standard_error:.2f}",
            "chosen" if held_out is chosen else "",
        )  # fmt: skip
    return table


def maps_table(each: Sequence[Evaluation], mean: Evaluation, seeds: Sequence[int]) -> Table:
    """Tabulate the test accuracies of the maps and of their mean.

    Args:
        each: evaluation of each seed's map.
        mean: of the mean of the maps.
        seeds: of the maps.

    Returns:
        One line a map, in percent, with the 95 % Wilson interval.
    """
    table = plain_table(f"{mean.rows:,} test rows: accuracy in percent")
    table.add_column("map")
    table.add_column("accuracy", justify="right")
    table.add_column("95 % interval over rows", justify="right")
    names = [f"seed {seed}" for seed in seeds] + [f"mean of the {len(seeds)}"]
    for name, evaluation in zip(names, [*each, mean], strict=True):
        low, high = evaluation.interval
        table.add_row(
            name, f"{100 * evaluation.accuracy:.2f}", f"{100 * low:.2f} to {100 * high:.2f}"
        )
    return table


def loss_words(recipe: Recipe) -> str:
    """The loss in words.

    Example:
        >>> loss_words(Recipe(q=0.0)), loss_words(Recipe(q=0.6))
        ('cross-entropy', 'L_q, q = 0.6')
    """
    return "cross-entropy" if recipe.q == 0 else f"L_q, q = {recipe.q:g}"


def seeds_sentence(each: Sequence[Evaluation]) -> str:
    """The spread of the seeds' maps in a sentence: mean, standard deviation, lowest to highest.

    Args:
        each: evaluation of each seed's map.

    Returns:
        In percent; of one map there is no spread.
    """
    accuracies = [100 * evaluation.accuracy for evaluation in each]
    if len(accuracies) == 1:
        return "one seed; its spread takes more: --seeds 5."
    return (
        f"over {len(accuracies)} seeds {fmean(accuracies):.2f} ± {stdev(accuracies):.2f} "
        f"(standard deviation), {min(accuracies):.2f} to {max(accuracies):.2f}."
    )
