"""onelayer as scikit-learn sees it: a classifier, and one that chooses λ by folds.

inputs     what comes in: rows as stored, labels of any type, weights
options    which arguments a solver takes; the others are refused
held_out   the rows that early stopping stops by
linear     coef_ and intercept_, and what can be predicted from them
optimum    fitting by the certified solver
minibatch  fitting by gradient descent, whole or in parts
classifier SoftmaxClassifier
path       SoftmaxClassifierCV
"""

from onelayer.sklearn.classifier import SoftmaxClassifier
from onelayer.sklearn.path import SoftmaxClassifierCV

__all__ = ["SoftmaxClassifier", "SoftmaxClassifierCV"]
