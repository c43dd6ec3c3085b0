"""Choose an engine by its name."""

from __future__ import annotations

from onelayer.engines.protocol import Engine
from onelayer.engines.reference import ReferenceEngine
from onelayer.errors import SettingsError

ENGINE_NAMES = ("reference",)


def make_engine(name: str = "reference") -> Engine:
    """Make the engine of that name.

    Args:
        name: "reference" (NumPy, written to be read).

    Returns:
        The engine.

    Raises:
        SettingsError: for an unknown name.

    Example:
        >>> make_engine("reference").name
        'reference'
    """
    if name == "reference":
        return ReferenceEngine()
    choices = ", ".join(ENGINE_NAMES)
    raise SettingsError(f"engine must be one of {choices}, but {name!r} was given.")
