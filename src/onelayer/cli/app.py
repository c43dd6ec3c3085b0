"""The application: how commands are declared, and how help is laid out."""

from __future__ import annotations

import inspect
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from functools import wraps
from importlib.metadata import version
from typing import Annotated, Any, NoReturn, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from onelayer.cli import interrupt, output
from onelayer.cli.config import read_config
from onelayer.data.progress import spelled
from onelayer.errors import (
    CheckpointWarning,
    LearningRateWarning,
    OnelayerError,
    SettingsError,
    one_line,
)

# The section of a docstring, and panel of the help, of words without dashes.
ARGUMENTS = "Positional arguments"

# The order of the commands in the help.
COMMANDS = (
    "train", "solve", "probe", "reproduce", "best-linear", "suggest-learning-rate",
    "check-gradient", "evaluate", "compare", "predict", "inspect", "calibrate", "export",
    "certify", "report", "rerun", "data",
)  # fmt: skip

# Options that mean the same wherever they are taken, as a command's docstring would describe them.
COMMON = """
    Positional arguments:
        model MODEL: A model's file; a run folder, for its best run or chosen λ; or RUN:SETTING, by
            name or by number in the table.
        folder RUN: A run folder.

    Hyperparameters:
        loss NAME: softmax, or sigmoid: K binary cross-entropies, which many labels a row need.
        intercept/no-intercept: Fit a bias; without one b = 0, and features are not centred.
        class-weight WEIGHTS: balanced, or weights of classes in the cost, as in cat=2,dog=.5; the
            others weigh 1, and 0 leaves a class out.

    Search:
        seeds N|LIST: Runs per setting, or their seeds.

    Data:
        scaling NAME: Feature scaling: auto, none, unit or standardize.
        on PART: Rows to take: test, validation or train.
        include-training-rows: Count rows that a model was trained on as well.
        trust: Read files that a run folder names outside of the current folder.

    Engine:
        dtype TYPE: float32 or float64.

    Output:
        out DIR: Run folder to write.
        overwrite: Replace a finished run in the run folder.
        json: Print the figures as JSON.
        config FILE.toml|-: Read options from this file; options typed here override it.
"""


class _Help:
    """Help in panels of two columns, which fits 80 characters; examples are not wrapped."""

    def get_help(self, ctx: Any) -> str:
        """The help, in letters that the terminal has."""
        return spelled(super().get_help(ctx), sys.stdout.encoding)  # type: ignore[misc]

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
            # Options longer than this have their help on the next line.
            formatter.write_dl(records, col_max=26)


class Command(_Help, TyperCommand):
    """A command with help in panels."""


class Group(_Help, TyperGroup):
    """Commands; an expected error is printed as one sentence and becomes the exit code."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the commands, in the order of the help."""
        return sorted(self.commands, key=(*COMMANDS, *self.commands).index)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Commands by panel, then the options."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            one: Any = self.commands[name]
            panel = one.rich_help_panel or "Commands"
            panels.setdefault(panel, []).append((name, one.get_short_help_str(200)))
        _write_panels(formatter, panels)
        _Help.format_options(self, ctx, formatter)

    def invoke(self, ctx: Any) -> object:
        """Run a command, print warnings as notes, and turn errors into exit codes."""
        try:
            with interrupt.working(), warnings.catch_warnings():
                warnings.simplefilter("always", LearningRateWarning)
                warnings.simplefilter("always", CheckpointWarning)
                warnings.showwarning = lambda message, *_, **__: output.note(str(message))
                return super().invoke(ctx)
        except KeyboardInterrupt:
            raise self._interrupted() from None
        except OnelayerError as error:
            if interrupt.came():  # a library has made an error of its own of it
                raise self._interrupted() from None
            output.print_error(str(error))
            raise typer.Exit(2 if isinstance(error, SettingsError) else 1) from None
        except Exception as error:
            if isinstance(error, typer.Exit):
                raise
            if interrupt.came():
                raise self._interrupted() from None
            if isinstance(error, OSError) and error.filename is not None:
                output.print_error(f"{error.filename}: {error.strerror}.")
            elif isinstance(error, MemoryError):
                reason = one_line(error) or "none is left"
                output.print_error(f"there is not enough memory ({reason}).")
            else:
                raise
            raise typer.Exit(1) from None

    def _interrupted(self) -> typer.Exit:
        """Say that a signal ended the command; the error that ends the process so."""
        interrupt.show_cursor()
        output.err.print("interrupted.")
        return typer.Exit(interrupt.exit_code())


def make_group(text: str, **settings: Any) -> typer.Typer:
    """A group of commands, with this help."""
    return typer.Typer(
        cls=Group, no_args_is_help=True, rich_markup_mode=None, help=text, **settings
    )


app = make_group(
    "Train, check, sweep, certify and show linear softmax classifiers: s = Wx + b.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
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
        name = flags[0][2:].replace("-", "_")
        if panel == ARGUMENTS:
            described[name] = typer.Argument(metavar=metavar, help=text)
            continue
        flags[0] += f"/--{no}" if no else ""
        described[name] = option = typer.Option(
            *flags, metavar=metavar, help=text, rich_help_panel=panel
        )
        if name == "config":  # read before the other options, whose defaults it sets
            option.callback, option.is_eager = read_config, True
    return [
        parameter.replace(annotation=Annotated[parameter.annotation, described[parameter.name]])
        if parameter.name in described and not hasattr(parameter.annotation, "__metadata__")
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


def command(
    panel: str | None = None, name: str | None = None, group: typer.Typer = app
) -> Callable[[Callable[..., None]], Any]:
    """Declare a command, whose docstring describes its options; an `OptionGroup` is several."""

    def register(function: Callable[..., None]) -> Any:
        hints = get_type_hints(function)
        groups: dict[str, Any] = {}
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(function).parameters.values():
            hint = hints[parameter.name]
            if isinstance(hint, type) and issubclass(hint, OptionGroup):
                groups[parameter.name] = hint
                parameters += hint.parameters()
            else:
                parameters.append(keyword(parameter.name, parameter.default, hint))
        doc = f"{inspect.cleandoc(COMMON)}\n{inspect.getdoc(function)}"
        parameters = documented(doc, parameters)

        @wraps(function)
        def called(**values: Any) -> None:
            given = {
                name: options(**{p.name: values.pop(p.name) for p in options.parameters()})
                for name, options in groups.items()
            }
            function(**values, **given)

        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {p.name: p.annotation for p in parameters}
        group.command(name, cls=Command, rich_help_panel=panel)(called)
        return called

    return register


def _print_version(wanted: bool) -> None:
    if wanted:
        output.console.print(f"onelayer {version('onelayer')}")
        raise typer.Exit


VersionOption = Annotated[
    bool,
    typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True),
]


@app.callback()
def _options(version: VersionOption = False) -> None:
    pass


def run() -> NoReturn:
    """Run the command that was typed; it ends the process with its exit code."""
    with output.standard_streams():
        output.silence_other_processes()
        try:
            app(prog_name="onelayer")
        finally:
            interrupt.over()
    raise AssertionError("typer ends the process by itself")
