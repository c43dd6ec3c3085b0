"""Rows that early stopping holds out: of each class its share."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from onelayer.estimator.inputs import Labelled

Members = NDArray[np.int64]


def hold_out(
    labelled: Labelled, fraction: float, random: np.random.RandomState
) -> tuple[Members, Members]:
    """Choose the rows to train on and those to stop by.

    Args:
        labelled: all rows; those that do not count are in neither.
        fraction: share that is held out, in (0, 1).
        random: draws them.

    Returns:
        Row numbers of both, ascending.

    Raises:
        ValueError: where a class has one row, or a part would have fewer rows than classes.
    """
    members = labelled.members
    if members is None:
        members = np.arange(len(labelled.codes))
    codes = labelled.codes[members]
    _require_enough(codes, labelled, fraction)
    training, held_out = train_test_split(
        members, test_size=fraction, stratify=codes, random_state=random
    )
    return np.sort(training), np.sort(held_out)


def _require_enough(codes: Members, labelled: Labelled, fraction: float) -> None:
    counts, rows, K = np.bincount(codes), len(codes), len(labelled.classes)
    if counts.min() < 2:
        raise ValueError(
            "early_stopping holds out rows of each class, so each needs 2 rows or more, but class "
            f"{labelled.classes[counts.argmin()]} has 1; add rows of it or set "
            "early_stopping=False."
        )
    held_out = math.ceil(fraction * rows)
    if min(held_out, rows - held_out) < K:
        raise ValueError(
            f"early_stopping holds out rows of each of the {K} classes and trains on others, but "
            f"validation_fraction={fraction:g} of {rows} rows is {held_out}; take another fraction "
            "or set early_stopping=False."
        )
