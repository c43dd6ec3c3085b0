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
        """Resolve the defaults of every function: `test_size=0.2`, not `test_size=TEST_SIZE`."""
        self._resolve(pkg)

    def _resolve(self, obj: Any) -> None:
        for member in obj.members.values():
            if member.is_alias:
                continue
            if member.is_function or member.is_class:
                for parameter in getattr(member, "parameters", ()):
                    parameter.default = self._value(member, parameter.default)
            if member.is_class or member.is_module:
                self._resolve(member)

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
