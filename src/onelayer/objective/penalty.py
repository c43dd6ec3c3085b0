"""The penalty of the cost: λ₂ Σ W² + λ₁ Σ |W|. The biases b are not penalised.

    value       λ₂ Σ W² + λ₁ Σ |W|, or where classes are grouped λ₁ Σ_d ‖W_:d‖₂ in the second place
    gradient    2λ₂ W          of the smooth part, as the two that follow
    curvature   2λ₂            in every direction of W
    decay       1 − 2ηλ₂       a gradient step of length η multiplies W by it
    prox        argmin_V ½‖V − W‖² + t λ₁ Σ |V| = sign(W) (|W| − tλ₁)₊, or W (1 − tλ₁/‖W_:d‖)₊
    conjugate   sup_W ⟨Z, W⟩ − value = Σ (|Z| − λ₁)₊² / (4λ₂), or of ‖Z_:d‖ in the place of |Z|;
                for λ₂ = 0 it is 0 where no |Z| is above λ₁, else infinite

λ alone is λ₂. scikit-learn's C and l1_ratio are λ₁ = l1_ratio / (CN), λ₂ = (1 − l1_ratio) / (2CN);
PyTorch's weight_decay is 2λ₂. Python code takes the formula from here; the C++ kernel has it in
native/kernel, the torch engine in engines/torch/optimizer. Mini-batch training steps by the
gradient and then by the prox (`onelayer.engines.base`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


def squared_norms(W: NDArray[Any]) -> NDArray[Any]:
    """Σ W² of each run, for W (R, K, D), summed in an order that no machine changes."""
    return np.array([np.square(of_run).ravel().sum() for of_run in W])


# From it on 2λ and λ Σ W² may overflow.
MAX_L2, L2_RANGE = 1e100, "a finite number, 0 to below 1e100"

# From so many on no array of squares is made, whose pages would take longer than the sum.
MANY_WEIGHTS = 1 << 16


@dataclass(frozen=True, eq=False)
class Penalty:
    """λ₂ Σ W² + λ₁ Σ |W| of one run, or of several where l2 is an array that broadcasts with W.

    Attributes:
        l2: λ₂ ≥ 0.
        l1: λ₁ ≥ 0.
        grouped: whether λ₁ multiplies Σ_d ‖W_:d‖₂, a norm over the classes of each feature.
        factors: f ≥ 0, (D,), by which both parts are multiplied for each feature; None is 1 each.

    Example:
        >>> penalty = Penalty(l2=0.5)
        >>> penalty.value(np.array([[1.0, 2.0]])), penalty.curvature, penalty.decay(0.1)
        (2.5, 1.0, 0.9)
        >>> Penalty(0.5, l1=1.5).prox(np.array([[1.0, -2.0]])).tolist()
        [[0.0, -0.5]]
    """

    l2: Any
    l1: Any = 0.0
    grouped: Any = False
    factors: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, settings: Any, spread: Callable[[Any], Any] = lambda value: value) -> Penalty:
        """The penalty of a run, a recipe or a method: attributes of these names, each spread."""
        known = (item.name for item in fields(cls) if hasattr(settings, item.name))
        return cls(**{name: spread(getattr(settings, name)) for name in known})

    def of_features(self, chosen: Any) -> Penalty:
        """That of some features, by their places or booleans."""
        return self if self.factors is None else replace(self, factors=self.factors[chosen])

    @property
    def limits(self) -> Any:
        """λ₁ f of each feature; a number where all factors are 1."""
        return self.l1 if self.factors is None else self.l1 * self.factors

    def value(self, W: NDArray[Any]) -> float:
        """The penalty of W (K, D), nats."""
        if self.factors is not None:
            squares = float(np.sum(W * W * self.factors))
        elif W.size > MANY_WEIGHTS and W.ndim == 2:
            squares = float(np.einsum("kd,kd->", W, W))
        else:
            squares = float(np.sum(W * W))
        value = squares * float(self.l2)
        return value + self.l1_value(W) if self.l1 else value

    def l1_value(self, W: NDArray[Any]) -> float:
        """The part of λ₁."""
        return float((self.limits * self.sizes(W)).sum())

    def values(self, W: NDArray[Any]) -> NDArray[np.float64]:
        """The penalty of each run, for W (R, K, D) and l2, l1 and grouped (R,)."""
        squares = np.asarray(self.l2 * squared_norms(W))
        if not np.any(self.l1):
            return squares
        grouped = np.broadcast_to(self.grouped, len(W)).tolist()
        of_runs = zip(W, grouped, strict=True)
        sizes = [Penalty(0.0, 1.0, own).sizes(of_run).ravel().sum() for of_run, own in of_runs]
        return np.asarray(squares + self.l1 * np.array(sizes))

    def terms(self, W: NDArray[Any]) -> NDArray[Any]:
        """λ W² of each entry; `value` is their sum."""
        return np.asarray(self.l2 * (W * W))

    def gradient(self, W: NDArray[Any]) -> NDArray[Any]:
        """2λ₂ W, in the shape of W."""
        return np.asarray(self.curvatures * W)

    @property
    def curvatures(self) -> Any:
        """2λ₂ f of each feature; a number where all factors are 1."""
        return self.curvature if self.factors is None else self.curvature * self.factors

    @property
    def curvature(self) -> Any:
        """2λ₂: the cost is strongly convex in W by it, so J − J* ≤ ‖∇J‖² / (2 · curvature)."""
        return 2.0 * self.l2

    def decay(self, learning_rate: Any) -> Any:
        """1 − 2ηλ₂, what a gradient step of length η multiplies W by beside the loss."""
        return 1.0 - learning_rate * self.curvature

    def sizes(self, W: NDArray[Any]) -> NDArray[Any]:
        """What λ₁ multiplies: |W|, or where classes are grouped the norm of each feature, (D,)."""
        return np.asarray(np.sqrt(np.sum(W * W, axis=-2)) if self.grouped else np.abs(W))

    def prox(self, W: NDArray[Any], step: Any = 1.0) -> NDArray[Any]:
        """Argmin over V of ½‖V − W‖² + step · λ₁ Σ |V|: W drawn towards 0, and much of it to 0."""
        sizes = self.sizes(W)
        short = np.maximum(sizes - step * self.limits, 0.0)
        kept = np.divide(short, sizes, where=sizes > 0.0, out=np.zeros_like(short))
        return np.asarray(W * (kept[..., None, :] if self.grouped else kept))

    def smallest_subgradient(self, W: NDArray[Any], gradient: NDArray[Any]) -> NDArray[Any]:
        """Of a cost whose smooth part has this gradient at W; it is 0 at the minimum."""
        sizes = self.sizes(W)
        signs = np.divide(W, sizes[..., None, :] if self.grouped else sizes, where=W != 0.0,
                          out=np.zeros_like(W))  # fmt: skip
        at_zero = sizes == 0.0
        of_zero = self.prox(gradient) if self.l1 else gradient
        zero = at_zero[..., None, :] if self.grouped else at_zero
        return np.asarray(np.where(zero, of_zero, gradient + self.limits * signs))

    def conjugate(self, Z: NDArray[Any]) -> float:
        """Sup over W of ⟨Z, W⟩ less the value of W; Z is taken for 0 where a feature is free."""
        excess = np.maximum(self.sizes(Z) - self.limits, 0.0)
        if self.factors is not None:
            excess = np.divide(
                excess, np.sqrt(self.factors), where=self.factors > 0.0, out=np.zeros_like(excess)
            )
        if not excess.any():
            return 0.0
        return float(np.sum(excess * excess)) / (4.0 * self.l2) if self.l2 else math.inf
