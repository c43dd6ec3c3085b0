"""The bound: it holds, for any weights of any problem; it is tight in the limit."""

from __future__ import annotations

import math
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onelayer.data import Dataset, load
from onelayer.data.rows import Rows
from onelayer.engines import ENGINE_NAMES, FullGradient, Weights, make_engine
from onelayer.errors import DataError, SettingsError
from onelayer.model.model import Model
from onelayer.objective import loss as objective
from onelayer.objective.penalty import Penalty
from onelayer.solver import certificate as proofs
from onelayer.solver import certify, solve, solver
from onelayer.solver.certificate import (
    ABSENT_BELOW,
    certify_all,
    certify_weights,
    full_gradient,
)
from onelayer.solver.lbfgs import fit_preconditioner
from tests.examples import examples
from tests.solver.oracle import Problem, independent_optimum, make_problem, random_weights

PROBLEMS = 500


@pytest.mark.slow
def test_the_bound_holds_on_500_random_problems() -> None:
    engine = make_engine(threads=1)
    loosest = 0.0
    for seed in range(PROBLEMS):
        problem = make_problem(seed)
        W, b = random_weights(problem, seed)
        certificate = certify_weights(engine, problem.rows, W, b, problem.penalty).given
        J, W_best = independent_optimum(problem)
        slack = 1e-9 * max(1.0, certificate.cost)
        assert certificate.cost == pytest.approx(problem.cost(W, b), rel=1e-12, abs=1e-12), seed
        assert certificate.lower_bound <= J + slack, seed
        assert np.linalg.norm(W - W_best) <= certificate.distance + math.sqrt(slack), seed
        loosest = max(loosest, certificate.gap - (certificate.cost - J))
    assert loosest > 0.0


@examples(200)
@given(
    seed=st.integers(0, 2**32 - 1), most=st.sampled_from([(40, 12, 20), (60, 5, 200), (12, 80, 4)]),
    weighted=st.booleans(), absent=st.booleans(), tol=st.sampled_from([0.0, 1e-3]),
    sample=st.sampled_from([4, 4096]), float32=st.booleans(),
)  # fmt: skip
def test_no_model_costs_less_than_a_bound_says(
    seed: int, most: tuple[int, int, int], weighted: bool, absent: bool, tol: float, sample: int,
    float32: bool,
) -> None:  # fmt: skip
    """Rows of weight 0, absent classes, N < D, K to 200, a sample of few rows, float32 passes."""
    problem, rng = make_problem(seed, most), np.random.default_rng(seed)
    y = np.where(problem.y == problem.y[0], problem.y.max(), problem.y) if absent else problem.y
    rows = problem._replace(y=y).rows
    if weighted:
        rows = replace(rows, weights=np.r_[1.0, rng.integers(0, 3, rows.count - 1)])

    def cost(W: NDArray[np.floating], b: NDArray[np.floating]) -> float:
        losses = -objective.log_softmax(objective.scores(problem.X, W, b))[np.arange(len(y)), y]
        penalty = problem.penalty.value(W.astype(np.float64))
        return float(np.average(losses, weights=rows.weights)) + penalty

    W, b = random_weights(problem, seed)
    engine = make_engine(threads=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proofs, "SAMPLE_ROWS", sample)
        patch.setattr(proofs, "FLOAT64_PRODUCTS", 0.0 if float32 else math.inf)
        certified = certify_weights(engine, rows, W, b, problem.penalty, tol)
        patch.setattr(solver, "FLOAT64_PRODUCTS", 0.0)
        metric = fit_preconditioner(engine, rows, problem.K)
        best = solver.Solver(engine, rows, problem.K, metric).solve(
            solver.Target(problem.l2, tol=1e-4, max_passes=200)
        )
    lowest = cost(best.W, best.b)
    slack = 1e-9 * (1.0 + abs(lowest))
    costs = {certified.given: cost(W, b), best.certificate: lowest}
    if rows.class_frequencies(problem.K).all():
        costs[certified.best] = cost(W, certified.bias)
    for certificate, exact in costs.items():
        assert abs(certificate.cost - exact) <= certificate.rounding + slack
        assert exact - lowest <= certificate.gap + slack
    assert float32 or certified.given.rounding == 0.0
    for certificate in (certified.given, certified.best, best.certificate):
        assert 0.0 <= certificate.lower_bound <= lowest + slack
    assert best.certificate.lower_bound <= cost(W, certified.bias) + slack


@pytest.mark.parametrize("seed", range(60))
def test_a_float32_pass_is_off_by_no_more_than_its_errors_say(seed: int) -> None:
    """Rows far from 0 and near it, of one sign and of both, stored as bytes and as floats."""
    rng = np.random.default_rng(seed)
    N, D, K = (int(rng.integers(*of)) for of in ((50, 900), (1, 300), (2, 40)))
    X = rng.integers(0, 256, (N, D)).astype(rng.choice(["uint8", "float32", "float64"]))
    y = np.r_[np.arange(K), rng.integers(0, K, max(N - K, 0))]
    X = np.resize(X, (len(y), D))
    offset = rng.choice([0.0, 1.0]) * rng.normal(size=D)
    rows = Rows(X, y, np.full(D, 1 / 255) * rng.choice([1.0, 9.0], D), offset)
    if seed % 3 == 0:
        rows = replace(rows, scale=np.full(D, 0.01), weights=rng.uniform(0.1, 2.0, len(y)))
    W = rng.choice([0.01, 1.0, 10.0]) * (rng.normal(size=(K, D)) + rng.choice([0.0, 1.0]))
    b, engine = rng.normal(size=K), make_engine()
    sums = proofs.RowSums.of(engine, rows, K)
    size = float(np.average((rows.scaled() ** 2).sum(axis=1), weights=rows.weights)) ** 0.5
    assert size == pytest.approx(sums.size, rel=1e-9)
    assert size <= sums.size
    of_type = ([W[None].astype(t), b[None].astype(t)] for t in ("float32", "float64"))
    coarse, fine = (proofs.passes_of(engine.gradient(rows, Weights(*of)))[0] for of in of_type)
    rounding = proofs.Rounding.of(engine, rows, sums)
    assert rounding is not None
    errors = rounding.errors(coarse, W, b, sums.frequencies)
    assert abs(coarse.loss - fine.loss) <= errors.loss
    # Probabilities of rounded scores are the dual point; here those of exact scores are meant.
    assert np.linalg.norm(coarse.G - fine.G) <= errors.G + errors.scores * size
    assert np.all(np.abs(coarse.g - fine.g) <= errors.g + errors.scores)


def test_what_a_pass_says_of_its_sums_halves_the_error_of_its_gradient() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (960, 40)).astype(np.uint8), rng.integers(0, 5, 960)
    rows = Rows(X, y, np.full(40, 1 / 255), np.full(40, -0.5))
    W, b, engine = 0.3 * rng.normal(size=(5, 40)), rng.normal(size=5), make_engine()
    sums = proofs.RowSums.of(engine, rows, 5)
    weights = Weights(W[None].astype(np.float32), b[None].astype(np.float32))
    (found,) = proofs.passes_of(engine.gradient(rows, weights))
    rounding = proofs.Rounding.of(engine, rows, sums)
    assert rounding is not None
    said, unsaid = (
        rounding.errors(of, W, b, sums.frequencies).G
        for of in (found, found._replace(rounded=np.inf))
    )
    assert said < 0.55 * unsaid


def test_mean_scores_of_classes_lie_no_farther_apart_than_longest_weights_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    rows = Rows(rng.normal(size=(50, 6)), np.arange(50) % 4, np.ones(6), np.zeros(6))
    sums, W, b = proofs.RowSums.of(make_engine(), rows, 4), rng.normal(size=(4, 6)), np.arange(4.0)
    means = np.array([rows.X[rows.y == k].mean(axis=0) for k in range(4)]) - sums.mean
    exact = float(np.ptp(means @ W.T + b, axis=1).max())
    assert proofs._margin(W, b, sums) == pytest.approx(exact)
    monkeypatch.setattr(proofs, "MARGIN_PRODUCTS", 0)
    assert exact < proofs._margin(W, b, sums) < 10.0 * exact


def test_the_mean_residual_is_no_larger_than_the_mean_loss_allows() -> None:
    rng = np.random.default_rng(0)
    sizes = 10.0 ** rng.uniform(-3, 1.5, 300)
    many = [np.concatenate([rng.gamma(0.3, size, 50), np.zeros(k % 50)])
            for k, size in enumerate(sizes)]  # fmt: skip
    many += [np.array(of) for size in sizes for of in ([size], [size, 0.0])]
    for losses in many:
        square = float(np.mean(np.expm1(-losses) ** 2))
        assert square <= proofs._square_of_missing(float(np.mean(losses))) * (1.0 + 1e-15)


@pytest.mark.parametrize("seed", range(20))
def test_a_pass_proves_what_its_mixture_of_probabilities_and_labels_proves(seed: int) -> None:
    problem = make_problem(seed)
    problem.y[: problem.K] = np.arange(min(problem.K, len(problem.y)))
    problem = problem._replace(K=int(problem.y.max()) + 1)
    (X, y, K, l2), rng = problem[:4], np.random.default_rng(seed)
    W, b = rng.normal(size=(K, X.shape[1])), rng.normal(size=K)
    offsets = rng.normal(size=(len(X), K)) if seed % 2 else np.zeros((len(X), K))
    S, Y = objective.scores(X, W, b) + offsets, np.eye(K)[y]
    P, loss = objective.softmax(S), -float((Y * objective.log_softmax(S)).sum()) / len(X)
    frequencies, means = Y.mean(axis=0), P.mean(axis=0)
    found = proofs.Pass(loss, (P - Y).T @ X / len(X), means - frequencies)
    rows = replace(problem.rows, score_offsets=offsets if seed % 2 else None)
    sums = proofs.RowSums.of(make_engine("reference"), rows, K)
    bound = proofs.bound_of(found, W, b, problem.penalty, sums)

    t = float(np.max(1.0 - frequencies / means))
    q = (frequencies - (1.0 - t) * means) / t
    kept, taken = np.minimum(q / frequencies, 1.0), np.maximum(q - frequencies, 0.0)
    R = kept * Y + (1.0 - Y @ kept)[:, None] * taken / taken.sum()
    mixed = (1.0 - t) * P + t * R
    np.testing.assert_allclose(mixed.mean(axis=0), frequencies, atol=1e-14)
    G = (mixed - Y).T @ X / len(X)
    assert bound.slope == pytest.approx(np.linalg.norm(G + 2.0 * l2 * W), rel=1e-9)
    assert bound.distance == pytest.approx(bound.slope**2 / (4.0 * l2))

    def divergence(A: NDArray[np.float64]) -> float:
        ratios = np.log(A / P, where=A > 0.0, out=np.zeros_like(A))
        return float(np.sum(A * ratios) / len(X))

    assert bound.mixing == pytest.approx(t * divergence(R), rel=1e-9)
    assert bound.mixing >= divergence(mixed)


@pytest.mark.parametrize("engine_name", ENGINE_NAMES)
@pytest.mark.parametrize("seed", range(5))
def test_the_gap_vanishes_with_the_square_of_the_distance_to_the_optimum(
    engine_name: str, seed: int
) -> None:
    problem = make_problem(seed)
    _, W_best = independent_optimum(problem)
    towards = np.random.default_rng(seed).normal(size=W_best.shape)
    gaps = []
    for distance in (1e-3, 1e-4):
        W = W_best + distance * towards / np.linalg.norm(towards)
        certified = certify_weights(
            make_engine(engine_name), problem.rows, W, np.zeros(problem.K), problem.penalty
        )
        gaps.append(certified.best.gap)
    assert gaps[0] / gaps[1] == pytest.approx(100.0, rel=0.1)


def test_the_bound_is_the_distance_itself_where_the_penalty_outweighs_the_loss() -> None:
    problem = make_problem(3)._replace(l2=1e6)
    W = np.random.default_rng(0).normal(size=(problem.K, problem.X.shape[1]))
    certificate = certify_weights(
        make_engine(), problem.rows, W, np.zeros(problem.K), problem.penalty
    ).given
    J, _ = independent_optimum(problem)
    assert certificate.gap == pytest.approx(certificate.cost - J, rel=1e-4)


def test_a_bias_that_was_not_minimised_is_allowed_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs, "MAX_PASSES", 1)
    for seed in range(40):
        problem = make_problem(seed)
        W, b = random_weights(problem, seed)
        certified = certify_weights(make_engine(), problem.rows, W, b, problem.penalty)
        assert certified.given.lower_bound <= independent_optimum(problem)[0] + 1e-9, seed
        assert certified.passes == 1 or len(np.unique(problem.y)) < problem.K


def test_a_search_keeps_two_gradients_however_many_passes_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passes, kept = list[weakref.ref[NDArray[np.float64]]](), list[int]()

    def pass_over(*of: Any) -> FullGradient:
        found = full_gradient(*of)
        G = found.W.copy()
        passes.append(weakref.ref(G))
        kept.append(sum(of_pass() is not None for of_pass in passes))
        return found._replace(W=G)

    monkeypatch.setattr(proofs, "full_gradient", pass_over)
    monkeypatch.setattr(proofs, "_sample_rows", lambda classes: 8)
    monkeypatch.setattr(proofs, "MIXING_PART", 1e-12)
    problem, rng = make_problem(0, (60, 5, 20)), np.random.default_rng(0)
    W, b = random_weights(problem, 0)
    b = 3.0 * rng.normal(size=len(b))
    certify_weights(make_engine(), problem.rows, W, b, problem.penalty)
    assert len(passes) > 9
    assert max(kept) <= 2  # where steps are taken from, and the new one


def test_the_curvature_of_few_rows_brings_the_bias_near_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    problem = Problem(rng.normal(size=(5000, 4)), rng.integers(0, 9, 5000), 9, 0.1)
    W, b = random_weights(problem, 1)
    weighted = replace(problem.rows, weights=rng.integers(0, 3, 5000).astype(float))
    for rows in (problem.rows, weighted):
        whole = certify_weights(make_engine(), rows, W, b, problem.penalty)
        with monkeypatch.context() as patch:
            patch.setattr(proofs, "SAMPLE_ROWS", 250)
            sampled = certify_weights(make_engine(), rows, W, b, problem.penalty)
        assert sampled.given.gap == pytest.approx(whole.given.gap, rel=0.02)
        assert sampled.passes <= whole.passes + 2 <= 6


def test_rows_that_a_model_is_uncertain_of_bring_its_bias_near_in_a_step_or_two(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a hundred rows with a doubtful label one is in a random sample."""
    rng = np.random.default_rng(0)
    means, y = 6.0 * rng.normal(size=(20, 8)), rng.integers(0, 20, 10_000)
    X = means[y] + rng.normal(size=(len(y), 8))
    X[:100] = (means[y[:100]] + means[rng.integers(0, 20, 100)]) / 2
    rows = Rows(X, y, np.ones(8), np.zeros(8))
    W, b = means / 10, -(means**2).sum(axis=1) / 20 + 0.1 * rng.normal(size=20)
    passes = {}
    for uncertain in (True, False):
        with monkeypatch.context() as patch:
            patch.setattr(proofs, "SAMPLE_ROWS", 400)
            patch.setattr(proofs.Search, "needs_uncertain_rows", uncertain)
            passes[uncertain] = certify_weights(make_engine(), rows, W, b, Penalty(1e-3)).passes
    assert passes[True] <= 5 < passes[False]


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("certain", [3.0, 9.0, 11.0])
def test_a_step_brings_the_bias_near_its_best_however_certain_the_model_is(
    classes: int, certain: float
) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, 600)
    S = certain * np.eye(classes)[y] + rng.normal(size=(600, classes))
    fractions, frequencies = np.full(600, 1.0 / 600), np.bincount(y) / 600

    def missing(shift: NDArray[np.float64]) -> NDArray[np.float64]:
        P = np.exp(S + shift)
        return np.asarray((P / P.sum(axis=1, keepdims=True)).mean(axis=0) - frequencies)

    rows = Rows(np.eye(600), y, np.ones(600), np.zeros(600))
    sample = proofs.Sample(rows, fractions, is_whole=True, least=proofs.FLAT)
    b = 0.1 * rng.normal(size=classes)
    g = missing(b)
    shift = proofs._best_shift(S.astype(np.float32), b, sample, frequencies, g, 0.0)
    assert np.abs(missing(b + shift)).sum() < 0.1 * np.abs(g).sum()


def test_a_gap_that_need_not_be_small_is_a_bound_and_takes_fewer_passes() -> None:
    spent = {0.0: 0, 1e-3: 0}
    for seed in range(30):
        problem = make_problem(seed)
        J, _ = independent_optimum(problem)
        W, b = random_weights(problem, seed)
        b = certify_weights(make_engine(), problem.rows, W, b, problem.penalty).bias + 1e-3 * b
        best = {}
        for tol in spent:
            certified = certify_weights(make_engine(), problem.rows, W, b, problem.penalty, tol)
            spent[tol] += certified.passes
            assert certified.given.lower_bound <= J + 1e-9, (seed, tol)
            best[tol] = certified.best
        exact, near = best[0.0], best[1e-3]
        assert near.gap <= max(1e-3 * exact.cost, 1.6 * exact.gap), seed
    assert spent[1e-3] < 0.9 * spent[0.0]


def test_runs_that_are_certified_together_have_the_bounds_they_have_alone() -> None:
    problem = make_problem(11)
    runs = [random_weights(problem, seed) for seed in range(8)]
    penalties = [Penalty(l2) for l2 in (0.0, 1e-3, 1e-2, 1e-1, 0.0, 1.0, 1e-1, 1e-2)]
    weights = Weights(*(np.stack(part) for part in zip(*runs, strict=True)))
    for y in (problem.y, np.where(problem.y == 0, 1, problem.y)):
        rows = problem._replace(y=y).rows
        together = certify_all(make_engine(), rows, weights, penalties)
        for (W, b), penalty, certified in zip(runs, penalties, together, strict=True):
            alone = certify_weights(make_engine(), rows, W, b, penalty)
            assert certified.given == alone.given
            np.testing.assert_array_equal(certified.bias, alone.bias)


def test_a_class_without_rows_has_its_bias_far_below_and_a_bound_all_the_same() -> None:
    problem = make_problem(11)
    problem = problem._replace(y=np.where(problem.y == 0, 1, problem.y))
    W, b = random_weights(problem, 11)
    certified = certify_weights(make_engine(), problem.rows, W, b, problem.penalty)
    present = np.unique(problem.y)
    assert certified.bias[0] == pytest.approx(certified.bias[present].mean() - ABSENT_BELOW)
    assert certified.given.lower_bound <= independent_optimum(problem)[0] + 1e-9


def test_the_order_of_rows_and_classes_and_doubled_rows_change_nothing() -> None:
    problem = make_problem(21)
    W, b = random_weights(problem, 21)
    rng = np.random.default_rng(0)
    rows, classes = rng.permutation(len(problem.y)), rng.permutation(problem.K)
    place = np.argsort(classes)
    twice = np.tile(np.arange(len(problem.y)), 2)
    gap = certify_weights(make_engine(), problem.rows, W, b, problem.penalty).given.gap
    for other, V, c in (
        (problem._replace(X=problem.X[rows], y=problem.y[rows]), W, b),
        (problem._replace(y=place[problem.y]), W[classes], b[classes]),
        (problem._replace(X=problem.X[twice], y=problem.y[twice]), W, b),
    ):
        again = certify_weights(make_engine(), other.rows, V, c, problem.penalty).given.gap
        assert again == pytest.approx(gap, rel=1e-9)


def test_chosen_rows_count_alone() -> None:
    problem = make_problem(5, largest=(40, 12, 5))
    W, b = random_weights(problem, 5)
    index = np.arange(0, len(problem.y), 2)
    part = problem._replace(X=problem.X[index], y=problem.y[index])
    chosen = certify_weights(make_engine(), problem.rows.only(index), W, b, problem.penalty).given
    alone = certify_weights(make_engine(), part.rows, W, b, problem.penalty).given
    assert chosen.gap == pytest.approx(alone.gap, rel=1e-12)


def test_without_l2_there_is_no_bound_and_it_says_so() -> None:
    problem = make_problem(2)
    W, b = random_weights(problem, 2)
    certificate = certify_weights(make_engine(), problem.rows, W, b, Penalty(0.0)).given
    assert certificate.gap == math.inf == certificate.distance
    assert "no bound exists" in certificate.sentence


def test_no_gap_is_wider_than_the_cost_since_no_cost_is_negative() -> None:
    problem = make_problem(8)._replace(l2=1e-4)
    W = 1e3 * np.random.default_rng(0).normal(size=(problem.K, problem.X.shape[1]))
    certificate = certify_weights(
        make_engine(), problem.rows, W, np.zeros(problem.K), problem.penalty
    ).given
    assert certificate.lower_bound >= -1e-9 * certificate.cost


@pytest.mark.parametrize(
    ("shape", "names", "l2", "words"),
    [
        ((2, 2), ("a", "b"), -1.0, r"l2 \(λ\) must be"),
        ((2, 2), ("a", "b"), None, r"does not know its l2"),
        ((2, 3), ("a", "b"), 0.1, "must have 3 features"),
        ((2, 2), None, 0.1, "should have the model's classes, 0, 1, but it has a, b"),
        ((2, 2), ("b", "c"), 0.1, "data: the model has no class 'a'"),
    ],
)
def test_a_model_or_an_l2_that_does_not_fit_is_refused_in_a_sentence(
    shape: tuple[int, int], names: tuple[str, ...] | None, l2: float | None, words: str
) -> None:
    rows = Dataset(np.eye(2), np.array([0, 1]), ("a", "b"))
    model = Model(np.zeros(shape), np.zeros(shape[0]), class_names=names)  # type: ignore[arg-type]
    with pytest.raises((SettingsError, DataError), match=words):
        certify(model, rows, l2=l2)


def test_a_model_is_certified_for_its_own_l2_with_its_own_scaling() -> None:
    data = load("digits")
    model = solve(data, 0.01)
    assert certify(model, data).cost == pytest.approx(model.require_certificate().cost, rel=1e-9)
    bare = Model(model.W, model.b, model.scaling, model.class_names)
    assert certify(bare, data.train, l2=0.01) == certify(model, data)


def test_a_model_is_certified_on_rows_whose_classes_come_in_another_order() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 3)), rng.integers(0, 3, 60)
    model = solve(Dataset(X, y, ("a", "b", "c")), 0.1)
    proof = certify(model, Dataset(X, 2 - y, ("c", "b", "a")))
    assert proof.cost == pytest.approx(model.require_certificate().cost, rel=1e-6)
    missing = certify(model, Dataset(X[y < 2], y[y < 2], ("a", "b")))
    assert np.isfinite(missing.gap)


@pytest.mark.parametrize("size", [1e200, 1e308])
def test_weights_without_a_finite_cost_have_nothing_to_certify(size: float) -> None:
    rows = Dataset(np.eye(2), np.array([0, 1]), ("a", "b"))
    model = Model(np.array([[-size, size], [size, -size]]), np.zeros(2), class_names=("a", "b"))
    with pytest.raises(DataError, match=r"weights up to 1e\+\d+ with λ = 0.1 is beyond"):
        certify(model, rows, l2=0.1)
