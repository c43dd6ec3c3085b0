"""The engine for accelerators and clusters."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.engines.descent import Method, State, Weights
from onelayer.engines.protocol import FullGradient
from onelayer.engines.rows import Rows
from onelayer.engines.torch.devices import describe_device, find_device
from onelayer.engines.torch.features import join, tiles
from onelayer.engines.torch.machine import TYPES, Machine, wide
from onelayer.engines.torch.precision import Products
from onelayer.engines.torch.ranks import Ranks
from onelayer.engines.torch.scores import TorchScores
from onelayer.engines.torch.storage import Storage
from onelayer.engines.torch.trainer import TorchTrainer
from onelayer.errors import SettingsError
from onelayer.launch import local_rank, processes

Floats = NDArray[np.floating]


class TorchEngine:
    """PyTorch on one device, and with `ranks` on one device of each of several processes.

    Rows that were brought to a GPU are kept there while their array lives: it must not be changed.
    """

    name = "torch"

    def __init__(self, device: Any, precision: str = "float32", ranks: Ranks | None = None) -> None:
        products = Products(precision, device)
        self._machine = Machine(device, products, Storage(device), ranks or Ranks())
        # Apple's GPUs have no float64, which certificates are computed in.
        self._host = TorchEngine(torch.device("cpu"), ranks=ranks) if device.type == "mps" else None

    def describe(self) -> dict[str, str]:
        """Name the engine, its device, what products are rounded to, and the processes."""
        machine = self._machine
        return {
            "engine": self.name,
            "torch": str(torch.__version__),
            "device": describe_device(machine.device),
            "precision": machine.products.precision,
            "processes": str(machine.ranks.size),
        }

    def begin(self, state: State, method: Method) -> TorchTrainer:
        """Start R runs from a copy of where they stand."""
        machine = self._for(state.weights.W)._machine
        machine.ranks.check_start(state)
        return TorchTrainer(state, method, machine)

    def gradient(self, rows: Rows, weights: Weights) -> FullGradient:
        """Mean cross-entropy over all rows and its gradient, without the l2 term, in one pass."""
        return self._for(weights.W)._gradient(rows, weights)

    def scores(self, rows: Rows, weights: Weights) -> Floats:
        """Scores W x + b of every row, shape (R, N, K), in the type of the weights."""
        return self._for(weights.W)._scores(rows, weights)

    def weighted_sums(self, rows: Rows, factors: Floats) -> NDArray[np.float64]:
        """Σ over rows of factors (R, N, K) times the scaled row, shape (R, K, D)."""
        return self._for(factors)._weighted_sums(rows, factors)

    def fixed_scores(self, rows: Rows, W: NDArray[np.floating]) -> TorchScores:
        """Scores of the rows under weights W (K, D), for questions in float64."""
        return TorchScores(rows, np.ascontiguousarray(W), (self._host or self)._machine)

    def _for(self, arithmetic: NDArray[Any]) -> TorchEngine:
        """This engine, or that on the CPU for arithmetic that the device has not."""
        return self._host if self._host is not None and arithmetic.dtype == np.float64 else self

    def _gradient(self, rows: Rows, weights: Weights) -> FullGradient:
        R, K, D = weights.W.shape
        machine, dtype = self._machine, TYPES[weights.W.dtype.name]
        W = machine.products.factor(join(weights, machine.device))
        loss = torch.zeros(R, dtype=wide(machine.device), device=machine.device)
        G = torch.zeros(W.shape, dtype=loss.dtype, device=machine.device)
        with machine.at_work(rows.count * weights.W.size):
            for tile in tiles(rows, dtype, R * K, machine):
                S = machine.products.multiply(tile.X, W.T).view(-1, R, K)
                logs = torch.log_softmax(S, 2)
                own = tile.y[:, None, None].expand(len(S), R, 1)
                losses = -logs.gather(2, own)[:, :, 0]
                P = logs.exp_()
                P.scatter_add_(2, own, P.new_full((), -1.0).expand(own.shape))
                if tile.weights is not None:
                    losses = losses * tile.weights[:, None]
                    P *= tile.weights[:, None, None]
                loss += losses.sum(0, dtype=loss.dtype)
                G += machine.products.multiply(machine.products.factor(P.view(-1, R * K).T), tile.X)
        sums = machine.ranks.sums(loss.cpu().numpy(), G.cpu().numpy())
        means, joined = sums[0] / rows.mass, (sums[1] / rows.mass).reshape(R, K, -1)
        return FullGradient(means, np.ascontiguousarray(joined[:, :, :D]), joined[:, :, D].copy())

    def _scores(self, rows: Rows, weights: Weights) -> Floats:
        R, K, _ = weights.W.shape
        machine, dtype = self._machine, TYPES[weights.W.dtype.name]
        W = machine.products.factor(join(weights, machine.device))
        start, stop = machine.ranks.part(0, rows.count)
        own = np.empty((R, stop - start, K), weights.W.dtype)
        with machine.at_work(rows.count * weights.W.size):
            for tile in tiles(rows, dtype, R * K, machine):
                S = machine.products.multiply(tile.X, W.T).view(-1, R, K)
                place = slice(tile.place.start - start, tile.place.stop - start)
                own[:, place] = S.transpose(0, 1).cpu().numpy()
        return machine.ranks.gather(own, rows.count)

    def _weighted_sums(self, rows: Rows, factors: Floats) -> NDArray[np.float64]:
        R, _, K = factors.shape
        machine, dtype = self._machine, TYPES[factors.dtype.name]
        D = rows.X.shape[1]
        kind = wide(machine.device)
        total: Any = torch.zeros((), dtype=kind, device=machine.device)
        with machine.at_work(factors.size * D):
            for tile in tiles(rows, dtype, R * K, machine):
                columns = np.ascontiguousarray(factors[:, tile.place].swapaxes(1, 2))
                C = torch.from_numpy(columns.reshape(R * K, -1)).to(machine.device)
                total = total + machine.products.multiply(machine.products.factor(C), tile.X)
        own = np.broadcast_to(total.cpu().numpy(), (R * K, total.shape[-1] if total.ndim else D))
        (sums,) = machine.ranks.sums(np.ascontiguousarray(own[:, :D]))
        return sums.reshape(R, K, D)


def make_torch_engine(
    threads: int | None = None,
    device: str = "auto",
    precision: str = "float32",
    *,
    distributed: bool = False,
) -> TorchEngine | None:
    """Make the engine on the device of that name.

    Args:
        threads: of PyTorch on the CPU, ≥ 1; None leaves them as they are.
        device: see `onelayer.engines.torch.devices.find_device`.
        precision: what float32 products round their factors to.
        distributed: whether the processes that a launcher started share the rows.

    Returns:
        The engine; None where device is "auto", there is no GPU and one process alone, since the
        CPU is then better served by another engine.

    Raises:
        SettingsError: for a device that is not there, or a precision that it has not.
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
    from onelayer.engines.torch.cluster import join_cluster

    return join_cluster(device)
