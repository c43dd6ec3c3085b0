"""The engine for accelerators and clusters, and scores of fixed weights on its device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.engines import base
from onelayer.engines.processes import local_rank, processes
from onelayer.engines.torch.device import (
    Products,
    describe_device,
    find_device,
    on_device,
    storable_bytes,
    wide,
)
from onelayer.engines.torch.distributed import Ranks, join_cluster
from onelayer.engines.torch.optimizer import Losses
from onelayer.engines.torch.rows import TYPES, Machine, Tile, join, scored, tiles, width_of
from onelayer.engines.torch.trainer import TorchTrainer, evaluate
from onelayer.errors import SettingsError

Float64 = NDArray[np.float64]

# The curvature only has to be near: of so many products, no more rows are taken.
CURVATURE_PRODUCTS = {"cpu": 2e8, "cuda": 2e12}

# Scores of all rows are kept where they take no more than this: on a GPU of what is free.
KEPT_BYTES, KEPT_SHARE = 128 << 20, 0.5


class TorchScores(base.FixedScores):
    """Scores W x of all rows, on the device."""

    def __init__(self, rows: Rows, W: NDArray[np.floating], machine: Machine) -> None:
        self._rows, self._machine, (self._K, self._D) = rows, machine, W.shape
        self._on = machine.device
        self._W = join(base.Weights(W[None], np.zeros((1, self._K), W.dtype)), self._on)
        start, stop = machine.ranks.part(0, rows.count)
        on_cpu = self._on.type == "cpu"
        room = KEPT_BYTES if on_cpu else KEPT_SHARE * storable_bytes(self._on)
        self._keeps = (stop - start) * self._K * W.dtype.itemsize <= room
        self._kept: list[tuple[Tile, Any]] = []

    def moments(self, b: Float64) -> base.Moments:
        K = self._K
        stride = max(1, int(self._rows.count * K * K / CURVATURE_PRODUCTS[self._on.type]))

        def of_tile(tile: Tile, S: Any) -> list[Any]:
            logs = torch.log_softmax(S, 1)
            losses, P = -logs.gather(1, tile.y[:, None])[:, 0], logs.exp_()
            Q = tile.weighed(P)
            some = slice(-tile.place.start % stride, None, stride)
            hessian = Q[some].sum(0).diag() - P[some].T @ Q[some]
            seen = tile.weighed(torch.ones_like(losses))[some]
            return [tile.weighed(losses).sum(), seen.sum(), Q.sum(0), hessian]

        sums = self._sums(b, of_tile, 2 + K + K * K, keep=True)
        loss, means = sums[0] / self._rows.mass, sums[2 : 2 + K] / self._rows.mass
        return base.Moments(float(loss), means, sums[2 + K :].reshape(K, K) / sums[1])

    def gradient(self, b: Float64, mixture: base.Mixture) -> tuple[Float64, float]:
        q = on_device(mixture.q, self._on, torch.float64)

        def of_tile(tile: Tile, S: Any) -> list[Any]:
            logs, divergence = torch.log_softmax(S, 1), S.new_zeros(())
            P = logs.exp()
            if mixture.t > 0.0:
                P = (1.0 - mixture.t) * P + mixture.t * q
                terms = torch.where(P > 0.0, P * (P.log() - logs), 0.0).sum(1)
                divergence = tile.weighed(terms).sum()
            own = tile.y[:, None]
            P.scatter_add_(1, own, P.new_full((), -1.0).expand(own.shape))
            return [divergence, tile.weighed(P).T @ tile.X[:, : self._D].to(P.dtype)]

        sums = self._sums(b, of_tile, 1 + self._K * self._D) / self._rows.mass
        return sums[1:].reshape(self._K, self._D), max(float(sums[0]), 0.0)

    def _sums(
        self, b: Float64, of_tile: Callable[[Tile, Any], list[Any]], count: int, keep: bool = False
    ) -> Float64:
        """Sums over all rows of what `of_tile` makes of a tile and its scores with bias b.

        With `keep` tiles have no features where the scores are kept.
        """
        total = torch.zeros(count, dtype=torch.float64, device=self._on)
        bias = on_device(b, self._on, torch.float64)
        for tile, S in self._scores(keep):
            parts = of_tile(tile, S.to(torch.float64) + bias)
            total += torch.cat([part.reshape(-1) for part in parts])
        return self._machine.ranks.sums(total.cpu().numpy())[0]

    def _scores(self, keep: bool) -> Iterator[tuple[Tile, Any]]:
        if keep and self._kept:
            yield from self._kept
            return
        made = []
        for tile, S in scored(self._rows, self._W, 1, self._machine):
            if keep and self._keeps:
                made.append((tile._replace(X=None), S[:, 0]))
            yield tile, S[:, 0]
        self._kept = made


class TorchEngine(base.Engine):
    """PyTorch on one device, and with `ranks` on one device of each of several processes.

    Rows that were brought to a GPU are kept there while their array lives: it must not be changed.
    """

    name = "torch"

    def __init__(self, device: Any, precision: str = "float32", ranks: Ranks | None = None) -> None:
        ranks = ranks or Ranks()
        self._machine = Machine.on(device, precision, ranks)
        # Apple's GPUs have no float64, which certificates are computed in.
        lacks = device.type == "mps"
        self._wide = Machine.on(torch.device("cpu"), "float32", ranks) if lacks else self._machine

    def describe(self) -> dict[str, str]:
        machine = self._machine
        return {
            "engine": self.name,
            "torch": str(torch.__version__),
            "device": describe_device(machine.device),
            "precision": machine.products.precision,
            "processes": str(machine.ranks.size),
        }

    def begin(self, state: base.State, method: base.Method) -> TorchTrainer:
        machine = self._for(state.weights.W)
        machine.ranks.check_start(state)
        return TorchTrainer(state, method, machine)

    def gradient(self, rows: Rows, weights: base.Weights) -> base.FullGradient:
        (R, K, D), machine = weights.W.shape, self._for(weights.W)
        loss = torch.zeros(R, dtype=wide(machine.device), device=machine.device)
        total: Any = torch.zeros((R * K, 1), dtype=loss.dtype, device=machine.device)
        products = machine.products
        for tile, S in scored(rows, join(weights, machine.device), R, machine):
            logs = torch.log_softmax(S, 2)
            own = tile.y[:, None, None].expand(len(S), R, 1)
            losses, P = -logs.gather(2, own)[:, :, 0], logs.exp_()
            P.scatter_add_(2, own, P.new_full((), -1.0).expand(own.shape))
            loss += tile.weighed(losses).sum(0, dtype=loss.dtype)
            factor = products.factor(tile.weighed(P).view(-1, R * K).T)
            total = total + products.multiply(factor, tile.X)
        G = total.expand(R * K, width_of(D))
        sums = machine.ranks.sums(loss.cpu().numpy(), G.cpu().numpy())
        means, joined = sums[0] / rows.mass, (sums[1] / rows.mass).reshape(R, K, -1)
        return base.FullGradient(
            means, np.ascontiguousarray(joined[:, :, :D]), joined[:, :, D].copy()
        )

    def evaluate(
        self, rows: Rows, weights: base.Weights, method: base.Method | None = None
    ) -> base.Evaluation:
        (R, K, _), machine = weights.W.shape, self._for(weights.W)
        method = method or base.Method.plain(np.zeros(R))
        losses = Losses(method, K, TYPES[weights.W.dtype.name], machine.device)
        return evaluate(rows, join(weights, machine.device), losses, machine)

    def classify(self, rows: Rows, weights: base.Weights) -> base.RowFigures:
        R, machine = len(weights.W), self._for(weights.W)
        found = [
            [values.T.cpu().numpy() for values in _figures(S, tile.y)]
            for tile, S in scored(rows, join(weights, machine.device), R, machine)
        ]
        none = [np.empty((R, 0), kind) for kind in (np.int64, float, float, np.int64)]
        parts = (np.concatenate(of, axis=1) for of in zip(none, *found, strict=True))
        return base.RowFigures(*(machine.ranks.gather(own, rows.count) for own in parts))

    def scores(self, rows: Rows, weights: base.Weights) -> NDArray[np.floating]:
        (R, K, _), machine = weights.W.shape, self._for(weights.W)
        start, stop = machine.ranks.part(0, rows.count)
        own = np.empty((R, stop - start, K), weights.W.dtype)
        for tile, S in scored(rows, join(weights, machine.device), R, machine):
            place = slice(tile.place.start - start, tile.place.stop - start)
            own[:, place] = S.transpose(0, 1).cpu().numpy()
        return machine.ranks.gather(own, rows.count)

    def weighted_sums(self, rows: Rows, factors: NDArray[np.floating]) -> Float64:
        (R, _, K), D, machine = factors.shape, rows.X.shape[1], self._for(factors)
        total: Any = torch.zeros((R * K, 1), dtype=wide(machine.device), device=machine.device)
        with machine.at_work(factors.size * D):
            for tile in tiles(rows, TYPES[factors.dtype.name], R * K, machine):
                columns = np.ascontiguousarray(factors[:, tile.place].swapaxes(1, 2))
                C = torch.from_numpy(columns.reshape(R * K, -1)).to(machine.device)
                total = total + machine.products.multiply(machine.products.factor(C), tile.X)
        own = total.expand(R * K, width_of(D)).cpu().numpy()
        (sums,) = machine.ranks.sums(np.ascontiguousarray(own[:, :D]))
        return sums.reshape(R, K, D)

    def fixed_scores(self, rows: Rows, W: NDArray[np.floating]) -> TorchScores:
        return TorchScores(rows, np.ascontiguousarray(W), self._wide)

    def _for(self, arithmetic: NDArray[Any]) -> Machine:
        """The machine, or the CPU for arithmetic that the device has not."""
        return self._wide if arithmetic.dtype == np.float64 else self._machine


def _figures(S: Any, y: Any) -> tuple[Any, Any, Any, Any]:
    """Class, confidence, loss and rank of rows by their scores (n, R, K), each (n, R)."""
    logs, classes = torch.log_softmax(S, 2), S.argmax(2)
    each = y[:, None, None].expand(*S.shape[:2], 1)
    own, named = S.gather(2, each), torch.arange(S.shape[2], device=S.device)
    rank = ((own < S) | ((own == S) & (named < each))).sum(2)
    confidence = logs.gather(2, classes[:, :, None])[:, :, 0].exp()
    confidence = torch.where(S.isfinite().all(2), confidence, torch.nan)
    return classes, confidence.cpu().double(), -logs.gather(2, each)[:, :, 0].cpu().double(), rank


def make_torch_engine(
    threads: int | None = None,
    device: str = "auto",
    precision: str = "float32",
    *,
    distributed: bool = False,
) -> TorchEngine | None:
    """The engine on the device of that name; see `onelayer.engines.make_engine`.

    None where device is "auto", there is no GPU and one process alone: others are faster there.
    """
    found, ranks = find_device(device, local_rank() if distributed else 0), Ranks()
    if found.type == "cpu" and device == "auto" and not distributed:
        if Products(precision, found).precision != "float32":
            raise SettingsError(
                f"precision {precision} is for a GPU, and PyTorch sees none here; leave it out, or "
                "take --device cpu to see what it costs in accuracy."
            )
        return None
    if threads is not None:
        torch.set_num_threads(threads)
    if distributed and found.type == "mps":
        raise SettingsError(
            "processes share rows on NVIDIA GPUs or CPUs, but the device is mps; take --device cpu."
        )
    if distributed and processes() > 1:
        ranks = join_cluster(found)
    return TorchEngine(found, precision, ranks)
