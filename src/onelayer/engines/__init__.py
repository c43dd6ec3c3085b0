"""Engines do the arithmetic of training; they know arrays only, and not each other."""

from onelayer.engines.choice import ENGINE_NAMES, make_engine
from onelayer.engines.protocol import Engine, Evaluation, FullGradient, Rows, Trainer, Weights

__all__ = [
    "ENGINE_NAMES",
    "Engine",
    "Evaluation",
    "FullGradient",
    "Rows",
    "Trainer",
    "Weights",
    "make_engine",
]
