"""Commands about the optimum: the λ path, certificates, and advice on the learning rate.

The command that fits the most accurate linear map of raw pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onelayer.cli.app import INTERRUPTED, app, note, out
from onelayer.cli.config import SettingsOption, command_in_force
from onelayer.cli.options import (
    DEFAULT_DATA,
    DEFAULT_ENGINE,
    DataOptions,
    EngineOptions,
    LossOption,
    ScalingOption,
    as_loaded,
    chosen_engine,
    load_splits,
    progress_bar,
    say_preflight,
    takes_data,
    takes_engine,
)
from onelayer.cli.runs import finish_path
from onelayer.errors import SettingsError
from onelayer.experiments.best_linear import CANDIDATES, Recipe
from onelayer.objective.loss import LOSSES

if TYPE_CHECKING:
    from onelayer.data import Dataset
    from onelayer.engines import Engine
    from onelayer.files.provenance import Command
    from onelayer.model.model import Model


@app.command()
@takes_data
@takes_engine
def path(
    context: typer.Context,
    data: DataOptions = DEFAULT_DATA,
    to: Annotated[Path, typer.Option("--out", help="The run folder.")] = Path("runs/path"),
    l2: Annotated[
        list[float] | None, typer.Option(help="λ; repeat for more. Default: the grid below.")
    ] = None,
    points: Annotated[int, typer.Option(help="How many λ, evenly in their logarithm.")] = 20,
    largest: Annotated[float, typer.Option(help="The largest λ of the grid.")] = 1.0,
    smallest: Annotated[float, typer.Option(help="The smallest λ of the grid.")] = 1e-4,
    tol: Annotated[float, typer.Option(help="Relative gap to prove for each λ.")] = 1e-6,
    folds: Annotated[
        int, typer.Option(help="Choose λ by so many folds; 0: by the validation rows.")
    ] = 0,
    by: Annotated[str, typer.Option(help="Choose by accuracy or loss.")] = "accuracy",
    rule: Annotated[str, typer.Option(help="best or one-standard-error.")] = "best",
    scaling: ScalingOption = "unit",
    arithmetic: EngineOptions = DEFAULT_ENGINE,
    settings: SettingsOption = None,
) -> None:
    """Solve for many λ, prove how near each is to the optimum, and choose one.

    Example: onelayer path --data digits --points 12 --folds 5 --rule one-standard-error
    """
    from onelayer.solver.path import l2_grid

    if l2 and (points, largest, smallest) != (20, 1.0, 1e-4):
        raise SettingsError(
            "λ is given either by --l2 or by --points, --largest and --smallest, but both were."
        )
    solve_and_save(
        data,
        tuple(l2) if l2 else l2_grid(points, largest, smallest),
        to,
        command_in_force(context, ("points", "largest", "smallest") if l2 else ()),
        tol=tol,
        folds=folds,
        choose_by=by,
        rule=rule,
        scaling=scaling,
        engine=chosen_engine(arithmetic),
    )


@app.command()
@takes_data
@takes_engine
def certify(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    data: DataOptions = DEFAULT_DATA,
    arithmetic: EngineOptions = DEFAULT_ENGINE,
) -> None:
    """Prove how far the models of a saved run can be from the best for their λ.

    The cost is the mean over the training rows of --data, which should be those that the run was
    trained on.

    Example: onelayer certify runs/reproduce
    """
    from onelayer.solver import certify as prove
    from onelayer.training.run_folder import kind_of

    engine = chosen_engine(arithmetic)
    named_models = _path_models(folder) if kind_of(folder) == "path" else _models(folder)
    train_set = load_splits(data).train
    for name, model in named_models:
        proof = prove(model, train_set, engine=engine)
        out.print(f"{name}: {proof.sentence}", highlight=False, soft_wrap=True)


@app.command()
@takes_data
@takes_engine
def suggest(
    data: DataOptions = DEFAULT_DATA,
    l2: Annotated[float, typer.Option(help="λ.")] = 0.0,
    batch_size: Annotated[int, typer.Option(help="Rows of a batch.")] = 100,
    loss: LossOption = LOSSES[0],
    scaling: ScalingOption = "unit",
    arithmetic: EngineOptions = DEFAULT_ENGINE,
) -> None:
    """Measure which learning rates are stable on a data set, before training.

    Example: onelayer suggest --data digits --batch-size 50
    """
    from onelayer.report import advice_table
    from onelayer.solver import suggest_learning_rate

    engine = chosen_engine(arithmetic)
    train_set = load_splits(data).train
    advice = suggest_learning_rate(
        train_set,
        l2=l2,
        batch_size=batch_size,
        loss=loss,  # type: ignore[arg-type]  # it checks the word
        scaling=scaling,
        engine=engine,
    )
    out.print(advice_table(advice))


def solve_and_save(
    data: DataOptions,
    l2s: Sequence[float],
    to: Path,
    command: Command,
    *,
    tol: float,
    scaling: str,
    engine: Engine,
    folds: int = 0,
    choose_by: str = "accuracy",
    rule: str = "best",
) -> None:
    """Solve a path, save it with its page, and print what a reader wants first."""
    from onelayer.files.atomic import check_replaceable
    from onelayer.solver import solve_path

    check_replaceable(to)
    splits = load_splits(data)
    say_preflight(splits, engine)
    with progress_bar("solving", "λ") as show:
        solved = solve_path(
            splits, l2s, tol=tol, folds=folds, choose_by=choose_by, rule=rule,  # type: ignore[arg-type]
            scaling=scaling, engine=engine, on_progress=lambda now: show(now.done, now.total),
        )  # fmt: skip
    finish_path(replace(solved, command=as_loaded(command, splits)), to)
    if len(solved.models) < len(set(l2s)):
        note(f"interrupted; the {len(solved.models)} largest λ were solved and saved.")
        raise typer.Exit(INTERRUPTED)


def _models(folder: Path) -> list[tuple[str, Model]]:
    """The models of a saved result, with their names."""
    from onelayer.training.run_folder import load_result

    result = load_result(folder)
    return [(f"{run.name} (seed {run.seed})", result.model(i)) for i, run in enumerate(result.runs)]


def _path_models(folder: Path) -> list[tuple[str, Model]]:
    """The same of a saved path."""
    from onelayer.training.run_folder import load_path

    return [(f"λ={model.l2:g}", model) for model in load_path(folder).models]


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
    from onelayer.errors import require_whole
    from onelayer.experiments.best_linear import whole_training_set
    from onelayer.files.atomic import staged_file
    from onelayer.report import maps_table, seeds_sentence

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
    judged = [model.evaluate(splits.test, engine) for model in maps]
    out.print()
    out.print(maps_table(judged, mean.evaluate(splits.test, engine), range(seeds)))
    out.print(seeds_sentence(judged), highlight=False, soft_wrap=True)


def _choose(rows: Dataset, recipes: tuple[Recipe, ...], folds: int, engine: Engine) -> Recipe:
    """The recipe that is best on rows held out; the table of all is printed."""
    from onelayer.experiments.best_linear import compare_recipes
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
    from onelayer.experiments.best_linear import fit_best_linear, mean_model

    maps: list[Model] = []
    with progress_bar("fitting", "epochs") as show:
        for seed in range(seeds):
            before, total = seed * recipe.epochs, seeds * recipe.epochs

            def tell(epoch: int, _: int, before: int = before, total: int = total) -> None:
                show(before + epoch, total)

            maps.append(fit_best_linear(rows, recipe, seed=seed, engine=engine, on_progress=tell))
    mean = mean_model(maps)
    mean.save(to)
    return maps, mean
