"""Who takes part: onelayer and its peers, and how each is installed."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.peers import Prepared
from benchmarks.problem import Data, Problem

ONELAYER = "onelayer"


@dataclass(frozen=True)
class Contender:
    """One way to train.

    Attributes:
        key: its name in the record.
        label: its name on the page.
        module: the file in benchmarks/peers that holds it.
        package: what must be importable.
        pip: how that is installed.
        function: what prepares it.
        same_algorithm: whether its weights must agree with the oracle's.
        most_rounds: fewer rounds than the others for one that would take minutes.
        several_runs: whether it is entered for the four settings at once, not for one run.
    """

    key: str
    label: str
    module: str
    package: str
    pip: str
    function: str = "prepare"
    same_algorithm: bool = True
    most_rounds: int = 100
    several_runs: bool = False

    @property
    def installed(self) -> bool:
        """Whether its package can be imported here."""
        return importlib.util.find_spec(self.package) is not None

    def prepare(self, problem: Problem, data: Data, threads: int) -> Prepared:
        """Import it and make it ready; called in its own process only."""
        module = importlib.import_module(f"benchmarks.peers.{self.module}")
        function: Callable[[Problem, Data, int], Prepared] = getattr(module, self.function)
        return function(problem, data, threads)


_TORCH = "torch --index-url https://download.pytorch.org/whl/cpu"

CONTENDERS = (
    Contender(ONELAYER, "onelayer", "onelayer_engine", "onelayer", "-e ."),
    Contender("numpy", "NumPy float32", "numpy_loop", "numpy", "numpy"),
    Contender(
        "torch-once",
        "PyTorch, gradients by hand, X converted once",
        "torch_by_hand",
        "torch",
        _TORCH,
        function="prepare_once",
    ),
    Contender(
        "torch-each-batch",
        "PyTorch, gradients by hand, X converted batch by batch",
        "torch_by_hand",
        "torch",
        _TORCH,
        function="prepare_each_batch",
    ),
    Contender("torch-autograd", "PyTorch, autograd", "torch_autograd", "torch", _TORCH),
    Contender("torch-loader", "PyTorch, DataLoader idiom", "torch_loader", "torch", _TORCH),
    Contender("jax-scan", "JAX, scan", "jax_scan", "jax", "jax"),
    Contender(
        "jax-vmap", "JAX, vmap over the four settings", "jax_scan", "jax", "jax", several_runs=True
    ),
    Contender(
        "sklearn",
        "scikit-learn SGDClassifier (one-vs-rest: another algorithm)",
        "sklearn_sgd",
        "sklearn",
        "scikit-learn",
        same_algorithm=False,
        most_rounds=2,
    ),
)


def contender(key: str) -> Contender:
    """The contender of that name."""
    return next(c for c in CONTENDERS if c.key == key)
