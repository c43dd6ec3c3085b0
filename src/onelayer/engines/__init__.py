"""Engines do the arithmetic of training; they know arrays only, and not each other."""

from onelayer.engines.base import (
    AVERAGE,
    VELOCITY,
    ClassSums,
    Engine,
    Evaluation,
    FullGradient,
    Method,
    Roundings,
    RowFigures,
    State,
    Steps,
    Trainer,
    Weights,
)
from onelayer.engines.factory import ENGINE_NAMES, make_engine
from onelayer.engines.streamed import loaded, streaming, tiles

__all__ = [
    "AVERAGE",
    "ENGINE_NAMES",
    "VELOCITY",
    "ClassSums",
    "Engine",
    "Evaluation",
    "FullGradient",
    "Method",
    "Roundings",
    "RowFigures",
    "State",
    "Steps",
    "Trainer",
    "Weights",
    "loaded",
    "make_engine",
    "streaming",
    "tiles",
]
