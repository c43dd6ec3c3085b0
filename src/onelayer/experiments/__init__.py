"""Experiments: the report's four, and the most accurate linear classifier of raw pixels."""

from onelayer.experiments.reproduce import check_gradient, reproduce

__all__ = ["check_gradient", "reproduce"]
