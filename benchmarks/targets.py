"""What was asked of the figures, and whether a record shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

from benchmarks import figures
from benchmarks.contenders import ONELAYER
from benchmarks.optimum import figures as optimum_figures
from benchmarks.optimum.record import OptimumRecord
from benchmarks.probes import figures as probe_figures
from benchmarks.record import Record


@dataclass(frozen=True)
class Target:
    """One figure that is asked for.

    Attributes:
        measure: what is measured.
        asked: the bound.
        unit: "×", "%", "MB", "J" or "s".
        at_least: True for a lower bound, False for an upper one.
        figure: takes it from a record, in the unit; None where the record does not have it.
    """

    measure: str
    asked: float
    unit: str
    at_least: bool
    figure: Callable[[Record], float | None]

    @property
    def asked_text(self) -> str:
        """The bound as a reader sees it."""
        return f"{'≥' if self.at_least else '≤'} {self.asked:g} {self.unit}"

    def met(self, measured: float) -> bool:
        """Whether the figure keeps to the bound."""
        return measured >= self.asked if self.at_least else measured <= self.asked


def _ratio(peer: str, record: Record) -> float | None:
    return figures.ratio_to_onelayer(record, peer, "one")


def _best_by_hand(record: Record) -> float | None:
    return figures.ratio_to_onelayer(record, figures.best_by_hand(record, "one"), "one")


def _share(problem: str, record: Record) -> float | None:
    share = figures.sgemm_share(record.find(ONELAYER, problem))
    return None if share is None else 100 * share


def _four_to_one(record: Record) -> float | None:
    return figures.grid_ratio(record, "four", "one")


def _reproduce(record: Record) -> float | None:
    return median(record.reproduce.seconds) if record.reproduce else None


def _to_optimum(figure: Callable[[OptimumRecord | None, float], float | None], l2: float,
                record: Record) -> float | None:  # fmt: skip
    return figure(record.optimum, l2)


def _path(record: Record) -> float | None:
    return optimum_figures.path_ratio(record.optimum)


def _optimum_memory(record: Record) -> float | None:
    return optimum_figures.most_memory(record.optimum)


def _optimum_targets() -> tuple[Target, ...]:
    """Time to the optimum of one batch, of all rows along a path, and memory."""
    peers = (
        ("scikit-learn lbfgs, the faster of float64 and float32", 25,
         optimum_figures.sklearn_ratio),
        ("scikit-learn-intelex", 6, optimum_figures.intelex_ratio),
    )  # fmt: skip
    return (
        *(
            Target(f"excess of 1e-6, λ = {l2:g}: {peer} / onelayer with its proof", asked, "×",
                   True, partial(_to_optimum, figure, l2))
            for peer, asked, figure in peers
            for l2 in (0.1, 0.01, 0.001)
        ),
        Target("20 λ's on 50 000 rows, each proven to 1e-4 J / one default scikit-learn fit", 1,
               "×", False, _path),
        Target("memory above X of the optimum, the most of any", 300, "MB", False,
               _optimum_memory),
    )  # fmt: skip


def _probe_gap(record: Record) -> float | None:
    return probe_figures.gap(record.probes, "path")


def _probe_memory(part: str, record: Record) -> float | None:
    return probe_figures.memory(record.probes, part)


def _probe_targets() -> tuple[Target, ...]:
    """Embeddings: how near the path comes, and memory of the whole process."""
    memory = "memory of the process above X"
    return (
        Target("embeddings, path: largest proven gap", 1e-3, "J", False, _probe_gap),
        Target(f"embeddings, path: {memory}", 500, "MB", False, partial(_probe_memory, "path")),
        Target(f"embeddings, sweep: {memory}", 500, "MB", False, partial(_probe_memory, "sweep")),
        Target(f"embeddings, one file with shares cut off: {memory}", 500, "MB", False,
               partial(_probe_memory, "path-of-shares")),
    )  # fmt: skip


# Growth is asked to be none; two trainings alike differ by this much (arenas, thread stacks).
GROWTH_NOISE_MB = 8

TARGETS = (
    Target("one run: NumPy float32 / onelayer", 4.5, "×", True, partial(_ratio, "numpy")),
    Target("one run: best hand-written PyTorch / onelayer", 4, "×", True, _best_by_hand),
    Target("one run: PyTorch DataLoader idiom / onelayer", 14, "×", True,
           partial(_ratio, "torch-loader")),
    Target("one run: JAX scan / onelayer", 7, "×", True, partial(_ratio, "jax-scan")),
    Target("the four settings in one pass / one run", 3.2, "×", False, _four_to_one),
    Target("the four settings in one pass: share of sgemm", 65, "%", True,
           partial(_share, "four")),
    Target("64 runs in one pass: share of sgemm", 80, "%", True, partial(_share, "64")),
    Target("wide, float16 X: share of sgemm", 80, "%", True, partial(_share, "wide-float16")),
    Target("wide, float32 X: share of sgemm", 80, "%", True, partial(_share, "wide-float32")),
    Target("memory above X, the most of any", 150, "MB", False, figures.most_memory),
    Target("memory above X at the largest N less at the smallest", GROWTH_NOISE_MB, "MB", False,
           figures.memory_growth),
    *_optimum_targets(),
    *_probe_targets(),
    Target("`onelayer reproduce`, 4 settings × 8 seeds, wall", 20, "s", False, _reproduce),
)  # fmt: skip
