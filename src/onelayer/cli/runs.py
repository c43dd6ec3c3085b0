"""Commands about what is on disk: report, rerun and data; and how a finished run is printed."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import typer

from onelayer import solver
from onelayer.cli import interrupt
from onelayer.cli import options as opt
from onelayer.cli.app import app, command, make_group
from onelayer.cli.config import default_map
from onelayer.cli.output import err, note, print_json, print_line, print_table
from onelayer.data import Splits, cached, fetch
from onelayer.engines.processes import leads
from onelayer.errors import OnelayerError, SaveError
from onelayer.files.manifest import PAGE_FILE, WEIGHTS_FILE
from onelayer.files.provenance import Command, describe_environment
from onelayer.report import tables
from onelayer.solver.solver import describe_solution
from onelayer.training.checkpoint import Checkpoint, unfinished
from onelayer.training.result import Result
from onelayer.training.run import planned_part
from onelayer.training.run_folder import (
    Origin,
    draw_page,
    load_any,
    save_records,
    saved_origin,
    weights_digest,
)
from onelayer.training.suite import Suite

# A sweep beyond the stable learning rates has many runs that diverge for one reason.
MOST_NOTES = 8


@command("Run folders and data", "report")
def redraw(*, folder: Path) -> None:
    """Redraw the page of a saved run from its records.

    Example:
        onelayer report runs/reproduce
    """
    record = load_any(folder)
    _show(record, folder)
    if isinstance(record, Result):
        _end_interrupted(record, folder)


data_app = make_group("List the cached data sets, and download them.")

app.add_typer(data_app, name="data", rich_help_panel="Run folders and data")


@command(name="list", group=data_app)
def list_data(*, json: bool = False) -> None:
    """List the cached files, and whether each has its checksum.

    Example:
        onelayer data list
    """
    records = cached()
    if json:
        print_json(records)
        return
    for record in records:
        print_line(str(record))


@command(name="fetch", group=data_app)
def fetch_data() -> None:
    """Download CIFAR-10 into the cache.

    Example:
        onelayer data fetch
    """
    fetch()
    list_data()


def _show(record: Result | solver.Path | Suite, folder: Path, *, as_json: bool = False) -> None:
    """Draw a saved run's page and print its figures, drawn or not; say where the page is."""
    failure: SaveError | None = None
    try:
        with err.status("drawing the page"):
            draw_page(record, folder)
    except SaveError as error:
        failure = error
    except KeyboardInterrupt:
        again = f"onelayer report {shlex.quote(str(folder))}"
        note(f"interrupted while the page was drawn; the run is saved. To draw it: {again}")
        raise typer.Exit(interrupt.exit_code()) from None
    if as_json:
        figures = {solver.Path: _path_figures, Suite: _suite_figures, Result: _result_figures}
        print_json({"folder": folder} | figures[type(record)](record))
    else:
        for table in tables.record_tables(record):
            print_table(table)
        for sentence in tables.record_sentences(record):
            print_line(sentence)
    if failure is not None:
        raise failure
    if not as_json:
        print_line(f"the page: {folder / PAGE_FILE}")


def _save(
    record: Result | solver.Path | Suite,
    checkpoint: Checkpoint,
    data: Splits | None,
    *,
    further: bool = False,
) -> None:
    """Save a record in the folder of its checkpoints; or elsewhere, where they do not hold it."""
    out = Path(checkpoint.folder)
    try:
        save_records(
            record, out, overwrite=checkpoint.overwrite, begun=True, further=further, data=data
        )
    except SaveError as error:
        found = unfinished(out)
        if isinstance(record, Result):
            whole = sum(run.epochs for run in record.runs)
        else:
            whole = len(record.models if isinstance(record, solver.Path) else record.heads)
        if found is not None and found.done == found.total >= whole:
            raise
        raise SaveError(f"{error} {_kept_elsewhere(record, out.name)}") from error


def _kept_elsewhere(record: Result | solver.Path | Suite, name: str) -> str:
    """Keep a record that its own folder does not take, or its best model alone; say where."""
    place: Path | None = None
    with suppress(OSError, SaveError):
        place = Path(tempfile.mkdtemp(prefix="onelayer-"))
        with suppress(SaveError):
            save_records(record, place / name)
            return f"The run is saved in {place / name}."
        best = record.best.model if isinstance(record, Suite) else record.best
        best.save(place / "best.safetensors")
        return f"Of the run its best model alone is saved: {place / 'best.safetensors'}"
    if place is not None:
        shutil.rmtree(place, ignore_errors=True)
    return "Nor could the run be saved in the folder for temporary files."


def _suite_figures(suite: Any) -> dict[str, Any]:
    heads = [
        {"name": head.name, "rank": rank, "features": head.model.features, "l2": head.l2}
        | {"held_out": head.best.held_out, "test": head.test}
        | {"test_interval": head.test_interval, "test_metrics": head.test_metrics}
        | {"solutions": head.solutions, "few_shots": head.few_shots}
        | ({"baselines": head.baselines} if head.baselines else {})
        for rank, head in enumerate(suite.ranking, 1)
    ]
    choice = asdict(suite.choice) | {"folds": suite.folds}
    return {"best": suite.best.name, "choice": choice, "sets": suite.sets, "heads": heads}


def _path_figures(path: Any) -> dict[str, Any]:
    models = [
        {name: getattr(model, name) for name in ("l2", "l1", "status", "passes", "certificate")}
        | {"train": train, "held_out": held_out}
        for model, train, held_out in zip(path.models, path.train, path.held_out, strict=True)
    ]
    choice = asdict(path.choice) | {
        "folds": path.folds,
        "l2": path.best.l2,
        "l1": path.best.l1,
        "test": path.test,
    }
    choice |= {"edge": path.edge, "test_interval": path.test_interval}
    return {"chosen": choice, "models": models}


def finish(
    record: Result | solver.Path | Suite,
    checkpoint: Checkpoint,
    data: Splits | None,
    *,
    as_json: bool = False,
) -> None:
    """Save a record in the folder of its checkpoints, draw its page, and print its table."""
    out, runs = Path(checkpoint.folder), record.runs if isinstance(record, Result) else ()
    if leads():
        _save(record, checkpoint, data, further=not all(map(planned_part, runs)))
        for line in _notes(record):
            note(line)
        _show(record, out, as_json=as_json)
    _end_interrupted(record, out, checkpoint.command)


def _notes(record: Result | solver.Path | Suite) -> list[str]:
    """What did not end as it was asked for; an interrupted training is one event."""
    if isinstance(record, Suite):
        return []
    if isinstance(record, solver.Path):
        return [
            describe_solution(model)
            for model in record.models
            if model.status != "optimal"
            or model.settings.get("separated")
            or not model.require_certificate().is_bound
        ]
    notes = list[str]()
    messages = [o.message for o in record.outcomes if o.message and o.status != "interrupted"]
    if record.interrupted:
        done = sum(outcome.epochs for outcome in record.outcomes)
        whole = sum(run.epochs for run in record.runs)
        unseen = ", but not all that is shown of them was measured" if record.cut_short else ""
        of_runs = f" over {len(record.runs)} runs" if len(record.runs) > 1 else ""
        notes.append(
            f"interrupted: the weights of {done} of {whole} epochs{of_runs} are kept{unseen}"
            if done
            else "interrupted before the first epoch: all figures are those of the initial weights"
        )
    notes += messages[:MOST_NOTES]
    if len(messages) > MOST_NOTES:
        notes.append(f"{len(messages) - MOST_NOTES} more runs ended the same way; see the page")
    return notes


def _end_interrupted(
    record: Result | solver.Path | Suite, folder: Path, command: str | None = None
) -> None:
    """End the command of an interrupted record with the code for Ctrl-C; say how to go on."""
    if not record.interrupted:
        return
    if isinstance(record, Result):
        left = unfinished(folder)
        if left is not None and left.command:
            note(f"resume with: {left.command}")
    else:
        saved = (
            f"the {len(record.models)} largest λ were solved and saved"
            if isinstance(record, solver.Path)
            else f"{len(record.heads)} of {record.sets} heads are saved"
        )
        note(f"interrupted; {saved}; resume with: {command}")
    raise typer.Exit(interrupt.exit_code())


def _result_figures(result: Any) -> dict[str, Any]:
    runs = [
        {
            "name": run.name,
            "seed": run.seed,
            "status": outcome.status,
            "epochs": outcome.epochs,
            "train_accuracy": result.train_accuracy[i],
            "validation_accuracy": result.validation_accuracy[i],
            "certificate": result.certificates[i] if result.certificates else None,
        }
        for i, (run, outcome) in enumerate(zip(result.runs, result.outcomes, strict=True))
    ]
    first = result.ranking[0]
    best = {"name": first.name, "test_accuracy": result.test_accuracy[[*first.positions]]}
    return {"best": best, "ranking": result.ranking, "runs": runs}


# Commands that make run folders, and that a run folder may ask to repeat.
MAKES_RUNS = ("train", "solve", "probe", "reproduce")

# What the bits of a run depend on besides its options.
DECISIVE = (
    "onelayer", "engine", "instruction_set", "numpy", "torch", "device", "precision", "processes",
)  # fmt: skip


@command("Run folders and data")
def rerun(
    context: typer.Context,
    *,
    folder: Path,
    out: Path | None = None,
    overwrite: bool = False,
    trust: bool = False,
) -> None:
    """Repeat the command that made a run, and compare the weights bit for bit.

    Relative paths of data are looked up from the current folder. The command is shown first; one
    that reads files from elsewhere is refused unless the run is said to be your own.

    Example:
        onelayer rerun runs/train --out runs/again

    Output:
        out DIR: New run folder. Default: RUN-rerun.
        trust: Read files outside of the current folder as well.
    """
    origin = saved_origin(folder)
    print_line(origin.command.line)
    if not trust:
        opt.require_inside(folder, origin.command.options)
    goal = out or folder.with_name(f"{folder.resolve().name}-rerun")
    before = weights_digest(folder)
    words = ["--out", str(goal), *(["--overwrite"] if overwrite or out is None else [])]
    with _prepared(context, origin.command, words, str(folder)) as prepared:
        if changed := _what_changed(origin, prepared.params):
            note(f"bits may differ from those of {folder}: {'; '.join(changed)}")
        prepared.command.invoke(prepared)
    if weights_digest(goal) == before:
        print_line(f"the same bits: {goal / WEIGHTS_FILE} equals that of {folder} byte for byte")
    elif changed or origin.interrupted:
        why = "for the reasons above" if changed else "which was interrupted"
        note(f"the weights differ from those of {folder}, {why}")
    else:
        raise OnelayerError(
            f"the weights in {goal} differ from those of {folder}, although nothing that is "
            "recorded changed; check whether the data are the same."
        )


def _prepared(context: Any, command: Command, words: list[str], source: str) -> Any:
    """The command with the saved options in place of its defaults; a run folder may be foreign."""
    inner = context.parent.command.get_command(context.parent, command.name)
    if command.name not in MAKES_RUNS or inner is None:
        raise OnelayerError(
            f"{source} says that it was made by {command.name!r}, and runs are made by "
            f"{', '.join(MAKES_RUNS)}; nothing is repeated."
        )
    saved = default_map(inner, command.name, command.options, source)
    return inner.make_context(command.name, words, parent=context.parent, default_map=saved)


def _what_changed(origin: Origin, options: Mapping[str, Any]) -> list[str]:
    """What of the decisive things changed since a command was run, in words."""
    given = {field.name: options[field.name] for field in fields(opt.EngineOptions)}
    now = describe_environment() | opt.chosen_engine(opt.EngineOptions(**given)).describe()
    # The kernel trains to the same bits with each instruction set; `solve` computes beside it.
    same = ("instruction_set",) if origin.command.name in ("train", "reproduce") else ()
    return [
        f"{name.replace('_', ' ')} was {origin.environment.get(name, 'unknown')} and is {now[name]}"
        for name in DECISIVE
        if name in now and name not in same and origin.environment.get(name) != now[name]
    ]
