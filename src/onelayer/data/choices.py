"""What a user says about a data set besides its name: labels, the split, the size of pictures."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path

from onelayer.errors import SettingsError

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
