"""Methods drawn at random, and whole trajectories by the oracle, to hold engines against.

Schedules and averages are written out here a second time, a step at a time from their definitions,
so that engines and `onelayer.training.schedule` are held against something else than themselves.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from onelayer.data import Dataset
from onelayer.data.scaling import Scaling
from onelayer.engines import Method
from onelayer.objective import loss as objective
from onelayer.training.row_order import mirrored_rows, row_order
from onelayer.training.run import Run

Pair = tuple[np.ndarray, np.ndarray]


def oracle_trajectory(
    dataset: Dataset, scaling: Scaling, run: Run, W: np.ndarray, b: np.ndarray
) -> Pair:
    """The model after all epochs of a run, by the float64 equations alone."""
    W, b = W.astype(float), b.astype(float)
    theta, v = [W, b], [np.zeros(W.shape), np.zeros(b.shape)]
    past: list[Pair] = []
    for X, y in _batches(dataset, scaling, run):
        of = (run.loss, run.label_smoothing)
        g = objective.gradient(X, y, theta[0], theta[1], run.l2, of)
        g = g if run.intercept else g._replace(b=np.zeros_like(b))
        eta = run.eta * _factor(run, len(past), len(dataset.y))
        for i in range(2):
            v[i] = run.momentum * v[i] + g[i]
            step = g[i] + run.momentum * v[i] if run.nesterov else v[i]
            theta[i] = theta[i] - eta * step
        length = eta * (1 + run.momentum) if run.nesterov else eta
        if length > 0:
            most = length * run.l1
            moved = np.clip(theta[0], -most, most)
            if run.grouped:
                norms = np.linalg.norm(theta[0], axis=0)
                moved = theta[0] * np.minimum(1.0, most / np.where(norms > 0.0, norms, np.inf))
            theta[0], v[0] = theta[0] - moved, v[0] + moved / length
        past.append((theta[0], theta[1]))
    return _model(run, past)


@st.composite
def methods(draw: st.DrawFn) -> dict[str, Any]:
    """Every option of a run that leaves its rows alone; a step is shorter for more momentum."""
    momentum = draw(st.sampled_from([0.0, 0.5, 0.9]))
    return {
        "learning_rate": draw(st.sampled_from([0.3, 0.03])) * (1.0 - momentum),
        "l2": draw(st.sampled_from([0.0, 0.1])),
        "l1": draw(st.sampled_from([0.0, 0.0, 0.01, 0.3])),
        "grouped": draw(st.booleans()),
        "momentum": momentum,
        "nesterov": draw(st.booleans()),
        "schedule": draw(st.sampled_from(["constant", "cosine", "step:1:0.3", "cyclical:0.1:0.5"])),
        "warmup": draw(st.sampled_from([0, 0.4, 2])),
        "averaging": draw(st.sampled_from(["none", "tail:0.4", "tail:1", "ema:0.8"])),
        "loss": draw(st.sampled_from(objective.LOSSES)),
        "label_smoothing": draw(st.sampled_from([0.0, 0.2])),
        "intercept": draw(st.booleans()),
    }


def draw_method(draw: st.DrawFn, rng: np.random.Generator, l2: np.ndarray) -> Method:
    """A method of as many runs as there are λ; no run has an option, all have it, or some."""

    def some(values: np.ndarray) -> np.ndarray:
        share = draw(st.sampled_from([0.0, 0.5, 1.0]))
        return np.where(rng.random(len(values)) < share, values, np.zeros_like(values))

    R = len(l2)
    return Method(
        l2=l2,
        l1=some(rng.uniform(0.001, 0.1, R)),
        grouped=some(np.ones(R, bool)),
        momentum=some(rng.uniform(0.1, 0.9, R)),
        nesterov=some(np.ones(R, bool)),
        sigmoid=some(np.ones(R, bool)),
        label_smoothing=some(rng.uniform(0.05, 0.5, R)),
        no_intercept=some(np.ones(R, bool)),
    )


def mirrored(dataset: Dataset, X: np.ndarray) -> np.ndarray:
    """Images with left and right exchanged."""
    assert dataset.image_shape is not None
    return X.reshape(-1, *dataset.image_shape)[..., ::-1].reshape(X.shape)


def trajectory_tolerance(run: Run, dataset: Dataset, dtype: type) -> float:
    """Bound on how far rounding can carry a weight from the oracle's over a whole trajectory.

    A step adds η·g to a weight, where g is a mean of |x| ≤ 1 terms over the batch. Its scores are
    sums of D + 1 terms, so p and g carry an error of about (D + B)·u; a step adds η times that and
    u for the update itself, and steps with η < 2/L do not magnify what came before. With momentum
    a gradient is taken again and again, 1/(1 − μ) times in all, and with an l1 the rounding of W.
    """
    unit = np.finfo(dtype).eps
    batches = -(-len(dataset.y) // run.batch) * run.epochs
    features = dataset.X.shape[1]
    again = 1.0 / (1.0 - run.momentum)
    rounded = again if run.l1 else 1.0
    return float(batches * unit * (again * run.eta * (features + run.batch) + rounded))


def _batches(dataset: Dataset, scaling: Scaling, run: Run):  # type: ignore[no-untyped-def]
    for epoch in range(1, run.epochs + 1):
        order = row_order(run.order_seed, epoch, len(dataset.y))
        order = np.arange(len(dataset.y)) if order is None else order
        flips = mirrored_rows(run.flip_seed, epoch, len(dataset.y))
        stored = dataset.X[order]
        if flips is not None:
            stored = np.where(flips[:, None], mirrored(dataset, stored), stored)
        X, y = scaling.apply(stored), dataset.y[order]
        for start in range(0, len(y), run.batch):
            yield X[start : start + run.batch], y[start : start + run.batch]


def _factor(run: Run, t: int, rows: int) -> float:
    """What η is multiplied by at step t of the whole training, from 0."""
    per_epoch = math.ceil(rows / run.batch)
    warm = round(run.warmup * per_epoch)
    if t < warm:
        return (t + 1) / warm
    t, total = t - warm, run.epochs * per_epoch - warm
    name, *numbers = run.schedule.split(":")
    if name == "cosine":
        return (1 + math.cos(math.pi * t / total)) / 2
    if name == "step":
        every, factor = max(1, round(float(numbers[0]) * per_epoch)), float(numbers[1])
        return math.prod([factor] * (t // every))
    if name == "cyclical":
        low, half = float(numbers[0]), max(1, round(float(numbers[1]) * per_epoch))
        up, place = (t // half) % 2 == 0, (t % half) / half
        return low + (1 - low) * (place if up else 1 - place)
    return 1.0


def _model(run: Run, past: list[Pair]) -> Pair:
    """What the weights after each step average to."""
    name, *numbers = run.averaging.split(":")
    if name == "tail":
        last = past[-max(1, round(float(numbers[0]) * len(past))) :]
        return np.mean([W for W, _ in last], axis=0), np.mean([b for _, b in last], axis=0)
    if name == "ema":
        share = float(numbers[0]) ** np.arange(len(past))[::-1]
        share /= share.sum()
        return (
            np.einsum("t,tkd->kd", share, np.stack([W for W, _ in past])),
            np.einsum("t,tk->k", share, np.stack([b for _, b in past])),
        )
    return past[-1]
