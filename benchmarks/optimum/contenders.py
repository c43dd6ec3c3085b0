"""Who takes part in the search for the optimum, and how each is installed."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

from benchmarks.contenders import ONELAYER
from benchmarks.optimum.problem import Task
from benchmarks.problem import Data

# A Hessian larger than this is not formed.
MOST_HESSIAN_BYTES = 1e9


@dataclass(frozen=True)
class Solver:
    """One way to the optimum.

    Attributes:
        key: its name in the record.
        label: its name on the page.
        module, function: what prepares it, in benchmarks/optimum/peers.
        package: what must be importable.
        pip: how that is installed.
        forms_hessian: whether it holds a matrix of all unknowns squared.
    """

    key: str
    label: str
    module: str
    function: str
    package: str
    pip: str
    forms_hessian: bool = False

    @property
    def installed(self) -> bool:
        """Whether its package can be imported here."""
        return importlib.util.find_spec(self.package) is not None

    def too_large(self, task: Task) -> str:
        """Why it cannot take the task, or nothing."""
        size = 8.0 * task.unknowns**2
        if not self.forms_hessian or size <= MOST_HESSIAN_BYTES:
            return ""
        return f"does not fit: its Hessian of {task.unknowns} unknowns takes {size / 1e9:.1f} GB"

    def prepare(self, task: Task, data: Data, threads: int) -> Any:
        """Import it and make it ready; called in its own process only."""
        module = importlib.import_module(f"benchmarks.optimum.peers.{self.module}")
        return getattr(module, self.function)(task, data, threads)


LBFGS, LBFGS32, INTELEX = "sklearn-lbfgs", "sklearn-lbfgs-float32", "sklearn-intelex"
_SKLEARN = ("sklearn", "scikit-learn")

SOLVERS = (
    Solver(ONELAYER, "onelayer", "onelayer_solve", "prepare", "onelayer", "-e ."),
    Solver(LBFGS, "scikit-learn lbfgs", "sklearn_logistic", "prepare_lbfgs", *_SKLEARN),
    Solver(LBFGS32, "scikit-learn lbfgs, float32", "sklearn_logistic", "prepare_lbfgs_float32",
           *_SKLEARN),
    Solver("sklearn-lbfgs-centred", "scikit-learn lbfgs, X centred", "sklearn_logistic",
           "prepare_lbfgs_centred", *_SKLEARN),
    Solver("sklearn-newton", "scikit-learn newton-cholesky", "sklearn_logistic",
           "prepare_newton", *_SKLEARN, forms_hessian=True),
    Solver(INTELEX, "scikit-learn-intelex lbfgs", "sklearn_logistic", "prepare_intelex",
           "sklearnex", "scikit-learn-intelex"),
    Solver("torch-lbfgs", "PyTorch LBFGS, float32", "torch_lbfgs", "prepare", "torch", "torch"),
)  # fmt: skip

PATHS = (
    Solver("onelayer-path", "onelayer, the whole path", "whole_path", "prepare_onelayer",
           "onelayer", "-e ."),
    Solver("sklearn-default", "scikit-learn, one default fit", "whole_path", "prepare_sklearn",
           *_SKLEARN),
)  # fmt: skip


def solver(key: str) -> Solver:
    """The solver of that name."""
    return next(s for s in (*SOLVERS, *PATHS) if s.key == key)
