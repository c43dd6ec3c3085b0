"""R runs in training on one device: epochs, as CUDA graphs of many steps, and evaluation.

A graph of many steps is launched at once, so small steps are not bound by their kernels' launches.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.engines.base import Evaluation, Method, State, Steps, Weights
from onelayer.engines.torch.batches import EpochBuffers, Load, Segment, in_order
from onelayer.engines.torch.features import Machine, part, tiles, wide
from onelayer.engines.torch.optimizer import Batch, Descent, Rates


class Graphs:
    """Graphs by what they hold: captured when work of a shape is met, replayed from then on."""

    def __init__(self, device: Any) -> None:
        self._captures = device.type == "cuda"
        self._device = device
        self._graphs: dict[object, Any] = {}

    def run(self, key: object, work: Callable[[], None], state: list[Any]) -> None:
        """Do the work, from its graph where there can be one.

        `key` stands for work of one shape on the same tensors, which asks nothing of the host;
        `state` are the tensors that it changes and that its next call depends on.
        """
        if not self._captures:
            work()
            return
        if key not in self._graphs:
            self._graphs[key] = self._capture(work, state)
        graph = self._graphs[key]
        if graph is None:
            work()
        else:
            graph.replay()

    def forget(self) -> None:
        """Forget all graphs, because tensors that they are of have been replaced."""
        self._graphs.clear()

    def _capture(self, work: Callable[[], None], state: list[Any]) -> Any | None:
        """The work's graph; None where PyTorch cannot make it, which costs speed alone."""
        before = [tensor.clone() for tensor in state]
        side = torch.cuda.Stream(self._device)
        side.wait_stream(torch.cuda.current_stream(self._device))
        # Libraries allocate at their first call, which a capture does not allow.
        with torch.cuda.stream(side):
            work()
        torch.cuda.current_stream(self._device).wait_stream(side)
        for tensor, old in zip(state, before, strict=True):
            tensor.copy_(old)
        graph = torch.cuda.CUDAGraph()
        try:
            # Another thread may be copying rows meanwhile: that is no part of the capture.
            with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
                work()
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            warnings.warn(
                f"the steps could not be captured as a CUDA graph ({reason}); each is launched by "
                "itself, which is slower where batches are small.",
                stacklevel=2,
            )
            return None
        return graph


class TorchTrainer:
    """R runs in training; see `onelayer.engines.base.Trainer`."""

    def __init__(self, state: State, method: Method, machine: Machine) -> None:
        self._machine = machine
        self._descent = Descent(state, method, machine)
        self._buffers: EpochBuffers | None = None
        self._graphs = Graphs(machine.device)

    def epoch(self, rows: Rows, steps: Steps) -> None:
        """Take one step for each batch; an epoch that Ctrl-C ends may end within a step."""
        averages = steps.averaging is not None
        self._descent.average(on=averages)
        buffers = self._buffers_for(rows, steps)
        with self._machine.at_work(steps.batch_size * self._descent.W.numel()):
            if buffers.has_rows_of(steps):
                brought: Iterator[Any] = repeat(None)
            else:
                choices = (in_order(steps.order, load.places) for load in buffers.loads)
                brought = self._machine.storage.tiles(rows.X, choices)
            for load, stored in zip(buffers.loads, brought, strict=False):
                buffers.fill(load, stored, steps)
                self._run(load, buffers, averages)
        buffers.filled(steps)

    def evaluate(self, rows: Rows) -> Evaluation:
        """Loss and number of right rows of each run's model, tile by tile."""
        runs, device = self._descent.runs, self._machine.device
        loss = torch.zeros(runs, dtype=wide(device), device=device)
        correct = torch.zeros(runs, dtype=torch.int64, device=device)
        with self._machine.at_work(rows.count * self._descent.W.numel()):
            for tile in self._tiles(rows):
                S = self._descent.scores(tile.X, self._descent.model)
                losses = self._descent.losses.of_rows(S, tile.y)
                if tile.weights is not None:
                    losses = losses * tile.weights[:, None]
                loss += losses.sum(0, dtype=loss.dtype)
                correct += (S.argmax(2) == tile.y[:, None]).sum(0)
        sums = self._machine.ranks.sums(loss.cpu().numpy(), correct.cpu().numpy())
        return Evaluation(sums[0] / rows.mass, sums[1].astype(np.int64))

    def predict(self, rows: Rows) -> NDArray[np.int64]:
        """Class index of the largest score, shape (R, N)."""
        with self._machine.at_work(rows.count * self._descent.W.numel()):
            found = [
                self._descent.scores(tile.X, self._descent.model).argmax(2).T.cpu().numpy()
                for tile in self._tiles(rows)
            ]
        none = np.zeros((self._descent.runs, 0), np.int64)
        own = np.concatenate([none, *found], axis=1)
        return self._machine.ranks.gather(own, rows.count)

    def weights(self) -> Weights:
        """A copy of the model, W (R, K, D) and b (R, K)."""
        return part(self._descent.model, self._descent.runs, self._descent.features)

    def state(self) -> State:
        """A copy of where the runs stand."""
        return self._descent.state()

    def _tiles(self, rows: Rows) -> Any:
        scores = self._descent.runs * self._descent.classes
        return tiles(rows, self._descent.dtype, scores, self._machine)

    def _buffers_for(self, rows: Rows, steps: Steps) -> EpochBuffers:
        """Buffers for these rows; kept from epoch to epoch, since graphs are of them."""
        if self._buffers is None or not self._buffers.suits(rows, steps):
            self._buffers = EpochBuffers(rows, steps, self._descent, self._machine)
            self._graphs.forget()
        return self._buffers

    def _run(self, load: Load, buffers: EpochBuffers, averages: bool) -> None:
        """Take the steps of a load that lies in the buffers."""
        descent = self._descent
        if load.even:

            def all_steps() -> None:
                for segment in load.segments:
                    descent.take_step(buffers.batch(load, segment), buffers.rates(load, segment))

            self._graphs.run((averages, buffers.key(load)), all_steps, descent.tensors)
        else:
            for segment in load.segments:
                self._take_part(segment, buffers.batch(load, segment), buffers.rates(load, segment))
        if load.segments[-1].closes:
            self._machine.ranks.agree(len(load.segments))

    def _take_part(self, segment: Segment, batch: Batch, rates: Rates) -> None:
        descent = self._descent
        if segment.opens and segment.closes:
            descent.take_step(batch, rates)
            return
        if segment.opens:
            descent.open_step()
        descent.add(batch)
        if segment.closes:
            descent.close_step(rates)
