"""Docstrings as the documentation reads them: `Example:` holds doctests, so it is code there."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Names the section as griffe's Google style does, without which doctests are read as prose."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Rename the section of one object's docstring."""
        if not obj.is_alias and obj.docstring is not None:
            obj.docstring.value = re.sub(r"(?m)^Example:$", "Examples:", obj.docstring.value)
