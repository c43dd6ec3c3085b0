"""Experiments: the report's four, and the most accurate linear classifier of raw pixels."""

from onelayer.experiments.best_linear import (
    HeldOut,
    Recipe,
    compare_recipes,
    fit_best_linear,
    mean_model,
    whole_training_set,
)
from onelayer.experiments.reproduce import check_gradient, reproduce

__all__ = [
    "HeldOut",
    "Recipe",
    "check_gradient",
    "compare_recipes",
    "fit_best_linear",
    "mean_model",
    "reproduce",
    "whole_training_set",
]
