"""Engines do the arithmetic of training; they know arrays only, and not each other."""

from onelayer.engines.choice import ENGINE_NAMES, make_engine
from onelayer.engines.descent import Method, State, Steps, Weights
from onelayer.engines.fixed_scores import (
    FixedScores,
    Judgement,
    KeepsScores,
    Mixture,
    Moments,
)
from onelayer.engines.protocol import Engine, Evaluation, FullGradient, Trainer
from onelayer.engines.rows import Rows
from onelayer.engines.streamed import streaming
from onelayer.engines.tiling import loaded, tiles

__all__ = [
    "ENGINE_NAMES",
    "Engine",
    "Evaluation",
    "FixedScores",
    "FullGradient",
    "Judgement",
    "KeepsScores",
    "Method",
    "Mixture",
    "Moments",
    "Rows",
    "State",
    "Steps",
    "Trainer",
    "Weights",
    "loaded",
    "make_engine",
    "streaming",
    "tiles",
]
