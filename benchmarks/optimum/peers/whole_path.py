"""All rows: onelayer's whole λ path, and beside it one default fit of scikit-learn."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from benchmarks.optimum.oracle import dataset_of
from benchmarks.optimum.problem import PATH_TOLERANCE, Task
from benchmarks.peers import ENGINE_VARIABLE
from benchmarks.problem import Data
from onelayer.data import Splits
from onelayer.engines import make_engine
from onelayer.solver import solve_path


@dataclass(frozen=True)
class PreparedPath:
    """A contender that is ready for all rows.

    Attributes:
        warm: something short of the same kind.
        run: what is timed; returns what is to be told of it.
        x_bytes: size of X as the contender wants it.
        about: versions and choices.
    """

    warm: Callable[[], object]
    run: Callable[[], dict[str, Any]]
    x_bytes: int
    about: dict[str, str] = field(default_factory=dict)


def prepare_onelayer(task: Task, data: Data, threads: int) -> PreparedPath:
    """`solve_path`, which also scores every model; 1000 rows stand for the held-out ones."""
    engine, train = make_engine(os.environ[ENGINE_VARIABLE]), dataset_of(task, data)
    few = train.take(slice(0, 1000))
    splits = Splits(train, few, few, name=task.name, source=task.title)

    def run() -> dict[str, Any]:
        path = solve_path(splits, task.l2s, tol=PATH_TOLERANCE, scaling="unit", engine=engine)
        proofs = [model.require_certificate() for model in path.models]
        return {
            "gaps": [proof.gap / proof.cost for proof in proofs],
            "costs": [proof.cost for proof in proofs],
            "passes": [model.passes for model in path.models],
        }

    def warm() -> object:
        return solve_path(splits, task.l2s[:1], tol=PATH_TOLERANCE, scaling="unit", engine=engine)

    return PreparedPath(warm, run, data.X.nbytes, engine.describe())


def prepare_sklearn(task: Task, data: Data, threads: int) -> PreparedPath:
    """`LogisticRegression().fit(X, y)`: lbfgs, C = 1, at most 100 iterations, float64."""
    from sklearn.linear_model import LogisticRegression

    X = data.X / task.largest

    def fit(**settings: Any) -> dict[str, Any]:
        with warnings.catch_warnings():  # of a search that did not converge
            warnings.simplefilter("ignore")
            model = LogisticRegression(**settings).fit(X, data.y)
        return {"passes": [int(model.n_iter_[0])]}

    about = {"scikit-learn": metadata.version("scikit-learn"), "X": "float64"}
    return PreparedPath(lambda: fit(max_iter=2), fit, X.nbytes, about)
