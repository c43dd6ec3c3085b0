"""Scores of fixed weights on the device, and what a bias beside them gives, in float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.engines.descent import Weights
from onelayer.engines.fixed_scores import Judgement, Mixture, Moments
from onelayer.engines.rows import Rows
from onelayer.engines.torch.devices import storable_bytes
from onelayer.engines.torch.features import Tile, join, tiles
from onelayer.engines.torch.machine import TYPES, Machine, on_device

Float64 = NDArray[np.float64]

# The curvature only has to be near: of so many products, no more rows are taken.
CURVATURE_PRODUCTS = {"cpu": 2e8, "cuda": 2e12}
# Scores of all rows are kept where they take no more than this: on a GPU of what is free.
KEPT_BYTES, KEPT_SHARE = 128 << 20, 0.5


class TorchScores:
    """Scores W x of all rows; see `onelayer.engines.fixed_scores.FixedScores`."""

    def __init__(self, rows: Rows, W: NDArray[np.floating], machine: Machine) -> None:
        self._rows, self._machine = rows, machine
        self._K, self._D = W.shape
        self._dtype = TYPES[W.dtype.name]
        none = np.zeros((1, self._K), W.dtype)
        self._W = machine.products.factor(join(Weights(W[None], none), machine.device))
        start, stop = machine.ranks.part(0, rows.count)
        room = (
            KEPT_BYTES
            if machine.device.type == "cpu"
            else KEPT_SHARE * storable_bytes(machine.device)
        )
        self._keeps = (stop - start) * self._K * self._dtype.itemsize <= room
        self._kept: list[tuple[Tile, Any]] = []

    def moments(self, b: Float64) -> Moments:
        """Mean cross-entropy with bias b, shape (K,), with its first and second derivatives."""
        K, kind = self._K, torch.float64
        products = CURVATURE_PRODUCTS[self._machine.device.type]
        stride = max(1, int(self._rows.count * K * K / products))
        sums = torch.zeros(2 + K + K * K, dtype=kind, device=self._machine.device)
        loss, seen, means, hessian = sums[0], sums[1], sums[2 : 2 + K], sums[2 + K :].view(K, K)
        with self._at_work():
            for tile, S in self._scores(keep=True):
                logs = self._logs(S, b)
                own = logs.gather(1, tile.y[:, None])[:, 0]
                loss -= _weighed(own, tile).sum()
                P = logs.exp_()
                Q = P if tile.weights is None else P * tile.weights[:, None].to(kind)
                means += Q.sum(0)
                some = slice(-tile.place.start % stride, None, stride)
                hessian += Q[some].sum(0).diag() - P[some].T @ Q[some]
                seen += float(len(P[some])) if tile.weights is None else tile.weights[some].sum()
        (total,) = self._machine.ranks.sums(sums.cpu().numpy())
        mass, curvature = self._rows.mass, total[2 + K :].reshape(K, K)
        return Moments(float(total[0] / mass), total[2 : 2 + K] / mass, curvature / total[1])

    def gradient(self, b: Float64, mixture: Mixture) -> tuple[Float64, float]:
        """(1/N) Σ (p̃ᵢ − yᵢ) xᵢᵀ, shape (K, D), and (1/N) Σ KL(p̃ᵢ ‖ pᵢ) in nats."""
        kind = torch.float64
        G = torch.zeros((self._K, self._W.shape[1]), dtype=kind, device=self._machine.device)
        divergence = torch.zeros((), dtype=kind, device=self._machine.device)
        q = on_device(mixture.q, self._machine.device, kind)
        with self._at_work():
            for tile, S in self._scores(keep=False):
                logs = self._logs(S, b)
                P = logs.exp()
                if mixture.t > 0.0:
                    P = (1.0 - mixture.t) * P + mixture.t * q
                    terms = torch.where(P > 0.0, P * (P.log() - logs), 0.0).sum(1)
                    divergence += _weighed(terms, tile).sum()
                own = tile.y[:, None]
                P.scatter_add_(1, own, P.new_full((), -1.0).expand(own.shape))
                if tile.weights is not None:
                    P *= tile.weights[:, None]
                G += P.T @ tile.X.to(kind)
        sums = self._machine.ranks.sums(G[:, : self._D].cpu().numpy(), divergence.cpu().numpy())
        mass = self._rows.mass
        return sums[0] / mass, max(float(sums[1]) / mass, 0.0)

    def judge(self, b: Float64) -> Judgement:
        """How good the classifier with bias b is on the rows."""
        sums = torch.zeros(3, dtype=torch.float64, device=self._machine.device)
        bias = on_device(b, self._machine.device, torch.float64)
        with self._at_work():
            for tile, S in self._scores(keep=False):
                shifted = S.to(torch.float64) + bias
                own = shifted.gather(1, tile.y[:, None])[:, 0]
                losses = torch.logsumexp(shifted, 1) - own
                right = (shifted.argmax(1) == tile.y).to(torch.float64)
                for place, values in enumerate((losses, losses**2, right)):
                    sums[place] += _weighed(values, tile).sum()
        (total,) = self._machine.ranks.sums(sums.cpu().numpy())
        return Judgement(*(float(one) for one in total / self._rows.mass))

    def _at_work(self) -> Any:
        return self._machine.at_work(self._rows.count * self._W.numel())

    def _logs(self, S: Any, b: Float64) -> Any:
        """Log-probabilities in float64, shape (n, K)."""
        return torch.log_softmax(S.to(torch.float64) + on_device(b, S.device, torch.float64), 1)

    def _scores(self, *, keep: bool) -> Iterator[tuple[Tile, Any]]:
        """Tiles with their scores; with `keep` without features where the scores are kept."""
        if keep and self._kept:
            yield from self._kept
            return
        made = []
        for tile in tiles(self._rows, self._dtype, self._K, self._machine):
            S = self._machine.products.multiply(tile.X, self._W.T)
            if keep and self._keeps:
                made.append((Tile(tile.place, None, tile.y, tile.weights), S))
            yield tile, S
        self._kept = made


def _weighed(values: Any, tile: Tile) -> Any:
    """Values of rows times the rows' weights; zero where the weight is, even of an infinity."""
    if tile.weights is None:
        return values
    weights = tile.weights.to(values.dtype)
    return torch.where(weights > 0.0, weights * values, torch.zeros_like(values))
