"""The losses of a row's scores s, and the cost and its gradient: the oracle, written to be read.

    s = W x + b                         scores
    t = (1 − ε) y + ε/K                 targets of one-hot y with label smoothing ε
    p = exp(s) / 1ᵀ exp(s)              probabilities; of the K-sigmoid σ = 1 / (1 + exp(−s))

    loss       ℓ(s)                                residual ∂ℓ/∂s       curvature ∂²ℓ/∂s²
    softmax    −tᵀ log p                           p − t                diag p − p pᵀ       ≤ ½
    sigmoid    −(1/K) Σ t log σ + (1−t) log(1−σ)   (σ − t)/K            diag σ(1 − σ)/K     ≤ 1/4K
    labels     −Σ t log σ + (1−t) log(1−σ)         σ − t                diag σ(1 − σ)       ≤ ¼
    GCE        (1 − e^{q tᵀ log p}) / q            e^{q tᵀ log p}(p − t)                    ≤ ½

    J = (1/N) Σ ℓ(s, y) + λ Σ W²                   cost
    ∂J/∂W = (1/N) Σ (∂ℓ/∂s) xᵀ + 2λW               ∂J/∂b = (1/N) Σ ∂ℓ/∂s

Sigmoid treats each class as a question of its own. Rows of many labels have y (N, K) of 0 and 1 in
the place of class indices: then the sigmoid loss is the sum over labels, so that K labels are K
logistic problems which know nothing of each other, and t = (1 − ε) y + ε/2. GCE is the generalised
cross-entropy, for one-hot y (1 − p_y^q)/q: −log p_y as q → 0, and at q = 1 the expected fraction of
wrong rows of a classifier that draws its answer from p. Rows that no linear map gets right then no
longer pull at W. It is bounded by 1/q and, for q > 0, not convex.

Shapes: X (N, D) scaled features, y (N,) class indices or (N, K) labels, W (K, D), b (K,); scores,
targets and residuals (..., K). Functions of scores keep their floating type, so engines use them in
float32.

Source: Szegedy, Vanhoucke, Ioffe, Shlens & Wojna (2016), Rethinking the Inception architecture for
computer vision, section 7, for label smoothing; Zhang & Sabuncu (2018), Generalized cross entropy
loss for training deep neural networks with noisy labels, for GCE.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.errors import SettingsError, require_choice, require_number
from onelayer.objective.penalty import Penalty

Float64 = NDArray[np.float64]
Loss = Literal["softmax", "sigmoid"]
LOSSES: tuple[str, ...] = get_args(Loss)

# A loss and its label smoothing ε.
Of = tuple[Loss, float]

PLAIN: Of = ("softmax", 0.0)

# Scores that are changed at a time, so that they stay in the processor's cache.
BLOCK_ENTRIES = 1 << 15

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
    s = np.asarray(s)
    s = s if s.dtype in (np.float32, np.float64) else s.astype(np.float64)
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


def to_probabilities(S: Float64) -> Float64:
    """Put the softmax of each row in the place of its scores (N, K), a few rows at a time."""
    step = max(1, BLOCK_ENTRIES // max(1, S.shape[1]))
    for start in range(0, len(S), step):
        block = S[start : start + step]
        block -= block.max(axis=1, keepdims=True)
        np.exp(block, out=block)
        block /= block.sum(axis=1, keepdims=True)
    return S


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
    """Targets t = (1 − ε) y + ε/K of class indices y (N,), whose rows sum to 1: shape (N, K).

    Of many labels y (N, K) they are (1 − ε) y + ε/2.

    Example:
        >>> targets([1], classes=2, label_smoothing=0.2)
        array([[0.1, 0.9]])
        >>> targets([[1, 1]], classes=2, label_smoothing=0.2)
        array([[0.9, 0.9]])
    """
    y = np.asarray(y)
    if y.ndim == 2:
        return np.asarray((1.0 - label_smoothing) * y + label_smoothing / 2.0)
    one_hot = np.eye(classes)[y]
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


class ManyLabels:
    """Sum of K binary cross-entropies."""

    def probabilities(self, s: NDArray[Any]) -> Float64:
        """σ, float64."""
        return sigmoid(s)

    def values(self, s: NDArray[Any], t: NDArray[Any]) -> NDArray[Any]:
        """Σ log(1 + exp(s)) − t s."""
        return np.asarray((np.logaddexp(0.0, s) - t * s).sum(axis=-1))

    def residual(self, s: NDArray[Any], t: NDArray[Any]) -> NDArray[Any]:
        """σ − t."""
        return np.asarray(sigmoid(s) - t)

    def bend(self, P: NDArray[np.floating], Z: NDArray[np.floating]) -> NDArray[np.floating]:
        """σ (1 − σ) z of each row."""
        return np.asarray(P * (1 - P) * Z)

    def curvature(self, classes: int) -> float:
        """¼."""
        return 0.25


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


SOFTMAX, SIGMOID, MANY_LABELS = Softmax(), Sigmoid(), ManyLabels()
LOSS_FUNCTIONS: Mapping[str, Softmax | Sigmoid] = {"softmax": SOFTMAX, "sigmoid": SIGMOID}


def loss_function(name: str, y: NDArray[Any]) -> Softmax | Sigmoid | ManyLabels:
    """The loss of a name for class indices y (N,); of many labels y (N, K) there is one."""
    return MANY_LABELS if y.ndim == 2 else LOSS_FUNCTIONS[name]


def loss(s: ArrayLike, y: ArrayLike, of: Of = PLAIN) -> float:
    """Mean loss of scores s (N, K) with class indices y (N,) or labels y (N, K), nats.

    Example:
        >>> s = [[0.0, 0.0]]
        >>> round(loss(s, [1]), 4), round(loss(s, [1], ("sigmoid", 0.0)), 4)
        (0.6931, 0.6931)
    """
    s, (name, label_smoothing) = np.asarray(s, np.float64), of
    t = targets(y, s.shape[1], label_smoothing)
    return float(loss_function(name, np.asarray(y)).values(s, t).mean())


class Gradient(NamedTuple):
    """∂J/∂W, shape (K, D), and ∂J/∂b, shape (K,), in float64."""

    W: Float64
    b: Float64


def scores(X: ArrayLike, W: ArrayLike, b: ArrayLike) -> Float64:
    """Scores s = W x + b of every row, shape (N, K).

    Example:
        >>> scores([[1.0, 2.0]], [[1.0, 0.0], [0.0, 1.0]], [0.0, -1.0])
        array([[1., 1.]])
    """
    products = np.asarray(X, np.float64) @ np.asarray(W, np.float64).T
    return np.asarray(products + np.asarray(b, np.float64))


def cost(
    X: ArrayLike, y: ArrayLike, W: ArrayLike, b: ArrayLike, l2: float = 0.0, of: Of = PLAIN
) -> float:
    """The cost J = mean loss + λ Σ W², nats.

    Example:
        >>> X, y = [[1.0, 0.0], [0.0, 1.0]], [0, 1]
        >>> round(cost(X, y, np.eye(2), np.zeros(2), l2=0.5), 4)
        1.3133
    """
    return loss(scores(X, W, b), y, of) + Penalty(l2).value(np.asarray(W, np.float64))


def gradient(
    X: ArrayLike, y: ArrayLike, W: ArrayLike, b: ArrayLike, l2: float = 0.0, of: Of = PLAIN
) -> Gradient:
    """The gradient of the cost: ∂J/∂W = (1/N) Σ (∂ℓ/∂s) xᵀ + 2λW, ∂J/∂b = (1/N) Σ ∂ℓ/∂s.

    Example:
        >>> gradient([[2.0]], [0], [[0.0], [0.0]], [0.0, 0.0]).W
        array([[-1.],
               [ 1.]])
    """
    X, W, (name, label_smoothing) = np.asarray(X, np.float64), np.asarray(W, np.float64), of
    t = targets(y, len(W), label_smoothing)
    residual = loss_function(name, np.asarray(y)).residual(scores(X, W, b), t) / len(X)
    return Gradient(residual.T @ X + Penalty(l2).gradient(W), residual.sum(axis=0))


def check_loss(loss: object, label_smoothing: object, y: NDArray[Any] | None = None) -> None:
    """Refuse an unknown loss, ε outside [0, 1), and softmax for many labels y (N, K)."""
    require_choice("loss", loss, LOSSES)
    if loss == "softmax" and y is not None and y.ndim == 2:
        raise SettingsError(
            "these rows have many labels, whose loss is the sigmoid; give loss='sigmoid' "
            "(--loss sigmoid), since softmax is for one class a row."
        )
    require_number("label_smoothing (ε)", label_smoothing, BELOW_ONE, least=0, below=1)
