"""The engine for accelerators and clusters."""

from __future__ import annotations

from dataclasses import replace
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
    wide,
)
from onelayer.engines.torch.distributed import Ranks, join_cluster
from onelayer.engines.torch.optimizer import Losses
from onelayer.engines.torch.rows import TYPES, Machine, join, scored, tiles, width_of
from onelayer.engines.torch.trainer import TorchTrainer, evaluate
from onelayer.errors import SettingsError

Float64 = NDArray[np.float64]


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
        if rows.y.ndim == 2:
            kind, plain = TYPES[weights.W.dtype.name], base.Method.plain(np.zeros(R))
            labels = Losses(plain, K, kind, machine.device)
        for tile, S in scored(rows, join(weights, machine.device), R, machine):
            if tile.y.ndim == 2:
                losses = labels.of_rows(S, tile.y)
                P = torch.sigmoid(S) - labels.of_labels(tile.y, S)
            else:
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

    def class_sums(self, rows: Rows, classes: int) -> base.ClassSums:
        D, machine = rows.X.shape[1], self._wide
        stored = replace(rows, scale=np.ones(D), offset=np.zeros(D))
        sums = torch.zeros((classes, width_of(D)), dtype=torch.float64, device=machine.device)
        squares = torch.zeros(width_of(D), dtype=torch.float64, device=machine.device)
        numbers = torch.arange(classes, device=machine.device)[:, None]
        with machine.at_work(rows.count * D):
            for tile in tiles(stored, torch.float64, classes, machine):
                weighed = tile.weighed(tile.X)
                sums += torch.mm((numbers == tile.y).to(torch.float64), weighed)
                squares += (weighed * tile.X).sum(0)
        found = machine.ranks.sums(sums.cpu().numpy(), squares.cpu().numpy())
        return base.ClassSums(found[0][:, :D].copy(), found[1][:D].copy())

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
