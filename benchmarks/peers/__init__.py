"""onelayer and its peers: a library a file, each used as its documentation recommends.

Preparing is not timed: imports, compiling, starting threads. What is timed in training runs from X
as stored in memory to trained weights in NumPy arrays; converting X happens inside it, as it must
for a user. Solvers get X scaled and in their own type beforehand; onelayer's converts inside.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness.problem import Floats, Problem, data_folder, read_data
from benchmarks.harness.processes import Process, WorkerError, forget_peak, peak_bytes, timed
from benchmarks.harness.record import CRASHED, ONELAYER, Measure
from benchmarks.harness.rounds import Entrant, Session, time_in_turn

# Relative excess over the optimum that solvers are timed to, and the gap that a path proves.
GOAL, PATH_TOLERANCE = 1e-6, 1e-4
# Iterations of a solver that is not told a number: it ends by its own judgement.
PLENTY = 100_000


class Solution(NamedTuple):
    """What a solver gave: W (K, D), b (K,), iterations, and the relative gap if it proved one."""

    W: Floats
    b: Floats
    iterations: int
    gap: float | None = None


@dataclass(frozen=True)
class Prepared:
    """A contender that is ready; a training's `run()` gives an Answer.

    A whole path's gives figures, and a solver's `run(l2, iterations)` a Solution, by its own
    judgement where iterations are None.
    """

    run: Callable[..., Any]
    about: Mapping[str, str]  # versions and choices, for the reader
    facts: Mapping[str, Any] = field(default_factory=dict)  # of the measure: `x_bytes`, ...
    warm: Callable[[], object] = lambda: None  # something short, for threads and pages


@dataclass(frozen=True)
class Contender:
    """One way to train or to solve."""

    key: str  # its name in the record
    label: str  # its name on the page
    prepares: str  # what makes it ready, "module:function" in this package
    package: str  # what must be importable
    pip: str  # how that is installed
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)  # of what makes it ready

    @property
    def obstacle(self) -> str:
        """Why it cannot be measured, or nothing."""
        there = importlib.util.find_spec(self.package) is not None
        return "" if there else f"not installed (pip install {self.pip})"

    def prepare(self, *job: Any) -> Any:
        """Import it and make it ready; called in its own process only."""
        module, _, function = self.prepares.partition(":")
        peer = importlib.import_module(f"benchmarks.peers.{module}")
        return getattr(peer, function)(*job, **self.options)


class Desk:
    """A contender in a worker's process."""

    def __init__(self, who: Contender, problem: Problem, folder: Path, threads: int) -> None:
        self._prepared = ready = who.prepare(problem, read_data(folder), threads)
        self.greeting = {"about": ready.about, **ready.facts}
        forget_peak()
        self._resident = peak_bytes()
        ready.warm()

    def run(self, **values: Any) -> dict[str, Any]:
        """Work once: seconds, how far memory rose above what was resident, and the answer."""
        answer, figures = timed(partial(self._prepared.run, **values), self._resident)
        return {**figures, "answer": answer}


def start(who: Contender, problem: Problem, session: Session, desk: type[Desk] = Desk) -> Process:
    c = session.conditions
    job = who, problem, data_folder(problem, c.folder), c.threads
    return Process(who.label, desk, *job, conditions=c)


Prepare = Callable[[Process, Measure], Entrant]


def time_contenders(
    jobs: Iterable[tuple[Contender, Problem, Prepare]], session: Session, rounds: int,
    desk: type[Desk] = Desk,
) -> list[Measure]:  # fmt: skip
    """Prepare each in a process of its own, then time all in turn; who crashes is refused."""
    entrants = []
    with ExitStack() as stack:
        for who, problem, prepare in jobs:
            found = Measure(problem.name, who.key, who.label, refused=who.obstacle)
            entrant = Entrant(found)
            try:
                if not found.refused:
                    process = stack.enter_context(start(who, problem, session, desk))
                    entrant = prepare(process, found)
            except WorkerError as error:
                entrant = Entrant(replace(found, refused=f"{CRASHED}: {error}"))
            entrants.append(entrant)
        return time_in_turn(entrants, rounds, session.log, patience=session.patience)


_OURS = ("onelayer", "-e .")
_SKLEARN = ("sklearn", "scikit-learn")
_DEFAULTS = {"tol": 1e-4, "most": 100}
_TORCH = ("torch", "torch --index-url https://download.pytorch.org/whl/cpu")

CONTENDERS = (
    Contender(ONELAYER, "onelayer", "ours:prepare", *_OURS),
    Contender("numpy", "NumPy float32", "numpy_loop:prepare", "numpy", "numpy"),
    Contender("torch-once", "PyTorch, gradients by hand, X converted once",
              "pytorch:prepare", *_TORCH, {"form": "once"}),
    Contender("torch-each-batch", "PyTorch, gradients by hand, X converted batch by batch",
              "pytorch:prepare", *_TORCH, {"form": "each-batch"}),
    Contender("torch-autograd", "PyTorch, autograd", "pytorch:prepare", *_TORCH,
              {"form": "autograd"}),
    Contender("torch-loader", "PyTorch, DataLoader idiom", "pytorch:prepare", *_TORCH,
              {"form": "loader"}),
    Contender("jax-scan", "JAX, scan", "jax_scan:prepare", "jax", "jax"),
    Contender("jax-vmap", "JAX, vmap over the four settings", "jax_scan:prepare", "jax", "jax"),
)  # fmt: skip

SOLVERS = (
    Contender(ONELAYER, "onelayer", "ours:prepare_solve", *_OURS),
    Contender("sklearn-lbfgs", "scikit-learn lbfgs", "scikit_learn:prepare", *_SKLEARN),
    Contender("sklearn-lbfgs-float32", "scikit-learn lbfgs, float32", "scikit_learn:prepare",
              *_SKLEARN, {"dtype": "float32"}),
    Contender("sklearn-intelex", "scikit-learn-intelex lbfgs", "scikit_learn:prepare",
              "sklearnex", "scikit-learn-intelex", {"package": "scikit-learn-intelex"}),
    Contender("torch-lbfgs", "PyTorch LBFGS, float32", "pytorch:prepare_lbfgs", "torch", "torch"),
)  # fmt: skip

# One import apart, with scikit-learn's defaults for all but C.
CLASSES = (
    Contender("onelayer-logistic", "onelayer.sklearn, LogisticRegression(C=C)",
              "scikit_learn:prepare", *_SKLEARN, {"package": "onelayer", **_DEFAULTS}),
    Contender("sklearn-logistic", "scikit-learn, LogisticRegression(C=C)", "scikit_learn:prepare",
              *_SKLEARN, _DEFAULTS),
)  # fmt: skip

PATHS = (
    Contender("onelayer-path", "onelayer, the whole path", "ours:prepare_path", *_OURS),
    Contender("sklearn-default", "scikit-learn, one default fit", "scikit_learn:prepare_fit",
              *_SKLEARN),
)  # fmt: skip


def contender(key: str, among: Iterable[Contender] = CONTENDERS) -> Contender:
    return next(c for c in among if c.key == key)
