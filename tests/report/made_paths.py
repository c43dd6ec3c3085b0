"""λ paths with plausible records that no solver stands behind, for files and pages to handle."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from onelayer.data.dataset import DataCard
from onelayer.data.scaling import Scaling
from onelayer.model.certificate import Certificate
from onelayer.solver import Choice, Path, Score
from onelayer.solver.selection import choose
from onelayer.solver.solver import Optimum
from tests.report.made_results import CIFAR_CLASSES

L2S = tuple(float(l2) for l2 in np.geomspace(1.0, 1e-4, 9))


def make_path(
    l2s: Sequence[float] = L2S,
    *,
    folds: int = 0,
    choice: Choice = Choice(),  # noqa: B008  # frozen
    classes: tuple[str, ...] = CIFAR_CLASSES,
    image_shape: tuple[int, int, int] | None = (3, 32, 32),
    features: int = 3072,
    test_rows: int = 10_000,
) -> Path:
    """A path whose held-out accuracy is best in the middle; the last solution is in float64."""
    rng = np.random.default_rng(5)
    optima = tuple(_optimum(l2, len(classes), features, rng) for l2 in l2s)
    last = optima[-1]
    optima = (*optima[:-1], _in_float64(last))
    held_out = tuple(
        tuple(_score(l2, -0.07, test_rows, rng) for _ in range(folds or 1)) for l2 in l2s
    )
    return Path.of_optima(
        optima,
        held_out,
        scaling=Scaling("unit", np.full(features, 1 / 255), np.zeros(features)),
        train=tuple(_score(l2, 0.02 - 0.03 * math.log10(l2 + 1e-5), 10_000, rng) for l2 in l2s),
        chosen=choose(held_out, choice),
        choice=choice,
        test=_score(l2s[len(l2s) // 2], -0.08, test_rows, rng),
        folds=folds,
        seconds={"solve": 2.5, "score": 0.25},
        data=DataCard("cifar10", "the cache /home/me/cifar10", classes, image_shape, 10, 10, 10),
        environment={"engine": "reference", "numpy": "2.0"},
    )


def _optimum(l2: float, K: int, D: int, rng: np.random.Generator) -> Optimum:
    W = rng.normal(0.0, 0.01 / math.sqrt(l2 + 1e-3), (K, D)).astype(np.float32)
    cost = 2.0 + 0.2 * math.log10(l2 + 1e-5)
    norm = 2.0 * math.sqrt(l2 * 3e-5 * cost)
    gap = 3e-5 * cost if l2 else math.inf
    proof = Certificate(l2, cost, gap, norm, 1e-17, 10_000)
    return Optimum(W, rng.normal(size=K), proof, "optimal", 7, 0.123, 1e-4)


def _in_float64(one: Optimum) -> Optimum:
    W = one.W.astype(np.float64) * (1.0 + 1e-12)
    return Optimum(W, one.b, one.certificate, "rounding", 30, 0.5, one.tol)


def _score(l2: float, shift: float, rows: int, rng: np.random.Generator) -> Score:
    bend = (math.log10(l2 + 1e-5) + 2.0) ** 2
    accuracy = max(0.45 - 0.02 * bend + shift + 0.002 * float(rng.normal()), 0.0)
    loss = 1.7 + 0.06 * bend - shift
    return Score(loss, 1.0 / math.sqrt(rows), accuracy, 0.5 / math.sqrt(rows), rows)
