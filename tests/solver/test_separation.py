"""Features that separate classes alone: every verdict is that of a linear program."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import linprog

from onelayer.data.rows import Rows
from onelayer.data.sparse import SparseRows
from onelayer.solver.separation import LoneFeature, find_lone_feature
from tests.examples import tries


def by_program(x: np.ndarray, y: np.ndarray, K: int, *, intercept: bool) -> LoneFeature | None:
    """Whether scores a x + c can favour each row's own class, and some row's above another."""
    if (x == x[0]).all() and (intercept or x[0] == 0.0):
        return LoneFeature(0, is_constant=True)
    margins = []
    for xi, yi in zip(x, y, strict=True):
        for k in {*range(K)} - {yi}:
            a, c = np.zeros(K), np.zeros(K)
            a[[yi, k]], c[[yi, k]] = (xi, -xi), (intercept, -intercept)
            margins.append([*a, *c])
    A = np.array(margins)
    best = linprog(-A.sum(axis=0), A_ub=-A, b_ub=np.zeros(len(A)), bounds=(-1, 1))
    return LoneFeature(0, is_constant=False) if -best.fun > 1e-9 else None


@pytest.mark.parametrize("intercept", [True, False])
def test_the_verdict_is_that_of_a_linear_program(intercept: bool) -> None:
    rng, seen = np.random.default_rng(0), []
    for _ in range(tries(200)):
        N, K = int(rng.integers(3, 9)), int(rng.integers(2, 4))
        y, x = rng.integers(0, K, N), rng.integers(int(rng.integers(-1, 1)), 2, N) * 1.0
        if len({*y}) < K:
            continue
        rows = Rows(x[:, None], y, np.ones(1), np.zeros(1), intercept=intercept)
        wanted = by_program(x, y, K, intercept=intercept)
        assert find_lone_feature(rows, K) == wanted
        stored: Any = SparseRows.of(sparse.csr_array(rows.X))
        assert find_lone_feature(replace(rows, X=stored), K) == wanted
        seen.append(wanted)
    assert {*seen} >= {None, LoneFeature(0, is_constant=False)}


def test_of_many_rows_the_few_that_are_looked_at_first_rule_nothing_out_wrongly() -> None:
    rng = np.random.default_rng(1)
    y = np.sort(rng.integers(0, 3, 5000))
    X = rng.normal(size=(5000, 4))
    rows = Rows(X, y, np.ones(4), np.zeros(4))
    assert find_lone_feature(rows, 3) is None
    X[:, 2] = (np.arange(5000) == 4999) * 1.0  # in one row alone
    assert find_lone_feature(rows, 3) == LoneFeature(2, is_constant=False)
    weights = np.ones(5000)
    weights[-1] = 0.0
    assert find_lone_feature(replace(rows, weights=weights), 3) == LoneFeature(2, is_constant=True)


def test_of_many_labels_each_is_a_problem_of_its_own() -> None:
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(60, 3)), rng.integers(0, 2, (60, 2)).astype(np.uint8)
    rows = Rows(X, y, np.ones(3), np.zeros(3))
    assert find_lone_feature(rows, 2) is None
    X[:, 1] = np.where(y[:, 1] == 1, np.abs(X[:, 1]), 0.0)
    assert find_lone_feature(rows, 2) == LoneFeature(1, is_constant=False)
