"""onelayer and its peers: one a file, each used as its documentation recommends.

Preparing is not timed: imports, compiling, starting threads. What is timed in training runs from X
as stored in memory to trained weights in NumPy arrays; converting X happens inside it, as it must
for a user. Solvers get X scaled and in their own type beforehand; onelayer's converts inside.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.harness.problem import Answer
from benchmarks.harness.record import ONELAYER


@dataclass(frozen=True)
class Prepared:
    """A contender that is ready to train, to the same answer each time."""

    train: Callable[[], Answer]
    about: dict[str, str] = field(default_factory=dict)  # versions and choices, for the reader
    compile_seconds: float | None = None  # spent beforehand


@dataclass(frozen=True)
class Contender:
    """One way to train or to solve."""

    key: str  # its name in the record
    label: str  # its name on the page
    prepares: str  # what makes it ready, "module:function" in this package
    package: str  # what must be importable
    pip: str  # how that is installed
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)  # of what makes it ready
    same_algorithm: bool = True  # so its weights must agree with the oracle's
    max_rounds: int = 100  # fewer for one that would take minutes
    forms_hessian: bool = False  # a matrix of all unknowns squared

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None

    def prepare(self, *job: Any) -> Any:
        """Import it and make it ready; called in its own process only."""
        module, _, function = self.prepares.partition(":")
        return getattr(importlib.import_module(f"benchmarks.peers.{module}"), function)(
            *job, **self.options
        )


_TORCH = ("torch", "torch --index-url https://download.pytorch.org/whl/cpu")
_SKLEARN = ("sklearn", "scikit-learn")
_OURS = ("onelayer", "-e .")
LBFGS, LBFGS32, INTELEX = "sklearn-lbfgs", "sklearn-lbfgs-float32", "sklearn-intelex"

CONTENDERS = (
    Contender(ONELAYER, "onelayer", "onelayer_engine:prepare", *_OURS),
    Contender("numpy", "NumPy float32", "numpy_loop:prepare", "numpy", "numpy"),
    Contender("torch-once", "PyTorch, gradients by hand, X converted once",
              "torch_training:prepare", *_TORCH, {"form": "once"}),
    Contender("torch-each-batch", "PyTorch, gradients by hand, X converted batch by batch",
              "torch_training:prepare", *_TORCH, {"form": "each-batch"}),
    Contender("torch-autograd", "PyTorch, autograd", "torch_training:prepare", *_TORCH,
              {"form": "autograd"}),
    Contender("torch-loader", "PyTorch, DataLoader idiom", "torch_training:prepare", *_TORCH,
              {"form": "loader"}),
    Contender("jax-scan", "JAX, scan", "jax_scan:prepare", "jax", "jax"),
    Contender("jax-vmap", "JAX, vmap over the four settings", "jax_scan:prepare", "jax", "jax"),
    Contender("sklearn", "scikit-learn SGDClassifier (one-vs-rest: another algorithm)",
              "sklearn_sgd:prepare", *_SKLEARN, same_algorithm=False, max_rounds=2),
)  # fmt: skip

SOLVERS = (
    Contender(ONELAYER, "onelayer", "onelayer_solve:prepare", *_OURS),
    Contender(LBFGS, "scikit-learn lbfgs", "sklearn_logistic:prepare", *_SKLEARN),
    Contender(LBFGS32, "scikit-learn lbfgs, float32", "sklearn_logistic:prepare", *_SKLEARN,
              {"dtype": "float32"}),
    Contender("sklearn-lbfgs-centred", "scikit-learn lbfgs, X centred",
              "sklearn_logistic:prepare", *_SKLEARN, {"centred": True}),
    Contender("sklearn-newton", "scikit-learn newton-cholesky", "sklearn_logistic:prepare",
              *_SKLEARN, {"solver": "newton-cholesky"}, forms_hessian=True),
    Contender(INTELEX, "scikit-learn-intelex lbfgs", "sklearn_logistic:prepare_intelex",
              "sklearnex", "scikit-learn-intelex"),
    Contender("torch-lbfgs", "PyTorch LBFGS, float32", "torch_lbfgs:prepare", "torch", "torch"),
)  # fmt: skip

PATHS = (
    Contender("onelayer-path", "onelayer, the whole path", "onelayer_solve:prepare_path", *_OURS),
    Contender("sklearn-default", "scikit-learn, one default fit", "sklearn_logistic:prepare_fit",
              *_SKLEARN),
)  # fmt: skip


def contender(key: str) -> Contender:
    return next(c for c in CONTENDERS if c.key == key)


def solver(key: str) -> Contender:
    return next(c for c in (*SOLVERS, *PATHS) if c.key == key)
