"""The stub of the extension has its functions, arguments and defaults: type checkers read it."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

import onelayer
from onelayer import _native

STUB = Path(onelayer.__file__).with_name("_native.pyi")
METHODS = [
    f"{name}.{method}"
    for name, kind in vars(_native).items()
    if isinstance(kind, type)
    for method in vars(kind)
    if method == "__init__" or not method.startswith("__")
]
FUNCTIONS = sorted(
    [n for n, of in vars(_native).items() if not n.startswith("__") and not isinstance(of, type)]
    + METHODS
)

# An argument's name, whether it may be left out, and its default where the source tells.
Argument = tuple[str, bool, Any]


def arguments(function: ast.FunctionDef, defaults: Sequence[Any]) -> list[Argument]:
    names = [arg.arg for arg in function.args.args]
    required = len(names) - len(defaults)
    return [(name, i >= required, defaults[i - required]) if i >= required else (name, False, None)
            for i, name in enumerate(names)]  # fmt: skip


@cache
def of_stub() -> dict[str, list[Argument]]:
    """Of each function; a default of ... is any."""
    found = {}
    body = ast.parse(STUB.read_text(encoding="utf-8")).body
    nodes: list[tuple[str, ast.stmt]] = [("", node) for node in body]
    nodes += [
        (f"{of.name}.", node) for of in body if isinstance(of, ast.ClassDef) for node in of.body
    ]
    for of_class, node in nodes:
        if isinstance(node, ast.FunctionDef):
            defaults = [ast.literal_eval(default) for default in node.args.defaults]
            found[of_class + node.name] = arguments(node, defaults)
    return found


def of_extension(name: str) -> list[Argument]:
    """By nanobind's signature, whose types are no Python."""
    [(signature, _, defaults)] = attrgetter(name)(_native).__nb_signature__
    while (plain := re.sub(r"\[[^\[\]]*\]", "", signature)) != signature:
        signature = plain
    [function] = ast.parse(re.sub(r"\\\d+", "None", signature) + ": ...").body
    assert isinstance(function, ast.FunctionDef)
    optional = len(function.args.defaults)
    return arguments(function, list(defaults)[-optional:] if optional else [])


def test_the_stub_has_every_function_of_the_extension_and_no_other() -> None:
    assert sorted(of_stub()) == FUNCTIONS


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_stub_has_the_arguments_and_defaults_of_each_function(name: str) -> None:
    stub, extension = of_stub()[name], of_extension(name)
    assert [(a, optional) for a, optional, _ in stub] == [(a, o) for a, o, _ in extension]
    for (argument, _, said), (_, _, real) in zip(stub, extension, strict=True):
        assert said is ... or said == real, argument
