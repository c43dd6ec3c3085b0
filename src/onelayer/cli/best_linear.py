"""The command that fits the most accurate linear map of raw pixels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onelayer.best_linear import Recipe
from onelayer.best_linear.choosing import CANDIDATES
from onelayer.cli.application import app, out
from onelayer.cli.data_options import DEFAULT_DATA, DataOptions, load_splits, takes_data
from onelayer.cli.engine_options import (
    DEFAULT_ENGINE,
    EngineOptions,
    chosen_engine,
    takes_engine,
)
from onelayer.cli.options import progress_bar
from onelayer.cli.settings import SettingsOption
from onelayer.errors import SettingsError

if TYPE_CHECKING:
    from onelayer.data import Dataset
    from onelayer.engines import Engine
    from onelayer.model import Model

OURS = Recipe()


@app.command("best-linear")
@takes_data
@takes_engine
def best_linear(
    data: DataOptions = DEFAULT_DATA,
    to: Annotated[Path, typer.Option("--out", help="The model's file.")] = Path(
        "best-linear.safetensors"
    ),
    seeds: Annotated[int, typer.Option(help="Fits, of which the mean is kept.")] = 5,
    folds: Annotated[
        int, typer.Option(help="Judge the recipe by so many folds first; 0: do not.")
    ] = 5,
    compare: Annotated[
        bool, typer.Option("--compare", help="Choose by the folds among several recipes.")
    ] = False,
    q: Annotated[float, typer.Option(help="Of the loss: 0 cross-entropy, 1 wrong rows.")] = OURS.q,
    l2: Annotated[float, typer.Option(help="λ.")] = OURS.l2,
    moves: Annotated[int, typer.Option(help="Pixels a picture is moved at most.")] = OURS.moves,
    flips: Annotated[
        bool, typer.Option("--flips/--no-flips", help="Count mirror images as much.")
    ] = OURS.flips,
    epochs: Annotated[int, typer.Option(help="Passes over the training rows.")] = OURS.epochs,
    batch_size: Annotated[int, typer.Option(help="Rows of a batch.")] = OURS.batch_size,
    learning_rate: Annotated[
        float, typer.Option(help="η, share of a Newton step.")
    ] = OURS.learning_rate,
    momentum: Annotated[float, typer.Option(help="μ, Nesterov's.")] = OURS.momentum,
    arithmetic: EngineOptions = DEFAULT_ENGINE,
    settings: SettingsOption = None,
) -> None:
    """Fit the most accurate linear map of raw pixels, on all training rows.

    The validation rows are training rows here. Folds say how good the recipe is before the test
    rows are looked at, once, after the model has been saved.

    Example: onelayer best-linear --data digits --moves 0 --no-flips --epochs 20
    """
    from onelayer.best_linear import whole_training_set
    from onelayer.evaluation import evaluate
    from onelayer.ranges import require_whole
    from onelayer.report import maps_table, seeds_sentence
    from onelayer.whole_file import staged_file

    recipe = Recipe(q, l2, moves, flips, epochs, batch_size, learning_rate, momentum)
    require_whole("seeds", seeds, 1)
    if folds:
        require_whole("folds", folds, 2)
    if compare and (recipe != OURS or not folds):
        raise SettingsError(
            "--compare chooses the recipe by folds: leave --folds 0 and the recipe's options out."
        )
    engine = chosen_engine(arithmetic)
    splits = load_splits(data, all_batches=True)
    rows = whole_training_set(splits)
    recipe.check(rows)
    # The file is staged first: a place that cannot be written to is told of before the work.
    with staged_file(to) as staging:
        if folds:
            recipe = _choose(rows, CANDIDATES if compare else (recipe,), folds, engine)
        maps, mean = _fit_and_save(rows, recipe, seeds, engine, staging)
    out.print(f"{rows.rows:,} training rows, mean of {seeds} fits: {to}", soft_wrap=True,
              highlight=False, markup=False)  # fmt: skip
    judged = [evaluate(model, splits.test, engine) for model in maps]
    out.print()
    out.print(maps_table(judged, evaluate(mean, splits.test, engine), range(seeds)))
    out.print(seeds_sentence(judged), highlight=False, soft_wrap=True)


def _choose(rows: Dataset, recipes: tuple[Recipe, ...], folds: int, engine: Engine) -> Recipe:
    """The recipe that is best on rows held out; the table of all is printed."""
    from onelayer.best_linear import compare_recipes
    from onelayer.report import held_out_table

    with progress_bar("judging by folds", "epochs") as show:
        compared = compare_recipes(rows, recipes, folds=folds, engine=engine, on_progress=show)
    best = max(compared, key=lambda held_out: held_out.accuracy)
    out.print(held_out_table(compared, best))
    out.print()
    return best.recipe


def _fit_and_save(
    rows: Dataset, recipe: Recipe, seeds: int, engine: Engine, to: Path
) -> tuple[list[Model], Model]:
    """Each seed's map and their mean, which is saved."""
    from onelayer.best_linear import fit_best_linear, mean_model
    from onelayer.model_files import save_model

    maps: list[Model] = []
    with progress_bar("fitting", "epochs") as show:
        for seed in range(seeds):
            before, total = seed * recipe.epochs, seeds * recipe.epochs

            def tell(epoch: int, _: int, before: int = before, total: int = total) -> None:
                show(before + epoch, total)

            maps.append(fit_best_linear(rows, recipe, seed=seed, engine=engine, on_progress=tell))
    mean = mean_model(maps)
    save_model(mean, to)
    return maps, mean
