"""Commands about what is on disk: report, rerun and data; and how a finished run is printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import typer

from onelayer import solver
from onelayer.cli import options as opt
from onelayer.cli.app import INTERRUPTED, app, command, make_group
from onelayer.cli.config import default_map
from onelayer.cli.output import console, err, note, print_json, print_line
from onelayer.data import cached, fetch
from onelayer.engines.processes import leads
from onelayer.errors import OnelayerError, escaped, one_line
from onelayer.files.provenance import Command, describe_environment
from onelayer.report import tables
from onelayer.report.selection import select_setting
from onelayer.solver.solver import describe_solution
from onelayer.training.checkpoint import unfinished
from onelayer.training.result import Result
from onelayer.training.run_folder import (
    WEIGHTS_FILE,
    Origin,
    kind_of,
    load_file,
    save_records,
    saved_origin,
)

# A sweep beyond the stable learning rates has many runs that diverge for one reason.
MOST_NOTES = 8


@command("Run folders and data", "report")
def redraw(*, folder: Path) -> None:
    """Redraw the page of a saved run from its records.

    Example:
        onelayer report runs/reproduce
    """
    if kind_of(folder) == "path":
        finish_path(solver.Path.load(folder), folder)
    else:
        finish(Result.load(folder), folder, keep_checkpoints=True)


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


def finish_path(path: solver.Path, out: Path, *, as_json: bool = False) -> None:
    """Save a λ path with its page, and print its table."""
    if not leads():
        return
    for model in path.models:
        if model.status != "optimal" or model.l2 == 0.0:
            note(describe_solution(model))
    with err.status("drawing the page"):
        path.save(out)
    if as_json:
        print_json({"folder": out} | _path_figures(path))
        return
    console.print(tables.path_table(path))
    for sentence in path.verdict:
        print_line(sentence)
    print_line(f"the page: {out / 'report.html'}")


def _path_figures(path: solver.Path) -> dict[str, Any]:
    models = [
        {name: getattr(model, name) for name in ("l2", "status", "passes", "certificate")}
        | {"train": train, "held_out": held_out}
        for model, train, held_out in zip(path.models, path.train, path.held_out, strict=True)
    ]
    choice = asdict(path.choice) | {"folds": path.folds, "l2": path.best.l2, "test": path.test}
    choice |= {"edge": path.edge, "test_interval": path.test_interval}
    return {"chosen": choice, "models": models}


def finish(
    result: Result, out: Path, *, keep_checkpoints: bool = False, as_json: bool = False
) -> None:
    """Save runs with their page, and print their table.

    Checkpoints in the folder are removed, unless they are kept or the run was interrupted.
    """
    if leads():
        # An interrupted training is one event, whatever the number of its runs.
        messages = [o.message for o in result.outcomes if o.message and o.status != "interrupted"]
        if result.interrupted:
            done = sum(outcome.epochs for outcome in result.outcomes)
            whole = sum(run.epochs for run in result.runs)
            note(f"interrupted: the weights of {done} of {whole} run-epochs are kept")
        for message in messages[:MOST_NOTES]:
            note(message)
        if len(messages) > MOST_NOTES:
            note(f"{len(messages) - MOST_NOTES} more runs ended the same way; see the page")
        with err.status("drawing the page"):
            save_records(result, out, page=True, keep_checkpoints=keep_checkpoints)
        if as_json:
            print_json({"folder": out} | _result_figures(result))
        else:
            _print_result(result)
            print_line(f"the page: {out / 'report.html'}")
    if result.interrupted:
        left = unfinished(out)
        if left is not None and left.command:
            note(f"resume with: {left.command}")
        raise typer.Exit(INTERRUPTED)


def _print_result(result: Result) -> None:
    """Settings ranked, or of one setting and of the reproduction all figures."""
    if len(result.settings) > 1 and not result.gradient_checks:
        console.print(tables.ranking_table(result))
        print_line(tables.best_on_test(result))
        selection = select_setting(result)
        if selection is not None and selection.edges:
            print_line(selection.edges)
    else:
        console.print(tables.accuracy_table(result))
        if len(result.runs) == 1 and result.certificates:
            print_line(result.certificates[0].sentence)


def _result_figures(result: Result) -> dict[str, Any]:
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
MAKES_RUNS = ("train", "solve", "reproduce")

# What the bits of a run depend on besides its options.
DECISIVE = (
    "onelayer", "engine", "instruction_set", "numpy", "torch", "device", "precision", "processes",
)  # fmt: skip


@command("Run folders and data")
def rerun(
    context: typer.Context, *, folder: Path, out: Path | None = None, trust: bool = False
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
    print_line(escaped(origin.command.line))
    if not trust and (outside := _outside(origin.command)):
        raise OnelayerError(
            f"{folder} would read {outside}, which is outside of the current folder; add --trust "
            "if the run is your own."
        )
    goal = out or folder.with_name(f"{folder.resolve().name}-rerun")
    before = _digest(folder)
    with _prepared(context, origin.command, goal, str(folder)) as prepared:
        if changed := _what_changed(origin, prepared.params):
            note(f"bits may differ from those of {folder}: {'; '.join(changed)}")
        prepared.command.invoke(prepared)
    if _digest(goal) == before:
        print_line(f"the same bits: {goal / WEIGHTS_FILE} equals that of {folder} byte for byte")
    elif changed or origin.interrupted:
        why = "for the reasons above" if changed else "which was interrupted"
        note(f"the weights differ from those of {folder}, {why}")
    else:
        raise OnelayerError(
            f"the weights in {goal} differ from those of {folder}, although nothing that is "
            "recorded changed; check whether the data are the same."
        )


def _outside(command: Command) -> str:
    """What a stored command would read from outside of the current folder, as it can be printed."""
    here, found = Path.cwd().resolve(), list[str]()
    for name in ("data", "labels", "test", "test-labels", "validation", "validation-labels"):
        word = str(command.options.get(name, ""))
        if "\0" in word or not Path(word).resolve().is_relative_to(here):
            found.append(escaped(word))
    return one_line(", ".join(found))


def _prepared(context: Any, command: Command, to: Path, source: str) -> Any:
    """The command with the saved options in place of its defaults; a run folder may be foreign."""
    inner = context.parent.command.get_command(context.parent, command.name)
    if command.name not in MAKES_RUNS or inner is None:
        raise OnelayerError(
            f"{source} says that it was made by {command.name!r}, and runs are made by "
            f"{', '.join(MAKES_RUNS)}; nothing is repeated."
        )
    saved = default_map(inner, command.name, command.options, source)
    words = ["--out", str(to)]
    return inner.make_context(command.name, words, parent=context.parent, default_map=saved)


def _what_changed(origin: Origin, options: Mapping[str, Any]) -> list[str]:
    """What of the decisive things changed since a command was run, in words."""
    given = {field.name: options[field.name] for field in fields(opt.EngineOptions)}
    now = describe_environment() | opt.chosen_engine(opt.EngineOptions(**given)).describe()
    return [
        f"{name.replace('_', ' ')} was {origin.environment.get(name, 'unknown')} and is {now[name]}"
        for name in DECISIVE
        if name in now and origin.environment.get(name) != now[name]
    ]


def _digest(folder: Path) -> str:
    return load_file(folder / WEIGHTS_FILE, lambda file: sha256(file.read_bytes()).hexdigest())
