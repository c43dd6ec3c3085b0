"""scikit-learn's SGDClassifier: another algorithm, shown for its time alone.

It fits one binary logistic regression for each class against the rest, one row a step, so its
weights differ from a softmax classifier's and no agreement is asserted. Its penalty is
alpha/2 · ‖w‖², so alpha is 2λ; n_jobs spreads the classes over threads.
"""

from __future__ import annotations

import numpy as np
import sklearn
from sklearn.linear_model import SGDClassifier

from benchmarks.harness.problem import Answer, Data, Problem, initial_weights
from benchmarks.peers import Prepared


def prepare(problem: Problem, data: Data, threads: int) -> Prepared:
    """As many epochs as the others, rows in file order, constant η."""
    setting, start = problem.settings[0], initial_weights(problem)

    def train() -> Answer:
        X = data.X.astype(np.float32)
        X *= np.float32(problem.scale)
        model = SGDClassifier(
            loss="log_loss",
            alpha=2 * setting.l2,
            max_iter=problem.epochs,
            tol=None,
            shuffle=False,
            learning_rate="constant",
            eta0=setting.learning_rate,
            n_jobs=threads,
        )
        model.fit(X, data.y, coef_init=start.W[0], intercept_init=start.b[0])
        return Answer(model.coef_[None], model.intercept_[None])

    return Prepared(train, {"scikit-learn": sklearn.__version__})
