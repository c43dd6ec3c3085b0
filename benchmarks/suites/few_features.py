"""Few features: paths of 20 λ₁, ℓ1 and elastic net, beside solvers made for them; pages/few.md."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csc_matrix, csr_array, csr_matrix

from benchmarks.harness import page
from benchmarks.harness.page import SECONDS, Columns, Target, fact
from benchmarks.harness.record import DISAGREES, ONELAYER, Measure, Part, Record
from benchmarks.harness.rounds import Entrant, Sample, Session, Suite, time_in_turn
from benchmarks.peers.l1_paths import PEERS, Solution
from onelayer.data.rows import Rows
from onelayer.data.sparse import SparseRows
from onelayer.engines import make_engine
from onelayer.objective.loss import log_softmax
from onelayer.solver.proximal import ProximalSolver, Sparsity
from onelayer.solver.solver import Target as Wanted

POINTS, LEAST, GOAL, SHARPER = 20, 1e-2, 1e-4, 1e-6
PATIENCE = 30.0  # seconds of one path while tolerances are tried
TOLERANCES = np.geomspace(0.3, 3e-8, 15)  # 0.3, 0.1, 0.03, …


class Shape(NamedTuple):
    """Rows from a seed, of which few features count; sparse ones store a few values each."""

    name: str
    N: int
    D: int
    K: int
    stored: int = 0

    def make(self) -> tuple[Any, Any]:
        rng, (_, N, D, K, stored) = np.random.default_rng(0), self
        if stored:
            often = 1.0 / (np.arange(D) + 10.0)
            places = rng.choice(D, N * stored, p=often / often.sum()), np.arange(N + 1) * stored
            X: Any = csr_array((np.ones(N * stored), *places), shape=(N, D))
            X.sum_duplicates()
            X.data = np.log1p(X.data) / np.sqrt(stored)
            W = 8.0 * rng.standard_normal((K, D)) * (rng.random(D) < 0.1)
        else:
            shared = rng.standard_normal((N, 30)) @ rng.standard_normal((30, D))
            X = rng.standard_normal((N, D)) + 0.2 * shared
            W = rng.standard_normal((K, D)) * (rng.random((K, D)) < 0.02)
        y = np.argmax(X @ W.T + rng.gumbel(size=(N, K)), axis=1)
        return (X if stored else X - X.mean(axis=0)).astype(np.float32), y


SHAPES = (
    Shape("dense, 2000 × 500, K = 2", 2000, 500, 2),
    Shape("dense, 10 000 × 1000, K = 2", 10_000, 1000, 2),
    Shape("dense, 2000 × 300, K = 5", 2000, 300, 5),
    Shape("dense, 2000 × 784, K = 10", 2000, 784, 10),
    Shape("sparse, 10 000 × 100 000, K = 2", 10_000, 100_000, 2, 100),
    Shape("wide, 200 × 20 000, K = 2", 200, 20_000, 2),
)
RATIOS = {1.0: "ℓ1", 0.5: "elastic net"}


@dataclass(frozen=True, eq=False)
class Job:
    """A path on rows, as each library takes them: by rows in float64, or by columns."""

    shape: Shape
    rows: Rows
    by_rows: Any
    by_columns: Any
    wanted: tuple[Wanted, ...] = ()

    @classmethod
    def of(cls, shape: Shape, ratio: float) -> Job:
        (X, y), one = shape.make(), np.ones(shape.D)
        wide: Any = X.astype(np.float64)
        ours: Any = SparseRows.of(X) if shape.stored else X
        kinds: Any = (csr_matrix, csc_matrix) if shape.stored else (np.asarray, np.asfortranarray)
        by_rows, by_columns = (kind(wide) for kind in kinds)
        for each in (by_rows, by_columns) if shape.stored else ():
            each.indices, each.indptr = each.indices.astype(np.int32), each.indptr.astype(np.int32)
        job = cls(shape, Rows(ours, y, one, 0.0 * one), by_rows, by_columns)
        largest, net = job.solver().largest_l1(grouped=False), Sparsity(ratio)
        values = (largest * np.geomspace(1.0, LEAST, POINTS)).tolist()
        return replace(job, wanted=tuple(net.target(Wanted(0.0), l1, shape.K)
                                         for l1 in values))  # fmt: skip

    def solver(self) -> ProximalSolver:
        return ProximalSolver(make_engine(), replace(self.rows), self.shape.K)

    def cost(self, at: Wanted, W: Any, b: Any) -> float:
        S, two = np.asarray(self.by_rows @ W.T) + b, len(W) == 1
        S = np.column_stack([np.zeros(len(S)), S]) if two else S
        loss = -log_softmax(S)[np.arange(len(S)), self.rows.y].mean()
        return float(loss + at.l1 * np.abs(W).sum() + at.l2 * (0.5 if two else 1.0) * np.sum(W * W))

    def excess(self, best: Sequence[float], found: Sequence[Solution]) -> float:
        costs = [self.cost(at, *one) for at, one in zip(self.wanted, found, strict=True)]
        return max(cost / least - 1.0 for cost, least in zip(costs, best, strict=True))

    def strength(self, at: Wanted) -> tuple[float, float]:
        """λ and l1_ratio as scikit-learn has them."""
        whole = at.l1 + at.l2 * (1.0 if self.shape.K == 2 else 2.0)
        return whole, at.l1 / whole


def ours(job: Job, tol: float) -> list[Solution]:
    search = job.solver()
    found = [search.solve(replace(at, tol=tol, max_passes=1000)) for at in job.wanted]
    two = job.shape.K == 2
    return [(o.W[1:] - o.W[:1], o.b[1:] - o.b[:1]) if two else (o.W, o.b) for o in found]


def entrant(package: str, job: Job, best: Sequence[float], work: str) -> Entrant:
    """One with the largest tolerance that reaches the goal; onelayer with the goal's."""

    def once(path: Callable[[Job, float], list[Solution]], tol: float) -> Sample:
        started = time.perf_counter()
        found = path(job, tol)
        seconds, over = time.perf_counter() - started, job.excess(best, found)
        return Sample(seconds, f"{DISAGREES}: {over:.1e}" if over > GOAL else "",
                      facts={"tol": float(tol), "excess": over})  # fmt: skip

    if package == ONELAYER:
        return Entrant(Measure(work, ONELAYER, "onelayer, proven"), partial(once, ours, GOAL))
    path = PEERS[package]
    found = Measure(work, package, {"sklearn": "scikit-learn saga"}.get(package, package))
    if find_spec(package) is None:
        return Entrant(replace(found, refused=f"not installed (pip install {package})"))
    path(job, 1.0)  # which compiles
    for tol in TOLERANCES:
        if not (tried := once(path, tol)).refused:
            return Entrant(found, partial(once, path, tol))
        if tried.seconds > PATIENCE:
            words = f"{PATIENCE:g} s were not enough"
            return Entrant(replace(found, refused=words, facts={"at_least": tried.seconds}))
    return Entrant(replace(found, refused="no tolerance was enough"))


def measure(session: Session) -> Part:
    part, words = session.part(), session.options.shapes.split(",")
    for shape in (one for one in SHAPES if any(word in one.name for word in words)):
        for ratio, name in RATIOS.items():
            job = Job.of(shape, ratio)
            sharp = zip(job.wanted, ours(job, SHARPER), strict=True)
            best = [job.cost(at, *one) for at, one in sharp]
            who = (ONELAYER, *(PEERS if shape.K == 2 else ("sklearn",)))
            with warnings.catch_warnings(action="ignore"):  # of ends before convergence
                found = [entrant(one, job, best, f"{shape.name}, {name}") for one in who]
                part = part.with_(time_in_turn(found, 3, session.log, patience=PATIENCE))
            session.keep(part)
    return part


def render(part: Part, _: Path) -> list[str]:
    columns: Columns = {
        "path": lambda m: m.work,
        "by": lambda m: m.label,
        **SECONDS,
        "tolerance": fact("tol", "{:.0e}".format),
        "most above J*": fact("excess", "{:.1e}".format),
    }
    return ["## Few features", page.measure_table(columns, part.measures, names=2)]


def fastest(work: str, record: Record) -> float | None:
    """The fastest peer / onelayer; of one whose time was up, what it must at least be."""
    found = {m.who: m for m in record["few"].of(work)} if "few" in record else {}
    ours = found.pop(ONELAYER, None)
    peers = [median(m.seconds) if m.seconds else m.facts.get("at_least") for m in found.values()]
    least = min((seconds for seconds in peers if seconds), default=None)
    return least / median(ours.seconds) if least and ours and ours.seconds else None


WORKS = [f"{shape.name}, {name}" for shape in SHAPES for name in RATIOS.values()]
SUITE = Suite(
    "few", "few features: paths of λ₁ beside solvers made for them", measure, render,
    tuple(Target(f"{work}: the fastest peer / onelayer proven to {GOAL:g}", 5, "×", True,
                 partial(fastest, work)) for work in WORKS),
    in_whole=False,
    options={"--shapes": {"default": "dense,sparse,wide", "help": "words of their names"}},
)  # fmt: skip
