"""The command line: parse, call, print. Exit codes: 0 done, 1 failed, 2 wrong usage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from typer.core import TyperGroup

from onelayer.engines import ENGINE_NAMES
from onelayer.errors import OnelayerError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from onelayer.data import Splits
    from onelayer.result import Result
    from onelayer.train import Progress as TrainingProgress

INTERRUPTED = 130  # what shells expect of a command that Ctrl-C ended

out = Console()
err = Console(stderr=True)


class _Commands(TyperGroup):
    """Turns what a user can mend into one sentence and an exit code, for every command."""

    def invoke(self, ctx: Any) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            err.print("interrupted; nothing was saved.")
            raise typer.Exit(INTERRUPTED) from None
        except OnelayerError as error:
            err.print("error:", style="red", end=" ")
            err.print(str(error), markup=False, soft_wrap=True, highlight=False)
            raise typer.Exit(2 if isinstance(error, SettingsError) else 1) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, check, sweep and show linear softmax classifiers: s = Wx + b.",
)
data_app = typer.Typer(no_args_is_help=True, help="List the cached data sets, and fetch them.")
app.add_typer(data_app, name="data")

DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DIR|digits",
        help="A folder with CIFAR-10's files, or digits; default: CIFAR-10 from the cache or "
        "the network.",
    ),
]
EngineOption = Annotated[
    str, typer.Option("--engine", help=f"What does the arithmetic: {', '.join(ENGINE_NAMES)}.")
]
ThreadsOption = Annotated[
    int | None,
    typer.Option("--threads", help="Threads of the native engine; default: the cores we may use."),
]
DtypeOption = Annotated[str, typer.Option("--dtype", help="Arithmetic: float32 or float64.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        from onelayer import __version__

        out.print(f"onelayer {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass


@app.command()
def reproduce(
    data: DataOption = None,
    to: Annotated[Path, typer.Option("--out", help="The run folder.")] = Path("runs/reproduce"),
    seeds: Annotated[int, typer.Option(help="Initial weights for each setting.")] = 8,
    only: Annotated[
        list[str] | None, typer.Option(help="One of the four settings by name; repeat for more.")
    ] = None,
    engine: EngineOption = ENGINE_NAMES[0],
    threads: ThreadsOption = None,
    dtype: DtypeOption = "float32",
) -> None:
    """Reproduce the report's four experiments and leave a page of pictures.

    Example: onelayer reproduce --seeds 1
    """
    from onelayer.engines import make_engine
    from onelayer.experiments import choose_experiments, run_experiments
    from onelayer.run_folder import check_replaceable

    experiments, chosen_engine = choose_experiments(only or ()), make_engine(engine, threads)
    check_replaceable(to)
    splits = _load(data)
    with _progress("training") as on_progress:
        result = run_experiments(
            splits,
            experiments,
            seeds=seeds,
            engine=chosen_engine,
            dtype=dtype,
            on_progress=on_progress,
        )
    _finish(result, to)


@app.command()
def fit(
    learning_rate: Annotated[list[float], typer.Option(help="η, step length; repeat for a grid.")],
    data: DataOption = None,
    to: Annotated[Path, typer.Option("--out", help="The run folder.")] = Path("runs/fit"),
    l2: Annotated[list[float] | None, typer.Option(help="λ; repeat for a grid. Default 0.")] = None,
    batch_size: Annotated[int, typer.Option(help="Rows of a batch.")] = 100,
    epochs: Annotated[int, typer.Option(help="Passes over the training rows.")] = 40,
    seeds: Annotated[int, typer.Option(help="Initial weights for each setting.")] = 1,
    shuffle_seed: Annotated[
        int | None, typer.Option(help="Shuffle the rows every epoch by this seed.")
    ] = None,
    scaling: Annotated[str, typer.Option(help="none, unit or standardize.")] = "unit",
    engine: EngineOption = ENGINE_NAMES[0],
    threads: ThreadsOption = None,
    dtype: DtypeOption = "float32",
) -> None:
    """Train a grid of settings in one pass and leave its page.

    Example: onelayer fit --data digits --learning-rate 0.1 --learning-rate 0.01 --l2 0 --l2 0.01
    """
    from onelayer.engines import make_engine
    from onelayer.experiments import first_of_each_setting
    from onelayer.plan import grid, seed_range
    from onelayer.run_folder import check_replaceable
    from onelayer.train import train

    runs = grid(
        learning_rate=learning_rate,
        l2=l2 or [0.0],
        batch_size=batch_size,
        epochs=epochs,
        shuffle_seed=shuffle_seed,
        seed=seed_range(seeds),
    )
    chosen_engine = make_engine(engine, threads)
    check_replaceable(to)
    splits = _load(data)
    with _progress("training") as on_progress:
        result = train(
            splits,
            runs,
            engine=chosen_engine,
            scaling=scaling,
            dtype=dtype,
            snapshots=first_of_each_setting(runs),
            on_progress=on_progress,
        )
    _finish(result, to)


@app.command()
def check_gradient(data: DataOption = None) -> None:
    """Compare numerical with analytic gradients, at every entry of W and b.

    Example: onelayer check-gradient --data digits
    """
    from onelayer.experiments import check_gradients_of
    from onelayer.report import gradient_table

    checks = check_gradients_of(_load(data))
    out.print(gradient_table(checks))
    if not all(check.passed for check in checks):
        raise OnelayerError("the analytic and the numerical gradient disagree; see the table.")


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
) -> None:
    """Draw the page of a saved run anew, from its records alone.

    Example: onelayer report runs/reproduce
    """
    from onelayer.result_files import load_result

    _finish(load_result(folder), folder)


@data_app.command("list")
def list_data() -> None:
    """List what is cached, and whether it is what it should be."""
    from onelayer.data import cached

    for record in cached():
        out.print(str(record), soft_wrap=True, highlight=False)


@data_app.command("fetch")
def fetch_data() -> None:
    """Fetch CIFAR-10 into the cache."""
    from onelayer.data import fetch

    fetch()
    list_data()


def _load(data: str | None) -> Splits:
    from onelayer.data import load

    return load(data)


@contextmanager
def _progress(doing: str) -> Iterator[Callable[[TrainingProgress], None]]:
    """Show a bar with the time that is left while the block runs."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} run-epochs"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda now: bar.update(task, completed=now.done, total=now.total)


def _finish(result: Result, to: Path) -> None:
    """Save the run with its page, then print what a reader wants first."""
    from onelayer.report import terminal_table, write_report
    from onelayer.result_files import write_records
    from onelayer.run_folder import staged_folder

    for outcome in result.outcomes:
        if outcome.message:
            err.print("note:", style="yellow", end=" ")
            err.print(outcome.message, markup=False, soft_wrap=True, highlight=False)
    with err.status("drawing the page"), staged_folder(to) as folder:
        write_records(result, folder)
        write_report(result, folder)
    out.print(terminal_table(result))
    out.print(f"the page: {to / 'report.html'}", soft_wrap=True)
    if any(outcome.status == "interrupted" for outcome in result.outcomes):
        raise typer.Exit(INTERRUPTED)


def main() -> NoReturn:
    """Run the command line; it ends the process with its exit code."""
    app()
    raise AssertionError("typer ends the process by itself")
