"""The command that sweeps: a grid or random settings, a leaderboard, a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    DEFAULT_METHODS,
    SweptMethodOptions,
    takes_methods,
)
from onelayer.cli.options import (
    DtypeOption,
    progress_bar,
)
from onelayer.cli.settings import VALUES, SettingsOption, command_in_force
from onelayer.cli.stored import finish
from onelayer.cli.values import parse_choice, parse_values, parse_whole_values

if TYPE_CHECKING:
    from onelayer.plan import Run


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
    from onelayer.sweep import run_sweep

    engine = chosen_engine(arithmetic)
    runs = _plan(
        random, sweep_seed, learning_rate, l2, batch_size,
        epochs=epochs, shuffle_seed=shuffle_seed, seeds=seeds, **method.settings(),
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
    from onelayer.plan import grid, seed_range
    from onelayer.random_plan import random_grid
    from onelayer.ranges import require_whole

    require_whole("--random", random, 0)
    shared |= {"seed": list(seed_range(seeds))}
    batches = parse_whole_values("--batch-size", batch_size)
    if random:
        return random_grid(
            random,
            sweep_seed,
            learning_rate=parse_choice("--learning-rate", learning_rate),
            l2=parse_choice("--l2", l2),
            batch_size=batches,
            **shared,
        )
    return grid(
        learning_rate=parse_values("--learning-rate", learning_rate),
        l2=parse_values("--l2", l2),
        batch_size=batches,
        **shared,
    )


def _say(result: Any) -> None:
    """What a reader of a sweep wants first."""
    from onelayer.report import best_on_test, leaderboard

    out.print(leaderboard(result))
    out.print(best_on_test(result), soft_wrap=True, highlight=False, markup=False)
