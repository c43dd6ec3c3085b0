"""The settings of training: a Run is one setting, a grid is many.

Each hyperparameter is declared once, as a field of `Run` that says what it means, what it must be
and how it reads in a run's name. The command line makes its options of these fields, and the
arrays that engines take are built from them (`method_arrays`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any, Literal, SupportsIndex

import numpy as np

from onelayer.engines import Method
from onelayer.errors import (
    SettingsError,
    as_values,
    known_fields,
    make_plain,
    one_line,
    plain,
    require_number,
    require_whole,
    unknown_name,
)
from onelayer.files.records import MAY_LACK
from onelayer.objective.loss import BELOW_ONE, Loss, check_loss
from onelayer.objective.penalty import L2_RANGE, MAX_L2
from onelayer.training.schedule import (
    AVERAGES,
    CONSTANT,
    NONE,
    PLANNED,
    SCHEDULES,
    parse_averaging,
    parse_schedule,
)

Auto = Literal["auto"]

# A count of seeds, or the seeds.
Seeds = SupportsIndex | Iterable[int]

AUTO: Auto = "auto"
AUTO_BATCH = 100

# More runs than anybody waits for.
MAX_RUNS = 100_000


@dataclass(frozen=True)
class Hyperparameter:
    """What is known of one field of `Run`: for checks, names, help texts and tables."""

    kind: type  # float, int, bool or str
    symbol: str = ""  # its letter in equations, as in η
    expected: str = "a finite number, 0 or above"  # its range in words
    least: float = 0
    above: float = -math.inf
    below: float = math.inf
    optional: bool = False  # whether None is allowed
    auto: bool = False  # whether the text "auto" is allowed
    word: str = ""  # how it reads in names, as a format; by default after its symbol, if any
    words: Mapping[object, str] = field(default_factory=dict)  # how these values read instead
    silent: bool = False  # whether names say it only where runs of one training differ in it

    def check(self, name: str, value: object) -> None:
        """Refuse a value of the wrong type or outside the range."""
        if (self.optional and value is None) or (
            self.auto and isinstance(value, str) and value == AUTO
        ):
            return
        name = f"{name} ({self.symbol})" if self.symbol else name
        if self.kind is float:
            expected = f'{self.expected} or "auto"' if self.auto else self.expected
            require_number(
                name, value, expected, least=self.least, above=self.above, below=self.below
            )
        elif self.kind is int:
            require_whole(name, value, int(self.least))
        elif self.kind is bool and not isinstance(value, bool):
            raise SettingsError(f"{name} must be true or false, but {value!r} was given.")

    def spell(self, value: object, *, whole: bool = False) -> str:
        """How a value reads in names, with the `whole` of its digits or six of them."""
        shown = f"{value:g}" if isinstance(value, float) and not whole else str(value)
        word = self.word or (f"{self.symbol}={{}}" if self.symbol else "{}")
        return self.words.get(value, word.format(shown))


def _setting(
    default: Any, help_: str, kind: type | None = None, *, may_lack: bool = False, **known: Any
) -> Any:
    """A field of `Run` with what is known of it; `MISSING` is no default.

    Older files may lack it.
    """
    metadata = {"help": help_, "hyperparameter": Hyperparameter(kind or type(default), **known)}
    return field(default=default, metadata=metadata | (MAY_LACK if may_lack else {}))


@known_fields
@dataclass(frozen=True)
class Run:
    """One setting of mini-batch gradient descent, from initial weights to the last epoch.

    V ← μ V + ∂J/∂W, W ← W − η V once a batch, b likewise; W and b start at N(0, init_scale²).

    Attributes:
        learning_rate: η > 0, step length; "auto" takes one that is guaranteed to be stable on the
            training rows (`onelayer.suggest_learning_rate` shows it).
        l2: λ ≥ 0, multiplies Σ W² in the cost.
        seed: random seed of the initial weights, 0 … 2³² − 1.
        batch_size: rows of a batch, 1 … N; "auto" takes 100, or all rows where there are fewer. A
            last smaller batch is averaged over its own size.
        epochs: passes over the training rows, ≥ 1.
        shuffle: whether each epoch visits the rows in a new random order; else in file order.
        shuffle_seed: random seed of these orders, ≥ 0.
        init_scale: standard deviation of the initial weights, ≥ 0.
        name: the setting's name in tables and charts; by default λ, η and all that is not the
            default, and among other settings λ, η and all in which they differ. Runs that differ
            only in the seed share it.
        l1: λ₁ ≥ 0, multiplies Σ |W| in the cost. After each step a proximal one draws every weight
            by η λ₁ towards 0, and to 0 those within it; with momentum V takes in the subgradient
            that it used. Averages are of the weights after it.
        grouped: whether l1 multiplies Σ_d ‖W_:d‖₂ instead, a norm over the classes of a feature: a
            feature is then chosen for all classes or for none. Without l1 both are the same.
        momentum: μ in [0, 1).
        nesterov: whether W ← W − η (∂J/∂W + μ V); without momentum both are the same.
        schedule: factor of η as training proceeds: "constant", "cosine", "step:EPOCHS:FACTOR" or
            "cyclical:FRACTION:EPOCHS" (`onelayer.training.schedule`).
        warmup: epochs in which η rises linearly to its full value, fractions allowed.
        averaging: the model is the last weights, "none"; the mean of the last steps' weights,
            "tail:FRACTION"; or their exponential moving average, "ema:DECAY".
        loss: "softmax", or "sigmoid": the mean of K binary cross-entropies. Many labels a row need
            "sigmoid", which is then their sum.
        label_smoothing: ε in [0, 1); targets are (1 − ε) y + ε/K.
        intercept: whether there is a bias; without one b is 0, and "standardize" does not centre
            the features, which would bring a bias back.
        flip_seed: None trains on images as they are; a seed mirrors each with a chance of one
            half, drawn anew each epoch.
        patience: None trains all epochs and keeps the last weights; a number stops the run after
            that many epochs without a lower validation loss, and keeps the weights of the lowest.

    NumPy numbers are taken as well, and stored as Python's.

    Raises:
        SettingsError: when a value is outside its range.

    Example:
        >>> Run(learning_rate=0.01, l2=0.1).name
        'λ=0.1, η=0.01'
    """

    learning_rate: float | Auto = _setting(
        MISSING,
        "Learning rate η > 0, or auto: a rate that is guaranteed to be stable.",
        float,
        symbol="η",
        auto=True,
        expected="a finite number above 0",
        least=-math.inf,
        above=0,
    )
    l2: float = _setting(
        0.0,
        "L2 penalty λ ≥ 0; the cost adds λ Σ W².",
        symbol="λ",
        expected=L2_RANGE,
        below=MAX_L2,
    )
    seed: int = _setting(0, "Random seed of the initial weights.")
    batch_size: int | Auto = _setting(
        AUTO,
        "Rows per batch; auto: 100, or all of fewer.",
        int,
        least=1,
        auto=True,
        word="batch {}",
        silent=True,
    )
    epochs: int = _setting(
        20,
        "Passes over the training rows.",
        least=1,
        word="{} epochs",
        words={1: "1 epoch"},
        silent=True,
    )
    shuffle: bool = _setting(
        True,
        "Shuffle the rows, anew each epoch.",
        words={True: "shuffled", False: "file order"},
        silent=True,
    )
    shuffle_seed: int = _setting(
        0, "Random seed of the row order.", word="shuffle seed {}", silent=True
    )
    init_scale: float = _setting(
        0.01, "Standard deviation of the initial weights.", word="init scale {}", silent=True
    )
    name: str = ""
    l1: float = _setting(
        0.0,
        "L1 penalty λ₁ ≥ 0, times Σ |W|.",
        symbol="λ₁",
        expected=L2_RANGE,
        below=MAX_L2,
        may_lack=True,
    )
    grouped: bool = _setting(
        False,
        "Let l1 choose each feature for all classes or for none.",
        words={True: "grouped", False: "not grouped"},
        may_lack=True,
    )
    momentum: float = _setting(
        0.0, "Momentum μ, 0 ≤ μ < 1.", symbol="μ", expected=BELOW_ONE, below=1
    )
    nesterov: bool = _setting(
        False, "Nesterov momentum.", words={True: "Nesterov", False: "not Nesterov"}
    )
    schedule: str = _setting(CONSTANT, f"Schedule of η: {', '.join(SCHEDULES)}.")
    warmup: float = _setting(
        0.0,
        "Warm-up epochs: η rises linearly to its full value.",
        expected="a number of epochs, 0 or above",
        word="warm-up {}",
    )
    averaging: str = _setting(
        NONE, f"Averaging of the weights: {', '.join(AVERAGES)}.", words={NONE: "no averaging"}
    )
    loss: Loss = _setting("softmax", "softmax, or sigmoid: the mean of K binary cross-entropies.")
    label_smoothing: float = _setting(
        0.0, "Label smoothing ε, 0 ≤ ε < 1.", symbol="ε", expected=BELOW_ONE, below=1
    )
    intercept: bool = _setting(
        True,
        "Fit a bias; without one b = 0, and features are not centred.",
        words={True: "intercept", False: "no intercept"},
        may_lack=True,
    )
    flip_seed: int | None = _setting(
        None,
        "Random seed of horizontal flips of images.",
        int,
        optional=True,
        word="flip seed {}",
        words={None: "no flips"},
    )
    patience: int | None = _setting(
        None,
        "Stop a run after this many epochs without a lower validation loss.",
        int,
        least=1,
        optional=True,
        word="patience {}",
        words={None: "no patience"},
    )

    def __post_init__(self) -> None:
        make_plain(self)
        for name, known in HYPERPARAMETERS.items():
            known.check(name, getattr(self, name))
        check_loss(self.loss, self.label_smoothing)
        parse_schedule(self.schedule)
        parse_averaging(self.averaging)
        if self.warmup > self.epochs:
            raise SettingsError(
                f"warmup must be at most the {self.epochs} epochs, but {self.warmup!r} was given."
            )
        if not self.name:
            object.__setattr__(self, "name", spell([self], {*FIRST_WORDS, *changed([self])})[0])

    @property
    def averages(self) -> bool:
        """Whether the model is an average of the weights."""
        return self.averaging != NONE

    @property
    def sigmoid(self) -> bool:
        """Whether the loss is the K-sigmoid loss."""
        return self.loss == "sigmoid"

    @property
    def no_intercept(self) -> bool:
        """Whether b is 0."""
        return not self.intercept

    @property
    def order_seed(self) -> int | None:
        """Random seed of the row orders; None for file order."""
        return self.shuffle_seed if self.shuffle else None

    @property
    def setting(self) -> tuple[object, ...]:
        """All but the seed: runs of one setting have the same, and only they."""
        return tuple(getattr(self, item.name) for item in fields(self) if item.name != "seed")

    @property
    def eta(self) -> float:
        """The learning rate as a number; `SettingsError` while it is "auto"."""
        rate: float = self._chosen("learning_rate")
        return rate

    @property
    def batch(self) -> int:
        """The batch size as a number; `SettingsError` while it is "auto"."""
        size: int = self._chosen("batch_size")
        return size

    def _chosen(self, name: str) -> Any:
        if (value := getattr(self, name)) == AUTO:
            raise SettingsError(f'{name} is "auto" until training has chosen it.')
        return value

    def as_dict(self) -> dict[str, Any]:
        """The run as plain values, fit for JSON; `Run(**run.as_dict())` gives it back."""
        return asdict(self)


HYPERPARAMETERS: Mapping[str, Hyperparameter] = {
    item.name: item.metadata["hyperparameter"] for item in fields(Run) if item.metadata
}


DEFAULTS: Mapping[str, Any] = {item.name: item.default for item in fields(Run)}

# What every name has first, in this order.
FIRST_WORDS = ("l2", "learning_rate")


def spell(runs: Sequence[Run], names: Collection[str]) -> list[str]:
    """These settings of each run in the words of names, in which no two values read alike."""
    columns = []
    for name in sorted(names, key=[*FIRST_WORDS, *HYPERPARAMETERS].index):
        known, values = HYPERPARAMETERS[name], [getattr(run, name) for run in runs]
        short = {known.spell(value) for value in values}
        whole = len(short) < len(set(values))
        columns.append([known.spell(value, whole=whole) for value in values])
    return [", ".join(words) for words in zip(*columns, strict=True)] or [""] * len(runs)


# Settings that say nothing where another has its default.
PARTS_OF = {"nesterov": "momentum", "grouped": "l1"}


def changed(runs: Iterable[Run]) -> set[str]:
    """The settings that are not the default in a run, of those that names say on their own."""
    skipped = {"seed", *FIRST_WORDS}
    own = [n for n, known in HYPERPARAMETERS.items() if not known.silent and n not in skipped]
    found = {name for run in runs for name in own if getattr(run, name) != DEFAULTS[name]}
    return found - {name for name, of in PARTS_OF.items() if of not in found}


def differing(runs: Iterable[Run]) -> list[str]:
    """The settings in which runs differ, besides the seed and the name."""
    values = [run.setting for run in {run.setting: run for run in runs}.values()]
    names = [item.name for item in fields(Run) if item.name != "seed"]
    columns = zip(names, zip(*values, strict=True), strict=False)
    return [name for name, column in columns if name != "name" and len(set(column)) > 1]


def fit_batches(runs: Iterable[Run], rows: int) -> list[Run]:
    """The runs for N training rows: batches of "auto" hold AUTO_BATCH of them, or all of fewer."""
    size = min(AUTO_BATCH, rows)
    return [replace(run, batch_size=size) if run.batch_size == AUTO else run for run in runs]


def method_arrays(runs: Sequence[Run]) -> Method:
    """The objective and the optimiser of each run, as the arrays that engines take."""
    return Method(**{
        item.name: np.array([getattr(run, item.name) for run in runs], item.metadata["dtype"])
        for item in fields(Method)
    })  # fmt: skip


def seed_values(seeds: Seeds) -> list[int]:
    """The seeds of a count, 0 … seeds − 1, or those that are listed."""
    count = plain(seeds)
    if isinstance(count, Iterable):
        if not (listed := as_values(count)):
            raise SettingsError("seeds must be a count or a list of seeds, but it is empty.")
        if twice := [one for i, one in enumerate(listed) if one in listed[:i]]:
            raise SettingsError(
                f"seeds must differ from each other, but {one_line(repr(twice[0]))} is given twice."
            )
        return listed
    require_whole("seeds", count, 1)
    _check_count(count)
    return list(range(count))


def grid(*, seeds: Seeds = 1, **settings: Any) -> tuple[Run, ...]:
    """Every combination of the given settings, as runs.

    Args:
        seeds: how many seeds each setting is trained from, 0 … seeds − 1, or a list of seeds.
        **settings: attributes of `Run`. A list, tuple, range, array, series or generator is swept,
            a single value is fixed. The last swept setting varies fastest, the seed faster still.

    Returns:
        The runs, in the order of the product.

    Raises:
        SettingsError: for an unknown setting or a bad value.

    Example:
        >>> [run.name for run in grid(learning_rate=[0.1, 0.01], l2=0.0)]
        ['λ=0, η=0.1', 'λ=0, η=0.01']
    """
    _require_known(settings)
    if "learning_rate" not in settings:
        raise SettingsError('a grid needs learning_rate (η); "auto" takes a stable one.')
    axes = {name: as_values(values) for name, values in settings.items()}
    if empty := [name for name, values in axes.items() if not values]:
        raise SettingsError(f"{empty[0]} has no values; give one or more, or leave it out.")
    axes |= {"seed": seed_values(seeds)}
    _check_count(math.prod(map(len, axes.values())))
    return tuple(
        Run(**dict(zip(axes, values, strict=True))) for values in itertools.product(*axes.values())
    )


def _check_count(runs: int) -> None:
    if runs > MAX_RUNS:
        raise SettingsError(
            f"at most {MAX_RUNS:,} runs are trained together, but {one_line(f'{runs:,}')} were "
            "asked for; give fewer values or seeds."
        )


# Significant digits of drawn numbers, so that a table can be read and typed.
DIGITS = 3


def random_grid(
    n: int, *, draw_seed: int = 0, seeds: Seeds = 1, **settings: Any
) -> tuple[Run, ...]:
    """Draw n different settings at random, as runs.

    Where few of many settings matter, random draws try more values of each than a grid.

    Args:
        n: number of settings, ≥ 1.
        draw_seed: random seed of the draws.
        seeds: how many seeds each setting is trained from, 0 … seeds − 1, or a list of seeds.
        **settings: attributes of `Run`. A tuple (low, high) is drawn log-uniformly from low to
            high, both above 0; of a list, range, array or series one entry is drawn; a single
            value is fixed.

    Returns:
        The runs, setting by setting; drawn numbers have 3 significant digits.

    Raises:
        SettingsError: for an unknown setting, a bad value or range, or lists with fewer than n
            combinations.

    Source:
        Bergstra & Bengio, Random search for hyper-parameter optimization, JMLR 13 (2012).

    Example:
        >>> runs = random_grid(2, learning_rate=(1e-3, 0.3), l2=[0.0, 1e-4], seeds=2)
        >>> [run.name for run in runs if run.seed == 0]
        ['λ=0.0001, η=0.0378', 'λ=0, η=0.00126']
    """
    n, draw_seed = plain(n), plain(draw_seed)
    require_whole("n", n, 1)
    _check_count(n * len(seed_values(seeds)))
    require_whole("draw_seed", draw_seed, 0)
    _require_known(settings)
    for name, values in settings.items():
        given = as_values(values)
        settings[name] = tuple(given) if isinstance(values, tuple) else given
        _check_choice(name, settings[name])
    rng = np.random.default_rng(draw_seed)
    drawn: dict[tuple[Any, ...], dict[str, Any]] = {}
    in_vain = 0
    while len(drawn) < n:
        setting = {name: _draw(rng, name, values) for name, values in settings.items()}
        in_vain = in_vain + 1 if tuple(setting.values()) in drawn else 0
        drawn.setdefault(tuple(setting.values()), setting)
        if in_vain == 1000:  # lists alone have finitely many combinations
            raise SettingsError(
                f"cannot draw {n} different settings: the values given make only {len(drawn)}; "
                "draw fewer (n, --random), or give a range such as learning_rate=(0.001, 0.3) "
                "(--lr 0.001:0.3)."
            )
    return tuple(run for setting in drawn.values() for run in grid(seeds=seeds, **setting))


def _check_choice(name: str, values: Any) -> None:
    if isinstance(values, tuple):
        if len(values) != 2:
            raise SettingsError(
                f"{name} must be a range (low, high), a list of values or one value, but "
                f"{values!r} was given."
            )
        for value in values:
            require_number(
                f"{name}, an end of its range,", value, "a finite number above 0", above=0
            )
        if values[0] >= values[1]:
            raise SettingsError(
                f"{name} must be a range from low to high, but {values!r} was given."
            )
    elif not values:
        raise SettingsError(f"{name} must have values to choose from, but an empty list was given.")


def _draw(rng: np.random.Generator, name: str, values: Any) -> Any:
    """One value: from a range evenly in its logarithm, from a list with equal chances."""
    if isinstance(values, tuple):
        low, high = (math.log(value) for value in values)
        value = math.exp(rng.uniform(low, high))
        if HYPERPARAMETERS[name].kind is int:
            return round(value)
        return min(max(float(f"{value:.{DIGITS}g}"), values[0]), values[1])
    return values[int(rng.integers(len(values)))] if len(values) > 1 else values[0]


def name_settings(runs: Sequence[Run]) -> tuple[Run, ...]:
    """Name runs so that two share a name if, and only if, they differ in nothing but the seed."""
    named = list(runs)
    unnamed = [i for i, run in enumerate(runs) if _is_automatic(run)]
    if differ := differing(runs[i] for i in unnamed):
        words = spell([runs[i] for i in unnamed], {*FIRST_WORDS, *differ})
        for i, own in zip(unnamed, words, strict=True):
            named[i] = replace(runs[i], name=own)
    alike: dict[str, list[int]] = {}
    for i, run in enumerate(named):
        alike.setdefault(run.name, []).append(i)
    for name, places in alike.items():
        if differ := differing(named[i] for i in places):
            for i, own in zip(places, spell([named[i] for i in places], differ), strict=True):
                named[i] = replace(named[i], name=f"{name}, {own}")
    return tuple(named)


def _is_automatic(run: Run) -> bool:
    """Whether a run's name is made of its settings: λ, η, and maybe others."""
    own = {
        name: {known.spell(getattr(run, name), whole=whole) for whole in (False, True)}
        for name, known in HYPERPARAMETERS.items()
    }
    words = run.name.split(", ")
    first = [*zip(FIRST_WORDS, words, strict=False)]
    return (
        len(first) == len(FIRST_WORDS)
        and all(word in own[name] for name, word in first)
        and set().union(*own.values()).issuperset(words)
    )


def planned_part(run: Run) -> str:
    """What a run plans over all of its epochs, so that none can be added; '' where they can be."""
    for name in ("schedule", "averaging"):
        if (spec := getattr(run, name)).partition(":")[0] in PLANNED:
            return f"{name} {spec}"
    return ""


def group_passes(runs: Sequence[Run]) -> list[list[int]]:
    """Group runs that can share a pass over the data: same batches, order, flips and epochs."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for position, run in enumerate(runs):
        key = (run.batch_size, run.epochs, run.order_seed, run.flip_seed)
        groups.setdefault(key, []).append(position)
    return list(groups.values())


def _require_known(names: Iterable[str]) -> None:
    known = [item.name for item in fields(Run) if item.name != "seed"]
    for name in names:
        if name == "seed":
            raise SettingsError("seed is not swept; pass seeds, a count or a list of seeds.")
        if name not in known:
            raise unknown_name("setting", name, known)
