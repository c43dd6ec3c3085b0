"""Estimators for scikit-learn: a softmax classifier, and one that chooses λ by folds."""

from onelayer.sklearn.classifier import SoftmaxClassifier
from onelayer.sklearn.path import SoftmaxClassifierCV

__all__ = ["SoftmaxClassifier", "SoftmaxClassifierCV"]
