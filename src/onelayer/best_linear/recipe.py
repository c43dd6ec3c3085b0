"""How the best linear map is fitted: loss, penalty, augmentation and steps, all in one record."""

from __future__ import annotations

from dataclasses import dataclass

from onelayer.data import Dataset
from onelayer.errors import SettingsError
from onelayer.ranges import require_number, require_whole
from onelayer.stored import stored_rows


@dataclass(frozen=True)
class Recipe:
    """Settings of a fit. The defaults are those that CIFAR-10's held-out training rows chose.

    Attributes:
        q: of the generalised cross-entropy, 0 … 1; 0 is cross-entropy, 1 the expected share of
            wrong rows.
        l2: λ ≥ 0, multiplies Σ W² of the weights on features scaled to 0 … 1.
        moves: pixels that a picture is moved at most, up, down, left and right, ≥ 0.
        flips: whether pictures count as much as their mirror images.
        epochs: passes over the rows, ≥ 1.
        batch_size: B ≥ 1.
        learning_rate: η > 0, as a share of a Newton step.
        momentum: μ of Nesterov's momentum, 0 ≤ μ < 1.

    Raises:
        SettingsError: for a value outside its range.

    Example:
        >>> Recipe(q=2.0)
        Traceback (most recent call last):
        ...
        onelayer.errors.SettingsError: q must be a number from 0 to 1, but 2.0 was given.
    """

    q: float = 0.6
    l2: float = 2e-5
    moves: int = 1
    flips: bool = True
    epochs: int = 60
    batch_size: int = 2000
    learning_rate: float = 0.03
    momentum: float = 0.9

    def __post_init__(self) -> None:
        require_number("q", self.q, "a number from 0 to 1", least=0)
        if self.q > 1:
            raise SettingsError(f"q must be a number from 0 to 1, but {self.q!r} was given.")
        require_number("l2 (λ)", self.l2, "a finite number, 0 or above", least=0)
        require_whole("moves", self.moves, 0)
        require_whole("epochs", self.epochs, 1)
        require_whole("batch_size", self.batch_size, 1)
        require_number("learning_rate (η)", self.learning_rate, "a finite number above 0", above=0)
        require_number("momentum", self.momentum, "a number from 0 to below 1", least=0, below=1)

    def check(self, dataset: Dataset) -> None:
        """Refuse rows that stay in their files, and rows that cannot be moved or mirrored.

        Args:
            dataset: the rows.

        Raises:
            SettingsError: when the rows stay in their files, or are no pictures and shall be moved
                or flipped.
        """
        if stored_rows(dataset.X) is not None:
            raise SettingsError(
                f"{dataset.name}: the best linear map is fitted to rows in memory, but these stay "
                "in their files; load them with stream=False (--no-stream)."
            )
        if dataset.image_shape is None and (self.moves or self.flips):
            raise SettingsError(
                f"{dataset.name} holds no pictures, so its rows can be neither moved nor flipped: "
                "set moves to 0 and flips to False (--moves 0 --no-flips)."
            )
