"""Experiments: the report's four, probes of many feature sets, and the best linear classifier."""

from onelayer.experiments.reproduce import check_gradient, reproduce

__all__ = ["check_gradient", "reproduce"]
