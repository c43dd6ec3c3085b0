"""Shares of rows: every class in its proportion, drawn by a seed and so the same every time.

What a user says about a data set besides its name: labels, the split, the size of pictures.

Folds: every row is held out once, each class spread evenly over the folds.
"""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onelayer.data.dataset import Dataset, Splits
from onelayer.data.formats.base import is_pattern
from onelayer.data.progress import Report
from onelayer.data.streaming import stored_rows
from onelayer.errors import DataError, SettingsError

_LARGE = 1 << 30


def share_out(whole: Dataset, given: dict[str, Dataset], choices: Choices, tell: Report) -> Splits:
    """Cut the parts that are not given off the training rows.

    Args:
        whole: the training rows, and those that are cut off.
        given: "validation" and "test", as far as they are given.
        choices: shares and seed.
        tell: told when much is copied.

    Returns:
        The three parts.

    Raises:
        DataError: when there are too few rows.
    """
    said = [f"training rows from {whole.source}"]
    said += [f"{role} rows from {part.source}" for role, part in given.items()]
    parts, rows = dict(given), np.arange(whole.rows)
    for role, share in (("test", choices.test_share), ("validation", choices.validation)):
        if role in given:
            continue
        assert isinstance(share, float | int)  # noqa: S101  # a file would have been given
        kept, cut = cut_share(whole.y[rows], share, choices.seed, whole.name)
        parts[role], rows = _part(whole, rows[cut], role), rows[kept]
        said.append(f"{role} rows a share of {share:g}, stratified, with seed {choices.seed}")
    if len(rows) < whole.rows:
        stays = stored_rows(whole.X) is not None
        if whole.X.nbytes > _LARGE and not stays:
            tell(
                f"{whole.name}: its {whole.X.nbytes / 1e9:.1f} GB are copied into memory to be "
                "split; to avoid that give test and validation rows as files of their own, or "
                "leave all on disk with stream (--stream)."
            )
        if not stays:
            rows = rows[stratified_order(whole.y[rows], choices.seed)]
        parts["train"] = _part(whole, rows, "training")
    else:
        parts["train"] = whole
    source = "; ".join(said) + "."
    return Splits(parts["train"], parts["validation"], parts["test"], _short(whole.name), source)


def _short(where: str) -> str:
    """A name for what a path or a pattern names: shards/*.npy are the shards."""
    path = Path(where)
    while is_pattern(path) and glob.has_magic(path.stem) and path.name:
        path = path.parent
    return path.stem or "rows"


def _part(whole: Dataset, rows: NDArray[np.intp], role: str) -> Dataset:
    return replace(whole.take(rows), name=f"{whole.name}, {role} rows")


def stratified_order(y: NDArray[np.int64], seed: int) -> NDArray[np.intp]:
    """Order rows at random so that every stretch holds each class by its share.

    A class's rows are spread evenly over [0, 1), in random order and from a random start; the
    order is that of their places.

    Args:
        y: class of each row, shape (N,).
        seed: of the random numbers.

    Returns:
        A permutation of 0 … N − 1.

    Example:
        >>> y = np.array([0, 0, 0, 1, 1, 1])
        >>> y[stratified_order(y, seed=0)].tolist()
        [0, 1, 0, 1, 0, 1]
    """
    rng = np.random.default_rng(seed)
    place = np.empty(len(y))
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        place[rows] = (np.arange(len(rows)) + rng.random()) / len(rows)
    return np.argsort(place, kind="stable")


def cut_share(
    y: NDArray[np.int64], share: float, seed: int, where: str
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Cut a share of the rows off, of each class its share to within half a row.

    A class of two rows or more gives at least one and keeps at least one; a class of a single row
    gives none.

    Args:
        y: class of each row, shape (N,).
        share: of the rows, above 0 and below 1.
        seed: which rows are drawn.
        where: the rows' origin, for the message.

    Returns:
        Rows that are kept and rows that are cut off, both ascending.

    Raises:
        DataError: when no class has two rows.

    Example:
        >>> kept, cut = cut_share(np.array([0, 0, 0, 0, 1, 1]), 0.25, seed=0, where="made")
        >>> len(kept), len(cut)
        (4, 2)
    """
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(y), bool)
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        count = min(len(rows) - 1, max(1, int(share * len(rows) + 0.5)))
        chosen[rows[:count]] = True
    if not chosen.any():
        raise DataError(
            f"{where}: a share can only be cut off where a class has 2 rows or more, but each of "
            f"the {len(y)} rows is the only one of its class; add rows or give the split as files."
        )
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


SHARE = 0.2


@dataclass(frozen=True)
class Choices:
    """How a file or folder is read and split; the command line's options have the same names.

    Attributes:
        labels: the column or array of labels, or a file with one label a row.
        test: a file or folder of test rows; None cuts a share off.
        test_labels: as labels, for the test rows; None is the same column.
        test_share: share of the rows that are cut off for the test, when test is None.
        validation: share of what is left, above 0 and below 1, or a file or folder.
        validation_labels: as labels, for a validation file; None is the same column.
        seed: which rows the shares hold.
        image_size: (height, width) of pictures.
        stream: whether rows stay in their files; None where they would take too much memory.

    Raises:
        SettingsError: for a share or a size outside its range, or options that exclude each other.
    """

    labels: str | Path | None = None
    test: str | Path | None = None
    test_labels: str | Path | None = None
    test_share: float = SHARE
    validation: float | str | Path = SHARE
    validation_labels: str | Path | None = None
    seed: int = 0
    image_size: int | str | tuple[int, int] | None = None
    stream: bool | None = None

    def __post_init__(self) -> None:
        if isinstance(self.validation, str):
            object.__setattr__(self, "validation", _share_or_file(self.validation))
        if not isinstance(self.validation, Path):
            _check_share("validation (--validation)", self.validation)
        _check_share("test_share (--test-share)", self.test_share)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise SettingsError(
                f"seed (--split-seed) must be a whole number, 0 or above, but it is {self.seed!r}."
            )
        _size(self.image_size)
        self._check_together()

    @property
    def pixels(self) -> tuple[int, int] | None:
        """(height, width) of pictures, or None."""
        return _size(self.image_size)

    def _check_together(self) -> None:
        if self.test is not None and self.test_share != SHARE:
            raise SettingsError(
                "the test rows are given either by test (--test) or by test_share (--test-share), "
                "but both were."
            )
        if self.test is None and self.test_labels is not None:
            raise SettingsError(
                "test_labels (--test-labels) are for the rows of test (--test), but there is none; "
                "name it or leave them out."
            )
        if not isinstance(self.validation, Path) and self.validation_labels is not None:
            raise SettingsError(
                "validation_labels (--validation-labels) are for a file of validation rows, but "
                f"validation (--validation) is the share {self.validation}."
            )

    def refuse_all_but(self, allowed: tuple[str, ...], data: str) -> None:
        """Refuse what was said but means nothing to a data set.

        Args:
            allowed: names of the choices that do mean something.
            data: the data set, for the message.

        Raises:
            SettingsError: for the first such choice.

        Example:
            >>> Choices(seed=3).refuse_all_but((), "the digits")
            Traceback (most recent call last):
            onelayer.errors.SettingsError: seed (--split-seed) means nothing to the digits; leave \
it out.
        """
        for field in fields(self):
            if field.name not in allowed and getattr(self, field.name) != field.default:
                option = "split-seed" if field.name == "seed" else field.name.replace("_", "-")
                raise SettingsError(
                    f"{field.name} (--{option}) means nothing to {data}; leave it out."
                )


def _share_or_file(said: str) -> float | Path:
    try:
        return float(said)
    except ValueError:
        return Path(said)


def _check_share(option: str, share: object) -> None:
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
        raise SettingsError(
            f"{option} must be a share above 0 and below 1, but it is {share!r}; 0.2 is a fifth."
        )


def _size(given: object) -> tuple[int, int] | None:
    if given is None:
        return None
    sides: object = given
    if isinstance(given, int):
        sides = (given, given)
    elif isinstance(given, str):
        found = re.fullmatch(r"(\d{1,6})(?:[x×](\d{1,6}))?", given)
        sides = found and (int(found[1]), int(found[2] or found[1]))
    match sides:
        case (int(height), int(width)) if 0 < height <= 4096 and 0 < width <= 4096:
            return height, width
    raise SettingsError(
        "image_size (--image-size) must be one side or HEIGHTxWIDTH in pixels, such as 32 or "
        f"32x24, each from 1 to 4096, but it is {given!r}."
    )


def stratified_folds(
    y: NDArray[np.int64], folds: int, seed: int = 0
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Cut rows into folds in which each class has its share, to within one row.

    Args:
        y: class of each row, shape (N,).
        folds: how many, 2 … N.
        seed: shuffles the rows of each class.

    Returns:
        For each fold the rows to train on and the rows held out, ascending.

    Raises:
        SettingsError: for fewer than 2 folds or more than rows.

    Example:
        >>> kept, held_out = stratified_folds(np.array([0, 0, 1, 1]), folds=2)[0]
        >>> len(kept), len(held_out)
        (2, 2)
    """
    if not 2 <= folds <= len(y):
        raise SettingsError(
            f"folds must be from 2 to the number of rows, {len(y)}, but {folds} was given."
        )
    rng = np.random.default_rng(seed)
    by_class = np.lexsort((rng.permutation(len(y)), y))
    fold = np.empty(len(y), np.int64)
    fold[by_class] = np.arange(len(y)) % folds
    return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(folds)]
