"""onelayer trains, checks, sweeps, certifies and shows linear softmax classifiers: s = Wx + b.

import onelayer as ol

data = ol.load("digits")
result = ol.sweep(data, learning_rate=[0.1, 0.01], l2=[0.0, 0.1], seeds=2)
print(result)
model = result.best
print(ol.solve(data, l2=0.01))
"""

import sys as _sys

# `python -m onelayer` puts the current folder first on the path, where a file numpy.py would be run
# for NumPy. While Python looks for the module that it is to run, the first argument is "-m". Until
# the command listens to signals, Ctrl-C ends it at once, and not with a traceback of imports.
if _sys.argv[:1] == ["-m"] and "onelayer" in _sys.orig_argv:
    import _signal  # type: ignore[import-not-found]  # the built-in part of signal

    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    del _signal
    if not _sys.flags.safe_path:
        del _sys.path[0]

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

if _TYPE_CHECKING:
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
    from onelayer.experiments.probe import probe
    from onelayer.experiments.reproduce import check_gradient, reproduce
    from onelayer.model.compare import compare
    from onelayer.model.model import Model
    from onelayer.sklearn import SoftmaxClassifier, SoftmaxClassifierCV
    from onelayer.solver import Path, certify, solve, solve_path, suggest_learning_rate
    from onelayer.training.checkpoint import Checkpoint
    from onelayer.training.estimate import estimate
    from onelayer.training.loop import train
    from onelayer.training.result import Result
    from onelayer.training.run import Run, grid, random_grid
    from onelayer.training.suite import Suite
    from onelayer.training.sweep import sweep

__version__: str

# Where each name is from; imported when it is asked for, so that a command can listen to Ctrl-C
# before NumPy is imported.
_HOMES = {
    "data": ("Dataset", "Splits", "load", "split"),
    "engines": ("make_engine",),
    "errors": (
        "CheckpointWarning", "DataError", "LearningRateWarning", "OnelayerError", "SaveError",
        "SettingsError", "SourceError",
    ),
    "experiments.best_linear": ("fit_best_linear",),
    "experiments.probe": ("probe",),
    "experiments.reproduce": ("check_gradient", "reproduce"),
    "model.compare": ("compare",),
    "model.model": ("Model",),
    "sklearn": ("SoftmaxClassifier", "SoftmaxClassifierCV"),
    "solver": ("Path", "certify", "solve", "solve_path", "suggest_learning_rate"),
    "training.checkpoint": ("Checkpoint",),
    "training.estimate": ("estimate",),
    "training.loop": ("train",),
    "training.result": ("Result",),
    "training.run": ("Run", "grid", "random_grid"),
    "training.suite": ("Suite",),
    "training.sweep": ("sweep",),
}  # fmt: skip

__all__ = [
    "Checkpoint", "CheckpointWarning", "DataError", "Dataset", "LearningRateWarning", "Model",
    "OnelayerError", "Path", "Result", "Run", "SaveError", "SettingsError", "SoftmaxClassifier",
    "SoftmaxClassifierCV", "SourceError", "Splits", "Suite", "__version__", "certify",
    "check_gradient", "compare", "estimate", "fit_best_linear", "grid", "load", "make_engine",
    "probe", "random_grid", "reproduce", "solve", "solve_path", "split", "suggest_learning_rate",
    "sweep", "train",
]  # fmt: skip


def __getattr__(name: str) -> _Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("onelayer")
    for home, names in _HOMES.items():
        if name in names:
            value = getattr(_import_module(f"onelayer.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'onelayer' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
