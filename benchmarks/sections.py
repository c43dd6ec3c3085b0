"""What is measured: peers, grids, wide problems; each a list of entries and a number of rounds."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.contenders import CONTENDERS, ONELAYER, contender
from benchmarks.problem import Problem, Setting
from benchmarks.rounds import Entry

THE_FOUR = (
    Setting(learning_rate=0.1, l2=0.0),
    Setting(learning_rate=0.01, l2=0.0),
    Setting(learning_rate=0.01, l2=0.1),
    Setting(learning_rate=0.01, l2=1.0),
)
SEEDS_OF_64 = 16


@dataclass(frozen=True)
class Section:
    """Entries that are timed in the same rounds."""

    name: str
    title: str
    entries: tuple[Entry, ...]
    rounds: int


def make_sections(source: str, *, quick: bool) -> tuple[Section, ...]:
    """All sections; the quick form has fewer epochs and rounds, and says so in the record."""
    epochs, rounds = (4, 3) if quick else (40, 5)
    one = Problem("one", source=source, epochs=epochs)
    penalised = one.with_settings("one-l2", (Setting(l2=0.1),))
    four = one.with_settings("four", THE_FOUR)
    seeds = range(SEEDS_OF_64)
    many = one.with_settings("64", tuple(replace(s, seed=i) for s in THE_FOUR for i in seeds))
    ours = contender(ONELAYER)
    alone = [c for c in CONTENDERS if not c.several_runs and c is not ours]
    softmax = [c for c in alone if c.same_algorithm]
    return (
        Section(
            "peers",
            "The report's setting, one run and the four settings",
            (
                Entry(ours, one, with_limits=True),
                *(Entry(c, one) for c in alone),
                Entry(ours, four, with_limits=True),
                Entry(contender("numpy"), four),
                Entry(contender("jax-vmap"), four),
            ),
            rounds,
        ),
        Section(
            "penalty",
            "One run with λ = 0.1",
            (Entry(ours, penalised), *(Entry(c, penalised) for c in softmax)),
            2 if quick else 3,
        ),
        Section(
            "grids",
            "64 runs in one pass",
            (Entry(ours, replace(many, epochs=2 if quick else 40), with_limits=True),),
            2 if quick else 3,
        ),
        _wide(2 if quick else 5),
    )


def _wide(rounds: int) -> Section:
    problem = Problem(
        "wide-float32",
        rows=20_000,
        features=1024,
        classes=1000,
        batch_size=1024,
        epochs=2,
        dtype="float32",
    )
    half = replace(problem, name="wide-float16", dtype="float16")
    ours, numpy = contender(ONELAYER), contender("numpy")
    return Section(
        "wide",
        "Wide: 1000 classes",
        (
            Entry(ours, half, with_limits=True),
            Entry(ours, problem, with_limits=True),
            Entry(numpy, half),
            Entry(numpy, problem),
        ),
        rounds,
    )
