"""Commands about the optimum: the λ path, certificates, and advice on the learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onelayer.cli.application import INTERRUPTED, app, note, out
from onelayer.cli.data_options import (
    DEFAULT_DATA,
    DataOptions,
    as_loaded,
    load_splits,
    say_preflight,
    takes_data,
)
from onelayer.cli.engine_options import (
    DEFAULT_ENGINE,
    EngineOptions,
    chosen_engine,
    takes_engine,
)
from onelayer.cli.options import (
    LossOption,
    ScalingOption,
    progress_bar,
)
from onelayer.cli.settings import SettingsOption, command_in_force
from onelayer.cli.stored import finish_path
from onelayer.errors import SettingsError
from onelayer.objective import LOSSES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from onelayer.command import Command
    from onelayer.engines import Engine
    from onelayer.optimum import Choice
    from onelayer.scaling import Scaling


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
    tol: Annotated[float, typer.Option(help="Relative gap to prove for each λ.")] = 1e-4,
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
    from onelayer.optimum import Choice, l2_grid

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
        choice=Choice(by=by, rule=rule),  # type: ignore[arg-type]  # it checks the words
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
    from onelayer.optimum import certify as prove
    from onelayer.record_files import kind_of

    engine = chosen_engine(arithmetic)
    named_models = _path_models(folder) if kind_of(folder) == "path" else _models(folder)
    train_set = load_splits(data).train
    for name, W, b, l2, scaling in named_models:
        proof = prove(train_set, W, b, l2, scaling=scaling, engine=engine)
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
    from onelayer.optimum import suggest as measure
    from onelayer.report import advice_table

    engine = chosen_engine(arithmetic)
    train_set = load_splits(data).train
    advice = measure(
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
    choice: Choice | None = None,
) -> None:
    """Solve a path, save it with its page, and print what a reader wants first."""
    from onelayer.environment import describe_environment
    from onelayer.optimum import Choice, solve_path
    from onelayer.path_record import PathRecord
    from onelayer.result import data_card
    from onelayer.run_folder import check_replaceable

    check_replaceable(to)
    splits = load_splits(data)
    say_preflight(splits, engine)
    with progress_bar("solving", "λ") as show:
        solved = solve_path(
            splits, l2s, tol=tol, folds=folds, choice=choice or Choice(), scaling=scaling,
            engine=engine, on_progress=lambda now: show(now.done, now.total),
        )  # fmt: skip
    environment = describe_environment() | engine.describe()
    finish_path(PathRecord(solved, data_card(splits), environment, as_loaded(command, splits)), to)
    if len(solved.optima) < len(set(l2s)):
        note(f"interrupted; the {len(solved.optima)} largest λ were solved and saved.")
        raise typer.Exit(INTERRUPTED)


NamedModel = tuple[str, "NDArray[np.floating]", "NDArray[np.floating]", float, "Scaling"]


def _models(folder: Path) -> list[NamedModel]:
    """The runs of a saved result: name, W, b and λ of each, and the scaling it expects."""
    from onelayer.result_files import load_result

    result = load_result(folder)
    return [
        (f"{run.name} (seed {run.seed})", result.W[i], result.b[i], run.l2, result.scaling_of(i))
        for i, run in enumerate(result.runs)
    ]


def _path_models(folder: Path) -> list[NamedModel]:
    """The same of a saved path."""
    from onelayer.path_files import load_path

    solved = load_path(folder).path
    return [(f"λ={o.l2:g}", o.W, o.b, o.l2, solved.scaling) for o in solved.optima]
