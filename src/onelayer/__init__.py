"""onelayer trains, checks, sweeps, certifies and shows linear softmax classifiers: s = Wx + b.

import onelayer as ol

data = ol.load("digits")
result = ol.sweep(data, learning_rate=[0.1, 0.01], l2=[0.0, 0.1], seeds=2)
print(result)
model = result.best
print(ol.solve(data, l2=0.01))
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from onelayer.data import Dataset, Splits, load, split
from onelayer.engines import make_engine
from onelayer.errors import (
    CheckpointWarning,
    DataError,
    LearningRateWarning,
    OnelayerError,
    SaveError,
    SettingsError,
    SourceError,
)
from onelayer.experiments.best_linear import fit_best_linear
from onelayer.experiments.reproduce import check_gradient, reproduce
from onelayer.model.model import Model
from onelayer.solver import (
    Path,
    certify,
    solve,
    solve_path,
    suggest_learning_rate,
)
from onelayer.training.checkpoint import Checkpoint
from onelayer.training.estimate import estimate
from onelayer.training.loop import train
from onelayer.training.result import Result
from onelayer.training.run import Run, grid, random_grid
from onelayer.training.sweep import sweep

if _TYPE_CHECKING:
    from onelayer.sklearn import SoftmaxClassifier, SoftmaxClassifierCV

__version__: str

_FOR_SCIKIT_LEARN = ("SoftmaxClassifier", "SoftmaxClassifierCV")

__all__ = [
    "Checkpoint",
    "CheckpointWarning",
    "DataError",
    "Dataset",
    "LearningRateWarning",
    "Model",
    "OnelayerError",
    "Path",
    "Result",
    "Run",
    "SaveError",
    "SettingsError",
    "SoftmaxClassifier",
    "SoftmaxClassifierCV",
    "SourceError",
    "Splits",
    "__version__",
    "certify",
    "check_gradient",
    "estimate",
    "fit_best_linear",
    "grid",
    "load",
    "make_engine",
    "random_grid",
    "reproduce",
    "solve",
    "solve_path",
    "split",
    "suggest_learning_rate",
    "sweep",
    "train",
]


def __getattr__(name: str) -> _Any:
    """What takes long to import, when it is asked for: scikit-learn ten times as long as we do."""
    if name in _FOR_SCIKIT_LEARN:
        from onelayer import sklearn as estimator

        return getattr(estimator, name)
    if name == "__version__":
        from importlib.metadata import version

        return version("onelayer")
    raise AttributeError(f"module 'onelayer' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
