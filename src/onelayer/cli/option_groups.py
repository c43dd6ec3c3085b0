"""Options that several commands share, declared once: a dataclass whose fields are options.

A command that is decorated with `takes("data", DataOptions)` declares one parameter
`data: DataOptions`; on the command line that becomes an option for each field.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Any, get_type_hints

Command = Callable[..., None]


def takes(name: str, group: Any) -> Callable[[Command], Command]:
    """Give a command an option for each field of a group in place of one parameter.

    Args:
        name: of the parameter.
        group: a dataclass; each field has typer's annotation and a default.

    Returns:
        A decorator of commands; commands with several groups have several.
    """

    def decorate(command: Command) -> Command:
        @wraps(command)
        def called(*words: Any, **options: Any) -> None:
            said = {field.name: options.pop(field.name) for field in fields(group)}
            command(*words, **options, **{name: group(**said)})

        parameters = _parameters(command, name, group)
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {p.name: p.annotation for p in parameters}
        return called

    return decorate


def _parameters(command: Command, name: str, group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    own = get_type_hints(command, vars(inspect.getmodule(command)), include_extras=True)
    each = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]  # fmt: skip
    parameters: list[inspect.Parameter] = []
    for called, parameter in inspect.signature(command).parameters.items():
        by_name = parameter.replace(annotation=own[called], kind=inspect.Parameter.KEYWORD_ONLY)
        parameters += each if called == name else [by_name]
    return parameters
