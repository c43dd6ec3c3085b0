"""Estimators for scikit-learn: a softmax classifier, and one that chooses λ by folds.

inputs      rows as stored, labels of any type, weights; checks of the arguments
base        coef_ and intercept_, and predictions from them
fit         fitting by the certified solver, or by mini-batch descent
classifier  SoftmaxClassifier
path        SoftmaxClassifierCV
"""

from onelayer.sklearn.classifier import SoftmaxClassifier
from onelayer.sklearn.path import SoftmaxClassifierCV

__all__ = ["SoftmaxClassifier", "SoftmaxClassifierCV"]
