"""Choose an engine by its name."""

from __future__ import annotations

from onelayer.engines.native import NativeEngine
from onelayer.engines.protocol import Engine
from onelayer.engines.reference import ReferenceEngine
from onelayer.errors import SettingsError

# The first is the default.
ENGINE_NAMES = ("native", "reference")


def make_engine(name: str = ENGINE_NAMES[0], threads: int | None = None) -> Engine:
    """Make the engine of that name.

    Args:
        name: "native" (the C++ kernel, on the bytes as stored) or "reference" (NumPy, written to
            be read).
        threads: threads of the native engine, ≥ 1; None takes ONELAYER_THREADS, or else the cores
            that this process may use. NumPy's threads are BLAS's own to set.

    Returns:
        The engine.

    Raises:
        SettingsError: for an unknown name, or for threads that the engine cannot take.

    Example:
        >>> make_engine().name
        'native'
    """
    if threads is not None and threads < 1:
        raise SettingsError(f"threads must be 1 or above, but {threads} was given.")
    if name == "native":
        return NativeEngine(threads)
    if name == "reference":
        if threads is not None:
            raise SettingsError(
                "threads can be set for the native engine only; for the reference engine set "
                "OPENBLAS_NUM_THREADS or OMP_NUM_THREADS before the start."
            )
        return ReferenceEngine()
    choices = ", ".join(ENGINE_NAMES)
    raise SettingsError(f"engine must be one of {choices}, but {name!r} was given.")
