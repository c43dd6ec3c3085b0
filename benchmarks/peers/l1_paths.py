"""Paths of λ₁ of solvers made for few features, each as its documentation recommends.

A job has the rows in float64, by rows and by columns, and what is wanted of each point.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers.scikit_learn import fit

Solution = tuple[Any, Any]  # W (K, D), or (1, D) of two classes, and b


def saga(job: Any, tol: float) -> list[Solution]:
    from sklearn.linear_model import LogisticRegression

    how: Any = {"solver": "saga", "max_iter": 5000, "warm_start": True, "random_state": 0}
    model, found = LogisticRegression(tol=tol, **how), []
    for strength, ratio in map(job.strength, job.wanted):
        model.set_params(C=1 / (strength * job.shape.N), l1_ratio=ratio)
        fit(model, job.by_rows, job.rows.y)
        found.append((model.coef_.copy(), model.intercept_.copy()))
    return found


def skglm(job: Any, tol: float) -> list[Solution]:
    from skglm import datafits, penalties, solvers

    X, labels, w, found = job.by_columns, 2.0 * job.rows.y - 1.0, np.zeros(job.shape.D + 1), []
    for at in job.wanted:
        net = penalties.L1_plus_L2(*job.strength(at)) if at.l2 else penalties.L1(at.l1)
        search = solvers.ProxNewton(tol=tol * at.l1, fit_intercept=True, warm_start=True)
        start = {"w_init": w.copy(), "Xw_init": X @ w[:-1] + w[-1]}
        w = search.solve(X, labels, datafits.Logistic(), net, **start)[0]
        found.append((w[None, :-1].copy(), w[-1:]))
    return found


def adelie(job: Any, tol: float) -> list[Solution]:
    import adelie as package

    X, how = job.by_columns, {"n_threads": 2, "progress_bar": False, "early_exit": False}
    X = package.matrix.sparse(X, method="naive", n_threads=2) if job.shape.stored else X
    strengths, ratios = zip(*map(job.strength, job.wanted), strict=True)
    family = package.glm.binomial(y=job.rows.y.astype(float))
    path = package.grpnet(X=X, glm=family, lmda_path=np.array(strengths), alpha=ratios[0], tol=tol,
                          irls_tol=tol, **how)  # fmt: skip
    betas = zip(path.betas, path.intercepts, strict=True)
    return [(np.asarray(beta.todense()), np.atleast_1d(b)) for beta, b in betas]


PEERS = {"sklearn": saga, "skglm": skglm, "adelie": adelie}  # by the package
