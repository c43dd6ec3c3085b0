"""Settings from a TOML file, and the options in force: typed, from the file, or defaults.

A command that has `settings: SettingsOption = None` can take every other option from a file: the
keys are the options' names, and what is typed on the command line wins.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from onelayer.errors import SettingsError
from onelayer.files.provenance import Command

# An option of this metavar takes a list in one word, so a list in the file is joined by commas.
VALUES = "VALUES"

# Where a run is saved, how it got there and where its options came from are not what it is.
NOT_SAVED = ("settings", "out", "resume", "checkpoint-every")


def options_of(command: Any) -> dict[str, Any]:
    """A command's options by their names without dashes, as typer declares them."""
    return {
        max(parameter.opts, key=len).removeprefix("--"): parameter
        for parameter in command.params
        if parameter.param_type_name == "option"
    }


def default_map(
    command: Any, called: str, values: Mapping[str, Any], source: str
) -> dict[str, Any]:
    """Values by option name, as what the command takes in place of its own defaults.

    Args:
        command: typer's.
        called: the command's name.
        values: by option name; an underscore may stand for a dash.
        source: where they are from, for the sentence that refuses one.

    Returns:
        Words by parameter name, as if they had been typed.

    Raises:
        SettingsError: for an unknown name, or a value that could not be typed.
    """
    options = options_of(command)
    known = [name for name in options if name not in ("settings", "help")]
    taken: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("_", "-")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}."
            raise SettingsError(f"{source} has {key!r}, which {called} does not take; {hint}")
        taken[options[name].name] = _words(options[name], f"{source}, {key!r},", value)
    return taken


def command_in_force(context: typer.Context, without: Sequence[str] = ()) -> Command:
    """The command with every option that is set, whoever set it.

    Args:
        context: of the command.
        without: parameters that mean nothing to it, given the others.

    Returns:
        What a run folder remembers of the command line.
    """
    values = {
        name: context.params[parameter.name]
        for name, parameter in options_of(context.command).items()
        if name not in NOT_SAVED and parameter.name in context.params
        if parameter.name not in without
    }
    options = {name: _plain(value) for name, value in values.items() if value not in (None, [], ())}
    return Command(str(context.info_name), options, version("onelayer"))


def _take_settings(context: typer.Context, value: Path | None) -> Path | None:
    """Read the file before any other option is settled, and put it in place of the defaults."""
    if value is not None:
        called, values = str(context.info_name), _read_toml(value)
        context.default_map = default_map(context.command, called, values, str(value))
    return value


SettingsOption = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        metavar="FILE.toml",
        help="Take options from this file, by their names; those typed here win.",
        callback=_take_settings,
        is_eager=True,
    ),
]


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} should be a TOML file, but it is not: {error}.") from None
    except OSError as error:
        reason = error.strerror or error
        raise SettingsError(f"the settings in {file} could not be read: {reason}.") from None


def _words(parameter: Any, where: str, value: Any) -> str | list[str]:
    """A value as it would be typed: text is what makes 2.7 no whole number and true no number."""
    listed = value if isinstance(value, list) else [value]
    if any(not isinstance(one, (str, int, float)) for one in listed):
        raise SettingsError(f"{where} must be a number, a text, true, false or a list of those.")
    words = [str(one).lower() if isinstance(one, bool) else str(one) for one in listed]
    if parameter.multiple:
        return words
    if isinstance(value, list) and parameter.metavar == VALUES:
        return ",".join(words)
    if isinstance(value, list):
        raise SettingsError(f"{where} must be one value, but a list was given.")
    return words[0]


def _plain(value: Any) -> Any:
    """A value that JSON can hold."""
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value
