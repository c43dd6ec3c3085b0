"""Problems at every boundary of the kernel's tiles, and softmax regression in float64."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

STORED = ("uint8", "float16", "float32", "float64")


class Problem(NamedTuple):
    X: NDArray[Any]
    y: NDArray[np.integer[Any]]
    W: NDArray[Any]
    b: NDArray[Any]
    eta: NDArray[np.float64]
    l2: NDArray[np.float64]
    scale: NDArray[np.float64]
    offset: NDArray[np.float64]
    batch: int

    def features(self) -> NDArray[np.float64]:
        stored = self.X.astype(self.W.dtype).astype(np.float64)
        scale, offset = self.scale.astype(self.W.dtype), self.offset.astype(self.W.dtype)
        return stored * scale.astype(np.float64) + offset.astype(np.float64)

    def rates(self, rows: int) -> NDArray[np.float64]:
        """Each run's learning rate at every step of a pass over that many rows."""
        return np.tile(self.eta, (-(-rows // self.batch), 1))

    def settings(self, rows: int, runs: slice = slice(None)) -> dict[str, NDArray[np.float64]]:
        """Those of plain descent over that many rows, as the kernel takes them."""
        return {"learning_rate": self.rates(rows)[:, runs].copy(), "l2": self.l2[runs].copy()}


@st.composite
def problems(draw: st.DrawFn, stored: tuple[str, ...] = STORED) -> Problem:
    near = [1, 2, 15, 16, 17, 31, 32, 33, 64, 65, 255, 257, 300, 513, 769]
    D = draw(st.sampled_from(near) | st.integers(1, 80))
    N, K, R = draw(st.integers(1, 45)), draw(st.integers(2, 19)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    arithmetic = draw(st.sampled_from(["float32", "float64"]))
    kind = draw(st.sampled_from(stored))
    gap = draw(st.integers(0, 3))
    X = rng.integers(0, 256, (N, D + gap)).astype(kind)
    if kind != "uint8":
        X = (X / 100).astype(kind)
    scale, offset = rng.uniform(0.5, 1.5, D) / (255 if kind == "uint8" else 2.55), np.zeros(D)
    match draw(st.sampled_from(["any", "no offset", "one factor"])):
        case "any":
            offset = rng.uniform(-0.5, 0.5, D)
        case "one factor":  # which the kernel takes out of its sums
            scale = np.full(D, scale[0])
    return Problem(
        X=X[:, :D],
        y=rng.integers(0, K, N).astype(draw(st.sampled_from(["int64", "int32"]))),
        W=(rng.standard_normal((R, K, D)) / np.sqrt(D)).astype(arithmetic),
        b=(0.1 * rng.standard_normal((R, K))).astype(arithmetic),
        eta=rng.uniform(0, 0.05, R),
        l2=rng.uniform(0, 1, R),
        scale=scale,
        offset=offset,
        batch=draw(st.integers(1, N + 2)),
    )


def softmax_residual(
    S: NDArray[np.float64], y: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """p - onehot(y), shape (N, K), and the loss of each row."""
    rows = np.arange(len(y))
    shifted = S - S.max(axis=1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(axis=1, keepdims=True)
    P = e / total
    P[rows, y] -= 1
    return P, np.log(total[:, 0]) - shifted[rows, y]
