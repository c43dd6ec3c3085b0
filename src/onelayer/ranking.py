"""Which setting is best: by the validation rows, over all of its seeds, and never by the test."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from onelayer.result import Result


@dataclass(frozen=True)
class Standing:
    """A setting's place among all.

    Attributes:
        rank: from 1.
        name: the setting's name.
        learning_rate: η.
        l2: λ.
        batch_size: rows of a batch.
        kind: what else sets it apart from other settings of the result, as in "batch 50,
            standardize"; empty where η and λ say all.
        positions: of its runs in the result, one a seed.
        diverged: how many of them diverged.
        accuracy: mean validation accuracy of those that did not, percent; NaN if none was measured.
        deviation: of that over the seeds, percentage points; 0 for one seed.
        loss: mean validation loss of the same runs, nats.
    """

    rank: int
    name: str
    learning_rate: float
    l2: float
    batch_size: int
    kind: str
    positions: tuple[int, ...]
    diverged: int
    accuracy: float
    deviation: float
    loss: float


def rank_settings(result: Result) -> tuple[Standing, ...]:
    """Rank the settings of a result by mean validation accuracy over their seeds.

    Args:
        result: the records.

    Returns:
        One standing a setting, best first. Of equal accuracies the lower validation loss is
        better; a setting of which a run diverged comes after all that stayed finite, and one that
        was never measured last.

    Example:
        >>> from onelayer import Run, load, train
        >>> result = train(load("digits"), [Run(1e-9, epochs=1), Run(0.1, epochs=1)])
        >>> [(s.rank, s.name) for s in rank_settings(result)]
        [(1, 'λ=0, η=0.1'), (2, 'λ=0, η=1e-09')]
    """
    places: dict[str, list[int]] = {}
    for position, run in enumerate(result.runs):
        places.setdefault(run.name, []).append(position)
    kinds = _kinds(result)
    standings = [_standing(result, positions, kinds) for positions in places.values()]
    ranked = sorted(standings, key=_order)
    return tuple(Standing(**vars(one) | {"rank": rank}) for rank, one in enumerate(ranked, start=1))


def _order(one: Standing) -> tuple[bool, bool, float, float]:
    unmeasured = math.isnan(one.accuracy)
    return unmeasured, one.diverged > 0, -one.accuracy, one.loss


def _kinds(result: Result) -> list[str]:
    """What besides η and λ sets each run apart, of what is not the same for all of them."""
    told = (
        [f"batch {run.batch_size}" for run in result.runs],
        [run.variant for run in result.runs],
        [result.scaling_of(i).name for i in range(len(result.runs))],
    )
    differing = [words for words in told if len(set(words)) > 1]
    return [", ".join(filter(None, words)) for words in zip(*differing, strict=True)] or (
        [""] * len(result.runs)
    )


def _standing(result: Result, positions: list[int], kinds: list[str]) -> Standing:
    run = result.runs[positions[0]]
    lost = [i for i in positions if result.outcomes[i].status == "diverged"]
    kept = [i for i in positions if i not in lost]
    last = [result.outcomes[i].epochs for i in kept]
    accuracies = 100.0 * result.validation_accuracy[kept]
    return Standing(
        rank=0,
        name=run.name,
        learning_rate=run.eta,
        l2=run.l2,
        batch_size=run.batch_size,
        kind=kinds[positions[0]],
        positions=tuple(positions),
        diverged=len(lost),
        accuracy=float(accuracies.mean()) if kept else math.nan,
        deviation=float(accuracies.std(ddof=1)) if len(kept) > 1 else 0.0,
        loss=float(np.mean(result.history.validation_loss[kept, last])) if kept else math.nan,
    )
