"""The application: how commands are declared, how help is laid out, how errors are printed.

Processes that were started together speak once: the first one prints and writes for all.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NoReturn, get_type_hints

import numpy as np
import typer
from rich.console import Console
from typer.core import TyperCommand, TyperGroup

from onelayer.engines.processes import leads, processes, rank
from onelayer.errors import CheckpointWarning, LearningRateWarning, OnelayerError, SettingsError

INTERRUPTED = 130  # what shells expect of a command that Ctrl-C ended

# Options longer than this have their help on the next line.
OPTION_WIDTH = 26

# The section of a docstring, and panel of the help, of words without dashes.
ARGUMENTS = "Positional arguments"

# The order of the commands in the help.
COMMANDS = (
    "train", "solve", "reproduce", "best-linear", "suggest-learning-rate", "check-gradient",
    "evaluate", "predict", "inspect", "export", "certify", "report", "rerun", "data",
)  # fmt: skip

console = Console()

err = Console(stderr=True)


def note(message: str) -> None:
    """Print a note on standard error."""
    err.print("note:", style="yellow", end=" ")
    err.print(message, markup=False, soft_wrap=True, highlight=False)


def print_line(text: str) -> None:
    """Print a line as it is: not wrapped, not coloured."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)


def print_json(values: Any) -> None:
    """Print figures as JSON on standard output; a number that is not finite becomes null."""
    typer.echo(json.dumps(_plain(values), indent=2, ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain({field.name: getattr(value, field.name) for field in fields(value)})
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


@contextmanager
def written_once(path: Path) -> Iterator[Path]:
    """The path itself for the first process; a temporary file for the others."""
    if leads():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / path.name


def _print_error(message: str) -> None:
    """Print why the command failed: once, by the process that failed first."""
    if processes() > 1 and not _is_first_to_fail():
        return
    errors = err if leads() else Console(file=sys.__stderr__)
    errors.print("error:", style="red", end=" ")
    text = message if leads() else f"process {rank()}: {message}"
    errors.print(text, markup=False, soft_wrap=True, highlight=False)


def _is_first_to_fail() -> bool:
    try:
        from onelayer.engines.torch.distributed import is_first_to_fail
    except ModuleNotFoundError:
        return leads()
    return is_first_to_fail()


def _silence_other_processes() -> None:
    """Discard what processes other than the first print; tracebacks are shown from any."""
    if leads():
        return
    sys.stdout = sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    sys.excepthook = _print_traceback


def _print_traceback(kind: Any, error: Any, where: Any) -> None:
    traceback.print_exception(kind, error, where, file=sys.__stderr__)


class _Help:
    """Help in panels of two columns, which fits 80 characters; examples are not wrapped."""

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        names = [p.metavar for p in self.get_params(ctx) if p.param_type_name == "argument"]  # type: ignore[attr-defined]
        names += ["COMMAND ..."] if isinstance(self, TyperGroup) else []
        formatter.write_usage(ctx.command_path, " ".join(["[OPTIONS]", *names]))

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        for paragraph in inspect.cleandoc(self.help or "").split("\n\n"):  # type: ignore[attr-defined]
            heading, *lines = paragraph.splitlines()
            if heading.startswith("Example"):
                with formatter.section(heading.rstrip(":")):
                    formatter.write("".join(f"  {line.strip()}\n" for line in lines))
            elif not (heading.endswith(":") and lines):  # options have panels of their own
                formatter.write_paragraph()
                formatter.write_text(paragraph)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):  # type: ignore[attr-defined]
            if parameter.param_type_name == "argument":
                record = parameter.metavar, parameter.help
                panels.setdefault(ARGUMENTS, []).append(record)
            elif (record := parameter.get_help_record(ctx)) is not None:
                panel = getattr(parameter, "rich_help_panel", None) or "Options"
                panels.setdefault(panel, []).append(record)
        _write_panels(formatter, panels)


def _write_panels(formatter: Any, panels: Mapping[str, list[tuple[str, str]]]) -> None:
    for panel, records in panels.items():
        with formatter.section(panel):
            formatter.write_dl(records, col_max=OPTION_WIDTH)


class Command(_Help, TyperCommand):
    """A command with help in panels."""


class Group(_Help, TyperGroup):
    """Commands; an expected error is printed as one sentence and becomes the exit code."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the commands, in the order of the help."""
        return sorted(self.commands, key=lambda name: name in COMMANDS and COMMANDS.index(name))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Commands by panel, then the options."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            one = self.get_command(ctx, name)
            assert one is not None  # noqa: S101  # its name is in the list
            panel = getattr(one, "rich_help_panel", None) or "Commands"
            panels.setdefault(panel, []).append((name, one.get_short_help_str(200)))
        _write_panels(formatter, panels)
        _Help.format_options(self, ctx, formatter)

    def invoke(self, ctx: Any) -> object:
        """Run a command, print warnings as notes, and turn errors into exit codes."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always", LearningRateWarning)
                warnings.simplefilter("always", CheckpointWarning)
                warnings.showwarning = lambda message, *_, **__: note(str(message))
                return super().invoke(ctx)
        except KeyboardInterrupt:
            err.print("interrupted; nothing was saved.")
            raise typer.Exit(INTERRUPTED) from None
        except OnelayerError as error:
            _print_error(str(error))
            raise typer.Exit(2 if isinstance(error, SettingsError) else 1) from None


app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, check, sweep, certify and show linear softmax classifiers: s = Wx + b.",
)


# An entry of a docstring: the option's names, its metavar and its help.
_ENTRY = re.compile(r"    (\w[\w-]*(?:, \w[\w-]*)*)(?:/(no-[\w-]+))?(?: (\S+))?: (.*)")


def documented(doc: str, parameters: Iterable[inspect.Parameter]) -> list[inspect.Parameter]:
    """Give parameters typer's options, from the sections of a docstring that describe them.

    A section is a panel of the help. Each of its entries is one option:

        Search:
            folds N: Cross-validation folds used to choose λ; 0 uses the validation rows.
            certify/no-certify: Bound each run's distance from its optimum.
    """
    described: dict[str, Any] = {}
    panel = ""
    for line in re.sub(r"\n {8,}", " ", inspect.cleandoc(doc)).splitlines():
        entry = _ENTRY.fullmatch(line)
        if entry is None:
            panel = line.rstrip(":")
            continue
        names, no, metavar, text = entry.groups()
        flags = [f"--{name.replace('_', '-')}" for name in names.split(", ")]
        name = names.split(", ")[0].replace("-", "_")
        if panel == ARGUMENTS:
            described[name] = typer.Argument(metavar=metavar, help=text)
        else:
            flags[0] += f"/--{no}" if no else ""
            described[name] = typer.Option(
                *flags, metavar=metavar, help=text, rich_help_panel=panel
            )
    return [
        parameter.replace(annotation=Annotated[parameter.annotation, described[parameter.name]])
        if parameter.name in described
        else parameter
        for parameter in parameters
    ]


class OptionGroup:
    """Options that several commands share: a dataclass whose docstring describes its fields."""

    @classmethod
    def parameters(cls) -> list[inspect.Parameter]:
        """The options, as parameters of a command."""
        hints = get_type_hints(cls)
        own = [keyword(f.name, f.default, hints[f.name]) for f in fields(cls)]  # type: ignore[arg-type]
        return documented(cls.__doc__ or "", own)


def keyword(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    """A parameter that is given by its name."""
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def command(panel: str, name: str | None = None) -> Callable[[Callable[..., None]], Any]:
    """Declare a command, whose docstring describes its options; a group stands for its options."""

    def register(function: Callable[..., None]) -> Any:
        hints = get_type_hints(function, include_extras=True)
        groups: dict[str, Any] = {}
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(function).parameters.values():
            hint = hints[parameter.name]
            if isinstance(hint, type) and issubclass(hint, OptionGroup):
                groups[parameter.name] = hint
                parameters += hint.parameters()
            else:
                parameters.append(keyword(parameter.name, parameter.default, hint))
        parameters = documented(function.__doc__ or "", parameters)

        @wraps(function)
        def called(**values: Any) -> None:
            given = {
                name: group(**{p.name: values.pop(p.name) for p in group.parameters()})
                for name, group in groups.items()
            }
            function(**values, **given)

        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {p.name: p.annotation for p in parameters}
        app.command(name, cls=Command, rich_help_panel=panel)(called)
        return called

    return register


JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the figures as JSON.", rich_help_panel="Output")
]


def _print_version(wanted: bool) -> None:
    if wanted:
        from onelayer import __version__

        console.print(f"onelayer {__version__}", highlight=False)
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


def main() -> NoReturn:
    """Run the command line; it ends the process with its exit code."""
    _silence_other_processes()
    app(prog_name="onelayer")
    raise AssertionError("typer ends the process by itself")
