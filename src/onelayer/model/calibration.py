"""Temperature scaling: one number that makes probabilities as sure as they are right.

    p = softmax(s / T)        T* = argmin −(1/Σw) Σ w log p_y        over held-out rows

With β = 1/T the loss is convex in β, and its slope is Σ w (Σ_k p_k s_k − s_y) / Σ w. It has a
minimum where the slope is below 0 at β = 0, so that scores tell something of the rows, and some row
is wrong, so that it is above 0 far out. Newton's method, kept between two β whose slopes have other
signs, finds it to the last digits; between the last two lies β*, and by convexity

    loss(β) − loss(β*) ≤ |slope(β)| · (β_high − β_low).

T is folded into the weights of a new model, so all that reads a model is calibrated: predictions,
its file and its exports. No score changes its rank, so no label changes.

Source: Guo, Pleiss, Sun & Weinberger (2017), On calibration of modern neural networks, ICML.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onelayer.data.dataset import Dataset, Splits
from onelayer.data.progress import Log, print_line, quiet
from onelayer.engines import Engine
from onelayer.errors import SettingsError
from onelayer.model.model import Model
from onelayer.model.rows import meet
from onelayer.objective.loss import softmax_and_log_sum

Float64 = NDArray[np.float64]

# Scores that are computed with at a time, so that they stay in the processor's cache.
BLOCK_ENTRIES = 1 << 16

# Newton's steps at most; where they end, relative to β; and how wide the bracket is at first.
MAX_STEPS, SMALL, WIDTH = 100, 1e-13, 1e-10


class Temperature(NamedTuple):
    """The best temperature for some rows, and how sure it is."""

    value: float
    low: float  # between low and high lies the best one
    high: float
    loss: float  # nats
    gap: float  # bound on loss − the lowest, nats


@dataclass(frozen=True)
class Calibration:
    """What a temperature changed for one model of a run, on the rows that gave it.

    Attributes:
        model: which model of the run.
        file: name of the model file that has the temperature.
        temperature: T.
        data: name of the data.
        rows: how many rows.
        loss_before: log loss of the model as it was trained, nats.
        loss: log loss with T.
        error_before: expected calibration error of the model as it was trained.
        error: expected calibration error with T.
    """

    model: str
    file: str
    temperature: float
    data: str
    rows: int
    loss_before: float
    loss: float
    error_before: float
    error: float

    @classmethod
    def of(cls, calibrated: Model, name: str, file: str) -> Calibration:
        """That of a model that `Model.calibrate` gave."""
        of = calibrated.settings["calibration"]
        figures = (*of["log_loss"], *of["calibration_error"])
        return cls(name, file, calibrated.temperature, of["data"], of["rows"], *figures)


def fit_temperature(S: Float64, y: NDArray[np.int64], weights: Float64 | None) -> Temperature:
    """The temperature for scores S (N, K) of rows of these classes (N,), by weight.

    Example:
        >>> S = np.array([[4.0, 0.0]] * 4)
        >>> round(fit_temperature(S, np.array([0, 0, 0, 1]), None).value, 4)  # 4 / log 3
        3.641
    """
    w = np.full(len(y), 1.0 / len(y)) if weights is None else weights / weights.sum()
    S = S - S.max(axis=1, keepdims=True)
    own = S[np.arange(len(y)), y]
    if w @ own == 0.0:
        raise SettingsError(
            "every row is right, so the more certain the model, the better, and no temperature is "
            "best; calibrate it on more rows."
        )
    if w @ (S.mean(axis=1) - own) >= 0.0:
        raise SettingsError(
            "the model's scores tell nothing about these rows, so no temperature is best; look "
            "whether rows and labels belong together."
        )

    def at(beta: float) -> tuple[float, float, float]:
        """Loss, slope and curvature."""
        sums, step = np.zeros(3), max(1, BLOCK_ENTRIES // S.shape[1])
        for start in range(0, len(S), step):
            place = slice(start, start + step)
            s, mine = S[place], own[place]
            P, log_sum = softmax_and_log_sum(beta * s)
            mean = (P * s).sum(axis=1)
            bend = (P * (s - mean[:, None]) ** 2).sum(axis=1)
            sums += [w[place] @ of for of in (log_sum - beta * mine, mean - mine, bend)]
        return float(sums[0]), float(sums[1]), float(sums[2])

    low, high, beta = 0.0, math.inf, 1.0
    for _ in range(MAX_STEPS):
        loss, slope, bend = at(beta)
        low, high = (beta, high) if slope < 0.0 else (low, beta)
        step = slope / bend if bend > 0.0 else math.inf
        if abs(step) <= SMALL * beta:
            break
        after = beta - step
        if not low < after < high or after > 4.0 * beta:
            after = min(4.0 * beta, 0.5 * (low + high))
        beta = after
    width = WIDTH
    while at(beta * (1.0 - width))[1] >= 0.0 or at(beta * (1.0 + width))[1] <= 0.0:
        width *= 4.0
    low, high = beta * (1.0 - width), beta * (1.0 + width)
    return Temperature(1.0 / beta, 1.0 / high, 1.0 / low, loss, abs(slope) * (high - low))


def calibrate(
    model: Model,
    data: Dataset | Splits,
    engine: Engine | str | None,
    log: Log | None,
) -> Model:
    """The calibrated model; see `Model.calibrate`."""
    if model.many_labels:
        raise SettingsError(
            "a temperature is for rows of one class; of many labels each has a probability of its "
            "own, which a temperature for all of them does not calibrate."
        )
    for part in [data.train, data.validation] if isinstance(data, Splits) else [data]:
        part.refuse_offsets("calibration")
    raw, log = model.uncalibrated, log or print_line
    rows, y = meet(raw, data.validation if isinstance(data, Splits) else data, log)
    known = y >= 0 if rows.weights is None else (y >= 0) & (rows.weights > 0.0)
    trained = raw.trained_on(rows) & known
    counted = np.flatnonzero(known & ~trained)
    if not len(counted):
        raise SettingsError(
            "the model was trained on all of these rows, of which it is too sure; calibrate it on "
            "others, such as the validation rows."
        )
    if trained.any():
        log(f"left out, because the model was trained on them: {int(trained.sum()):,} rows")
    rows, y = rows.take(counted), y[counted]
    found = fit_temperature(raw.scores(rows.X, engine, quiet), y, rows.weights)
    before = raw.evaluate(rows, engine, quiet)
    W, b = (of.astype(np.float64) / found.value for of in (raw.W, raw.b))
    calibration: dict[str, Any] = {
        "data": rows.name,
        "rows": rows.rows,
        "between": [found.low, found.high],
        "gap": found.gap,
        "log_loss": [before.log_loss, found.loss],
        "dtypes": [raw.W.dtype.name, raw.b.dtype.name],
    }
    settings = {**raw.settings, "temperature": found.value, "calibration": calibration}
    calibrated = replace(raw, W=W, b=b, settings=settings)
    after = calibrated.evaluate(rows, engine, quiet).reliability.error
    calibration["calibration_error"] = [before.reliability.error, after]
    return calibrated
