"""What engines are told of runs: the method of each, and the steps of an epoch.

An epoch's steps are a function of the runs, the epoch and the number of rows alone. With the
trainer's state they are all that training needs to go on, from any epoch and, by `Steps.part`,
from any step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onelayer.averages import averaging_shares
from onelayer.engines import Method, Steps
from onelayer.plan import Run
from onelayer.row_order import mirrored_rows, row_order
from onelayer.schedules import learning_rate_factors
from onelayer.stored import StoredRows


def method_of(runs: Sequence[Run]) -> Method:
    """What each run lowers, and how.

    Args:
        runs: R settings.

    Returns:
        The method, arrays of shape (R,).

    Example:
        >>> method_of([Run(0.1, l2=0.5), Run(0.1, momentum=0.9)]).momentum
        array([0. , 0.9])
    """
    return Method(
        l2=np.array([run.l2 for run in runs], np.float64),
        momentum=np.array([run.momentum for run in runs], np.float64),
        nesterov=np.array([run.nesterov for run in runs], bool),
        sigmoid=np.array([run.loss == "sigmoid" for run in runs], bool),
        smoothing=np.array([run.label_smoothing for run in runs], np.float64),
    )


def steps_of_epoch(
    runs: Sequence[Run], epoch: int, rows: int, stored: StoredRows | None = None
) -> Steps:
    """The batches of an epoch and the step that each run takes after each.

    Args:
        runs: R settings that share a pass (`onelayer.plan.group_passes`), with settled rates.
        epoch: which, from 1.
        rows: N.
        stored: the rows where they stay in their files, whose order keeps blocks together.

    Returns:
        The steps.

    Example:
        >>> steps = steps_of_epoch([Run(0.1, schedule="cosine", epochs=2, batch_size=5)], 2, 10)
        >>> steps.learning_rate.round(4).tolist()
        [[0.05], [0.0146]]
    """
    shared = runs[0]
    count = -(-rows // shared.batch_size)
    rates = [
        run.eta * learning_rate_factors(run.schedule, run.warmup, run.epochs, count, epoch)
        for run in runs
    ]
    shares = [averaging_shares(run.averaging, run.epochs, count, epoch) for run in runs]
    return Steps(
        batch_size=shared.batch_size,
        learning_rate=np.stack(rates, axis=1),
        averaging=np.stack(shares, axis=1) if any(run.averages for run in runs) else None,
        order=row_order(shared.shuffle_seed, epoch, rows, stored),
        flipped=mirrored_rows(shared.flip_seed, epoch, rows),
    )
