"""Words that several pages share: names of data and scalings, and how figures are set."""

from __future__ import annotations

import re
from collections.abc import Sequence

from onelayer.result import DataCard

DATA_NAMES = {"cifar10": "CIFAR-10", "digits": "scikit-learn's digits"}
SCALINGS = {
    "none": "as stored",
    "unit": "divided by the largest value they can have",
    "standardize": "mean 0 and variance 1 over the training rows",
}


def without_paths(text: str) -> str:
    """Leave out the folders of absolute paths: a page that is shown tells nothing of a machine.

    Example:
        >>> without_paths("the cache /home/someone/.cache/onelayer/cifar10")
        'the cache …/cifar10'
        >>> without_paths("https://www.cs.toronto.edu/~kriz/cifar.html")
        'https://www.cs.toronto.edu/~kriz/cifar.html'
    """
    path = r"(?<![\w:/.])(?:[A-Za-z]:[\\/]|~?/)(?:[^\s\"',;:]*[\\/])?([^\s\"',;:\\/]+)"
    return re.sub(path, r"…/\1", text)


def describe_rows(card: DataCard, features: int) -> str:
    """How many rows of what, without a full stop.

    Args:
        card: of the data.
        features: D.

    Returns:
        Words.

    Example:
        >>> describe_rows(DataCard("d", "", ("no", "yes"), None, 1000, 90, 90), 64)
        '1,000 training, 90 validation and 90 test rows of 64 features in 2 classes'
    """
    what = f"{features:,} features"
    if card.image_shape is not None:
        channels, height, width = card.image_shape
        kind = "colour" if channels >= 3 else "grey"
        what = f"{height} × {width} {kind} pixels ({features:,} features)"
    return (
        f"{card.train_rows:,} training, {card.validation_rows:,} validation and "
        f"{card.test_rows:,} test rows of {what} in {len(card.class_names)} classes"
    )


def unbroken(text: str) -> str:
    """Keep a number on one line with its sign and its unit.

    Example:
        >>> unbroken("λ = 1 gives 2 ± 1 % of 3").replace(chr(160), "_")
        'λ_=_1 gives 2_±_1_% of 3'
    """
    return re.sub(r" (?=[=±%>])|(?<=[=±>]) ", "\u00a0", text).replace("2/η", "2/\u2060η")


def listed(parts: Sequence[str]) -> str:
    """Join words as in a sentence.

    Example:
        >>> listed(["a", "b", "c"]), listed(["a"])
        ('a, b and c', 'a')
    """
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def loss_name(loss: str, label_smoothing: float) -> str:
    """What a loss is called.

    Example:
        >>> loss_name("softmax", 0.0), loss_name("sigmoid", 0.1)
        ('softmax', 'sigmoid, ε = 0.1')
    """
    return loss + (f", ε = {label_smoothing:g}" if label_smoothing else "")
