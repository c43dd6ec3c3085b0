"""Docstrings and signatures as the documentation shows them."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Readable(griffe.Extension):
    """Examples are code, and a default that has a name is shown as its value."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Rename `Example:`, which griffe would read as prose."""
        if not obj.is_alias and obj.docstring is not None:
            obj.docstring.value = re.sub(r"(?m)^Example:$", "Examples:", obj.docstring.value)

    def on_package(self, *, pkg: Any, **_: Any) -> None:
        """Resolve defaults: `test_size=0.2`, not `test_size=TEST_SIZE`."""
        self._resolve(pkg)

    def _resolve(self, obj: Any) -> None:
        for member in obj.members.values():
            if member.is_alias:
                continue
            if member.is_class or member.is_module:
                self._resolve(member)
            elif member.is_function:
                for parameter in member.parameters:
                    variadic = parameter.kind in (
                        griffe.ParameterKind.var_positional,
                        griffe.ParameterKind.var_keyword,
                    )
                    parameter.default = None if variadic else self._value(member, parameter.default)
            elif obj.is_class:  # a field of a dataclass
                if isinstance(member.value, griffe.ExprCall):
                    for argument in member.value.arguments:
                        if isinstance(argument, griffe.ExprKeyword) and argument.name == "default":
                            argument.value = self._value(member, argument.value)
                else:
                    member.value = self._value(member, member.value)

    def _value(self, obj: Any, default: Any) -> Any:
        """The value of a constant, or the default itself."""
        if not isinstance(default, griffe.ExprName):
            return default
        try:
            found = obj.modules_collection[default.canonical_path]
            while found.is_alias:
                found = found.final_target
        except (KeyError, griffe.AliasResolutionError):
            return default
        return self._value(found, found.value) if found.is_attribute and found.value else default
