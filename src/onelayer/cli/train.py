"""Commands that train by mini-batch descent, and the gradient check.

The options of commands that train for a run folder: `--resume` and `--checkpoint-every`.

The command that sweeps: a grid or random settings, a ranking, a page.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onelayer.cli.app import INTERRUPTED, app, note, out
from onelayer.cli.config import VALUES, SettingsOption, command_in_force
from onelayer.cli.options import (
    DEFAULT_DATA,
    DEFAULT_ENGINE,
    DEFAULT_METHOD,
    DEFAULT_METHODS,
    METHOD,
    DataOptions,
    DtypeOption,
    EngineOptions,
    LossOption,
    MethodOptions,
    ScalingOption,
    SmoothingOption,
    SweptMethodOptions,
    as_loaded,
    chosen_engine,
    load_splits,
    parse_choice,
    parse_values,
    parse_whole_values,
    progress_bar,
    say_preflight,
    takes,
    takes_data,
    takes_engine,
    takes_method,
    takes_methods,
)
from onelayer.cli.runs import finish
from onelayer.cli.solve import solve_and_save
from onelayer.engines.processes import processes
from onelayer.errors import OnelayerError, SettingsError
from onelayer.objective.loss import LOSSES
from onelayer.training.run import AUTO, Auto

if TYPE_CHECKING:
    from onelayer.files.provenance import Command
    from onelayer.training.checkpoint import Checkpoint, Unfinished
    from onelayer.training.run import Run

# How often torchrun has started this process anew; then it goes on whatever was typed.
RESTARTS = "TORCHELASTIC_RESTART_COUNT"


@dataclass(frozen=True)
class CheckpointOptions:
    """What was said about checkpoints; each field is an option, its annotation the help."""

    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on from the last checkpoint in the run folder, to the same bits; without one, "
            "start at the beginning.",
        ),
    ] = False
    checkpoint_every: Annotated[
        float,
        typer.Option(
            "--checkpoint-every",
            metavar="SECONDS",
            help="Write down where training stands at most every so many seconds.",
        ),
    ] = 60.0


DEFAULT_CHECKPOINTS = CheckpointOptions()

takes_checkpoints = takes("keeping", CheckpointOptions)


@contextmanager
def training_in(to: Path, said: CheckpointOptions, command: Command) -> Iterator[Checkpoint]:
    """Hold a run folder while it is trained for and saved, and tell what it has of that already.

    Args:
        to: the run folder.
        said: the options.
        command: as it is in force.

    Yields:
        Where training writes checkpoints, and whether it goes on from there.

    Raises:
        Exit: with `--resume` when the same command has finished already.
    """
    from onelayer.files.atomic import check_replaceable, writing
    from onelayer.training.checkpoint import Checkpoint, unfinished

    resume = said.resume or int(os.environ.get(RESTARTS, "0")) > 0
    again = f"{command.line} --out {shlex.quote(str(to))} --resume"
    shared = processes() > 1
    checkpoint = Checkpoint(to, said.checkpoint_every, resume, again, shared=shared)
    check_replaceable(to)
    with writing(to) if checkpoint.writes else nullcontext():
        found = unfinished(to)
        if resume and found is None and _has_finished(to, command):
            words = f"{to} is finished already; without --resume it is trained again."
            out.print(words, soft_wrap=True, highlight=False, markup=False)
            raise typer.Exit
        _tell(to, found, resume=resume)
        try:
            yield checkpoint
        except KeyboardInterrupt:
            if unfinished(to) is None:
                raise
            note(f"interrupted; go on with: {again}")
            raise typer.Exit(INTERRUPTED) from None


def _has_finished(to: Path, command: Command) -> bool:
    from onelayer.errors import SaveError
    from onelayer.training.run_folder import saved_origin

    try:
        origin = saved_origin(to)
    except SaveError:
        return False
    return origin.command == command and not origin.interrupted


def _tell(to: Path, found: Unfinished | None, *, resume: bool) -> None:
    if found is None:
        if resume:
            note(f"there is no checkpoint in {to}; training starts at the beginning.")
        return
    done = f"{found.done} of {found.total} run-epochs"
    if resume:
        note(f"going on from {found.file}: {done} are done.")
    else:
        note(
            f"{to} holds training that has not ended, {done} done; --resume would go on with it. "
            "The first new checkpoint takes its place."
        )


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
    from onelayer.experiments import reproduce as run_experiments
    from onelayer.experiments.reproduce import choose_experiments

    choose_experiments(only)
    engine = chosen_engine(arithmetic)
    command = command_in_force(context)
    with training_in(to, keeping, command) as checkpoint:
        splits = load_splits(data)
        with progress_bar("training", "run-epochs") as show:
            result = run_experiments(
                splits,
                only=only,
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
    from onelayer.experiments.reproduce import first_of_each_setting
    from onelayer.training.loop import train
    from onelayer.training.run import grid

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
        shuffle=shuffle_seed is not None,
        shuffle_seed=shuffle_seed or 0,
        seeds=seeds,
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
    from onelayer.objective.loss import check_loss
    from onelayer.report import gradient_table
    from onelayer.solver import check_gradient

    check_loss(loss, label_smoothing)
    checks = check_gradient(
        load_splits(data),
        loss=loss,  # type: ignore[arg-type]
        label_smoothing=label_smoothing,
    ).checks
    out.print(gradient_table(checks))
    if not all(check.passed for check in checks):
        raise OnelayerError("the analytic and the numerical gradient disagree; see the table.")


@app.command()
@takes_data
@takes_engine
@takes_checkpoints
@takes_methods
def sweep(
    context: typer.Context,
    learning_rate: Annotated[
        str, typer.Option(metavar=VALUES, help="η: values and ranges low:high:n, with commas.")
    ] = "0.001:0.3:7",
    l2: Annotated[str, typer.Option(metavar=VALUES, help="λ, likewise.")] = "0,1e-4:1:5",
    batch_size: Annotated[str, typer.Option(metavar=VALUES, help="Rows of a batch.")] = "100",
    data: DataOptions = DEFAULT_DATA,
    to: Annotated[Path, typer.Option("--out", help="The run folder.")] = Path("runs/sweep"),
    seeds: Annotated[int, typer.Option(help="Initial weights for each setting.")] = 2,
    epochs: Annotated[int, typer.Option(help="Passes over the training rows.")] = 10,
    random: Annotated[
        int,
        typer.Option(
            help="Draw so many settings in place of the grid: from low:high evenly in the "
            "logarithm, from a list one of its values."
        ),
    ] = 0,
    sweep_seed: Annotated[int, typer.Option(help="Which settings --random draws.")] = 0,
    shuffle_seed: Annotated[
        int | None, typer.Option(help="Shuffle the rows every epoch by this seed.")
    ] = None,
    method: SweptMethodOptions = DEFAULT_METHODS,
    certify: Annotated[
        bool, typer.Option("--certify", help="Prove each run's distance from its optimum.")
    ] = False,
    scaling: Annotated[
        str, typer.Option(metavar=VALUES, help="none, unit, standardize, or some with commas.")
    ] = "unit",
    arithmetic: EngineOptions = DEFAULT_ENGINE,
    dtype: DtypeOption = "float32",
    keeping: CheckpointOptions = DEFAULT_CHECKPOINTS,
    settings: SettingsOption = None,
) -> None:
    """Train many settings in as few passes as they allow, and choose one by validation accuracy.

    VALUES are numbers with commas between them; low:high:n stands for n numbers from low to high,
    evenly in their logarithm: 0,1e-4:1:5 is 0, 0.0001, 0.001, 0.01, 0.1 and 1.

    Example: onelayer sweep --data digits --learning-rate 0.001:0.3:7 --l2 0,1e-4:1:5 --seeds 2

    Example: onelayer sweep --data digits --loss softmax,sigmoid --momentum 0,0.9
    """
    from onelayer.training.sweep import sweep as run_sweep

    engine = chosen_engine(arithmetic)
    runs = _plan(
        random, sweep_seed, learning_rate, l2, batch_size,
        epochs=epochs, shuffle=shuffle_seed is not None, shuffle_seed=shuffle_seed or 0,
        seeds=seeds, **method.settings(),
    )  # fmt: skip
    command = command_in_force(context, () if random else ("sweep_seed",))
    with training_in(to, keeping, command) as checkpoint:
        splits = load_splits(data)
        say_preflight(splits, engine, runs)
        with progress_bar("training", "run-epochs") as show:
            result = run_sweep(
                splits,
                runs,
                engine=engine,
                scaling=[one.strip() for one in scaling.split(",")],
                dtype=dtype,
                certify=certify,
                checkpoint=checkpoint,
                on_progress=lambda now: show(now.done, now.total),
            )
        finish(result.with_records(command=as_loaded(command, splits)), to, say=_say)


def _plan(
    random: int, sweep_seed: int, learning_rate: str, l2: str, batch_size: str, *,
    seeds: int, **shared: Any,
) -> tuple[Run, ...]:  # fmt: skip
    """The runs of the grid, or those that are drawn."""
    from onelayer.errors import require_whole
    from onelayer.training.run import grid, random_grid

    require_whole("--random", random, 0)
    batches = parse_whole_values("--batch-size", batch_size)
    if random:
        return random_grid(
            random,
            draw_seed=sweep_seed,
            seeds=seeds,
            learning_rate=parse_choice("--learning-rate", learning_rate),
            l2=parse_choice("--l2", l2),
            batch_size=batches,
            **shared,
        )
    return grid(
        learning_rate=parse_values("--learning-rate", learning_rate),
        l2=parse_values("--l2", l2),
        batch_size=batches,
        seeds=seeds,
        **shared,
    )


def _say(result: Any) -> None:
    """What a reader of a sweep wants first."""
    from onelayer.report import best_on_test, ranking_table

    out.print(ranking_table(result))
    out.print(best_on_test(result), soft_wrap=True, highlight=False, markup=False)
