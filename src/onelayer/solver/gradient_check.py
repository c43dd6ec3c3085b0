"""The gradient check on a data set: numerical against analytic gradients at fresh weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onelayer.data import Dataset, Splits
from onelayer.data.dataset import training_rows
from onelayer.data.scaling import fit_scaling
from onelayer.errors import require_number, require_whole
from onelayer.objective.gradcheck import GradientChecks, check_gradients
from onelayer.objective.loss import Loss, check_loss

INIT_SCALE = 0.01


def check_gradient(
    data: Dataset | Splits,
    *,
    l2: float | Sequence[float] = (0.0, 0.1),
    batch_sizes: Sequence[int] = (1, 20, 100),
    loss: Loss = "softmax",
    label_smoothing: float = 0.0,
    seed: int = 0,
) -> GradientChecks:
    """Compare the analytic gradient with the numerical one, at every entry of W and b.

    e = |g_a − g_n| / max(ε, |g_a| + |g_n|), with g_n the central difference on five points, at
    W, b ~ N(0, 0.01²).

    Args:
        data: the training rows, with scaling "auto"; of `Splits` the training part.
        l2: values of λ ≥ 0.
        batch_sizes: sizes B ≥ 1; the first B rows are the batch.
        loss: "softmax" or "sigmoid".
        label_smoothing: ε in [0, 1).
        seed: draws W and b.

    Returns:
        The checks of W and of b for each pair of λ and batch size; `passed` says whether all
        errors are within their bounds.

    Raises:
        SettingsError: for a value outside its range.

    Source:
        Nocedal & Wright (2006), Numerical Optimization, section 8.1; the relative error is that of
        the CS231n notes.

    Example:
        >>> from onelayer import check_gradient, load
        >>> check_gradient(load("digits"), batch_sizes=[20]).passed
        True
    """
    rows = training_rows(data)
    l2s = [float(value) for value in np.atleast_1d(l2)]
    for value in l2s:
        require_number("l2 (λ)", value, "a finite number, 0 or above", least=0)
    for size in batch_sizes:
        require_whole("batch_sizes", size, 1)
    check_loss(loss, label_smoothing)
    rng = np.random.default_rng(seed)
    W = rng.normal(0.0, INIT_SCALE, (rows.classes, rows.features))
    b = rng.normal(0.0, INIT_SCALE, rows.classes)
    most = max(batch_sizes)
    X = fit_scaling("auto", rows.X, rows.max_value).apply(rows.X[:most])
    return check_gradients(X, rows.y[:most], W, b, batch_sizes, l2s, loss, label_smoothing)
