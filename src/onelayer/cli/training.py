"""Commands that train by mini-batch descent, and the gradient check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onelayer.cli.application import app, out
from onelayer.cli.checkpoint_options import (
    DEFAULT_CHECKPOINTS,
    CheckpointOptions,
    takes_checkpoints,
    training_in,
)
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
from onelayer.cli.method_options import (
    DEFAULT_METHOD,
    METHOD,
    MethodOptions,
    takes_method,
)
from onelayer.cli.options import (
    DtypeOption,
    LossOption,
    ScalingOption,
    SmoothingOption,
    progress_bar,
)
from onelayer.cli.proofs import solve_and_save
from onelayer.cli.settings import SettingsOption, command_in_force
from onelayer.cli.stored import finish
from onelayer.errors import OnelayerError, SettingsError
from onelayer.objective import LOSSES
from onelayer.plan import AUTO, Auto

# Options that a solver would ignore.
FOREIGN = {
    "optimum": (
        *("learning_rate", "batch_size", "epochs", "seeds", "shuffle_seed", "dtype"),
        *("resume", "checkpoint_every"),
        *METHOD,
    ),
    "minibatch": ("tol",),
}


@app.command()
@takes_data
@takes_engine
@takes_checkpoints
def reproduce(
    context: typer.Context,
    data: DataOptions = DEFAULT_DATA,
    to: Annotated[Path, typer.Option("--out", help="The run folder.")] = Path("runs/reproduce"),
    seeds: Annotated[int, typer.Option(help="Initial weights for each setting.")] = 8,
    only: Annotated[
        list[str] | None, typer.Option(help="One of the four settings by name; repeat for more.")
    ] = None,
    arithmetic: EngineOptions = DEFAULT_ENGINE,
    dtype: DtypeOption = "float32",
    keeping: CheckpointOptions = DEFAULT_CHECKPOINTS,
    settings: SettingsOption = None,
) -> None:
    """Reproduce the report's four experiments and leave a page of pictures.

    Example: onelayer reproduce --seeds 1
    """
    from onelayer.experiments import choose_experiments, run_experiments

    experiments, engine = choose_experiments(only or ()), chosen_engine(arithmetic)
    command = command_in_force(context)
    with training_in(to, keeping, command) as checkpoint:
        splits = load_splits(data)
        with progress_bar("training", "run-epochs") as show:
            result = run_experiments(
                splits,
                experiments,
                seeds=seeds,
                engine=engine,
                dtype=dtype,
                checkpoint=checkpoint,
                on_progress=lambda now: show(now.done, now.total),
            )
        finish(result.with_records(command=command), to)


@app.command()
@takes_data
@takes_engine
@takes_checkpoints
@takes_method
def fit(
    context: typer.Context,
    learning_rate: Annotated[
        list[str] | None,
        typer.Option(help="η, step length, or auto; repeat for a grid. Minibatch needs one."),
    ] = None,
    data: DataOptions = DEFAULT_DATA,
    to: Annotated[Path, typer.Option("--out", help="The run folder.")] = Path("runs/fit"),
    solver: Annotated[
        str, typer.Option(help="minibatch (gradient descent) or optimum (the proven argmin).")
    ] = "minibatch",
    l2: Annotated[list[float] | None, typer.Option(help="λ; repeat for a grid. Default 0.")] = None,
    batch_size: Annotated[int, typer.Option(help="Rows of a batch.")] = 100,
    epochs: Annotated[int, typer.Option(help="Passes over the training rows.")] = 40,
    seeds: Annotated[int, typer.Option(help="Initial weights for each setting.")] = 1,
    shuffle_seed: Annotated[
        int | None, typer.Option(help="Shuffle the rows every epoch by this seed.")
    ] = None,
    method: MethodOptions = DEFAULT_METHOD,
    tol: Annotated[float, typer.Option(help="Relative gap that the optimum is proven to.")] = 1e-6,
    scaling: ScalingOption = "unit",
    arithmetic: EngineOptions = DEFAULT_ENGINE,
    dtype: DtypeOption = "float32",
    keeping: CheckpointOptions = DEFAULT_CHECKPOINTS,
    settings: SettingsOption = None,
) -> None:
    """Train a grid of settings in one pass, or solve for their optimum, and leave the page.

    Example: onelayer fit --data digits --learning-rate 0.1 --learning-rate 0.01 --l2 0 --l2 0.01

    Example: onelayer fit --data digits --learning-rate 0.1 --momentum 0.9 --schedule cosine
    """
    from onelayer.experiments import first_of_each_setting
    from onelayer.plan import grid, seed_range
    from onelayer.train import train

    engine = chosen_engine(arithmetic)
    _refuse_foreign_options(context, solver)
    command = command_in_force(context, FOREIGN[solver])
    if solver == "optimum":
        solve_and_save(data, l2 or [0.0], to, command, tol=tol, scaling=scaling, engine=engine)
        return
    runs = grid(
        learning_rate=[_rate(given) for given in learning_rate or ()],
        l2=l2 or [0.0],
        batch_size=batch_size,
        epochs=epochs,
        shuffle_seed=shuffle_seed,
        seed=seed_range(seeds),
        **method.settings(),
    )
    if not runs:
        raise SettingsError("training by minibatch needs --learning-rate; try auto.")
    with training_in(to, keeping, command) as checkpoint:
        splits = load_splits(data)
        say_preflight(splits, engine, runs)
        with progress_bar("training", "run-epochs") as show:
            result = train(
                splits,
                runs,
                engine=engine,
                scaling=scaling,
                dtype=dtype,
                snapshots=first_of_each_setting(runs),
                checkpoint=checkpoint,
                on_progress=lambda now: show(now.done, now.total),
            )
        finish(result.with_records(command=as_loaded(command, splits)), to)


def _refuse_foreign_options(context: typer.Context, solver: str) -> None:
    """Refuse options that the chosen solver would ignore, and solvers that there are not."""
    if solver not in FOREIGN:
        choices = " or ".join(FOREIGN)
        raise SettingsError(f"solver must be {choices}, but {solver!r} was given.")
    for name in FOREIGN[solver]:
        source = context.get_parameter_source(name)
        if source is not None and source.name in ("COMMANDLINE", "DEFAULT_MAP"):
            option = "--" + name.replace("_", "-")
            raise SettingsError(f"{option} means nothing to the solver {solver}; leave it out.")


def _rate(given: str) -> float | Auto:
    """A learning rate from the command line."""
    if given == AUTO:
        return AUTO
    try:
        return float(given)
    except ValueError:
        raise SettingsError(
            f"--learning-rate (η) must be a finite number above 0 or auto, but {given!r} was given."
        ) from None


@app.command()
@takes_data
def check_gradient(
    data: DataOptions = DEFAULT_DATA,
    loss: LossOption = LOSSES[0],
    label_smoothing: SmoothingOption = 0.0,
) -> None:
    """Compare numerical with analytic gradients, at every entry of W and b.

    Example: onelayer check-gradient --data digits --loss sigmoid --label-smoothing 0.1
    """
    from onelayer.experiments import check_gradients_of
    from onelayer.plan import check_loss
    from onelayer.report import gradient_table

    check_loss(loss, label_smoothing)
    checks = check_gradients_of(load_splits(data), loss, label_smoothing)  # type: ignore[arg-type]
    out.print(gradient_table(checks))
    if not all(check.passed for check in checks):
        raise OnelayerError("the analytic and the numerical gradient disagree; see the table.")
