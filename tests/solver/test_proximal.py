"""ℓ1, elastic net and grouped classes: the solution, its proof, and features that are left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from onelayer import _native
from onelayer.data import Dataset, load
from onelayer.data.rows import Rows
from onelayer.data.sparse import SparseRows
from onelayer.engines import streaming
from onelayer.errors import SettingsError
from onelayer.model.model import Model
from onelayer.objective import loss as objective
from onelayer.objective.penalty import Penalty
from onelayer.solver import certify, proximal, solve, solve_path
from onelayer.solver.path import PathState, solve_each
from onelayer.solver.proximal import ProximalSolver, Sparsity
from onelayer.solver.selection import Part
from onelayer.solver.solver import Optimum, Target
from tests.solver.bounds import draw

Float64 = NDArray[np.float64]

ENGINE = streaming()


def make_rows(seed: int, N: int = 300, D: int = 30, K: int = 3, *, weighted: bool = False) -> Rows:
    """Correlated features, few of which say something of the class."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, D))
    X[:, 1::2] += 0.5 * X[:, ::2]
    W = 2.0 * rng.standard_normal((K, D)) * (rng.random(D) < 0.2)
    y = np.argmax(X @ W.T + rng.gumbel(size=(N, K)), axis=1)
    weights = rng.integers(1, 4, N).astype(float) if weighted else None
    return Rows(X, y, np.ones(D), np.zeros(D), None, weights)


def solved(rows: Rows, K: int, part: float, tol: float, l2: float = 0.0, *,
           grouped: bool = False) -> Optimum:  # fmt: skip
    """The solution at a part of the largest λ₁."""
    solver = ProximalSolver(ENGINE, rows, K)
    l1 = part * solver.largest_l1(grouped=grouped)
    return solver.solve(Target(l2, tol, l1=l1, grouped=grouped))


def cost_of(rows: Rows, W: NDArray[np.floating], b: Float64, penalty: Penalty) -> float:
    """J by its definition."""
    scores = objective.scores(rows.scaled(), W, b)
    losses = -objective.log_softmax(scores)[np.arange(rows.count), rows.labels]
    return float(np.average(losses, weights=rows.row_weights)) + penalty.value(W)


@pytest.mark.parametrize("l2", [0.0, 0.003])
@pytest.mark.parametrize(("K", "weighted"), [(2, False), (2, True), (3, True), (5, False)])
def test_weights_are_those_of_scikit_learn(K: int, weighted: bool, l2: float) -> None:
    rows = make_rows(K, K=K, weighted=weighted)
    optimum = solved(rows, K, 0.1, 1e-12, l2)
    l1 = optimum.certificate.l1
    strength = l1 + 2.0 * l2 * (0.5 if K == 2 else 1.0)
    how = {"C": 1.0 / (strength * rows.mass), "l1_ratio": l1 / strength, "tol": 1e-10}
    peer = LogisticRegression(solver="saga", max_iter=20_000, random_state=0, **how)
    peer.fit(rows.X, rows.y, sample_weight=rows.weights)
    W = optimum.W[1:] - optimum.W[:1] if K == 2 else optimum.W
    assert 0 < np.count_nonzero(W) < W.size
    assert np.array_equal(W != 0.0, np.abs(peer.coef_) > 1e-7)
    assert pytest.approx(peer.coef_, abs=1e-5) == W


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("K", [2, 4])
def test_the_largest_l1_is_the_least_for_which_no_feature_is_chosen(K: int, grouped: bool) -> None:
    rows = make_rows(1, K=K)
    assert not solved(rows, K, 1.0, 1e-6, grouped=grouped).W.any()
    assert solved(rows, K, 0.99, 1e-6, grouped=grouped).W.any()


def test_grouped_features_count_for_all_classes_or_for_none() -> None:
    rows = make_rows(2, K=4)
    W = solved(rows, 4, 0.2, 1e-8, grouped=True).W
    chosen = W.any(axis=0)
    assert 0 < chosen.sum() < 30
    assert W[:, chosen].all()


def test_starts_from_the_last_solution_give_the_solution_of_a_cold_start() -> None:
    rows = make_rows(3, D=60)
    solver = ProximalSolver(ENGINE, rows, 3)
    largest = solver.largest_l1(grouped=False)
    for part in (1.0, 0.6, 0.3, 0.1):
        warm = solver.solve(Target(0.0, 1e-13, l1=part * largest))
    cold = ProximalSolver(ENGINE, rows, 3).solve(Target(0.0, 1e-13, l1=0.1 * largest))
    assert np.abs(warm.W - cold.W).max() < 1e-6


def test_features_that_a_gap_excludes_are_0_at_the_optimum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = make_rows(4, D=200, K=3)
    best = solved(rows, 3, 0.3, 1e-12).W.any(axis=0)
    excluded: list[int] = []
    may_count = ProximalSolver._may_count

    def checked(self: ProximalSolver, *of: object) -> NDArray[np.bool_]:
        alive = may_count(self, *of)  # type: ignore[arg-type]
        assert alive[best].all()
        excluded.append(int((~alive).sum()))
        return alive

    monkeypatch.setattr(ProximalSolver, "_may_count", checked)
    monkeypatch.setattr(proximal, "FEWEST", 4)
    solved(rows, 3, 0.3, 1e-9)
    assert max(excluded) > 30


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_slopes_that_are_not_summed_stay_within_what_is_known_of_them(
    monkeypatch: pytest.MonkeyPatch, *, is_sparse: bool, weighted: bool
) -> None:
    """Along a path to the end, and from it to where other features are steep."""
    rows = make_rows(6, D=200, K=2, weighted=weighted)
    rng = np.random.default_rng(1)
    X = rows.scaled() * (rng.random(rows.X.shape) < 0.2) * rng.geometric(0.1, 200)
    stored: Any = SparseRows.of(csr_array(X)) if is_sparse else X
    factors = rng.uniform(0.5, 2.0, 200)
    rows = replace(rows, X=stored, penalty_factors=factors)
    summed, proof_of = [], ProximalSolver._proof_of_pair

    def checked(self: ProximalSolver, pair: _native.PairSearch, *of: Any) -> Any:
        proof = proof_of(self, pair, *of)
        q = pair.residuals()
        steep = np.abs((q - q.sum() * self._fractions) @ X * rows.scale) / factors
        assert (steep <= proof.steep() * (1.0 + 1e-9)).all()
        p = 1.0 / (1.0 + np.exp(-pair.scores()))
        r = self._fractions * (p - self._Y[0])
        own = np.abs((r - r.sum() * self._fractions) @ X * rows.scale) / factors
        assert (own <= self._slopes.most() * (1.0 + 1e-9) + 1e-12).all()
        summed.append(int((self._slopes.state[:-1] < self._slopes.state[-1]).sum()))
        return proof

    monkeypatch.setattr(ProximalSolver, "_proof_of_pair", checked)
    solver = ProximalSolver(ENGINE, rows, 2)
    largest = solver.largest_l1(grouped=False)
    for part in (1.0, 0.6, 0.5, 0.2, 0.02, 0.5):
        found = solver.solve(Target(0.0, 1e-6, l1=part * largest))
        assert found.status == "optimal"
    assert max(summed) > 150 or not is_sparse


@pytest.mark.parametrize("is_sparse", [False, True])
def test_a_search_goes_on_from_a_state_to_the_same_bits(*, is_sparse: bool) -> None:
    rows = make_rows(8, D=100, K=2)
    X: Any = rows.scaled() * (np.random.default_rng(2).random(rows.X.shape) < 0.3)
    X = SparseRows.of(csr_array(X)) if is_sparse else X
    rows = replace(rows, X=X)
    first, then = (ProximalSolver(ENGINE, replace(rows), 2) for _ in range(2))
    largest = first.largest_l1(grouped=False)
    for part in (0.9, 0.5, 0.4):
        first.solve(Target(0.0, 1e-4, l1=part * largest))
    then.restore(first.state)
    for part in (0.35, 0.1):
        a, b = (of.solve(Target(0.0, 1e-4, l1=part * largest)) for of in (first, then))
        assert np.array_equal(a.W, b.W)
        assert a.certificate == b.certificate
        ends = [np.array(of.state.slopes_at) for of in (first, then)]
        np.testing.assert_array_equal(ends[0], ends[1])


@pytest.mark.parametrize("seed", [282, 319])
def test_weights_along_which_the_loss_is_flat_do_not_end_the_search(seed: int) -> None:
    drawn = draw(seed)  # of rows that features separate, where steps of Newton's are thousands
    assert drawn.penalty.l1 > 0.0
    assert drawn.solve(drawn.tol).status == "optimal"


def test_one_row_of_weights_is_penalised_as_two_that_mirror_each_other() -> None:
    rows = make_rows(5, K=2)
    optimum = solved(rows, 2, 0.2, 1e-9, l2=0.01)
    penalty = Penalty(0.01, optimum.certificate.l1)
    assert optimum.certificate.cost == pytest.approx(cost_of(rows, optimum.W, optimum.b, penalty))
    assert np.array_equal(optimum.W[0], -optimum.W[1])


def test_solve_and_certify_name_both_penalties() -> None:
    data = load("digits")
    model = solve(data, l1=0.01, l2=0.002, grouped=True)
    proof = model.require_certificate()
    assert (proof.l1, proof.l2, proof.grouped) == (0.01, 0.002, True)
    assert proof.penalty == "λ₁ = 0.01 of grouped classes, λ₂ = 0.002"
    again = certify(model, data)
    assert again.cost == pytest.approx(proof.cost, rel=1e-9)
    assert again.gap <= 2e-6 * again.cost
    assert certify(model, data, l1=0.02, grouped=False).gap > 0.01


def test_a_model_that_was_not_solved_for_is_certified_too() -> None:
    data = load("digits").train
    rng = np.random.default_rng(0)
    model = Model(0.01 * rng.normal(size=(10, 64)), np.zeros(10), class_names=data.class_names)
    best = solve(data, l1=0.01, scaling="none").require_certificate()
    proof = certify(model, data, l1=0.01, l2=0.0)
    assert proof.cost - proof.gap <= best.cost
    assert proof.gap >= proof.cost - best.cost


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "give l2"),
        ({"l1": -1.0}, "l1 .λ₁. must be a finite number"),
        ({"l1": np.inf}, "l1 .λ₁. must be a finite number"),
        ({"l2": 0.1, "grouped": True}, "grouped needs l1"),
        ({"l1": 0.1, "grouped": "yes"}, "grouped must be True or False"),
    ],
)
def test_wrong_penalties_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        solve(load("digits"), **wrong)  # type: ignore[arg-type]


def test_many_labels_are_refused() -> None:
    data = Dataset(np.eye(4), np.eye(4, dtype=np.uint8)[:, :2], ("a", "b"), label_type="many")
    with pytest.raises(SettingsError, match="many labels"):
        solve(data, l1=0.1)


def test_coordinate_descent_ends_where_no_feature_can_lower_the_quadratic() -> None:
    rng = np.random.default_rng(0)
    A, m, n = rng.standard_normal((40, 12)), 3, 12
    H, w, penalty = A.T @ A / 40, np.zeros((m, n)), np.full(n, 0.2)
    penalty[0] = 0.0
    slope = rng.standard_normal((m, n)) / 3.0
    g = slope.copy()
    _native.coordinate_descent(H, penalty, w, g, 1e-14, 1000)
    assert g == pytest.approx(slope + w @ H, abs=1e-12)
    chosen = w.any(axis=0)
    assert 0 < chosen.sum() < n
    units = w[:, chosen] / np.linalg.norm(w[:, chosen], axis=0)
    assert g[:, chosen] == pytest.approx(-penalty[chosen] * units, abs=1e-6)
    assert np.linalg.norm(g[:, ~chosen], axis=0).max() <= 0.2


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("m", [1, 3])
def test_descent_in_columns_of_sparse_rows_ends_where_that_by_their_hessian_does(
    m: int, intercept: bool
) -> None:
    rng = np.random.default_rng(m)
    X = rng.standard_normal((40, 30)) * (rng.random((40, 30)) < 0.3)
    scale, offset = rng.uniform(0.5, 2.0, 30), rng.standard_normal(30)
    order, features = rng.permutation(40)[:37], np.sort(rng.permutation(30)[:12])
    C = (X[order] * scale + offset)[:, features].T
    d, r = rng.uniform(0.1, 0.3, 37), rng.standard_normal((37, m))
    l1, l2, w = np.full(12, 2.0), np.full(12, 0.1), np.zeros((m, 12))
    sparse = SparseRows.of(csr_array(X))
    stored = sparse.values, sparse.indices, sparse.indptr, 30
    columns = _native.SparseColumns(stored, scale, offset, order)
    columns.descend(features, d, l1, l2, intercept, w, r.copy(), 1e-16, 10_000)
    centred = C - (C @ d / d.sum())[:, None] if intercept else C
    H = (centred * d) @ centred.T + 0.2 * np.eye(12)
    wanted, g = np.zeros((m, 12)), (centred @ (r - intercept * np.outer(d, r.sum(0) / d.sum()))).T
    _native.coordinate_descent(H, l1, wanted, g.copy(), 1e-16, 10_000)
    assert 0 < np.count_nonzero(wanted.any(axis=0)) < 12
    assert w == pytest.approx(wanted, abs=1e-6)
    unmoved = C - offset[features, None]
    assert columns.scores(features, w) == pytest.approx((w @ unmoved).T, abs=1e-12)
    assert columns.sums(features, r) == pytest.approx((C @ r).T, abs=1e-12)


def test_columns_refuse_features_that_there_are_none_of() -> None:
    stored = np.ones(2), np.array([0, 1]), np.array([0, 1, 2]), 2
    columns = _native.SparseColumns(stored, np.ones(2), np.zeros(2))
    with pytest.raises(ValueError, match="features: expected 0 to 1, got 2"):
        columns.scores(np.array([2]), np.ones((1, 1)))
    with pytest.raises(ValueError, match="factors: expected shape"):
        columns.sums(np.array([1]), np.ones(2))


@pytest.mark.parametrize("K", [2, 3])
@pytest.mark.parametrize("grouped", [False, True])
def test_sparse_rows_have_the_solution_that_the_same_rows_have_as_an_array(
    K: int, grouped: bool
) -> None:
    dense = make_rows(8, K=K, weighted=True)
    X = dense.X * (np.random.default_rng(8).random(dense.X.shape) < 0.3)
    dense = replace(dense, X=X, offset=np.linspace(-1.0, 1.0, 30)).only(np.arange(5, 300))
    stored: Any = SparseRows.of(csr_array(X))
    sparse = replace(dense, X=stored)
    of_dense, of_sparse = (solved(of, K, 0.1, 1e-10, grouped=grouped) for of in (dense, sparse))
    assert pytest.approx(of_dense.W, abs=1e-5) == of_sparse.W
    assert of_sparse.b == pytest.approx(of_dense.b, abs=1e-5)


@pytest.mark.parametrize("K", [2, 3])
def test_rows_that_are_not_scaled_have_few_features_sparse_or_not(K: int) -> None:
    rows = make_rows(8, K=K)
    X = rows.X * (np.random.default_rng(8).random(rows.X.shape) < 0.3)
    names = tuple(map(str, range(K)))
    dense, sparse = (
        solve(Dataset(of, rows.labels, names), l1=0.01, tol=1e-10, scaling="none")
        for of in (X, csr_array(X))
    )
    np.testing.assert_allclose(sparse.W, dense.W, atol=1e-4)


def test_probabilities_of_a_step_prove_more_than_those_of_its_end() -> None:
    rows = make_rows(9, D=100, K=2)
    solver = ProximalSolver(ENGINE, rows, 2)
    l1 = 0.1 * solver.largest_l1(grouped=False)
    optimum = solver.solve(Target(0.0, 1e-4, l1=l1))
    assert optimum.status == "optimal"
    own = solver.certify(optimum.W.astype(np.float64), optimum.b, Penalty(0.0, l1)).given
    assert own.cost == pytest.approx(optimum.certificate.cost, rel=1e-13)
    assert optimum.certificate.gap < 0.1 * own.gap


def pair_of(
    dtype: str, N: int = 77, threads: int = 1, *, intercept: bool = True
) -> tuple[_native.PairSearch, Float64, Float64, Float64, Float64]:
    """A search on columns of 40 features, read in two tiles; the features, y, f and offsets."""
    rng = np.random.default_rng(3)
    X = rng.integers(0, 9, (2 * N, 40)).astype(dtype)
    scale, offset = rng.uniform(0.5, 2.0, 40), rng.standard_normal(40)
    order, y = rng.permutation(2 * N)[:N], rng.integers(0, 2, N).astype(float)
    f, offsets = rng.dirichlet(np.ones(N)), 0.1 * rng.standard_normal(N)
    columns = _native.ArrayColumns(N, dtype == "float64", scale, offset)
    for features in (np.arange(3, 40, 4), np.arange(0, 3)):
        columns.hold(features)
        columns.read(X, order[:50], 0, features)
        columns.read(X[order[50:]], None, 50, features)
    C = X[order].astype(np.float64) * scale + offset
    return _native.PairSearch(columns, y, f, offsets, intercept, threads), C, y, f, offsets


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
def test_rows_of_a_pair_lie_under_scores_of_features_as_they_are_stored(dtype: str) -> None:
    pair, C, y, f, offsets = pair_of(dtype)
    features = np.array([0, 7, 11])
    w = np.array([0.2, 0.0, -0.1])
    pair.place(features, w, 0.3)
    s = C[:, features] @ w + 0.3 + offsets
    assert pair.scores() == pytest.approx(s, abs=1e-13)
    p = 1.0 / (1.0 + np.exp(-s))
    losses = np.logaddexp(0.0, s) - y * s
    assert pair.sums() == pytest.approx((f @ losses, f @ (p - y), f @ s, f @ (y * s)), abs=1e-14)
    assert pair.residuals() == pytest.approx(f * (p - y), abs=1e-15)
    pair.travel()
    pair.put(s + 0.1)
    moved = 1.0 / (1.0 + np.exp(-s - 0.1)) - p
    assert pair.travel() == pytest.approx((np.sqrt(f @ moved**2), 0.0, f @ (p + moved - y)))
    pair.place(features, w, 0.3)
    assert pair.slopes(features, found=True) == pytest.approx(C[:, features].T @ (f * (p - y)))
    bias = pair.centre(1e-14, float(f @ y))
    assert abs(pair.sums()[1]) <= 1e-14
    assert pair.scores() == pytest.approx(s + bias - 0.3, abs=1e-13)
    pair.put(s)
    assert np.array_equal(pair.scores(), s)
    assert not pair.has_found()


@pytest.mark.parametrize("l2", [0.0, 0.02])
@pytest.mark.parametrize("intercept", [True, False])
def test_the_search_of_a_pair_ends_where_no_weight_can_lower_the_cost(
    l2: float, intercept: bool
) -> None:
    pair, C, y, f, offsets = pair_of("float32", intercept=intercept)
    features = np.concatenate([np.arange(3), np.arange(3, 40, 4)])
    n, w = len(features), np.zeros(len(features))
    limits, curvatures = np.full(n, 0.05), np.full(n, 2.0 * l2)
    limits[0] = 0.0  # a free feature
    pair.place(features, w, 0.0)
    bias = pair.fit(features, limits, curvatures, w, None, 1e-13, 100)
    s = C[:, features] @ w + bias + offsets
    assert pair.scores() == pytest.approx(s, abs=1e-12)
    p = 1.0 / (1.0 + np.exp(-s))
    G = C[:, features].T @ (f * (p - y)) + curvatures * w
    on = w != 0.0
    assert 1 < on.sum() < n
    assert G[on] == pytest.approx(-limits[on] * np.sign(w[on]), abs=1e-6)
    assert (np.abs(G[~on]) <= limits[~on] + 1e-6).all()
    assert f @ (p - y) == pytest.approx(0.0, abs=1e-7) or not intercept
    # What the last step found has the quadratic's gradient, and is nearly p.
    q = pair.residuals() / f + y
    kept = 0.75 * q + 0.25 * y
    wanted = f @ (kept * np.log(kept / p) + (1.0 - kept) * np.log((1.0 - kept) / (1.0 - p)))
    assert pair.divergence(0.75) == pytest.approx(wanted, abs=1e-12)
    assert q == pytest.approx(p, abs=1e-5)


def test_the_gradient_of_what_a_step_of_a_pair_found_is_within_the_penalty() -> None:
    pair, C, *_ = pair_of("float64")
    features = np.arange(3, 40, 4)
    n, w = len(features), np.zeros(len(features))
    pair.place(features, w, 0.0)
    pair.fit(features, np.full(n, 0.05), np.zeros(n), w, None, 0.0, 3)
    assert pair.has_found()
    of_step = pair.residuals()
    assert of_step.sum() == pytest.approx(0.0, abs=1e-7)
    G = C[:, features].T @ of_step
    assert np.abs(G).max() == pytest.approx(0.05, rel=1e-3)
    assert G[w != 0.0] == pytest.approx(-0.05 * np.sign(w[w != 0.0]), rel=1e-3)


def test_the_search_of_a_pair_has_the_same_bits_on_any_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("ONELAYER_THREADS", threads)
        rng = np.random.default_rng(0)
        X = rng.standard_normal((30_000, 160)).astype(np.float32)
        y = (X[:, :40].sum(axis=1) + rng.logistic(size=30_000) > 0.0).astype(np.int64)
        found.append(solved(Rows(X, y, np.ones(160), np.zeros(160)), 2, 0.02, 1e-6))
    assert found[0].W.any(axis=0).sum() > 60
    assert np.array_equal(found[0].W, found[1].W)
    assert np.array_equal(found[0].b, found[1].b)


def test_columns_of_an_array_refuse_rows_of_another_shape_or_type() -> None:
    columns, features = _native.ArrayColumns(5, False, np.ones(3), np.zeros(3)), np.array([0, 2])
    columns.hold(features)
    for X, place, words in (
        (np.ones((5, 3)), 0, "X: expected the type of the columns"),
        (np.ones((5, 2), np.float32), 0, "X: expected shape"),
        (np.ones((5, 3), np.float32), 1, "place: rows end"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            columns.read(X, None, place, features)
    with pytest.raises(ValueError, match="features: not held"):
        columns.read(np.ones((5, 3), np.float32), None, 0, np.array([1]))


@pytest.mark.parametrize("grouped", [False, True])
def test_the_conjugate_is_the_largest_difference_of_a_product_and_the_penalty(
    grouped: bool,
) -> None:
    rng = np.random.default_rng(0)
    Z, penalty = rng.normal(size=(3, 4)), Penalty(0.3, 0.4, grouped)
    # Z less the penalty's gradient is 0 at the prox of Z / 2λ₂.
    best = penalty.prox(Z / 0.6, 1.0 / 0.6)
    exact = float(np.sum(Z * best)) - penalty.value(best)
    assert penalty.conjugate(Z) == pytest.approx(exact)
    for _ in range(100):
        W = best + 0.3 * rng.normal(size=best.shape)
        assert np.sum(Z * W) - penalty.value(W) <= exact
    assert Penalty(0.0, 0.4).conjugate(np.full((2, 2), 0.39)) == 0.0
    assert Penalty(0.0, 0.4).conjugate(np.full((2, 2), 0.41)) == np.inf


def test_a_path_goes_down_from_where_no_feature_is_chosen() -> None:
    path = solve_path(load("digits"), l1=6)
    counts = [int(model.W.any(axis=0).sum()) for model in path.models]
    assert counts[0] == 0
    assert counts[1] > 0
    assert all(model.status == "optimal" for model in path.models)
    assert path.symbol == "λ₁"
    assert path.l1[5] == pytest.approx(path.l1[0] / 100.0)
    assert not path.l2.any()
    assert path.edge is None
    assert f"{counts[path.chosen]} of 64 features chosen" in path.verdict
    assert path.best.l1 == path.best_strength == path.l1[path.chosen]


def test_a_path_of_an_elastic_net_has_the_l2_of_its_l1_ratio() -> None:
    data = load("digits")
    path = solve_path(data, l1=[0.1, 0.01], l1_ratio=0.25, folds=2, refit=True, tol=1e-4)
    assert path.l2 == pytest.approx(path.l1 * 1.5)
    proof = path.best.require_certificate()
    assert proof.l1 == 0.01
    assert proof.l2 == pytest.approx(0.015)
    assert Sparsity(0.25).target(Target(0.0), 0.01, classes=2).l2 == pytest.approx(0.03)


@pytest.mark.parametrize("K", [2, 3])
def test_an_interrupted_path_goes_on_to_the_same_bits(K: int) -> None:
    rows = make_rows(6, D=60, K=K)
    parts: list[Part] = [(rows.only(np.arange(200)), rows.only(np.arange(200, 300)))]
    states: list[PathState] = []
    how = (Target(0.0, 1e-6), parts, "accuracy", None)
    whole, _ = solve_each(ENGINE, rows, K, 5, *how, PathState(), states.append, Sparsity())
    again, _ = solve_each(ENGINE, rows, K, 5, *how, states[2], lambda _: None, Sparsity())
    for one, other in zip(whole.optima, again.optima, strict=True):
        assert np.array_equal(one.W, other.W)
        assert np.array_equal(one.b, other.b)
    for state in states:
        assert all(of == wanted for _, of, wanted in state.sizes(K, 60, 1))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"l1": [0.1, 0.0]}, "l1 must be values above 0"),
        ({"l1": 5, "l2": 5}, "give either l2 or l1"),
        ({"l1_ratio": 0.5}, "l1_ratio needs l1"),
        ({"grouped": True}, "grouped needs l1"),
        ({"l1": 5, "l1_ratio": 0.0}, "l1_ratio must be above 0, up to 1"),
        ({"l1": 1}, "l1 must be values of λ₁, as"),
    ],
)
def test_wrong_paths_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        solve_path(load("digits"), **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("K", [2, 3])
def test_an_estimator_of_scikit_learn_has_the_c_and_l1_ratio_that_are_this_model(K: int) -> None:
    rows = make_rows(7, K=K)
    data = Dataset(rows.X, rows.y, tuple(map(str, range(K))))
    theirs = solve(data, l1=0.02, l2=0.005, scaling="none", tol=1e-10).to_sklearn()
    again = clone(theirs).set_params(max_iter=5000, tol=1e-9, random_state=0).fit(rows.X, rows.y)
    assert np.abs(again.coef_ - theirs.coef_).max() < 1e-5
