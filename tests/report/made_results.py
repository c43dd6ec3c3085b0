"""Results with plausible records that no training stands behind, for the page to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onelayer.data.dataset import DataCard
from onelayer.data.scaling import Scaling
from onelayer.model.certificate import Certificate
from onelayer.model.evaluation import Mistakes, Reliability
from onelayer.objective.gradcheck import GradientCheck
from onelayer.training.result import Curvature, History, Outcome, ReportedFigures, Result
from onelayer.training.run import Run, fit_batches

CIFAR_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
SETTINGS = ((0.1, 0.0), (0.01, 0.0), (0.01, 0.1), (0.01, 1.0))


def make_runs(
    settings: Sequence[tuple[float, float]] = SETTINGS, seeds: int = 8, epochs: int = 40
) -> tuple[Run, ...]:
    """Runs of pairs (η, λ), each with seeds 0, 1, …"""
    return tuple(
        Run(learning_rate=rate, l2=l2, seed=seed, epochs=epochs)
        for rate, l2 in settings
        for seed in range(seeds)
    )


def make_result(
    runs: Sequence[Run] | None = None,
    *,
    classes: tuple[str, ...] = CIFAR_CLASSES,
    image_shape: tuple[int, int, int] | None = (3, 32, 32),
    features: int = 3072,
    diverged: Sequence[int] = (),
    snapshots: Sequence[int] | None = None,
) -> Result:
    """A result whose large η jumps about, and whose other settings fall smoothly."""
    runs = tuple(fit_batches(make_runs() if runs is None else runs, 10_000))
    rng = np.random.default_rng(7)
    K, D = len(classes), features
    W = rng.normal(0.0, 0.05, (len(runs), K, D)).astype(np.float32)
    shown = [i for i, run in enumerate(runs) if run.seed == 0] if snapshots is None else snapshots
    return Result(
        runs=runs,
        outcomes=tuple(_outcome(i, run, i in diverged) for i, run in enumerate(runs)),
        W=W,
        b=rng.normal(size=(len(runs), K)).astype(np.float32),
        scaling=Scaling("unit", np.full(D, 1 / 255), np.zeros(D)),
        history=_history(runs, diverged, rng),
        test_loss=rng.uniform(1.7, 2.3, len(runs)),
        confusion=np.array([_confusion(run, K, rng) for run in runs]),
        data=DataCard("cifar10", "the cache /home/me/cifar10", classes, image_shape, 10, 10, 10),
        snapshots={i: _shots(W[i], runs[i].epochs, rng) for i in shown},
        reported=(
            ReportedFigures("λ=0, η=0.1", 0.2881, 0.2478),
            ReportedFigures("λ=0, η=0.01", 0.4160, 0.3687),
        ),
        gradient_checks=(
            GradientCheck("W", 20, 0.1, K * D, 3, 2.5e-8, 1e-11, 0.5),
            GradientCheck("b", 20, 0.1, K, 0, 1.5e-9, 1e-12, 0.0),
        ),
        environment={"engine": "reference", "numpy": "2.0"},
        seconds={"train": 12.345},
    )


def with_proofs(result: Result) -> Result:
    """The same result with certificates of its runs, optima of its λ's, and curvatures at λ = 0.

    With η = 0.1 the curvature is above 2/η at every epoch, with η = 0.01 it is under it.
    """
    best = {l2: 1.6 + 0.3 * l2 for l2 in sorted({run.l2 for run in result.runs}) if l2 > 0.0}
    certificates = tuple(
        Certificate(
            run.l2,
            best.get(run.l2, 1.5) + 0.04 + 0.001 * run.seed,
            0.05 / run.l2 if run.l2 else np.inf,
            0.2,
            1e-16,
            10_000,
        )
        for run in result.runs
    )
    epochs = (0, 1, 2, 5, 10, 35)
    first = [i for i, run in enumerate(result.runs) if run.l2 == 0.0 and run.seed == 0]
    return replace(
        result,
        certificates=certificates,
        optima=tuple(Certificate(x, J, 2e-7, 1e-4, 1e-16, 10_000) for x, J in best.items()),
        curvatures={i: Curvature(epochs, tuple(60.0 + epoch for epoch in epochs)) for i in first},
        reliability={i: make_reliability() for i in result.snapshots},
    )


def make_mistakes(features: int | None = None, ids: tuple[str, ...] | None = None) -> Mistakes:
    """Two rows of the first two classes, as pictures where their number of pixels is given."""
    confidence = np.array([0.9999, 0.5])
    images = None if features is None else np.full((2, features), 200, np.uint8)
    rows, order = np.array([31, 7]), np.arange(2)
    return Mistakes(rows, order, order[::-1].copy(), confidence, images, ids)


def make_reliability(bins: int = 15) -> Reliability:
    """More confident than right by 10 points in every bin, the first of them empty."""
    rows = np.arange(bins) * 100
    confidence = np.where(rows > 0, (np.arange(bins) + 0.5) / bins, np.nan)
    return Reliability(rows, confidence, confidence - 0.1)


def _outcome(position: int, run: Run, diverged: bool) -> Outcome:
    if not diverged:
        return Outcome("finished", run.epochs)
    half = run.epochs // 2
    return Outcome("diverged", half, f"run {position} diverged: η={run.learning_rate:g}, {half}")


def _history(runs: Sequence[Run], diverged: Sequence[int], rng: np.random.Generator) -> History:
    history = History.empty(len(runs), max(run.epochs for run in runs))
    for i, run in enumerate(runs):
        epoch = np.arange(run.epochs + 1)
        noise = rng.normal(size=len(epoch)) * (0.4 if run.eta >= 0.1 else 0.001)
        loss = 1.7 + 0.6 * np.exp(-run.eta * 20 * epoch) + 0.2 * run.l2 + abs(noise)
        norm = 5.0 / (1.0 + 5.0 * run.l2) + 0.01 * rng.normal(size=len(epoch))
        accuracy = 0.4 - 0.1 * run.l2 - 0.3 * np.exp(-0.2 * epoch) - 0.05 * abs(noise)
        stop = run.epochs // 2 if i in diverged else run.epochs
        for name, values in {
            "train_loss": loss,
            "train_cost": loss + run.l2 * norm**2,
            "train_accuracy": accuracy,
            "validation_loss": loss + 0.1,
            "validation_cost": loss + 0.1 + run.l2 * norm**2,
            "validation_accuracy": accuracy - 0.04,
            "weight_norm": norm,
        }.items():
            getattr(history, name)[i, : stop + 1] = values[: stop + 1]
    return history


def _confusion(run: Run, K: int, rng: np.random.Generator) -> NDArray[np.int64]:
    right = rng.integers(10, 60) if run.eta >= 0.1 else 50
    counts = rng.integers(0, 6, (K, K))
    counts[np.arange(K), np.arange(K)] = right
    return np.asarray(counts, np.int64)


def _shots(W: NDArray[np.float32], epochs: int, rng: np.random.Generator) -> NDArray[np.float16]:
    start = rng.normal(0.0, 0.01, W.shape)
    shares = np.linspace(0.0, 1.0, epochs + 1)
    return np.stack([start + share * (W - start) for share in shares]).astype(np.float16)
