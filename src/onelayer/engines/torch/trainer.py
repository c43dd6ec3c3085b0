"""R runs in training on one device: epochs, load by load, and evaluation.

A load is some batches of one epoch in a row, as many as the device works on at one time; a batch
that is larger than that takes several loads. Of every batch each process has a contiguous part,
`Ranks.part`. Where the whole epoch fits, each load has a place of its own in the buffers, and rows
in file order are converted once, for all epochs; elsewhere every load takes the place of the one
before. The steps of a load are one CUDA graph, launched at once, so small steps are not bound by
the launches of their kernels.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.engines.base import Evaluation, Method, State, Steps, Trainer, Weights
from onelayer.engines.torch.device import on_device, tile_bytes, wide
from onelayer.engines.torch.distributed import Ranks
from onelayer.engines.torch.optimizer import Batch, Descent, Losses, Rates
from onelayer.engines.torch.rows import Choice, Features, Machine, part, scored, width_of

# Steps of one CUDA graph: its launch is then far below a microsecond a step, its capture quick.
MAX_STEPS = 256


class Piece(NamedTuple):
    """Rows `start` to `stop` of an epoch's order: of one batch, this process's part of it.

    Attributes:
        step: number of the batch.
        at: how many rows of this process come before, in the epoch.
        opens, closes: whether they are the batch's first and last.
    """

    start: int
    stop: int
    step: int
    at: int
    opens: bool
    closes: bool


@dataclass(frozen=True)
class Load:
    """Pieces that are on the device together: parts of one batch, or equal whole batches."""

    pieces: tuple[Piece, ...]

    @property
    def rows(self) -> int:
        """How many rows."""
        return sum(piece.stop - piece.start for piece in self.pieces)

    @property
    def places(self) -> Choice:
        """Places of the rows in the epoch's order; a slice where they are contiguous."""
        first, last = self.pieces[0], self.pieces[-1]
        if last.stop - first.start == self.rows:
            return slice(first.start, last.stop)
        return np.concatenate([np.arange(piece.start, piece.stop) for piece in self.pieces])


def plan_loads(rows: int, batch_size: int, capacity: int, ranks: Ranks) -> list[Load]:
    """Cut an epoch of `rows` rows into loads of at most `capacity` rows.

    Every process has the same steps in the same number of loads.

    Example:
        >>> for load in plan_loads(rows=7, batch_size=3, capacity=6, ranks=Ranks()):
        ...     print(load.places, [piece.step for piece in load.pieces])
        slice(0, 6, None) [0, 1]
        slice(6, 7, None) [2]
    """
    at, loads = 0, list[list[Piece]]()
    together = min(max(1, capacity // ranks.largest_part(min(batch_size, rows))), MAX_STEPS)
    for step, first in enumerate(range(0, rows, batch_size)):
        last = min(first + batch_size, rows)
        start, stop = ranks.part(first, last)
        count = -(-ranks.largest_part(last - first) // capacity)
        ends = [start + (stop - start) * i // count for i in range(count + 1)]
        for i in range(count):
            piece = Piece(ends[i], ends[i + 1], step, at, opens=i == 0, closes=i + 1 == count)
            at += piece.stop - piece.start
            smaller = last - first < batch_size
            if count > 1 or smaller or not loads or len(loads[-1]) == together:
                loads.append([])
            loads[-1].append(piece)
    return [Load(tuple(pieces)) for pieces in loads]


class EpochBuffers:
    """Buffers for the loads of epochs over the same rows, in batches of one size."""

    def __init__(self, rows: Rows, steps: Steps, descent: Descent, machine: Machine) -> None:
        machine.ranks.check_same(rows)
        self._rows, self._of_epoch = rows, _of_epoch(rows, steps)
        self._descent, self._machine = descent, machine
        R, K, dtype = descent.runs, descent.classes, descent.dtype
        of_a_row = (width_of(rows.X.shape[1]) + 4 * R * K) * dtype.itemsize
        capacity = max(1, tile_bytes(machine.device) // of_a_row)
        count, batch_size = self._of_epoch
        self._loads = plan_loads(count, batch_size, capacity, machine.ranks)
        size = sum(load.rows for load in self._loads)
        self._whole = size <= capacity
        most = len(steps.learning_rate)
        if not self._whole:
            size = max(load.rows for load in self._loads)
            most = max(len(load.pieces) for load in self._loads)
        self._features = Features(rows, dtype, machine)
        self._X = self._features.buffer(size)
        self._targets = self._X.new_zeros((size, R, K), dtype=dtype)
        self._factors = self._X.new_zeros((size, R), dtype=dtype)
        self._rates = Rates(*(self._factors.new_zeros((most, R, 1, 1)) for _ in Rates._fields))
        # Learning rates and averaging of the epoch whose rows, in file order, lie here.
        self._held: tuple[Any, Any] | None = None

    def suits(self, rows: Rows, steps: Steps) -> bool:
        """Whether these are buffers for these rows in these batches."""
        return rows is self._rows and self._of_epoch == _of_epoch(rows, steps)

    def brought(self, steps: Steps) -> Iterator[Load]:
        """The loads of an epoch, each in the buffers when it is yielded."""
        held, self._held = self._held, None
        stays = self._whole and steps.order is None and steps.flipped is None
        now: tuple[Any, Any] = (steps.learning_rate, steps.averaging)
        if held and stays:
            same = all(map(np.array_equal, held, now))
            for load in self._loads:
                if not same:
                    self._fill_numbers(load, steps)
                yield load
        else:
            choices = (_in_order(steps.order, load.places) for load in self._loads)
            stored = self._machine.storage.tiles(self._rows.X, choices)
            for load, tile in zip(self._loads, stored, strict=True):
                self._fill_features(load, tile, steps)
                self._fill_numbers(load, steps)
                yield load
        if stays:
            self._held = now[0].copy(), None if now[1] is None else now[1].copy()

    def batch(self, load: Load, piece: Piece) -> Batch:
        """The rows of a piece."""
        start = self._at(load).start + piece.at - load.pieces[0].at
        place = slice(start, start + piece.stop - piece.start)
        many = self._rows.y.ndim == 2
        return Batch(self._X[place], self._targets[place], self._factors[place], many)

    def rates(self, load: Load, piece: Piece) -> Rates:
        """The numbers of a piece's step."""
        at = piece.step - (0 if self._whole else load.pieces[0].step)
        return Rates(*(kept[at] for kept in self._rates))

    def key(self, load: Load) -> object:
        """What tells work on this load from work on others: where it lies, and its shape."""
        return self._at(load).start, len(load.pieces), load.rows

    def _at(self, load: Load) -> slice:
        start = load.pieces[0].at if self._whole else 0
        return slice(start, start + load.rows)

    def _fill_features(self, load: Load, stored: Any, steps: Steps) -> None:
        flipped = None
        if steps.flipped is not None:
            flipped = on_device(steps.flipped[load.places], self._machine.device)
        self._features.write(self._X[self._at(load)], stored, flipped)

    def _fill_numbers(self, load: Load, steps: Steps) -> None:
        """Bring in targets, factors and rates."""
        numbers, device = _in_order(steps.order, load.places), self._machine.device
        factors = self._factors[self._at(load)]
        factors.copy_(on_device(self._factors_of(load, numbers, steps), device, factors.dtype))
        y = on_device(self._rows.y[numbers], device)
        self._descent.losses.write_targets(self._targets[self._at(load)], y, factors)
        first, last = load.pieces[0].step, load.pieces[-1].step + 1
        at = slice(first, last) if self._whole else slice(0, last - first)
        of_steps = self._descent.rates(steps.part(first, last))
        for kept, new in zip(self._rates, of_steps, strict=True):
            kept[at] = new

    def _factors_of(self, load: Load, numbers: Choice, steps: Steps) -> NDArray[np.float64]:
        """w/B of each row, times η of each run where the residual takes it; shape (n, R)."""
        count, batch_size = self._of_epoch
        each = [piece.stop - piece.start for piece in load.pieces]
        step = np.repeat([piece.step for piece in load.pieces], each)
        of_rows = 1.0 / np.minimum(batch_size, count - step * batch_size)
        if self._rows.weights is not None:
            of_rows = of_rows * self._rows.weights[numbers]
        if self._descent.plain:
            return np.asarray(of_rows[:, None] * steps.learning_rate[step])
        return np.tile(of_rows[:, None], self._descent.runs)


def _of_epoch(rows: Rows, steps: Steps) -> tuple[int, int]:
    """How many rows an epoch visits, in batches of what size."""
    return len(rows.y if steps.order is None else steps.order), steps.batch_size


def _in_order(order: NDArray[np.int64] | None, places: Choice) -> Choice:
    """Numbers of the rows at these places of an order; file order for None."""
    return places if order is None else order[places]


class Graphs:
    """Graphs by what they hold: captured when work of a shape is met, replayed from then on."""

    def __init__(self, device: Any) -> None:
        self._device = device
        self._graphs: dict[object, Any] = {}

    def run(self, key: object, work: Callable[[], None], state: list[Any]) -> None:
        """Do the work, from its graph where there can be one.

        `key` stands for work of one shape on the same tensors, which asks nothing of the host;
        `state` are the tensors that it changes and that its next call depends on.
        """
        if self._device.type == "cuda" and key not in self._graphs:
            self._graphs[key] = self._capture(work, state)
        graph = self._graphs.get(key)
        if graph is None:
            work()
        else:
            graph.replay()

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


class TorchTrainer(Trainer):
    """R runs in training on one device."""

    def __init__(self, state: State, method: Method, machine: Machine) -> None:
        self._machine = machine
        self._descent = Descent(state, method, machine)
        self._buffers: EpochBuffers | None = None

    def epoch(self, rows: Rows, steps: Steps) -> None:
        """Take one step for each batch; an epoch that Ctrl-C ends may end within a step."""
        descent, averages = self._descent, steps.averaging is not None
        descent.average(on=averages)
        if self._buffers is None or not self._buffers.suits(rows, steps):
            self._buffers = EpochBuffers(rows, steps, descent, self._machine)
            self._graphs = Graphs(self._machine.device)  # those before are of other buffers
        buffers = self._buffers
        with self._machine.at_work(steps.batch_size * descent.W.numel()):
            for load in buffers.brought(steps):

                def take_steps(load: Load = load) -> None:
                    for piece in load.pieces:
                        rates = buffers.rates(load, piece)
                        descent.take_step(buffers.batch(load, piece), rates, *piece[-2:])

                if load.pieces[0].opens and load.pieces[0].closes:
                    self._graphs.run((averages, buffers.key(load)), take_steps, descent.tensors)
                else:
                    take_steps()
                if load.pieces[-1].closes:
                    self._machine.ranks.agree(len(load.pieces))

    def evaluate(self, rows: Rows) -> Evaluation:
        return evaluate(rows, self._descent.model, self._descent.losses, self._machine)

    def weights(self) -> Weights:
        return part(self._descent.model, self._descent.runs, self._descent.features)

    def state(self) -> State:
        return self._descent.state()


def _right(S: Any, y: Any) -> Any:
    """Whether each row's class, or all of its labels, are right, (n, R)."""
    if y.ndim == 2:
        of = y[:, None, :] if S.shape[2] == y.shape[1] else y[:, :, None]
        return ((S > 0) == (of > 0)).all(2)
    return S.argmax(2) == y[:, None]


def evaluate(rows: Rows, W: Any, losses: Losses, machine: Machine) -> Evaluation:
    """The evaluation of joined weights (R·K, width)."""
    R, device = losses.runs, machine.device
    sums = torch.zeros((3, R), dtype=wide(device), device=device)
    correct = torch.zeros(R, dtype=torch.int64, device=device)
    for tile, S in scored(rows, W, R, machine):
        of_rows, right = losses.of_rows(S, tile.y), _right(S, tile.y)
        values = (of_rows, of_rows**2, right.to(S.dtype))
        sums += torch.stack([tile.weighed(each).sum(0, dtype=sums.dtype) for each in values])
        correct += right.sum(0)
    means, whole = machine.ranks.sums(sums.cpu().numpy(), correct.cpu().numpy())
    loss, square, accuracy = means / rows.mass
    return Evaluation(loss, square, accuracy, whole.astype(np.int64))
