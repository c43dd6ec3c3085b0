"""Options from a TOML file (--config), and the command that a run folder remembers.

The keys of the file are the options' names; an option on the command line overrides the file.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import typer

from onelayer.errors import SettingsError, one_line, require_file
from onelayer.files.provenance import Command

# An option with this metavar takes a list, separated by commas.
VALUES = "VALUES"

# Larger whole numbers of a file are refused: Python does not print the largest.
MAX_WHOLE = 2**63

# A file of options has a few hundred bytes.
MAX_BYTES = 1_000_000

# Where a run is saved and how it is shown are not part of it.
NOT_SAVED = ("config", "out", "overwrite", "resume", "checkpoint-every", "json")


def options_of(command: Any) -> dict[str, Any]:
    """A command's options as typer declares them, by name: the longest, without dashes."""
    return {
        max(parameter.opts, key=len).removeprefix("--"): parameter
        for parameter in command.params
        if parameter.param_type_name == "option"
    }


def default_map(
    command: Any, called: str, values: Mapping[str, Any], source: str
) -> dict[str, Any]:
    """Convert values by option name to defaults of a command, by parameter name, as if typed."""
    options = options_of(command)
    known = [name for name in options if name not in ("config", "help")]
    short = {opt.lstrip("-"): name for name in known for opt in options[name].opts}
    defaults: dict[str, Any] = {}
    for key, value in values.items():
        name = short.get(key.replace("_", "-"))
        if name is None:
            near = difflib.get_close_matches(key.replace("_", "-"), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"options: {', '.join(known)}"
            raise SettingsError(f"{source}: {called} has no option {key!r}; {hint}.")
        defaults[options[name].name] = _as_typed(options[name], f"{source}: {key!r}", value)
    return defaults


def command_in_force(context: typer.Context, without: Sequence[str] = ()) -> Command:
    """The command with the value of every option, except parameters that have no effect."""
    options: dict[str, Any] = {}
    for name, parameter in options_of(context.command).items():
        value = context.params.get(parameter.name)
        if value is not None and name not in NOT_SAVED and parameter.name not in without:
            options[name] = str(value) if isinstance(value, Path) else value
    return Command(str(context.info_name), options, version("onelayer"))


def shortest_line(context: typer.Context, command: Command) -> str:
    """A command as it can be typed, without the options that have their defaults."""
    defaults = {name: str(one.default) for name, one in options_of(context.command).items()}
    changed = {n: v for n, v in command.options.items() if str(v) != defaults.get(n)}
    return replace(command, options=changed).line


def is_given(context: typer.Context, name: str) -> bool:
    """Whether a parameter was typed or is in the file of --config."""
    source = context.get_parameter_source(name)
    return source is not None and source.name in ("COMMANDLINE", "DEFAULT_MAP")


def read_config(context: typer.Context, value: Path | None) -> Path | None:
    """Make the options in a TOML file the defaults of a command."""
    if value is not None:
        called, values = str(context.info_name), _read_toml(value)
        context.default_map = default_map(context.command, called, values, str(value))
    return value


def _content_of(file: Path) -> bytes:
    """What a file holds, "-", or what a shell's <(…) names; other pipes are not waited for."""
    is_stdin = str(file) == "-"
    streams = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")  # that the process has open
    if not is_stdin and not os.path.abspath(file).startswith(streams):
        require_file(file)
    with open(0 if is_stdin else file, "rb", closefd=not is_stdin) as stream:
        return stream.read(MAX_BYTES + 1)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        content = _content_of(file)
        if len(content) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        why = error if isinstance(error, ValueError) else "it is nested too deeply"
        raise SettingsError(f"{file} is not a valid TOML file: {one_line(why)}.") from None
    except OSError as error:
        raise SettingsError(f"cannot read {file}: {error.strerror or error}.") from None


def _as_typed(parameter: Any, where: str, value: Any) -> str:
    """A value as it would be typed: so 2.7 is no whole number, and true is no number."""
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, int) and abs(item) > MAX_WHOLE for item in items):
        raise SettingsError(f"{where} must be a number of at most 64 bits.")
    if any(not isinstance(item, (str, int, float)) for item in items):
        raise SettingsError(f"{where} must be a number, a string, a boolean or a list of these.")
    if isinstance(value, list) and parameter.metavar != VALUES:
        raise SettingsError(f"{where} must be one value, not a list.")
    return ",".join(str(item).lower() if isinstance(item, bool) else str(item) for item in items)
