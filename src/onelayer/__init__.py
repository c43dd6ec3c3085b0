"""onelayer trains, checks, sweeps, certifies and shows linear softmax classifiers: s = Wx + b.

from onelayer import grid, load, train

result = train(load("digits"), grid(learning_rate=[0.1, 0.01], l2=[0.0, 0.1]))
print(result.test_accuracy)

from onelayer import solve

print(solve(load("digits").train, l2=0.01).sentence)
"""

from importlib.metadata import version as _version

from onelayer.data import Dataset, Splits, load
from onelayer.errors import (
    DataError,
    ExportError,
    OnelayerError,
    SaveError,
    SettingsError,
    SourceError,
    StepLengthWarning,
)
from onelayer.evaluation import evaluate
from onelayer.model import Model
from onelayer.model_files import load_model, save_model
from onelayer.optimum import certify, l2_grid, solve, solve_path, suggest
from onelayer.plan import Run, grid
from onelayer.result import Result
from onelayer.result_files import load_result, save_result
from onelayer.train import train

__version__ = _version("onelayer")

__all__ = [
    "DataError",
    "Dataset",
    "ExportError",
    "Model",
    "OnelayerError",
    "Result",
    "Run",
    "SaveError",
    "SettingsError",
    "SourceError",
    "Splits",
    "StepLengthWarning",
    "__version__",
    "certify",
    "evaluate",
    "grid",
    "l2_grid",
    "load",
    "load_model",
    "load_result",
    "save_model",
    "save_result",
    "solve",
    "solve_path",
    "suggest",
    "train",
]
