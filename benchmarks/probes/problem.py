"""Embeddings with what real ones have: classes apart in few directions, noise that is not round."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onelayer import Run, grid
from onelayer.solver.path import l2_grid

TOLERANCE = 1e-3
# Directions in which the classes' means lie, and how far apart they are beside noise of 1.
SIGNAL_DIRECTIONS, SIGNAL = 64, 0.9
# Deviation of the noise along its i-th direction, (1 + i) to this power.
DECAY = -0.5
BLOCK_ROWS = 8192
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Probe:
    """What is trained on what.

    Attributes:
        rows: N of the training rows.
        held_out: rows of validation, and as many of test.
        features: D.
        classes: K.
        points: how many λ's.
        rates: how many learning rates of the sweep; each with four λ's.
        batch_size: B.
        epochs: of the sweep.
        peers: positions of the λ's that scikit-learn is given.
        rounds: how often the tenth is timed.
    """

    rows: int = 200_000
    held_out: int = 10_000
    features: int = 768
    classes: int = 100
    points: int = 16
    rates: int = 8
    batch_size: int = 256
    epochs: int = 5
    peers: tuple[int, ...] = (0, 5, 10, 15)
    rounds: int = 2

    @property
    def x_bytes(self) -> int:
        """Bytes of the training features as stored."""
        return 2 * self.rows * self.features

    @property
    def tenth(self) -> int:
        """A tenth of the rows."""
        return self.rows // 10

    @property
    def l2s(self) -> tuple[float, ...]:
        """The λ's of the path, descending."""
        return tuple(l2_grid(self.points, 0.1, 1e-4))

    @property
    def peer_l2s(self) -> tuple[float, ...]:
        """The λ's that scikit-learn is given."""
        return tuple(self.l2s[i] for i in self.peers)

    @property
    def runs(self) -> tuple[Run, ...]:
        """The settings of the sweep."""
        return grid(
            learning_rate=np.geomspace(0.01, 1.0, self.rates).round(4).tolist(),
            l2=[0.0, 1e-5, 1e-4, 1e-3],
            batch_size=self.batch_size,
            epochs=self.epochs,
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Probe:
        """The probe that `as_dict` wrote."""
        return Probe(**{**values, "peers": tuple(values["peers"])})


FULL = Probe()
QUICK = Probe(rows=20_000, held_out=2000, points=4, rates=2, epochs=2, peers=(0, 3), rounds=1)


class Files(NamedTuple):
    """Where the features and the labels of a part lie."""

    X: Path
    y: Path


def files_of(folder: Path, part: str) -> Files:
    """The files of a part of the rows."""
    return Files(folder / f"{part}.npy", folder / f"{part}-labels.npy")


def write_files(probe: Probe, folder: Path) -> None:
    """Write every part, a block at a time.

    Args:
        probe: how many rows of what.
        folder: where to; it must be there.
    """
    made = _Maker(probe)
    for part, rows in zip(PARTS, (probe.rows, probe.held_out, probe.held_out), strict=True):
        files = files_of(folder, part)
        X = np.lib.format.open_memmap(files.X, "w+", np.dtype(np.float16), (rows, probe.features))
        y = np.empty(rows, np.int64)
        for place in _blocks(rows):
            X[place], y[place] = made.rows(place.stop - place.start)
        X.flush()
        del X
        np.save(files.y, y)


class _Maker:
    """Draws rows: x = mean of its class + noise with a falling spectrum in rotated directions."""

    def __init__(self, probe: Probe) -> None:
        self._rng = np.random.default_rng(0)
        D, K = probe.features, probe.classes
        rotation = np.linalg.qr(self._rng.standard_normal((D, D)))[0]
        deviations = (1.0 + np.arange(D)) ** DECAY
        deviations *= np.sqrt(D / np.sum(deviations**2))
        self._noise = (deviations[:, None] * rotation.T).astype(np.float32)
        leading = rotation[:, : min(SIGNAL_DIRECTIONS, D)]
        means = SIGNAL * self._rng.standard_normal((K, leading.shape[1])) @ leading.T
        self._means = means.astype(np.float32)

    def rows(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        y = self._rng.integers(0, len(self._means), count)
        noise = self._rng.standard_normal((count, len(self._noise)), np.float32) @ self._noise
        return noise + self._means[y], y


def _blocks(rows: int) -> Iterator[slice]:
    for start in range(0, rows, BLOCK_ROWS):
        yield slice(start, min(start + BLOCK_ROWS, rows))
