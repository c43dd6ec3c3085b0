"""The command line: parse, call, print. Exit codes: 0 done, 1 failed, 2 wrong usage."""

from onelayer.cli import models, options, runs, solve, train
from onelayer.cli.app import app, main

__all__ = ["app", "main", "models", "options", "runs", "solve", "train"]
