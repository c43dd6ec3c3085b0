"""Figures of a result over seeds and of a λ path, and the words that pages share.

Everything here counts and averages what the result already holds; nothing is trained, predicted
or read again. Accuracies are percentages and their differences percentage points.
"""

from __future__ import annotations

import math
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.data.dataset import DataCard
from onelayer.data.scaling import Scaling
from onelayer.model.metrics import metric_of
from onelayer.report.chart import unique_slugs
from onelayer.solver import Path, Score
from onelayer.solver.selection import IN_SCORES, mean_score
from onelayer.training.result import Outcome, RankedSetting, ReportedFigures, Result, Status

# A setting is said to be chaotic when its test accuracy moves by more than this between seeds
# (settings that settle move by a few tenths of a point) and its cost does not fall steadily but
# rises in more than this share of the epochs. A wide spread alone may be a small test set.
CHAOTIC_POINTS = 3.0

CHAOTIC_RISES = 0.1

ENDINGS: dict[Status, str] = {
    "stopped": "stopped early",
    "diverged": "diverged",
    "interrupted": "interrupted",
}


# What stands behind a ±, in the same words everywhere; see also `interval_words`.
OVER_SEEDS = "± standard deviation over seeds"


def standard_error(folds: int, groups: int | None = None) -> str:
    """What stands behind the ± of a score over folds, or, for 0 folds, over groups or rows."""
    units = f"{folds} folds" if folds else f"{groups:,} groups" if groups else "rows"
    return f"standard error over {units}"


@dataclass(frozen=True)
class Spread:
    """One quantity over n runs; without any, n is 0 and the rest NaN."""

    mean: float
    deviation: float  # of a sample: n − 1 in the divisor; 0 for one run
    low: float
    high: float
    n: int


def spread(values: ArrayLike) -> Spread:
    """Summarise one quantity over runs; values that are not finite are left out."""
    kept = np.asarray(values, np.float64).ravel()
    kept = kept[np.isfinite(kept)]
    if not kept.size:
        return Spread(math.nan, math.nan, math.nan, math.nan, 0)
    # A power of two changes no digit, and keeps squares from overflowing.
    scale = 2.0 ** (math.frexp(float(np.abs(kept).max()))[1] - 1)
    mean = scale * float((kept / scale).mean())
    deviation = scale * float((kept / scale).std(ddof=1)) if kept.size > 1 else 0.0
    return Spread(mean, deviation, float(kept.min()), float(kept.max()), kept.size)


# A difference is a conclusion where it is larger than this many of its standard errors.
CLEAR_ERRORS = 2.0


def is_clear(a: Spread, b: Spread, error: float = 0.0) -> bool:
    """Whether two means differ by more than CLEAR_ERRORS standard errors of their difference."""
    if a.n < 2 or b.n < 2:
        return False
    errors = (one.deviation / math.sqrt(one.n) for one in (a, b))
    return abs(a.mean - b.mean) > CLEAR_ERRORS * math.hypot(*errors, error)


def row_error(percent: float, rows: int) -> float:
    """Standard error of an accuracy measured on so many rows, √(p (1 − p) / N), percent."""
    return math.sqrt(max(percent * (100.0 - percent), 0.0) / max(rows, 1))


@dataclass(frozen=True)
class Comparison:
    """An accuracy of a setting over its runs beside the reported one, in percent."""

    reported: float | None
    measured: Spread
    below: int  # how many of the measured values are smaller than the reported one

    @property
    def difference(self) -> float | None:
        """Measured mean minus reported, percentage points; None without a reported figure."""
        return None if self.reported is None else self.measured.mean - self.reported

    @property
    def inside(self) -> bool:
        """Whether the reported figure lies within the range over runs."""
        reported = math.nan if self.reported is None else self.reported
        return self.measured.low <= reported <= self.measured.high


@dataclass(frozen=True)
class SettingSummary:
    """One line of the table: a setting with its figures over seeds, in percent."""

    name: str
    learning_rate: float
    l2: float
    l1: float
    grouped: bool  # whether λ₁ is of the norm of each feature's weights
    kind: str  # what else sets it apart from the other settings
    positions: tuple[int, ...]  # of its runs in the result
    counted: tuple[int, ...]  # of those that the figures are over
    train: Comparison
    test: Comparison
    validation: Spread
    rises: float  # share of the epochs in which the training cost rose
    status: str  # how the runs ended, in words
    troubles: tuple[str, ...]  # messages of runs that did not finish

    @property
    def chaotic(self) -> bool:
        """Whether the seeds disagree widely on the test set while the cost jumps up and down."""
        test = self.test.measured
        return test.high - test.low > CHAOTIC_POINTS and self.rises > CHAOTIC_RISES

    @property
    def chaos(self) -> str:
        """How far the seeds of a chaotic setting disagree, and where the reported pair lies."""
        if not self.chaotic:
            return ""
        test = self.test.measured
        sentence = (
            f"This setting is chaotic: its cost rises in {100.0 * self.rises:.0f} % of the epochs "
            f"instead of settling, and {test.n} seeds that differ only in their initial weights "
            f"end anywhere from {test.low:.2f} to {test.high:.2f} % on the test set, so a single "
            "run says little."
        )
        if self.train.reported is None or self.test.reported is None:
            return sentence
        places = [
            f"{part} accuracy of {figure.reported:.2f} % lies "
            f"{'inside' if figure.inside else 'outside'} the measured {figure.measured.low:.2f} to "
            f"{figure.measured.high:.2f} %, above {figure.below} of {figure.measured.n} seeds"
            for part, figure in (("training", self.train), ("test", self.test))
        ]
        return f"{sentence} The reported {places[0]}; the reported {places[1]}."


def summarise(result: Result) -> tuple[SettingSummary, ...]:
    """Summarise every setting of a result."""
    reported = {figures.name: figures for figures in result.reported}
    accuracies = np.stack([result.train_accuracy, result.validation_accuracy])
    percent = np.stack([*(100.0 * accuracies), percent_on_test(result)])
    return tuple(
        _summarise_setting(result, setting, percent, reported.get(setting.name))
        for setting in sorted(result.ranking, key=lambda setting: setting.positions)
    )


def percent_on_test(result: Result) -> NDArray[np.float64]:
    """Test accuracy of each run with the weights that were kept."""
    if result.test_scores:
        return 100.0 * result.test_accuracy
    counts = result.confusion.sum(axis=(1, 2))
    right = np.trace(result.confusion, axis1=1, axis2=2)
    return np.where(counts > 0, 100.0 * right / np.maximum(counts, 1), np.nan)


def _summarise_setting(
    result: Result,
    setting: RankedSetting,
    percent: NDArray[np.float64],
    figures: ReportedFigures | None,
) -> SettingSummary:
    """Summarise one setting; `percent` holds training, validation and test accuracies, (3, R)."""
    positions = setting.positions
    outcomes = [result.outcomes[i] for i in positions]
    counted = [i for i in positions if result.outcomes[i].status != "diverged"] or [*positions]
    train, validation, test = percent[:, counted]
    cost = result.history.train_cost[counted]
    taken = np.isfinite(cost[:, :-1]) & np.isfinite(cost[:, 1:])
    rises = taken & (cost[:, 1:] > cost[:, :-1])
    total = len(outcomes)
    endings = [
        words if count == total else f"{count} of {total} {words}"
        for words, count in count_endings(outcomes).items()
    ]
    return SettingSummary(
        name=setting.name,
        learning_rate=setting.learning_rate,
        l2=setting.l2,
        l1=setting.l1,
        grouped=setting.grouped,
        kind=setting.kind,
        positions=positions,
        counted=tuple(counted),
        train=_compare(figures.train_accuracy if figures else None, train),
        test=_compare(figures.test_accuracy if figures else None, test),
        validation=spread(validation),
        rises=float(rises.sum() / max(1, taken.sum())),
        status=", ".join(endings) or "finished",
        troubles=tuple(outcome.message for outcome in outcomes if outcome.message),
    )


def _compare(reported: float | None, measured: NDArray[np.float64]) -> Comparison:
    percent = None if reported is None else 100.0 * reported
    below = 0 if percent is None else int((measured < percent).sum())
    return Comparison(percent, spread(measured), below)


def count_endings(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """How many runs stopped early, diverged or were interrupted, by these words."""
    counts = Counter(outcome.status for outcome in outcomes)
    return {words: counts[status] for status, words in ENDINGS.items() if counts[status]}


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
    return Records(result, settings, dict(zip(anchors, chosen, strict=True)))


def is_tested(result: Result, setting: SettingSummary) -> bool:
    """Whether test rows are shown: of the best alone, or where figures were reported."""
    return bool(result.reported) or setting.positions == result.ranking[0].positions


def choose_settings(
    settings: Sequence[SettingSummary], most: int = MOST_DRAWN
) -> tuple[SettingSummary, ...]:
    """The best settings by validation accuracy, in their order in the result."""

    def rank(setting: SettingSummary) -> float:
        return setting.validation.mean if setting.validation.n else -math.inf

    chosen = {setting.positions for setting in sorted(settings, key=rank, reverse=True)[:most]}
    return tuple(setting for setting in settings if setting.positions in chosen)


@dataclass(frozen=True)
class Compared:
    """Settings that differ in one quantity alone, η or λ."""

    fixed: float  # the other one of the two
    kind: str  # what they have that other settings of the result have not
    positions: Mapping[float, tuple[int, ...]]  # of the runs, by the quantity that varies

    @property
    def place(self) -> str:
        """What follows the value that is fixed, as in ", batch 50"; may be empty."""
        return f", {self.kind}" if self.kind else ""


def settings_over(
    quantity: Literal["learning_rate", "l2"],
    settings: Sequence[SettingSummary],
    measured: NDArray[np.bool_],
) -> Compared | None:
    """The settings over most values of η or λ that agree in all else; None without two values."""
    other = {"learning_rate": "l2", "l2": "learning_rate"}[quantity]
    groups: dict[tuple[float, str], dict[float, tuple[int, ...]]] = defaultdict(dict)
    for setting in settings:
        if any(measured[list(setting.counted)]):
            group = groups[getattr(setting, other), setting.kind]
            group[getattr(setting, quantity)] = setting.positions
    most = min(groups, key=lambda key: (-len(groups[key]), key[0]), default=None)
    if most is None or len(groups[most]) < 2:
        return None
    return Compared(*most, groups[most])


# Training ended early where more than this fraction of the cost may still be saved, which its
# certificates bound; where nothing does, where the cost falls this many times its average.
FAR, STILL_FALLING = 0.05, 0.25


def early_end(result: Result, positions: Sequence[int]) -> str:
    """That the runs of a setting ended far from the optimum, and what to do; '' where not."""
    if any(result.outcomes[i].status != "finished" for i in positions):
        return ""
    setting = result.runs[positions[0]]
    cost = result.history.train_cost[[*positions], : setting.epochs + 1].mean(axis=0)
    last = max(1, setting.epochs // 5)
    fall, average = (float(cost[-1 - n] - cost[-1]) / n for n in (last, setting.epochs))
    falling = fall > STILL_FALLING * average > 0.0 and setting.epochs > 1
    found = f"the cost still falls by {100.0 * fall / cost[-1]:.2g} % an epoch" * falling
    proofs = [result.certificates[i] for i in positions] if result.certificates else []
    if proofs and proofs[0].is_bound:
        share = max(min(proof.gap / proof.cost, 1.0) for proof in proofs)
        found = f"up to {100.0 * share:.0f} % of the cost may still be saved" * (share > FAR)
    if not found:
        return ""
    remedy = "train for more epochs, with smaller batches or a larger learning rate"
    if fall <= 0.0:
        remedy = 'train with a smaller learning rate or schedule="cosine"'
    return f"ended far from the optimum: {found}; {remedy}, or let `solve` find it."


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


def describe_scaling(scaling: Scaling) -> str:
    """What was done to the features; of sparse rows, and without an intercept, none is centred."""
    if scaling.name == "standardize" and not scaling.offset.any():
        return "variance 1 over the training rows, not centred"
    return SCALINGS[scaling.name]


def without_paths(text: str) -> str:
    """Leave out the folders of absolute paths: a page that is shown tells nothing of a machine."""
    path = r"(?<![\w:/.])(?:[A-Za-z]:[\\/]|~?/)(?:[^\s\"',;:]*[\\/])?([^\s\"',;:\\/]+)"
    return re.sub(path, r"…/\1", text)


def describe_rows(card: DataCard, features: int, most: int = 0) -> str:
    """How many rows of what, without a full stop; of sets of rows from `features` to `most`."""
    what = f"{features:,}{f' to {most:,}' * (most > features)} features"
    if card.image_shape is not None:
        channels, height, width = card.image_shape
        kind = "colour" if channels >= 3 else "grey"
        what = f"{height} × {width} {kind} pixels ({features:,} features)"
    classes = f"in {len(card.class_names)} classes"
    if card.many_labels:
        classes = f"with any of {len(card.class_names)} labels"
    return (
        f"{card.train_rows:,} training, {card.validation_rows:,} validation and "
        f"{card.test_rows:,} test rows of {what} {classes}"
    )


def unbroken(text: str) -> str:
    """Keep a number on one line with its sign and its unit."""
    return re.sub(r" (?=[=±%>])|(?<=[=±>]) ", "\u00a0", text).replace("2/η", "2/\u2060η")


def listed(parts: Sequence[str]) -> str:
    """Join words as in a sentence."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def plural(count: int, noun: str) -> str:
    """A count with its noun: "1 run", "2 runs"."""
    return f"{count} {noun}{'s' * (count != 1)}"


def number(value: float | None, form: str = ".2f") -> str:
    """A number as text, or a dash for none."""
    if value is None or value != value:
        return "–"
    # Larger numbers are shown in powers of ten.
    form = ".3g" if math.isfinite(value) and abs(value) >= 1e9 else form
    text = format(value, form).replace("-", "−").replace("inf", "∞")
    # What rounds to nothing has no sign.
    return text.lstrip("+−") if not text.strip("+−0.") else text


def share_of_rows(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Percent of each true class that is predicted as each class."""
    return np.asarray(100.0 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


# How a solution ended that has what was asked for; for λ = 0 there is nothing to prove, and where
# classes can be separated nothing to converge to.
PROVEN, CONVERGED, SEPARATED = "proven", "converged", "no optimum"

STATUSES = {
    "optimal": PROVEN,
    "passes": "passes ran out",
    "rounding": "float64's limit",
    "separated": SEPARATED,
    "interrupted": "interrupted",
}


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error: of one score that of its rows, of folds that of the mean."""

    mean: float
    error: float = 0.0

    @property
    def low(self) -> float:
        """One standard error under the mean."""
        return self.mean - self.error

    @property
    def high(self) -> float:
        """One standard error above the mean."""
        return self.mean + self.error


@dataclass(frozen=True)
class Scores:
    """Accuracy in percent and loss in nats on the same rows, and another metric in its unit."""

    accuracy: Estimate
    loss: Estimate
    value: Estimate | None = None

    def of(self, by: str) -> Estimate:
        """One of them: accuracy, log loss, or the metric that λ was chosen by."""
        name = IN_SCORES.get(by, "value")
        found: Estimate = getattr(self, name)
        return found


@dataclass(frozen=True)
class PathLine:
    """One λ of a path, or one λ₁."""

    strength: float  # λ₁, or λ where there is none
    passes: int
    cost: float
    gap: float  # bound on J − J*, nats; infinite for λ = 0, where none exists
    norm: float
    features: int  # whose weights are not 0
    train: Scores
    held_out: Scores  # on the rows that λ is chosen by
    status: str
    tol: float  # relative gap that was asked for
    chosen: bool

    @property
    def bounded(self) -> bool:
        """Whether there is a bound."""
        return math.isfinite(self.gap)

    @property
    def trouble(self) -> bool:
        """Whether less was reached than was asked for."""
        return self.status not in (PROVEN, CONVERGED)

    @property
    def relative_gap(self) -> float:
        """Share of the cost that may still be saved, gap / J; a cost of 0 has all been saved."""
        return self.gap / max(self.cost, sys.float_info.min)


def summarise_path(path: Path) -> tuple[PathLine, ...]:
    """Gather the figures of every λ."""
    lines = []
    scored = zip(path.models, path.train, path.held_out, strict=True)
    for position, (model, train, held_out) in enumerate(scored):
        proof = model.require_certificate()
        unproven = model.settings["status"] == "optimal" and math.isinf(proof.gap)
        line = PathLine(
            strength=proof.strength,
            passes=model.settings["passes"],
            cost=proof.cost,
            gap=proof.gap,
            norm=float(np.linalg.norm(model.W)),
            features=int(model.W.any(axis=0).sum()),
            train=scores_of((train,), path.choice.by),
            held_out=scores_of(held_out, path.choice.by),
            status=CONVERGED if unproven else STATUSES[model.settings["status"]],
            tol=model.settings["tol"],
            chosen=position == path.chosen,
        )
        lines.append(line)
    return tuple(lines)


def best_line(lines: Sequence[PathLine], by: str) -> PathLine:
    """The line with the best held-out score, whether or not it was chosen; of equals the first."""
    sign = 1.0 if metric_of(by).greater else -1.0
    return max(lines, key=lambda line: sign * line.held_out.of(by).mean)


def scores_of(scores: Sequence[Score], by: str = "accuracy") -> Scores:
    """Figures of one score or over folds, as the choice of λ weighs them."""

    def estimate(name: str) -> Estimate:
        factor = metric_of(name).factor
        return Estimate(*(factor * of for of in mean_score(scores, name)))

    value = None if by in IN_SCORES else estimate(by)
    return Scores(estimate("accuracy"), estimate("log_loss"), value)
