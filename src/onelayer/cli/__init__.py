"""The command line: parse, call, print. Exit codes: 0 done, 1 failed, 2 wrong usage."""

from onelayer.cli import best_linear, models, proofs, rerun, stored, sweeps, training
from onelayer.cli.application import app, main

__all__ = [
    "app",
    "best_linear",
    "main",
    "models",
    "proofs",
    "rerun",
    "stored",
    "sweeps",
    "training",
]
