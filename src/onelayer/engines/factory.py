"""Choose an engine by its name."""

from __future__ import annotations

import os
import re

from onelayer.engines.base import Engine
from onelayer.engines.native import NativeEngine
from onelayer.engines.reference import ReferenceEngine
from onelayer.errors import SettingsError, known_options

# The first is the default.
ENGINE_NAMES = ("native", "reference", "torch")

DEVICE_VARIABLE = "ONELAYER_DEVICE"


@known_options
def make_engine(
    name: str = ENGINE_NAMES[0],
    threads: int | None = None,
    *,
    device: str | None = None,
    precision: str | None = None,
    distributed: bool = False,
) -> Engine:
    """Make the engine of that name.

    Args:
        name: "native" (the C++ kernel, on the bytes as stored), "reference" (NumPy, written to
            be read) or "torch" (PyTorch, for GPUs and clusters).
        threads: threads of the native engine, ≥ 1, or of PyTorch on the CPU; None takes
            ONELAYER_THREADS, or else the cores that this process may use, OMP_NUM_THREADS at most
            and its part of them under joblib. NumPy's threads are BLAS's own to set.
        device: of the engine torch: "auto", "cpu", "cuda", "cuda:N" or "mps"; None takes
            ONELAYER_DEVICE, or else "auto", which is a GPU where there is one, else the native
            engine on the CPU, which is faster there.
        precision: of the engine torch, what float32 matrix products round their factors to:
            "tf32" or "bf16"; None is "float32", not to round them.
        distributed: of the engine torch, whether the processes that torchrun started share the
            rows. All of them must then do the same with the engine, in the same order.

    Returns:
        The engine.

    Raises:
        SettingsError: for an unknown name, options that the engine cannot take, a device that is
            not there, or PyTorch not installed.

    Example:
        >>> make_engine().name
        'native'
    """
    place = device or os.environ.get(DEVICE_VARIABLE) or "auto"
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]+)?", place):
        whose = "device" if device else DEVICE_VARIABLE
        raise SettingsError(
            f"{whose} must be auto, cpu, cuda, cuda:N or mps, but {place!r} was given."
        )
    if threads is not None and threads < 1:
        raise SettingsError(f"threads must be 1 or above, but {threads} was given.")
    if name == "torch":
        try:
            # Imported here, since PyTorch takes seconds and is an extra.
            from onelayer.engines.torch import make_torch_engine
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise SettingsError(
                "the engine torch needs PyTorch, which is not installed: pip install "
                "'onelayer[torch]'."
            ) from error
        made = make_torch_engine(threads, place, precision or "float32", distributed=distributed)
        return made or NativeEngine(threads)
    if distributed:
        raise SettingsError(
            f"the engine {name} runs in one process; use the engine torch for several."
        )
    for option, given in (("device", device), ("precision", precision)):
        if given is not None:
            raise SettingsError(
                f"{option} {given} has no effect with the engine {name}; leave it out or use the "
                "engine torch."
            )
    if name == "native":
        return NativeEngine(threads)
    if name == "reference":
        if threads is not None:
            raise SettingsError(
                "threads can be set for the native engine only; for the reference engine set "
                "OPENBLAS_NUM_THREADS or OMP_NUM_THREADS before Python starts."
            )
        return ReferenceEngine()
    choices = ", ".join(ENGINE_NAMES)
    raise SettingsError(f"engine must be one of {choices}, but {name!r} was given.")
