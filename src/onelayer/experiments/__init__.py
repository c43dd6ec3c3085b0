"""The most accurate linear classifier of raw pixels: a loss near the share of wrong rows, moves.

loss.py the loss and its gradient, images.py what is done to pictures, recipe.py the settings,
fitting.py the fit, choosing.py how the settings were chosen.
"""

from onelayer.experiments.best_linear import (
    HeldOut,
    Recipe,
    compare_recipes,
    fit_best_linear,
    mean_model,
    whole_training_set,
)
from onelayer.experiments.reproduce import reproduce

__all__ = [
    "HeldOut",
    "Recipe",
    "compare_recipes",
    "fit_best_linear",
    "mean_model",
    "reproduce",
    "whole_training_set",
]
