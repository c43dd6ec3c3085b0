"""Estimators for scikit-learn: a softmax classifier, and one that chooses λ by folds."""

from onelayer.sklearn.classifier import SoftmaxClassifier, SoftmaxClassifierCV

__all__ = ["SoftmaxClassifier", "SoftmaxClassifierCV"]
