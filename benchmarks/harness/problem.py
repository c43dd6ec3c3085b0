"""What is trained: shapes, runs and data, the same for every contender."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onelayer.data import load
from onelayer.training.loop import initial_weights as draw_weights
from onelayer.training.run import Run

Floats = NDArray[np.floating]

CIFAR_BATCH = 10_000

SPARSE_PARTS = ("data", "indices", "indptr")


@dataclass(frozen=True)
class Setting:
    """One run: learning rate η, penalty λ and the seed of its initial weights."""

    learning_rate: float = 0.01
    l2: float = 0.0
    seed: int = 0


def l2_path(count: int, high: float, low: float) -> tuple[float, ...]:
    return tuple(np.geomspace(high, low, count).tolist())


@dataclass(frozen=True)
class Problem:
    """A training job: R runs side by side on the first N rows of a source, in file order."""

    name: str
    rows: int = 10_000  # N
    features: int = 3072  # D
    classes: int = 10  # K
    batch_size: int = 100  # B
    epochs: int = 40
    dtype: str = "uint8"  # X as stored
    # Noise; a data set; of each class a "picture" or a mean ("classes"); or rows of 100 stored
    # values, of features that are drawn evenly ("sparse") or by Zipf's law ("text").
    source: str = "random"
    intercept: bool = True
    settings: tuple[Setting, ...] = (Setting(),)

    @property
    def runs(self) -> int:
        return len(self.settings)

    @property
    def columns(self) -> int:
        return self.runs * self.classes

    @property
    def flops(self) -> float:
        """Multiplications and additions of the two products of every step: 4 N D K R epochs."""
        return 4.0 * self.rows * self.features * self.columns * self.epochs

    @property
    def steps(self) -> int:
        return -(-self.rows // self.batch_size)

    @property
    def stored_bytes(self) -> int:
        return np.dtype(self.dtype).itemsize

    @property
    def x_bytes(self) -> int:
        return self.rows * self.features * self.stored_bytes

    @property
    def max_value(self) -> float:
        """The largest value that a feature can have; floats are taken as they are."""
        if self.source == "digits":
            return 16.0
        return 255.0 if self.dtype == "uint8" else 1.0

    @property
    def scale(self) -> float:
        return 1 / self.max_value

    @property
    def learning_rates(self) -> NDArray[np.float64]:
        return np.array([s.learning_rate for s in self.settings])

    @property
    def l2s(self) -> NDArray[np.float64]:
        return np.array([s.l2 for s in self.settings])

    def first_steps(self, steps: int = 5) -> Problem:
        """The problem's first few batches, once: what a chaotic run can be compared on."""
        return replace(self, rows=min(self.rows, steps * self.batch_size), epochs=1)


class Data(NamedTuple):
    """Rows: X (N, D) as stored, an array or of SciPy in compressed sparse rows; y (N,) int64."""

    X: NDArray[Any]
    y: NDArray[np.int64]

    @property
    def x_bytes(self) -> int:
        return sum(part.nbytes for part in _arrays(self.X).values())


class Answer(NamedTuple):
    """Trained weights: W (R, K, D), b (R, K)."""

    W: Floats
    b: Floats


def initial_weights(problem: Problem) -> Answer:
    """W and b from N(0, 0.01²), drawn as onelayer draws them, rounded to float32."""
    runs = [Run(setting.learning_rate, seed=setting.seed) for setting in problem.settings]
    return Answer(*draw_weights(runs, problem.classes, problem.features, "float32"))


def make_data(problem: Problem) -> Data:
    """The rows of a problem; fewer rows of a source are the first rows of more."""
    rows, features, classes = problem.rows, problem.features, problem.classes
    if problem.source in ("cifar10", "digits"):
        whole: dict[str, Any] = {"train_batches": (1, 2, 3, 4), "validation_batches": (5,)}
        splits = load(problem.source, **(whole if rows > CIFAR_BATCH else {}))
        parts = splits.train, splits.validation, splits.test
        X, y = (np.concatenate([getattr(part, name) for part in parts])[:rows] for name in "Xy")
        return Data(X, y)
    if problem.source == "picture":
        rng = np.random.default_rng(0)
        y, pictures = rng.integers(0, classes, rows), rng.integers(0, 40, (classes, features))
        X = pictures[y] + rng.integers(0, 200, (rows, features))
        return Data(X.astype(np.uint8), y)
    if problem.source in ("iris", "breast_cancer"):
        from sklearn import datasets  # 190 MB in every process

        X, y = getattr(datasets, f"load_{problem.source}")(return_X_y=True)
        return Data(((X - X.mean(0)) / X.std(0)).astype(problem.dtype), y)
    if problem.source == "classes":
        rng = np.random.default_rng(0)
        y, means = rng.permutation(rows) % classes, rng.standard_normal((classes, features))
        X = rng.standard_normal((rows, features), np.float32)
        X += 0.5 * means.astype(np.float32)[y]
        return Data(X.astype(problem.dtype), y)
    if problem.source in ("sparse", "text"):
        return _sparse_data(problem)
    of_X, of_y = np.random.default_rng(1), np.random.default_rng(2)
    y = of_y.integers(0, classes, rows)
    if problem.dtype == "uint8":
        return Data(of_X.integers(0, 256, (rows, features), np.uint8), y)
    return Data(of_X.standard_normal((rows, features), np.float32).astype(problem.dtype), y)


def _sparse_data(problem: Problem, each: int = 100) -> Data:
    """Rows of length 1, and classes that follow from them as from scores and noise."""
    from scipy.sparse import csr_array

    rng, (N, D) = np.random.default_rng(0), (problem.rows, problem.features)
    if problem.source == "text":
        columns = np.minimum((rng.pareto(0.8, (N, each)) * 20).astype(np.int64), D - 1)
    else:
        columns = rng.integers(0, D, (N, each))
    values = rng.exponential(size=N * each).astype(np.float32)
    starts = np.arange(0, N * each + 1, each, dtype=np.int32)
    X = csr_array((values, columns.ravel().astype(np.int32), starts), shape=(N, D))
    X.sum_duplicates()
    S = X @ rng.standard_normal((D, problem.classes), np.float32)
    y = (S + rng.gumbel(size=S.shape) * S.std() / 2).argmax(axis=1)
    y[: problem.classes] = np.arange(problem.classes)
    X.data /= np.sqrt(np.repeat(np.add.reduceat(X.data**2, X.indptr[:-1]), np.diff(X.indptr)))
    return Data(X, y)


def _arrays(X: Any) -> dict[str, NDArray[Any]]:
    """The arrays that X is made of, by the names that its files have."""
    return {"X": X} if isinstance(X, np.ndarray) else {n: getattr(X, n) for n in SPARSE_PARTS}


def data_folder(problem: Problem, parent: Path) -> Path:
    """The folder that holds a problem's rows, written when it is first asked for."""
    p = problem
    folder = parent / f"{p.source}-{p.rows}x{p.features}-{p.classes}-{p.dtype}"
    if not folder.exists():
        folder.mkdir(parents=True)
        X, y = make_data(problem)
        for name, array in {**_arrays(X), "y": y}.items():
            np.save(folder / f"{name}.npy", array)
        np.save(folder / "shape.npy", X.shape)
    return folder


def read_data(folder: Path | str) -> Data:
    def array(name: str) -> NDArray[Any]:
        stored: NDArray[Any] = np.load(Path(folder) / f"{name}.npy")
        return stored

    if (Path(folder) / "X.npy").exists():
        return Data(array("X"), array("y"))
    from scipy.sparse import csr_array

    parts = tuple(array(name) for name in SPARSE_PARTS)
    return Data(csr_array(parts, shape=tuple(array("shape").tolist())), array("y"))
