"""The losses of a row's scores s: value, residual and curvature, written to be read.

    t = (1 − ε) y + ε/K                 targets of one-hot y with label smoothing ε

    loss       ℓ(s)                                residual ∂ℓ/∂s       curvature ∂²ℓ/∂s²
    softmax    −tᵀ log p                           p − t                diag p − p pᵀ       ≤ ½
    sigmoid    −(1/K) Σ t log σ + (1−t) log(1−σ)   (σ − t)/K            diag σ(1 − σ)/K     ≤ 1/4K
    GCE        (1 − e^{q tᵀ log p}) / q            e^{q tᵀ log p}(p − t)                    ≤ ½

    p = exp(s) / 1ᵀ exp(s)        σ = 1 / (1 + exp(−s))

Sigmoid treats each class as a question of its own. GCE is the generalised cross-entropy, for
one-hot y (1 − p_y^q)/q: −log p_y as q → 0, and at q = 1 the expected fraction of wrong rows of a
classifier that draws its answer from p. Rows that no linear map gets right then no longer pull at
W. It is bounded by 1/q and, for q > 0, not convex.

Functions keep the type of floating scores, so engines that compute in float32 use them as well.
Shapes: scores, targets and residuals (..., K), values (...).

Source: Szegedy, Vanhoucke, Ioffe, Shlens & Wojna (2016), Rethinking the Inception architecture for
computer vision, section 7, for label smoothing; Zhang & Sabuncu (2018), Generalized cross entropy
loss for training deep neural networks with noisy labels, for GCE.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.errors import SettingsError, require_number

Float64 = NDArray[np.float64]

Loss = Literal["softmax", "sigmoid"]

LOSSES: tuple[str, ...] = get_args(Loss)

BELOW_ONE = "a number from 0 to below 1"


def softmax_and_log_sum(s: NDArray[Any], axis: int = -1) -> tuple[NDArray[Any], NDArray[Any]]:
    """Probabilities exp(s) / 1ᵀ exp(s) and log 1ᵀ exp(s), along an axis of the classes.

    The largest score is subtracted first, so exp never overflows and log never sees zero.
    """
    top = s.max(axis=axis, keepdims=True)
    P = np.exp(s - top)
    total = P.sum(axis=axis, keepdims=True)
    P /= total
    return P, np.squeeze(top + np.log(total), axis=axis)


def log_softmax(s: ArrayLike) -> NDArray[Any]:
    """Log-probabilities log p = s − log 1ᵀ exp(s), precise for scores of any finite size.

    Example:
        >>> log_softmax([1e4, 1e4]) == -np.log(2.0)
        array([ True,  True])
    """
    s = _floats(s)
    shifted = s - s.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def softmax(s: ArrayLike) -> Float64:
    """Class probabilities p = exp(s) / 1ᵀ exp(s), in float64.

    Example:
        >>> softmax([[0.0, 0.0], [1e4, -1e4]])
        array([[0.5, 0.5],
               [1. , 0. ]])
    """
    return softmax_and_log_sum(np.asarray(s, np.float64))[0]


def sigmoid(s: ArrayLike) -> Float64:
    """The logistic function σ = 1 / (1 + exp(−s)) of each score, in float64.

    Example:
        >>> sigmoid([0.0, 1e4, -1e4])
        array([0.5, 1. , 0. ])
    """
    # exp of a number that is not positive never overflows.
    small = np.exp(-np.abs(np.asarray(s, np.float64)))
    return np.asarray(np.where(np.asarray(s) >= 0.0, 1.0, small) / (1.0 + small))


def targets(y: ArrayLike, classes: int, label_smoothing: float = 0.0) -> Float64:
    """Targets t = (1 − ε) y + ε/K of class indices y (N,): shape (N, K), rows sum to 1.

    Example:
        >>> targets([1], classes=2, label_smoothing=0.2)
        array([[0.1, 0.9]])
    """
    one_hot = np.eye(classes)[np.asarray(y)]
    return np.asarray((1.0 - label_smoothing) * one_hot + label_smoothing / classes)


class Softmax:
    """Cross-entropy of the softmax."""

    def probabilities(self, s: NDArray[Any]) -> Float64:
        """p, float64."""
        return softmax(s)

    def values(self, s: NDArray[Any], t: NDArray[Any]) -> NDArray[Any]:
        """−tᵀ log p."""
        return np.asarray(-(t * log_softmax(s)).sum(axis=-1))

    def residual(self, s: NDArray[Any], t: NDArray[Any]) -> NDArray[Any]:
        """P − t."""
        return np.asarray(softmax_and_log_sum(s)[0] - t)

    def bend(self, P: NDArray[np.floating], Z: NDArray[np.floating]) -> NDArray[np.floating]:
        """(diag p − p pᵀ) z of each row, with its probabilities P and a direction Z, (n, K)."""
        return np.asarray(P * (Z - np.einsum("nk,nk->n", P, Z)[:, None]))

    def curvature(self, classes: int) -> float:
        """½, Böhning's bound."""
        return 0.5


class Sigmoid:
    """Mean of K binary cross-entropies."""

    def probabilities(self, s: NDArray[Any]) -> Float64:
        """σ, float64."""
        return sigmoid(s)

    def values(self, s: NDArray[Any], t: NDArray[Any]) -> NDArray[Any]:
        """(1/K) Σ log(1 + exp(s)) − t s."""
        return np.asarray((np.logaddexp(0.0, s) - t * s).mean(axis=-1))

    def residual(self, s: NDArray[Any], t: NDArray[Any]) -> NDArray[Any]:
        """(σ − t) / K."""
        return np.asarray((sigmoid(s) - t) / s.shape[-1])

    def bend(self, P: NDArray[np.floating], Z: NDArray[np.floating]) -> NDArray[np.floating]:
        """σ (1 − σ) z / K of each row."""
        return np.asarray(P * (1 - P) * Z / P.shape[1])

    def curvature(self, classes: int) -> float:
        """1/4K."""
        return 0.25 / classes


@dataclass(frozen=True)
class GeneralisedCrossEntropy:
    """(1 − p_y^q) / q of q in (0, 1], and −log p_y for q = 0.

    Example:
        >>> gce, t = GeneralisedCrossEntropy(q=1.0), targets([1], classes=2)
        >>> gce.values(np.zeros((1, 2)), t), gce.residual(np.zeros((1, 2)), t)
        (array([0.5]), array([[ 0.25, -0.25]]))
    """

    q: float

    def values(self, s: NDArray[Any], t: NDArray[Any]) -> NDArray[Any]:
        """(1 − exp(q tᵀ log p)) / q."""
        log_p = (t * log_softmax(s)).sum(axis=-1)
        # expm1 keeps the digits that 1 − exp loses where q is small.
        return np.asarray(-log_p if self.q == 0.0 else -np.expm1(self.q * log_p) / self.q)

    def residual(self, s: NDArray[Any], t: NDArray[Any]) -> NDArray[Any]:
        """exp(q tᵀ log p) (p − t)."""
        log_p = log_softmax(s)
        weight = np.exp(self.q * (t * log_p).sum(axis=-1, keepdims=True))
        return np.asarray(weight * (np.exp(log_p) - t))

    def curvature(self, classes: int) -> float:
        """½: that of the softmax, times a weight of at most 1, less what makes it not convex."""
        return 0.5


SOFTMAX, SIGMOID = Softmax(), Sigmoid()

LOSS_FUNCTIONS: Mapping[str, Softmax | Sigmoid] = {"softmax": SOFTMAX, "sigmoid": SIGMOID}


def loss(s: ArrayLike, y: ArrayLike, of: Loss = "softmax", label_smoothing: float = 0.0) -> float:
    """Mean loss of scores s (N, K) with class indices y (N,), nats.

    Example:
        >>> round(loss([[0.0, 0.0]], [1]), 4), round(loss([[0.0, 0.0]], [1], "sigmoid"), 4)
        (0.6931, 0.6931)
    """
    s = np.asarray(s, np.float64)
    t = targets(y, s.shape[1], label_smoothing)
    return float(LOSS_FUNCTIONS[of].values(s, t).mean())


def check_loss(loss: object, label_smoothing: object) -> None:
    """Refuse an unknown loss, and ε outside [0, 1).

    Example:
        >>> check_loss("hinge", 0.0)
        Traceback (most recent call last):
        ...
        onelayer.errors.SettingsError: loss must be softmax or sigmoid, but 'hinge' was given.
    """
    if loss not in LOSSES:
        raise SettingsError(f"loss must be {' or '.join(LOSSES)}, but {loss!r} was given.")
    require_number("label_smoothing (ε)", label_smoothing, BELOW_ONE, least=0, below=1)


def _floats(s: ArrayLike) -> NDArray[Any]:
    """Scores in their own floating type, others in float64."""
    array = np.asarray(s)
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
