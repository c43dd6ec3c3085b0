"""Commands that train by mini-batch descent: train, reproduce; and check-gradient."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer

from onelayer import experiments
from onelayer.cli import interrupt
from onelayer.cli import options as opt
from onelayer.cli.app import OptionGroup, command
from onelayer.cli.config import command_in_force, shortest_line
from onelayer.cli.output import note, print_json, print_line, print_table, progress_bar
from onelayer.cli.runs import finish
from onelayer.data.rows import weight_sum
from onelayer.data.scaling import check_scaling
from onelayer.engines.processes import attempt, leads, processes
from onelayer.errors import OnelayerError, SaveError, require_choice, require_whole
from onelayer.experiments.reproduce import choose_experiments, compare_bits
from onelayer.files.atomic import check_replaceable, writing
from onelayer.files.manifest import SETTINGS_FILE, read_manifest
from onelayer.files.provenance import Command
from onelayer.model.metrics import metric_of
from onelayer.objective.loss import LOSSES, check_loss
from onelayer.report import tables
from onelayer.training import loop
from onelayer.training.checkpoint import Checkpoint, unfinished
from onelayer.training.run import Run, grid, random_grid
from onelayer.training.run_folder import check_finished, kind_of, saved_origin
from onelayer.training.sweep import sweep

# Where `reproduce` writes unless it is told, and may replace what it wrote before.
REPRODUCED = Path("runs/reproduce")


@dataclass(frozen=True)
class CheckpointOptions(OptionGroup):
    """Checkpoints in the run folder.

    Output:
        resume: Resume bit for bit from the last checkpoint in the run folder.
        checkpoint-every SECONDS: Seconds between checkpoints.
    """

    resume: bool = False
    checkpoint_every: float = 60.0


@command("Training")
def train(
    context: typer.Context,
    *,
    settings: opt.SettingOptions,
    scaling: str = "auto",
    class_weight: str | None = None,
    seeds: str = "1",
    random: int = 0,
    draw_seed: int = 0,
    certify: bool | None = None,
    scoring: str = "accuracy",
    data: opt.DataOptions,
    arithmetic: opt.EngineOptions,
    dtype: str = "float32",
    out: Path = Path("runs/train"),
    overwrite: bool = False,
    checkpoints: CheckpointOptions,
    json: bool = False,
    config: Path | None = None,
) -> None:
    """Train one setting or many by mini-batch gradient descent.

    VALUES is a value, a list 0.1,0.01 or a log-spaced range low:high:n, as in 0.001:0.1:5. Several
    settings are ranked, and the best is examined closely.

    Examples:
        onelayer train --data digits --learning-rate 0.1 --l2 0.01
        onelayer train --data digits --lr 0.001:0.3:7 --l2 0,1e-4:1:5 --seeds 2
        onelayer train --data digits --random 30 --lr 0.001:0.3 --l2 1e-5:1
        onelayer train --data digits --momentum 0,0.9 --loss softmax,sigmoid

    Hyperparameters:
        scaling VALUES: Feature scaling: auto, none, unit, standardize, or several of them.

    Search:
        random N: Draw N settings instead of the whole grid: log-uniformly from a range low:high,
            or one value of a list.
        draw-seed N: Random seed of --random.
        scoring NAME: Metric to rank settings by.
        certify/no-certify: Bound each run's distance from its optimum. Default: only for one
            setting.
    """
    require_whole("--random", random, 0)
    metric_of(scoring)  # an unknown name is refused before the data are loaded
    engine, each = opt.chosen_engine(arithmetic), opt.parse_seeds(seeds)
    require_choice("dtype", dtype, loop.DTYPES)
    scalings, weighing = opt.parse_names("--scaling", scaling), opt.parse_class_weight(class_weight)
    for one in scalings:
        check_scaling(one)

    def plan(rows: float) -> tuple[Run, ...]:
        values = settings.values(rows, draw=random > 0) | {"seeds": each}
        return random_grid(random, draw_seed=draw_seed, **values) if random else grid(**values)

    runs = plan(rows=1)  # a wrong value is refused before the data are loaded
    several = len({run.setting for run in runs}) > 1 or len(scalings) > 1
    command = command_in_force(context, () if random else ("draw_seed",))
    with training_in(context, out, checkpoints, command, data, overwrite=overwrite) as checkpoint:
        splits = opt.load_splits(data)
        runs = plan(weight_sum(splits.train, weighing))
        opt.note_estimate(splits, engine, runs)
        how: dict[str, Any] = {"engine": engine, "dtype": dtype, "checkpoint": checkpoint}
        how |= {"scoring": scoring, "class_weight": weighing}
        how["certify"] = not several if certify is None else certify
        with progress_bar("training", "epochs") as show:
            how["on_progress"] = show
            if several:
                result = sweep(splits, runs, scaling=scalings, **how)
            else:
                result = loop.train(splits, runs, scaling=scalings[0], snapshots=[0], **how)
        result = replace(result, command=opt.as_loaded(command, splits))
        finish(result, checkpoint, splits, as_json=json)


@command("Training")
def reproduce(
    context: typer.Context,
    *,
    only: str | None = None,
    seeds: str = "8",
    data: opt.DataOptions,
    arithmetic: opt.EngineOptions,
    dtype: str = "float32",
    out: Path = REPRODUCED,
    overwrite: bool = False,
    checkpoints: CheckpointOptions,
    json: bool = False,
    config: Path | None = None,
) -> None:
    """Reproduce the report's four experiments.

    All four from seeds 0 to 7 end in the same bits on every machine; the command says whether
    they did.

    Examples:
        onelayer reproduce
        onelayer reproduce --seeds 32 --only eta-0.1
        onelayer reproduce --data digits --seeds 1

    Search:
        only VALUES: Some of eta-0.1, eta-0.01, l2-0.1, l2-1. Default: all.
    """
    names = opt.parse_names("--only", only) if only else None
    choose_experiments(names)  # an unknown name is refused before the data are loaded
    engine, each = opt.chosen_engine(arithmetic), opt.parse_seeds(seeds)
    require_choice("dtype", dtype, loop.DTYPES)
    command = command_in_force(context)
    overwrite = overwrite or out == REPRODUCED
    with training_in(context, out, checkpoints, command, data, overwrite=overwrite) as checkpoint:
        splits = opt.load_splits(data)
        with progress_bar("training", "epochs") as show:
            how: dict[str, Any] = {"engine": engine, "dtype": dtype, "checkpoint": checkpoint}
            result = experiments.reproduce(splits, only=names, seeds=each, on_progress=show, **how)
        finish(replace(result, command=command), checkpoint, splits, as_json=json)
        if leads() and (words := compare_bits(result)):
            note(words)


@command("Training", "check-gradient")
def check_gradient(
    *,
    loss: str = LOSSES[0],
    label_smoothing: float = 0.0,
    data: opt.DataOptions,
    json: bool = False,
) -> None:
    """Compare numerical with analytic gradients, entry by entry.

    Example:
        onelayer check-gradient --data digits --loss sigmoid --label-smoothing 0.1

    Hyperparameters:
        label-smoothing X: Label smoothing ε, 0 ≤ ε < 1.
    """
    check_loss(loss, label_smoothing)
    checked = experiments.check_gradient(
        opt.load_splits(data),
        loss=loss,  # type: ignore[arg-type]  # checked above
        label_smoothing=label_smoothing,
    )
    if json:
        print_json({"passed": checked.passed, "checks": checked.checks})
    else:
        print_table(tables.gradient_table(checked.checks))
    if not checked.passed:
        raise OnelayerError("the analytic and the numerical gradient disagree; see the table.")


@contextmanager
def training_in(
    context: typer.Context,
    folder: Path,
    options: CheckpointOptions,
    command: Command,
    data: opt.DataOptions | None,
    *,
    overwrite: bool,
) -> Iterator[Checkpoint]:
    """Lock a run folder while it is worked for and saved; yields where checkpoints go.

    With --resume, the command ends when the same one has finished before on the same data. Without
    options of data it is a suite, which goes on from a finished one: it may have further sets.
    """
    resume = options.resume or attempt() > 0  # one that torchrun restarted resumes
    again = f"{shortest_line(context, command)} --out {shlex.quote(str(folder))} --resume"
    shared, doing = processes() > 1, f"{command.name.removesuffix('e')}ing"
    checkpoint = Checkpoint(
        folder, options.checkpoint_every, resume, again, shared=shared, log=note
    )
    with writing(folder) if checkpoint.writes else nullcontext():
        found = unfinished(folder)
        left = found is not None and found.done < found.total
        if found and left and not resume:
            note(f"{folder} holds unfinished work ({found.progress}), which will be replaced; "
                 "--resume keeps it")  # fmt: skip
        finished = _finished_command(folder) if resume and not left else None
        if finished == command and not overwrite and data is not None:
            check_finished(folder, opt.load_splits(data))
            print_line(f"{folder} has finished; --overwrite {command.name}s it again")
            raise typer.Exit
        # Of a finished run only more epochs are a continuation, and they may replace it; so may
        # unfinished training beside it, which was allowed to when it began.
        goes_on = resume and found is not None and (
            finished is None or (finished != command and _but_epochs(finished, command))
        )  # fmt: skip
        if resume and data is None and read_manifest(folder) is not None:
            goes_on = kind_of(folder) == "suite"
        if checkpoint.writes:
            check_replaceable(folder, overwrite=overwrite or goes_on)
        another = resume and found is not None and not goes_on
        resume = resume and not another
        checkpoint = replace(checkpoint, overwrite=overwrite or goes_on, resume=resume)
        if another:
            note(f"no checkpoint in {folder}; {doing} starts from the beginning")
        before = _saved_at(folder)
        try:
            yield checkpoint
        except KeyboardInterrupt:
            found = unfinished(folder)
            left = found is not None and found.done < found.total
            if _saved_at(folder) != before and not left:
                note(f"interrupted; the run is saved: {folder}")
            elif found is not None:
                note(f"interrupted; resume with: {again}")
            else:
                raise
            raise typer.Exit(interrupt.exit_code()) from None


def _saved_at(folder: Path) -> int:
    """When the record in a folder was written, in nanoseconds; 0 where there is none."""
    with suppress(OSError):
        return (folder / SETTINGS_FILE).stat().st_mtime_ns
    return 0


def _finished_command(folder: Path) -> Command | None:
    """The command of a finished run in a folder; None where there is none."""
    with suppress(SaveError):  # of a folder that is no run, or made from Python
        origin = saved_origin(folder)
        return None if origin.interrupted else origin.command
    return None


def _but_epochs(before: Command, now: Command) -> bool:
    """Whether two commands are the same but for their epochs."""
    plain = [
        replace(one, options={k: v for k, v in one.options.items() if k != "epochs"})
        for one in (before, now)
    ]
    return plain[0] == plain[1]
