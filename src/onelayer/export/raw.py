"""The same model without its scaling: weights that take rows as they are stored.

W (x · scale + offset) + b = (W · scale) x + (b + W offset)
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onelayer.errors import ExportError
from onelayer.model import Model


class RawWeights(NamedTuple):
    """Weights of rows as stored: W (K, D) and b (K,), float64."""

    W: NDArray[np.float64]
    b: NDArray[np.float64]


def raw_weights(model: Model) -> RawWeights:
    """Fold the scaling into the weights.

    Args:
        model: any.

    Returns:
        W · scale and b + W offset, in float64.

    Example:
        >>> from onelayer.scaling import Scaling
        >>> scaling = Scaling("unit", np.full(1, 0.5), np.zeros(1))
        >>> raw_weights(Model(np.array([[2.0], [4.0]]), np.zeros(2), scaling, ("a", "b"))).W
        array([[1.],
               [2.]])
    """
    W = model.W.astype(np.float64)
    return RawWeights(W * model.scaling.scale, model.b + W @ model.scaling.offset)


def required(library: str, install: str) -> Any:
    """Import a library that onelayer does not always need.

    Args:
        library: name of the module.
        install: what pip installs it by.

    Returns:
        The module.

    Raises:
        ExportError: when it is not installed; the sentence has the pip command.

    Example:
        >>> required("no_such_library", "onelayer[none]")
        Traceback (most recent call last):
        ...
        onelayer.errors.ExportError: this export needs no_such_library, which is not installed: \
pip install 'onelayer[none]'.
    """
    try:
        return import_module(library)
    except ImportError as error:
        raise ExportError(
            f"this export needs {library}, which is not installed: pip install '{install}'."
        ) from error
