"""The penalty of the cost: λ Σ W². The biases b are not penalised.

    value       λ Σ W²
    gradient    2λ W
    curvature   2λ             in every direction of W
    decay       1 − 2ηλ        a gradient step of length η multiplies W by it

scikit-learn's C is 1/(2λN), PyTorch's weight_decay 2λ. Python code takes the formula from here; the
C++ kernel has it in native/kernel, the torch engine in engines/torch/optimizer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray


def squared_norms(W: NDArray[Any]) -> NDArray[Any]:
    """Σ W² of each run, for W (R, K, D), summed in an order that no machine changes."""
    return np.array([np.square(of_run).ravel().sum() for of_run in W])


@dataclass(frozen=True, eq=False)
class Penalty:
    """λ Σ W² of one run, or of several where l2 is an array that broadcasts with W.

    Example:
        >>> penalty = Penalty(l2=0.5)
        >>> penalty.value(np.array([[1.0, 2.0]])), penalty.curvature, penalty.decay(0.1)
        (2.5, 1.0, 0.9)
    """

    l2: Any

    @classmethod
    def of(cls, settings: Any, spread: Callable[[Any], Any] = lambda value: value) -> Penalty:
        """The penalty of a run, a recipe or a method: attributes of these names, each spread."""
        return cls(*(spread(getattr(settings, item.name)) for item in fields(cls)))

    def value(self, W: NDArray[Any]) -> float:
        """λ Σ W², nats."""
        return float(self.l2 * float(np.sum(W * W)))

    def values(self, W: NDArray[Any]) -> NDArray[np.float64]:
        """λ Σ W² of each run, for W (R, K, D) and l2 (R,)."""
        return np.asarray(self.l2 * squared_norms(W))

    def terms(self, W: NDArray[Any]) -> NDArray[Any]:
        """λ W² of each entry; `value` is their sum."""
        return np.asarray(self.l2 * (W * W))

    def gradient(self, W: NDArray[Any]) -> NDArray[Any]:
        """2λ W, in the shape of W."""
        return np.asarray(2.0 * self.l2 * W)

    @property
    def curvature(self) -> Any:
        """2λ: the cost is 2λ-strongly convex in W, so J − J* ≤ ‖∇J‖² / (2 · curvature)."""
        return 2.0 * self.l2

    def decay(self, learning_rate: Any) -> Any:
        """1 − 2ηλ, what a gradient step of length η multiplies W by beside the loss."""
        return 1.0 - learning_rate * self.curvature
