"""Costs, gradients and descent in float64, by NumPy: what every answer on embeddings is held to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.oracle import compare, expect
from benchmarks.probes.problem import Probe
from benchmarks.problem import Answer, Data, Problem, Setting
from onelayer import Run, train
from onelayer.data import Dataset, Splits
from onelayer.engines import make_engine
from onelayer.objective import cost as objective
from onelayer.solver import solve

Float64 = NDArray[np.float64]

BLOCK_ROWS = 2000
# A certificate's cost and gap are sums in float64, in another order than the oracle's.
COST_TOLERANCE, GAP_TOLERANCE = 1e-9, 0.05
# A mean of float32 losses over all rows.
LOSS_TOLERANCE = 1e-5
# scikit-learn's excess is told beside a cost that is proven to this share.
LEAST_TOLERANCE = 1e-5
FIRST_STEPS = 10


def judge_path(dataset: Dataset, answer: Path) -> dict[str, Any]:
    """The certificates of a path: costs of all models, and of the last one the gap as well.

    Args:
        dataset: the training rows.
        answer: the file with the models and what was proven of them.

    Returns:
        "checks": what was compared, how far off, how far is allowed.
    """
    with np.load(answer) as saved:
        l2s, W, b, claimed, gaps = (saved[name] for name in ("l2s", "W", "b", "cost", "gap"))
    costs = _costs(dataset, W, b, l2s)
    G = gradient_of(dataset, W[-1], b[-1], float(l2s[-1]))
    gap = float(np.sum(G * G)) / (4.0 * l2s[-1])
    return {
        "checks": [
            ("cost of every model of the path / certificate's", _apart(costs, claimed),
             COST_TOLERANCE),
            ("‖∇J‖² / 4λ at the smallest λ / proven gap", _apart(gap, gaps[-1]), GAP_TOLERANCE),
        ]
    }  # fmt: skip


def judge_peer(dataset: Dataset, answer: Path) -> dict[str, Any]:
    """How far another's models are above the least cost, which onelayer proves.

    Args:
        dataset: the rows that they were fitted to.
        answer: the file with the models.

    Returns:
        "excess", the largest, and "checks": no cost may be below what is proven to be the least.
    """
    with np.load(answer) as saved:
        l2s, W, b = (saved[name] for name in ("l2s", "W", "b"))
    costs = _costs(dataset, W, b, l2s)
    models = [solve(dataset, l2, tol=LEAST_TOLERANCE, scaling="unit") for l2 in l2s.tolist()]
    proofs = [model.require_certificate() for model in models]
    least = np.array([proof.lower_bound for proof in proofs])
    return {
        "excess": float((costs / np.array([proof.cost for proof in proofs]) - 1.0).max()),
        "checks": [
            ("scikit-learn's cost below the proven least", float((1.0 - costs / least).max()), 0.0)
        ],
    }


def judge_sweep(splits: Splits, probe: Probe, engine: str, answer: Path) -> dict[str, Any]:
    """The first steps of every run beside plain descent, and the best model's figures.

    Args:
        splits: all rows.
        probe: the settings.
        engine: onelayer's.
        answer: the file with the best model and what was said of it.

    Returns:
        "checks".
    """
    with np.load(answer) as saved:
        W, b, loss, accuracy = (saved[name] for name in ("W", "b", "loss", "accuracy"))
    found = float(_costs(splits.train, W[None], b[None], np.zeros(1))[0])
    rows = splits.validation
    S = objective.scores(rows.X, W, b)
    right = float(np.mean(S.argmax(axis=1) == rows.y))
    return {
        "checks": [
            ("training loss of the best run / said", _apart(found, loss), LOSS_TOLERANCE),
            ("validation accuracy of the best run − said", abs(right - float(accuracy)),
             1.0 / rows.rows),
            first_steps(splits.train, probe, engine),
        ]
    }  # fmt: skip


def first_steps(dataset: Dataset, probe: Probe, engine: str) -> tuple[str, float, float]:
    """Weights of all runs after a few steps, against descent in NumPy float64.

    Args:
        dataset: the training rows.
        probe: the settings.
        engine: onelayer's.

    Returns:
        What was compared, the largest distance, what is allowed.
    """
    few = dataset.take(slice(0, FIRST_STEPS * probe.batch_size))
    settings = tuple(Setting(run.eta, run.l2, run.seed) for run in probe.runs)
    problem = Problem(
        "first steps", few.rows, few.features, few.classes, probe.batch_size, 1,
        few.X.dtype.name, settings=settings,
    )  # fmt: skip
    runs = [Run(s.learning_rate, s.l2, s.seed, probe.batch_size, epochs=1) for s in settings]
    splits = Splits(few, few, few, name="first steps", source="")
    found = train(splits, runs, engine=make_engine(engine), certify=False)
    expected = expect(problem, Data(few.X, few.y), most_runs=len(runs))
    agreement = compare(Answer(found.W, found.b), expected)
    what = f"weights of {agreement.runs} runs after {FIRST_STEPS} steps − float64's"
    distance = agreement.distance if agreement.runs == len(runs) else float("nan")
    return what, distance, agreement.allowed


def gradient_of(dataset: Dataset, W: Float64, b: Float64, l2: float) -> Float64:
    """∂J/∂W over all rows, shape (K, D)."""
    G = np.zeros_like(W)
    for X, y in _blocks(dataset):
        G += len(y) * objective.gradient(X, y, W, b).W
    return G / dataset.rows + 2.0 * l2 * W


def _costs(dataset: Dataset, W: Float64, b: Float64, l2s: Float64) -> Float64:
    """J of every model, shape (P,), by the oracle on float64 rows."""
    total = np.zeros(len(W))
    for X, y in _blocks(dataset):
        total += [len(y) * objective.cost(X, y, *model) for model in zip(W, b, strict=True)]
    return np.asarray(total / dataset.rows + l2s * np.sum(W.astype(np.float64) ** 2, axis=(1, 2)))


def _blocks(dataset: Dataset) -> Iterator[tuple[Float64, NDArray[np.int64]]]:
    for start in range(0, dataset.rows, BLOCK_ROWS):
        place = slice(start, start + BLOCK_ROWS)
        yield dataset.X[place].astype(np.float64), dataset.y[place]


def _apart(found: Any, said: Any) -> float:
    """Largest relative difference."""
    return float(np.max(np.abs(np.asarray(found) / np.asarray(said) - 1.0)))
