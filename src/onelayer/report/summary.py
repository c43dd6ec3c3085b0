"""Figures of a result over seeds, and the words that pages share.

Everything here counts and averages what the result already holds; nothing is trained, predicted
or read again. Accuracies are percentages and their differences percentage points.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.data.dataset import DataCard
from onelayer.report.chart import unique_slugs
from onelayer.training.result import ReportedFigures, Result

# A setting is said to be chaotic when its test accuracy moves by more than this between seeds
# (settings that settle move by a few tenths of a point) and its cost does not fall steadily but
# rises in more than this share of the epochs. A wide spread alone may be a small test set.
CHAOTIC_POINTS = 3.0

CHAOTIC_RISES = 0.1

ENDINGS = {"stopped": "stopped early", "diverged": "diverged", "interrupted": "interrupted"}


@dataclass(frozen=True)
class Spread:
    """One quantity over n runs.

    Attributes:
        mean: arithmetic mean; NaN when n is 0.
        deviation: standard deviation of a sample (n − 1 in the divisor); 0 for one run.
        low: smallest value.
        high: largest value.
        n: how many runs.
    """

    mean: float
    deviation: float
    low: float
    high: float
    n: int

    @property
    def range(self) -> float:
        """Largest minus smallest value."""
        return self.high - self.low

    def holds(self, value: float) -> bool:
        """Whether the value lies between the smallest and the largest measured one."""
        return self.low <= value <= self.high


def spread(values: ArrayLike) -> Spread:
    """Summarise one quantity over runs; values that are not finite are left out.

    Example:
        >>> spread([1.0, 3.0, float("nan")])
        Spread(mean=2.0, deviation=1.4142135623730951, low=1.0, high=3.0, n=2)
    """
    kept = np.asarray(values, np.float64).ravel()
    kept = kept[np.isfinite(kept)]
    if not kept.size:
        return Spread(math.nan, math.nan, math.nan, math.nan, 0)
    deviation = float(kept.std(ddof=1)) if kept.size > 1 else 0.0
    return Spread(float(kept.mean()), deviation, float(kept.min()), float(kept.max()), kept.size)


# A difference is a conclusion where it is larger than this many of its standard errors.
CLEAR_ERRORS = 2.0


def is_clear(a: Spread, b: Spread, error: float = 0.0) -> bool:
    """Whether two means differ by more than CLEAR_ERRORS standard errors of their difference.

    Example:
        >>> is_clear(spread([1.0, 2.0]), spread([5.0, 6.0])), is_clear(spread([1.0]), spread([9.0]))
        (True, False)
    """
    if a.n < 2 or b.n < 2:
        return False
    squares = a.deviation**2 / a.n + b.deviation**2 / b.n + error**2
    return abs(a.mean - b.mean) > CLEAR_ERRORS * math.sqrt(squares)


def row_error(percent: float, rows: int) -> float:
    """Standard error of an accuracy measured on so many rows, √(p (1 − p) / N), percent."""
    return math.sqrt(max(percent * (100.0 - percent), 0.0) / max(rows, 1))


@dataclass(frozen=True)
class Comparison:
    """One reported figure beside the measured spread, in percent.

    Attributes:
        reported: as printed in the report, or None.
        measured: over the runs of the setting.
        below: how many of the measured values are smaller than the reported one.
    """

    reported: float | None
    measured: Spread
    below: int = 0

    @property
    def difference(self) -> float | None:
        """Measured mean minus reported, percentage points; None without a reported figure."""
        return None if self.reported is None else self.measured.mean - self.reported

    @property
    def inside(self) -> bool:
        """Whether the reported figure lies within the measured spread."""
        return self.reported is not None and self.measured.holds(self.reported)


@dataclass(frozen=True)
class SettingSummary:
    """One line of the table: a setting with its figures over seeds.

    Attributes:
        name: the setting's name.
        learning_rate: η.
        l2: λ.
        positions: its runs' positions in the result.
        counted: positions of those that the figures are over.
        train: training accuracy, percent.
        test: test accuracy, percent.
        validation: validation accuracy, percent.
        rises: share of the epochs in which the training cost rose, over the counted runs.
        status: how the runs ended, in words.
        troubles: messages of runs that did not finish.
    """

    name: str
    learning_rate: float
    l2: float
    positions: tuple[int, ...]
    counted: tuple[int, ...]
    train: Comparison
    test: Comparison
    validation: Spread
    rises: float
    status: str
    troubles: tuple[str, ...]

    @property
    def chaotic(self) -> bool:
        """Whether the seeds disagree widely on the test set while the cost jumps up and down."""
        wide = self.test.measured.n > 1 and self.test.measured.range > CHAOTIC_POINTS
        return wide and self.rises > CHAOTIC_RISES

    @property
    def chaos(self) -> str:
        """A sentence on how far the seeds disagree and where the reported pair lies, or ''."""
        if not self.chaotic:
            return ""
        low, high = self.test.measured.low, self.test.measured.high
        sentence = (
            f"This setting is chaotic: its cost rises in {100.0 * self.rises:.0f} % of the epochs "
            f"instead of settling, and {self.test.measured.n} seeds that "
            f"differ only in their initial weights end anywhere from {low:.2f} to {high:.2f} % "
            "on the test set, so a single run says little."
        )
        if self.train.reported is None or self.test.reported is None:
            return sentence
        places = [_place("training", self.train), _place("test", self.test)]
        return f"{sentence} The reported {places[0]}; the reported {places[1]}."


def _place(name: str, figure: Comparison) -> str:
    """Where a reported figure lies in the measured spread, in words."""
    measured = figure.measured
    where = "inside" if figure.inside else "outside"
    return (
        f"{name} accuracy of {figure.reported:.2f} % lies {where} the measured "
        f"{measured.low:.2f} to {measured.high:.2f} %, above {figure.below} of {measured.n} seeds"
    )


def summarise(result: Result) -> tuple[SettingSummary, ...]:
    """Summarise every setting of a result."""
    reported = {figures.name: figures for figures in result.reported}
    accuracies = _Accuracies(
        100.0 * result.train_accuracy, 100.0 * result.validation_accuracy, percent_on_test(result)
    )
    places: dict[str, list[int]] = {}
    for position, run in enumerate(result.runs):
        places.setdefault(run.name, []).append(position)
    return tuple(
        _summarise_setting(result, positions, accuracies, reported.get(name))
        for name, positions in places.items()
    )


@dataclass(frozen=True, eq=False)
class _Accuracies:
    """Percentages with the kept weights, each of shape (R,)."""

    train: NDArray[np.float64]
    validation: NDArray[np.float64]
    test: NDArray[np.float64]


def percent_on_test(result: Result) -> NDArray[np.float64]:
    """Test accuracy of each run with the weights that were kept."""
    counts = result.confusion.sum(axis=(1, 2))
    right = np.trace(result.confusion, axis1=1, axis2=2)
    return np.where(counts > 0, 100.0 * right / np.maximum(counts, 1), np.nan)


def _summarise_setting(
    result: Result, positions: list[int], accuracies: _Accuracies, figures: ReportedFigures | None
) -> SettingSummary:
    run = result.runs[positions[0]]
    outcomes = [result.outcomes[i] for i in positions]
    counted = [i for i in positions if result.outcomes[i].status != "diverged"] or positions
    return SettingSummary(
        name=run.name,
        learning_rate=run.eta,
        l2=run.l2,
        positions=tuple(positions),
        counted=tuple(counted),
        train=_compare(figures.train_accuracy if figures else None, accuracies.train[counted]),
        test=_compare(figures.test_accuracy if figures else None, accuracies.test[counted]),
        validation=spread(accuracies.validation[counted]),
        rises=_share_of_rises(result.history.train_cost[counted]),
        status=_describe([outcome.status for outcome in outcomes]),
        troubles=tuple(outcome.message for outcome in outcomes if outcome.message),
    )


def _compare(share: float | None, measured: NDArray[np.float64]) -> Comparison:
    if share is None:
        return Comparison(None, spread(measured))
    percent = 100.0 * share
    return Comparison(percent, spread(measured), int((measured < percent).sum()))


def _share_of_rises(cost: NDArray[np.float64]) -> float:
    """Share of epochs that end with a higher cost, of those that runs took; shape (n, epochs+1)."""
    before, after = cost[:, :-1], cost[:, 1:]
    taken = np.isfinite(before) & np.isfinite(after)
    return float((taken & (after > before)).sum() / max(1, taken.sum()))


def _describe(statuses: Sequence[str]) -> str:
    """How the runs of a setting ended, in words: "finished", "1 of 8 diverged"."""
    total = len(statuses)
    parts = []
    for status, words in ENDINGS.items():
        count = statuses.count(status)
        if count:
            parts.append(words if count == total else f"{count} of {total} {words}")
    return ", ".join(parts) or "finished"


@dataclass(frozen=True, eq=False)
class Records:
    """A result with its settings summarised; those that are drawn, with their place on the page."""

    result: Result
    settings: tuple[SettingSummary, ...]
    drawn: Mapping[str, SettingSummary]


# Settings drawn in full; a grid of hundreds has all of its figures in the table.
MOST_DRAWN = 8


def records_of(result: Result) -> Records:
    """Summarise a result."""
    settings = summarise(result)
    chosen = choose_settings(settings)
    anchors = unique_slugs(setting.name for setting in chosen)
    return Records(result, settings, {anchors[setting.name]: setting for setting in chosen})


def tested_settings(result: Result) -> frozenset[str]:
    """Settings whose test rows are shown: all that were reported about, else the best alone.

    A setting that is chosen by test rows cannot be judged by them.
    """
    return frozenset(result.settings if result.reported else [result.ranking[0].name])


def choose_settings(
    settings: Sequence[SettingSummary], most: int = MOST_DRAWN
) -> tuple[SettingSummary, ...]:
    """The best settings by validation accuracy, in their order in the result."""

    def rank(setting: SettingSummary) -> float:
        return setting.validation.mean if setting.validation.n else -math.inf

    names = {setting.name for setting in sorted(settings, key=rank, reverse=True)[:most]}
    return tuple(setting for setting in settings if setting.name in names)


def grouped(
    settings: Sequence[SettingSummary],
    measured: NDArray[np.bool_],
    fixed: Callable[[SettingSummary], float],
    varied: Callable[[SettingSummary], float],
) -> tuple[float, dict[float, list[int]]] | None:
    """Find the value of one quantity under which another takes most values."""
    groups: dict[float, dict[float, list[int]]] = defaultdict(lambda: defaultdict(list))
    for setting in settings:
        if any(measured[list(setting.counted)]):
            groups[fixed(setting)][varied(setting)] += setting.positions
    if not groups:
        return None
    best = min(groups, key=lambda value: (-len(groups[value]), value))
    return (best, groups[best]) if len(groups[best]) > 1 else None


def run_names(result: Result, positions: Sequence[int]) -> tuple[str, ...]:
    """What single runs of a setting are called: by their seeds, told apart where those agree."""
    seeds = [result.runs[i].seed for i in positions]
    if len(set(seeds)) == len(seeds):
        return tuple(f"seed {seed}" for seed in seeds)
    return tuple(f"seed {seed}, run {i}" for seed, i in zip(seeds, positions, strict=True))


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


def number(value: float | None, form: str = ".2f") -> str:
    """A number as text, or a dash for none.

    Example:
        >>> number(-1.5), number(-0.001), number(None)
        ('−1.50', '0.00', '–')
    """
    if value is None or value != value:
        return "–"
    text = format(value, form).replace("-", "−")
    # What rounds to nothing has no sign.
    return text.lstrip("+−") if not text.strip("+−0.") else text


PAIRS_LISTED = 20


@dataclass(frozen=True)
class Mistake:
    """A confusion of two classes: how often the first is taken for the second, percent."""

    truth: str
    prediction: str
    percent: float


def share_of_rows(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Percent of each true class that is predicted as each class.

    Example:
        >>> share_of_rows(np.array([[3, 1], [0, 0]]))
        array([[75., 25.],
               [ 0.,  0.]])
    """
    totals = counts.sum(axis=1, keepdims=True)
    return np.asarray(100.0 * counts / np.maximum(totals, 1))


def frequent_mistakes(
    percent: NDArray[np.float64], class_names: tuple[str, ...], most: int = PAIRS_LISTED
) -> tuple[Mistake, ...]:
    """The pairs of classes that are confused most often, most frequent first."""
    wrong = percent.copy()
    np.fill_diagonal(wrong, 0.0)
    order = np.argsort(wrong, axis=None, kind="stable")[::-1][:most]
    pairs = (np.unravel_index(int(place), wrong.shape) for place in order)
    return tuple(
        Mistake(class_names[i], class_names[j], float(wrong[i, j]))
        for i, j in pairs
        if wrong[i, j] > 0.0
    )
