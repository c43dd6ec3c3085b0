"""Estimators for scikit-learn: a softmax classifier, and one that chooses λ by folds."""

from onelayer.sklearn.classifier import SoftmaxClassifier, SoftmaxClassifierCV
from onelayer.sklearn.converter import register

register((SoftmaxClassifier, SoftmaxClassifierCV))

__all__ = ["SoftmaxClassifier", "SoftmaxClassifierCV"]
