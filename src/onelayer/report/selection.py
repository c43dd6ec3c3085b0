"""Which setting of a grid is best, and what the grid around it looks like.

Needs two learning rates and two λ, each with each, or many settings of any kind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from onelayer.ranking import Standing, rank_settings
from onelayer.report.summary import Spread, percent_on_test, spread
from onelayer.report.wording import listed, unbroken
from onelayer.result import Result

MOST_LINES = 10
# More settings than this are ranked though they are no grid, as those that were drawn at random.
MOST_UNRANKED = 8


@dataclass(frozen=True)
class Grid:
    """Every η with every λ of one kind.

    Attributes:
        kind: what else sets these settings apart from others, such as "batch 50"; or empty.
        rates: η, ascending.
        l2s: λ, ascending.
        standings: by (η, λ).
    """

    kind: str
    rates: tuple[float, ...]
    l2s: tuple[float, ...]
    standings: dict[tuple[float, float], Standing]


@dataclass(frozen=True)
class Selection:
    """The best setting by the validation rows, among grids of η and λ.

    Attributes:
        heading: of the section.
        sentence: which setting is best, and what it scores.
        edges: what lies beyond the grid, in a sentence; empty when the best is inside it.
        ties: how many settings so few validation rows cannot tell from it; empty for none.
        best: the best setting.
        grids: one of each kind, smaller batches first; none when the settings are no complete
            grid.
        leaders: the first MOST_LINES of the ranking.
        settings: how many there are.
        lost: how many of them had a run that diverged.
    """

    heading: str
    sentence: str
    edges: str
    ties: str
    best: Standing
    grids: tuple[Grid, ...]
    leaders: tuple[Standing, ...]
    settings: int
    lost: int


def select_setting(result: Result) -> Selection | None:
    """Find the best setting and the grids that it was found in.

    Args:
        result: the records.

    Returns:
        The selection; None when the settings are neither a complete grid of at least 2 × 2 η and λ
        nor many, or nothing was measured on validation rows.
    """
    ranked = rank_settings(result)
    grids = _grids(ranked)
    best = ranked[0]
    if best.diverged or math.isnan(best.accuracy) or not (grids or len(ranked) > MOST_UNRANKED):
        return None
    home = next((grid for grid in grids if grid.kind == best.kind), None)
    return Selection(
        heading="Which setting is best",
        sentence=_sentence(best, len(ranked), _test(result, best)),
        edges=_edges(best, home) if home else "",
        ties=_ties(ranked, result.data.validation_rows),
        best=best,
        grids=grids,
        leaders=ranked[:MOST_LINES],
        settings=len(ranked),
        lost=sum(one.diverged > 0 for one in ranked),
    )


def _grids(ranked: Sequence[Standing]) -> tuple[Grid, ...]:
    """One grid of each kind; none when a cell is missing or has two settings."""
    grids = []
    for _, kind in sorted({(one.batch_size, one.kind) for one in ranked}):
        of_one = [one for one in ranked if one.kind == kind]
        cells = {(one.learning_rate, one.l2): one for one in of_one}
        rates, l2s = (tuple(sorted(values)) for values in map(set, zip(*cells, strict=True)))
        whole = len(rates) > 1 and len(l2s) > 1
        if not whole or len(cells) != len(of_one) or len(cells) != len(rates) * len(l2s):
            return ()
        grids.append(Grid(kind, rates, l2s, cells))
    return tuple(grids)


def _test(result: Result, best: Standing) -> Spread:
    return spread(percent_on_test(result)[list(best.positions)])


def _sentence(best: Standing, settings: int, test: Spread) -> str:
    seeds = len(best.positions)
    mean = f" on average over {seeds} seeds" if seeds > 1 else ""
    words = (
        f"Of {settings} settings, {best.name} has the best validation accuracy, "
        f"{best.accuracy:.2f} %{mean}, at a validation loss of {best.loss:.4f} nats."
    )
    if test.n:
        words += (
            f" On the test rows, which had no say in the choice, it scores {test.mean:.2f}"
            + (f" ± {test.deviation:.2f}" if test.n > 1 else "")
            + " %."
        )
    return unbroken(words)


def _ties(ranked: Sequence[Standing], rows: int) -> str:
    """How many settings are within the standard error of a share p of N rows, √(p (1 − p) / N)."""
    best = ranked[0].accuracy
    error = math.sqrt(best * (100.0 - best) / max(rows, 1))
    near = sum(not one.diverged and one.accuracy >= best - error for one in ranked[1:])
    if not near:
        return ""
    others = "another setting lies" if near == 1 else f"{near} other settings lie"
    return unbroken(
        f"Within {error:.2f} points of that on validation, the standard error of an accuracy on "
        f"{rows:,} rows, {others}: the validation rows hardly tell them apart."
    )


def _edges(best: Standing, grid: Grid) -> str:
    beyond = [
        f"a {word} {letter} than {value:g}"
        for letter, value, values in (
            ("η", best.learning_rate, grid.rates),
            ("λ", best.l2, grid.l2s),
        )
        for word, end in (("smaller", values[0]), ("larger", values[-1]))
        if value == end and not (word == "smaller" and value == 0.0)
    ]
    if not beyond:
        return ""
    return (
        f"The best setting lies at the edge of the grid: {listed(beyond)} was not tried and may "
        "be better still."
    )
