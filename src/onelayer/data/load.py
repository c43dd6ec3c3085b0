"""One word or folder in, three sets of rows out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onelayer.data.cifar10 import load_cifar10
from onelayer.data.dataset import Splits
from onelayer.data.digits import load_digits
from onelayer.data.telling import Report
from onelayer.errors import DataError, SettingsError

DIGITS = "digits"
_TRAIN, _VALIDATION = (1,), (2,)


def load(
    data: str | Path | None = None,
    *,
    train_batches: Sequence[int] = _TRAIN,
    validation_batches: Sequence[int] = _VALIDATION,
    progress: bool = True,
    report: Report | None = None,
) -> Splits:
    """Load training, validation and test rows.

    Args:
        data: None for CIFAR-10 from the cache, which is filled from the network when it has to be;
            "digits" for scikit-learn's digits; any other text or path is a folder with CIFAR-10 as
            binary or python files, PNG strips, or an archive of them ("./digits" is a folder).
        train_batches: CIFAR-10's training batches, numbers from 1 to 5.
        validation_batches: CIFAR-10's validation batches, numbers from 1 to 5.
        progress: whether to show bars while data are fetched.
        report: told in one line why a source failed; None prints on the standard error stream.

    Returns:
        The rows as stored, uint8.

    Raises:
        DataError: when a named folder is missing, or its files are not CIFAR-10's.
        SourceError: when no source works; it lists each with its reason, and the ways out.
        SettingsError: for batches that do not exist, or that are given for the digits.

    Example:
        >>> splits = load("digits")
        >>> splits.train.X.shape, splits.train.X.dtype, splits.train.image_shape
        ((1000, 64), dtype('uint8'), (1, 8, 8))
    """
    batches = (tuple(train_batches), tuple(validation_batches))
    if data == DIGITS:
        if batches != (_TRAIN, _VALIDATION):
            raise SettingsError(
                "the digits have no batches: leave train_batches and validation_batches out."
            )
        return load_digits()
    if data == "":
        raise DataError("data must name a folder or be 'digits', but it is empty; leave it out.")
    return load_cifar10(
        None if data is None else Path(data).expanduser(),
        train_batches=batches[0],
        validation_batches=batches[1],
        progress=progress,
        report=report,
    )
