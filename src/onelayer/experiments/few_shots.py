"""How well heads do on few labelled rows: scores over the number of rows, of one feature set.

Of the training rows so many of each class are taken, or a fraction of each; the smaller draws are
part of the larger ones, and each repeat draws anew, from the seed and the labels alone. Of rows in
groups, such as patients, shots are of as many groups as there are, and fractions are of whole
groups: so few labels would be spent on many patients, and a part of a cohort is a part of its
patients. Of many labels a row each label gets so many rows that have it. Every draw gets the whole
λ path, each solution proven.

For each size one λ is chosen for all repeats, by the mean over them of the score on validation rows
that are as few: as many of each class, drawn in the same way. Folds of one row a class cannot be
made; a few validation rows alone would often tie, and their mean over repeats does not; and with
all validation rows a curve of few labels would rest on many. Of equal scores the largest λ counts,
whose head is near the difference of the classes' means. Features need no labels, so their scaling
is that of all training rows.

Source: Perez, Kiela & Cho (2021), True few-shot learning with language models; Oliver, Odena,
Raffel, Cubuk & Goodfellow (2018), Realistic evaluation of deep semi-supervised learning algorithms:
what is chosen by more labels than it is said to be learned from looks better than it is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.data.dataset import Dataset, Splits
from onelayer.data.rows import Rows, rows_of, rows_to_fit, weights_to_fit
from onelayer.data.scaling import Scaling
from onelayer.data.split import nested_subsets
from onelayer.data.weights import ClassWeight
from onelayer.engines import Engine
from onelayer.errors import DataError, SettingsError, as_values, require_number, require_whole
from onelayer.solver.path import DECADES, largest_l2, solve_each
from onelayer.solver.selection import Choice, Score, choose, score
from onelayer.solver.solver import Optimum, Target
from onelayer.training.suite import FewShots


@dataclass(frozen=True)
class Draws:
    """Which sizes are drawn: rows of each class, or fractions; and how often, by which seed."""

    sizes: tuple[int, ...] | tuple[float, ...] = ()
    repeats: int = 5
    seed: int = 0

    @classmethod
    def of(cls, shots: int | ArrayLike, fractions: float | ArrayLike, repeats: int) -> Draws:
        """Those that are asked for, ascending; `SettingsError` for sizes that cannot be."""
        rows, parts = as_values(shots), as_values(fractions)
        require_whole("repeats", repeats, 1)
        if rows and parts:
            raise SettingsError("give either shots or fractions (--shots, --fractions), not both.")
        for size in rows:
            require_whole("shots", size, 1)
        for part in parts:
            require_number("fractions", part, "above 0, up to 1", above=0, below=1.0000001)
        if rows:
            return cls(tuple(sorted({int(size) for size in rows})), repeats)
        return cls(tuple(sorted({min(float(part), 1.0) for part in parts})), repeats)

    def settings(self) -> dict[str, Any]:
        """What records say of them."""
        whole = bool(self.sizes) and isinstance(self.sizes[0], int)
        return {
            "shots": list(self.sizes) if whole else None,
            "fractions": list(self.sizes) if self.sizes and not whole else None,
            "repeats": self.repeats if self.sizes else None,
        }

    def check(self, y: NDArray[Any], class_names: Sequence[str]) -> None:
        """Raise `DataError` for a class with fewer training rows than shots."""
        many = y.ndim == 2
        counts = y.sum(axis=0) if many else np.bincount(y, minlength=len(class_names))
        most = max((size for size in self.sizes if isinstance(size, int)), default=0)
        few, kind = int(counts.argmin()), "label" if many else "class"
        if counts[few] < most:
            raise DataError(
                f"{most} shots need as many training rows of every {kind}, but the {kind} "
                f"{class_names[few]!r} has {counts[few]}; take fewer shots, or fractions."
            )

    def rows(self, part: Dataset, repeat: int, *of: int) -> list[NDArray[np.int64]]:
        """The rows of each size in a repeat."""
        return nested_subsets(part.y, self.sizes, (self.seed, repeat, *of), part.groups)


@dataclass(frozen=True)
class ShotsState:
    """The sizes that are finished, of all."""

    found: tuple[FewShots, ...] = ()
    total: int = 0

    @property
    def done(self) -> int:
        """Sizes that are finished."""
        return len(self.found)


def learn_from_few(
    data: Splits,
    draws: Draws,
    l2: Sequence[float] | int,
    *,
    choice: Choice,
    target: Target,
    scaling: str,
    engine: Engine,
    intercept: bool = True,
    class_weight: ClassWeight = None,
    on_solution: Callable[[], None] = lambda: None,
    start: ShotsState | None = None,
    keep: Callable[[ShotsState], None] = lambda state: None,
) -> tuple[FewShots, ...]:
    """Each size's heads and scores; it goes on from a `start`, and gives each state to `keep`."""
    data, fitted, _ = rows_to_fit(data, scaling, class_weight, intercept=intercept)
    fits = [draws.rows(data.train, repeat) for repeat in range(draws.repeats)]
    held_out = [draws.rows(data.validation, repeat, 1) for repeat in range(draws.repeats)]
    found = [] if start is None else [*start.found]
    for place in range(len(found), len(draws.sizes)):
        one = _Size(data, fitted, engine, choice, target, intercept, class_weight, on_solution)
        pairs = [(fits[r][place], held_out[r][place]) for r in range(draws.repeats)]
        found.append(one.learn(draws.sizes[place], pairs, l2))
        keep(ShotsState(tuple(found), len(draws.sizes)))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class _Size:
    """What the draws of one size share."""

    data: Splits
    fitted: Scaling
    engine: Engine
    choice: Choice
    target: Target
    intercept: bool
    class_weight: ClassWeight
    on_solution: Callable[[], None]

    def learn(
        self,
        size: float,
        draws: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
        l2: Sequence[float] | int,
    ) -> FewShots:
        """The path of every draw, the λ that is best over all of them, and its test scores."""
        began = time.perf_counter()
        rows = {fit.tobytes(): self._rows(fit) for fit, _ in draws}
        l2s = self._l2_values(l2, [*rows.values()])
        solved: dict[tuple[bytes, bytes], tuple[tuple[Optimum, ...], list[Score]]] = {}
        paths = []
        for fit, held_out in draws:
            key = fit.tobytes(), held_out.tobytes()
            if key in solved:  # all rows are the same in every repeat
                for _ in l2s:
                    self.on_solution()
            else:
                solved[key] = self._solve(rows[key[0]], held_out, l2s)
            paths.append(solved[key])
        scores = [tuple(of_draw[i] for _, of_draw in paths) for i in range(len(l2s))]
        chosen = choose(scores, self.choice)
        best = [optima[chosen] for optima, _ in paths]
        optima = [one for of_draw, _ in paths for one in of_draw]
        bounded = [one.certificate for one in optima if one.l2 > 0.0]
        shots = int(size) if isinstance(size, int) else None
        return FewShots(
            shots=shots,
            fraction=None if shots else float(size),
            rows=len(draws[0][0]),
            validation_rows=len(draws[0][1]),
            l2s=tuple(l2s),
            held_out=tuple(scores),
            chosen=chosen,
            test=self._test_scores(best),
            certificates=tuple(one.certificate for one in best),
            optimal=sum(one.status == "optimal" for one in optima),
            gap=max((one.gap / one.cost for one in bounded), default=math.inf),
            seconds=time.perf_counter() - began,
        )

    def _rows(self, fit: NDArray[np.int64]) -> Rows:
        part = self.data.train.take(fit)
        rows = rows_of(part, self.fitted).with_intercept(self.intercept)
        return replace(rows, weights=weights_to_fit(part, self.class_weight))

    def _l2_values(self, l2: Sequence[float] | int, rows: Sequence[Rows]) -> list[float]:
        """Those given, or so many over the decades under the largest that any draw gives."""
        if not isinstance(l2, int):
            return list(l2)
        K = self.data.train.classes
        largest = max(largest_l2(self.engine, one, K) for one in rows)
        return [float(value) for value in largest * 10.0 ** -np.linspace(0.0, DECADES, l2)]

    def _solve(
        self, rows: Rows, held_out: NDArray[np.int64], l2s: Sequence[float]
    ) -> tuple[tuple[Optimum, ...], list[Score]]:
        judged = rows_of(self.data.validation, self.fitted).only(held_out)
        state, interrupted = solve_each(
            self.engine,
            rows,
            self.data.train.classes,
            l2s,
            self.target,
            [(None, judged)],
            self.choice.by,
            lambda _: self.on_solution(),
        )
        if interrupted:
            raise KeyboardInterrupt
        return state.optima, [of_one for (of_one,) in state.scores]

    def _test_scores(self, best: Sequence[Optimum]) -> tuple[Score, ...]:
        """Scores of the chosen heads of all repeats, in one pass over the test rows."""
        test, by = self.data.test, self.choice.by
        try:
            self.choice.metric.check(test.y, test.class_names, "the test rows")
        except SettingsError:
            by = "accuracy"
        pairs = [(one.W, one.b) for one in best]
        return score(self.engine, rows_of(test, self.fitted), pairs, by, errors=False)
