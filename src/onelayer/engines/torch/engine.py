"""The engine for accelerators and clusters, and scores of fixed weights on its device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.engines.base import (
    Engine,
    FullGradient,
    Judgement,
    Method,
    Mixture,
    Moments,
    State,
    Weights,
)
from onelayer.engines.processes import local_rank, processes
from onelayer.engines.torch.device import (
    Products,
    describe_device,
    find_device,
    on_device,
    storable_bytes,
    wide,
)
from onelayer.engines.torch.distributed import Ranks
from onelayer.engines.torch.rows import TYPES, Machine, Tile, tiles, width_of
from onelayer.engines.torch.trainer import TorchTrainer
from onelayer.errors import SettingsError

Float64 = NDArray[np.float64]

# The curvature only has to be near: of so many products, no more rows are taken.
CURVATURE_PRODUCTS = {"cpu": 2e8, "cuda": 2e12}

# Scores of all rows are kept where they take no more than this: on a GPU of what is free.
KEPT_BYTES, KEPT_SHARE = 128 << 20, 0.5


class TorchScores:
    """Scores W x of all rows; see `onelayer.engines.base.FixedScores`."""

    def __init__(self, rows: Rows, W: NDArray[np.floating], machine: Machine) -> None:
        self._rows, self._machine = rows, machine
        self._K, self._D = W.shape
        self._dtype = TYPES[W.dtype.name]
        self._W = machine.factor(Weights(W[None], np.zeros((1, self._K), W.dtype)))
        start, stop = machine.ranks.part(0, rows.count)
        room = (
            KEPT_BYTES
            if machine.device.type == "cpu"
            else KEPT_SHARE * storable_bytes(machine.device)
        )
        self._keeps = (stop - start) * self._K * self._dtype.itemsize <= room
        self._kept: list[tuple[Tile, Any]] = []

    def moments(self, b: Float64) -> Moments:
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


class TorchEngine(Engine):
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

    def begin(self, state: State, method: Method) -> TorchTrainer:
        machine = self._for(state.weights.W)
        machine.ranks.check_start(state)
        return TorchTrainer(state, method, machine)

    def gradient(self, rows: Rows, weights: Weights) -> FullGradient:
        (R, K, D), machine = weights.W.shape, self._for(weights.W)
        loss = torch.zeros(R, dtype=wide(machine.device), device=machine.device)
        total: Any = torch.zeros((R * K, 1), dtype=loss.dtype, device=machine.device)
        for tile, S in _scored(rows, weights, machine):
            logs = torch.log_softmax(S, 2)
            own = tile.y[:, None, None].expand(len(S), R, 1)
            losses = -logs.gather(2, own)[:, :, 0]
            P = logs.exp_()
            P.scatter_add_(2, own, P.new_full((), -1.0).expand(own.shape))
            if tile.weights is not None:
                losses = losses * tile.weights[:, None]
                P *= tile.weights[:, None, None]
            loss += losses.sum(0, dtype=loss.dtype)
            products = machine.products
            total = total + products.multiply(products.factor(P.view(-1, R * K).T), tile.X)
        G = total.expand(R * K, width_of(D))
        sums = machine.ranks.sums(loss.cpu().numpy(), G.cpu().numpy())
        means, joined = sums[0] / rows.mass, (sums[1] / rows.mass).reshape(R, K, -1)
        return FullGradient(means, np.ascontiguousarray(joined[:, :, :D]), joined[:, :, D].copy())

    def scores(self, rows: Rows, weights: Weights) -> NDArray[np.floating]:
        (R, K, _), machine = weights.W.shape, self._for(weights.W)
        start, stop = machine.ranks.part(0, rows.count)
        own = np.empty((R, stop - start, K), weights.W.dtype)
        for tile, S in _scored(rows, weights, machine):
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


def _scored(rows: Rows, weights: Weights, machine: Machine) -> Iterator[tuple[Tile, Any]]:
    """Tiles of this process's rows, and their scores (n, R, K)."""
    R, K, _ = weights.W.shape
    W = machine.factor(weights)
    with machine.at_work(rows.count * weights.W.size):
        for tile in tiles(rows, TYPES[weights.W.dtype.name], R * K, machine):
            yield tile, machine.products.multiply(tile.X, W.T).view(-1, R, K)


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
    found = find_device(device, local_rank() if distributed else 0)
    if found.type == "cpu" and device == "auto" and not distributed:
        if Products(precision, found).precision != "float32":
            raise SettingsError(
                f"precision {precision} is for a GPU, and PyTorch sees none here; leave it out, or "
                "take --device cpu to see what it costs in accuracy."
            )
        return None
    if threads is not None:
        torch.set_num_threads(threads)
    return TorchEngine(found, precision, _join(found) if distributed else None)


def _join(device: Any) -> Ranks:
    if device.type == "mps":
        raise SettingsError(
            "processes share rows on NVIDIA GPUs or CPUs, but the device is mps; take --device cpu."
        )
    if processes() == 1:
        return Ranks()
    # Imported here, since one process alone has no use for it.
    from onelayer.engines.torch.distributed import join_cluster

    return join_cluster(device)
