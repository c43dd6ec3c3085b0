"""Errors of the coefficients: against R, statsmodels, the definitions, and how often they cover."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from numpy.typing import NDArray
from scipy import stats
from sklearn.datasets import load_iris, load_wine

import onelayer as ol
from onelayer.data import Dataset
from onelayer.model import inference
from onelayer.model.intervals import row_counts
from tests.examples import few
from tests.oracle import numerical_gradient

Float64 = NDArray[np.float64]

EXACT: dict[str, Any] = {"tol": 1e-12}

# R's data set mtcars: weight, 1000 lb, of cars with automatic and with manual gears.
AUTOMATIC = [
    *(3.215, 3.44, 3.46, 3.57, 3.19, 3.15, 3.44, 3.44, 4.07, 3.73, 3.78, 5.25, 5.424, 5.345),
    *(2.465, 3.52, 3.435, 3.84, 3.845),
]
MANUAL = [
    *(2.62, 2.875, 2.32, 2.2, 1.615, 1.835, 1.935, 2.14, 1.513, 3.17, 2.77, 3.57, 2.78),
]


def two_irises() -> Dataset:
    """The irises that overlap, in centimetres."""
    iris = load_iris()
    kept = iris.target > 0
    return Dataset(
        iris.data[kept],
        iris.target[kept] - 1,
        ("versicolor", "virginica"),
        feature_names=("sepal length", "sepal width", "petal length", "petal width"),
    )


def wines() -> Dataset:
    wine = load_wine()
    return Dataset(wine.data[:, :3], wine.target, ("a", "b", "c"), label_type="text")


def simulated(rows: int, seed: int, features: int = 2) -> Dataset:
    """Rows whose log odds are 0.3 + x₀ − 0.5 x₁."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, features))
    y = (0.3 + X[:, 0] - 0.5 * X[:, 1] + rng.logistic(size=rows) > 0.0).astype(np.int64)
    return Dataset(X, y, ("no", "yes"), feature_names=tuple("uvwxyz"[:features]))


def test_errors_of_two_classes_are_those_of_glm_in_r() -> None:
    y = np.repeat([0, 1], [len(AUTOMATIC), len(MANUAL)])
    cars = Dataset(np.array([*AUTOMATIC, *MANUAL])[:, None], y, ("automatic", "manual"))
    found = ol.solve(cars, l2=0, **EXACT).inference(cars)
    # summary(glm(am ~ wt, binomial, mtcars)), as printed; its errors are those of the last step but
    # one, which is 1e-4 from the optimum.
    np.testing.assert_allclose(found.coefficients, [[12.04, -4.024]], atol=6e-4)
    np.testing.assert_allclose(found.standard_errors, [[4.51, 1.436]], atol=1.1e-3)
    np.testing.assert_allclose(found.z, [[2.67, -2.801]], atol=1.1e-3)
    np.testing.assert_allclose(found.p, [[0.00759, 0.00509]], atol=1.1e-5)
    assert round(-2.0 * found.null_log_likelihood, 2) == 43.23
    assert round(-2.0 * found.log_likelihood, 2) == 19.18


@pytest.mark.parametrize("scaling", ["standardize", "none"])
def test_errors_of_two_classes_are_those_of_statsmodels(scaling: str) -> None:
    rows = two_irises()
    model = ol.solve(rows, l2=0, scaling=scaling, **EXACT)
    found = model.inference(rows)
    assert found.terms[:2] == ("intercept", "sepal length")
    assert (found.errors, found.reference, found.class_names) == (
        *("hessian", "versicolor"),
        ("virginica",),
    )
    # statsmodels 0.15.0, Logit(y, add_constant(X)).fit(tol=1e-14)
    for got, expected in (
        (
            found.coefficients,
            [-42.637803813021, -2.465220195187, -6.680887014078, 9.429385153927, 18.286136887851],
        ),
        (
            found.standard_errors,
            [25.707660833165, 2.394301018535, 4.479564566601, 4.737207700317, 9.742612139827],
        ),
        (found.p, [0.097203657298, 0.303188426775, 0.135852734821, 0.046536505963, 0.060528590601]),
        (found.low, [-93.0238931728, -7.157963959663, -15.46067223104, 0.14462867402, -0.80903202]),
    ):
        np.testing.assert_allclose(got, [expected], rtol=1e-7)
    assert found.log_likelihood == pytest.approx(-5.94927339567942, rel=1e-9)
    robust = model.inference(rows, errors="sandwich")  # cov_type="HC0"
    expected = [14.935898943571, 1.869565077584, 3.931016835176, 3.875362912571, 10.029968026004]
    np.testing.assert_allclose(robust.standard_errors, [expected], rtol=1e-7)
    grouped = model.inference(rows, groups=np.arange(100) % 12)
    # cov_type="cluster", use_correction=False, times G / (G − 1)
    expected = [14.004314517278, 1.740437612651, 3.89086568046, 3.646811957253, 10.210696427117]
    np.testing.assert_allclose(
        grouped.standard_errors, [np.array(expected) * np.sqrt(12 / 11)], rtol=1e-7
    )
    assert (grouped.errors, grouped.groups) == ("sandwich", 12)


def test_errors_of_three_classes_are_those_of_mnlogit() -> None:
    rows = wines()
    model = ol.solve(rows, l2=0, **EXACT)
    found = model.inference(rows)
    # statsmodels 0.15.0, MNLogit, transposed
    errors = [
        [10.132342793239, 0.729206196778, 0.347545293833, 1.306152023537],
        [7.517882987197, 0.537849461622, 0.271536650733, 1.078798661656],
    ]
    coefficients = [
        [70.662759256876, -4.922344898039, 0.286901243522, -3.006908400865],
        [25.871263140722, -2.122697879157, 1.251694929489, -0.296532375671],
    ]
    p = [
        [3.080971962193e-12, 1.475616538141e-11, 4.090835315694e-01, 2.132885023628e-02],
        [5.789341259098e-04, 7.925578362862e-05, 4.033045114953e-06, 7.834139885259e-01],
    ]
    np.testing.assert_allclose(found.coefficients, coefficients, rtol=1e-7)
    np.testing.assert_allclose(found.standard_errors, errors, rtol=1e-7)
    np.testing.assert_allclose(found.p, p, rtol=1e-6)
    robust = [
        [10.803299789641, 0.788996978136, 0.425768478501, 1.380820426152],
        [7.505804618299, 0.518473348841, 0.258843674273, 1.07214235711],
    ]
    sandwich = model.inference(rows, errors="sandwich")
    np.testing.assert_allclose(sandwich.standard_errors, robust, rtol=1e-7)


@pytest.mark.parametrize("errors", ["hessian", "sandwich"])
@pytest.mark.parametrize("many", [False, True])
def test_a_model_without_an_intercept_has_errors_of_its_features_alone(
    errors: Any, many: bool
) -> None:
    rows, rng = simulated(300, 15), np.random.default_rng(0)
    if many:
        Y = np.column_stack([rows.y, np.add(rows.X[:, 1], rng.logistic(size=300)) > 0.5])
        rows = Dataset(rows.X, Y.astype(np.uint8), ("one", "two"))
    model = ol.solve(rows, l2=0, intercept=False, scaling="none", **EXACT)
    found = model.inference(rows, errors=errors)
    assert found.terms == (("0", "1") if many else ("u", "v"))
    X = np.asarray(rows.X, np.float64)
    for k, theta in enumerate(found.coefficients):
        y = rows.y[:, k] if many else rows.y
        p = 1.0 / (1.0 + np.exp(-X @ theta))
        np.testing.assert_allclose(X.T @ (p - y), 0.0, atol=1e-8)
        inverse = np.linalg.inv((X * (p * (1.0 - p))[:, None]).T @ X)
        M = (X * ((p - y) ** 2)[:, None]).T @ X
        covariance = inverse if errors == "hessian" else inverse @ M @ inverse
        np.testing.assert_allclose(found.standard_errors[k], np.sqrt(np.diag(covariance)))
        half = found.quantile * np.sqrt(np.einsum("nd,de,ne->n", X, covariance, X))
        low = 1.0 / (1.0 + np.exp(-(X @ theta - half)))
        np.testing.assert_allclose(found.probabilities(X).low[:, k if many else 1], low)
    assert found.null_log_likelihood == pytest.approx(-300 * np.log(2.0) * (1 + many))
    drawn = model.inference(rows, errors="bootstrap", resamples=100)
    np.testing.assert_allclose(drawn.standard_errors, found.standard_errors, rtol=0.4)


def test_sparse_rows_have_the_errors_of_the_same_rows_stored_in_full() -> None:
    rows = simulated(300, 16)
    X = np.where(np.abs(rows.X) > 0.5, rows.X, 0.0)
    dense, sparse = (replace(rows, X=of) for of in (X, scipy.sparse.csr_array(X)))
    one, other = (
        ol.solve(d, l2=0, scaling="none", **EXACT).inference(d, errors="sandwich")
        for d in (dense, sparse)
    )
    np.testing.assert_allclose(other.standard_errors, one.standard_errors, rtol=1e-7)
    np.testing.assert_allclose(other.probabilities(X).low, one.probabilities(X).low, rtol=1e-7)


def test_an_l1_penalty_has_no_errors() -> None:
    rows = simulated(100, 18)
    with pytest.raises(ol.SettingsError, match="no standard error tells how sure that is"):
        ol.solve(rows, l1=0.01).inference(rows)


@pytest.mark.parametrize("errors", ["hessian", "sandwich", "bootstrap"])
def test_the_covariance_is_in_the_order_of_the_coefficients(errors: Any) -> None:
    rows = wines()
    found = ol.solve(rows, l2=0, **EXACT).inference(rows, errors=errors, resamples=100)
    own = np.sqrt(np.diagonal(found.covariance)).reshape(2, 4)
    np.testing.assert_allclose(own, found.standard_errors, rtol=1e-9)


def test_another_reference_class_changes_signs_and_no_probability() -> None:
    rows = wines()
    model = ol.solve(rows, l2=0, **EXACT)
    first, second = model.inference(rows), model.inference(rows, reference="b")
    assert second.class_names == ("a", "c")
    np.testing.assert_allclose(second.coefficients[0], -first.coefficients[0])
    np.testing.assert_allclose(second.standard_errors[0], first.standard_errors[0])
    np.testing.assert_allclose(
        second.coefficients[1], first.coefficients[1] - first.coefficients[0], rtol=1e-9
    )
    for got, expected in zip(
        second.probabilities(rows.X), first.probabilities(rows.X), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-8)


def test_a_reference_may_be_a_label() -> None:
    rows = wines()
    numbered = replace(rows, class_names=("7", "8", "9"), label_type="integer")
    model = ol.solve(numbered, l2=0.01)
    assert model.inference(numbered, reference=np.int64(8)).reference == "8"
    assert model.inference(numbered, reference="9").reference == "9"


@pytest.mark.parametrize("l2", [0.0, 0.01])
def test_intervals_of_probabilities_are_by_the_delta_method(l2: float) -> None:
    rows = wines()
    model = ol.solve(rows, l2=l2, **EXACT)
    found = model.inference(rows, reference="c", level=0.9)
    X = rows.X[[3, 80, 150]]
    given = found.probabilities(X)
    np.testing.assert_allclose(given.probability, model.predict_proba(X))
    for n, x in enumerate(X):
        for k in range(3):

            def logit(theta: Float64, k: int = k, x: Float64 = x) -> float:
                s = np.append(theta.reshape(2, 4) @ np.append(1.0, x), 0.0)
                p = np.exp(s - s.max())
                return float(np.log(p[k] / (p.sum() - p[k])))

            at = found.coefficients.ravel()
            slope = numerical_gradient(logit, at)
            half = 1.6448536269514722 * np.sqrt(slope @ found.covariance @ slope)
            ends = 1.0 / (1.0 + np.exp(-(logit(at) + half * np.array([-1.0, 1.0]))))
            np.testing.assert_allclose([given.low[n, k], given.high[n, k]], ends, rtol=1e-4)


@pytest.mark.parametrize("l2", [0.0, 0.05])
def test_the_sandwich_is_its_definition(l2: float) -> None:
    rows = wines()
    X = (rows.X - rows.X.mean(axis=0)) / rows.X.std(axis=0)
    rows = Dataset(X, rows.y, rows.class_names, weights=np.resize([0.5, 1.5, 2.5, 3.5], 178))
    model = ol.solve(rows, l2=l2, scaling="none", **EXACT)
    found = model.inference(rows, errors="sandwich")
    w, Z = rows.weights, np.column_stack([np.ones(178), X])
    assert w is not None

    def slopes(theta: Float64) -> Float64:
        """The gradients of the rows' costs by the contrasts, (N, 8)."""
        C = np.vstack([np.zeros(4), theta.reshape(2, 4)])
        s = Z @ C.T
        P = np.exp(s - s.max(axis=1, keepdims=True))
        P /= P.sum(axis=1, keepdims=True)
        residual = P - np.eye(3)[rows.y]
        W = (C - C.mean(axis=0)) * [0.0, 1.0, 1.0, 1.0]
        each: Float64 = residual[:, 1:, None] * Z[:, None] + 2.0 * l2 * W[1:]
        return each.reshape(178, 8)

    at = found.coefficients.ravel()
    psi = slopes(at)
    np.testing.assert_allclose(w @ psi, 0.0, atol=1e-7)

    def slope(j: int) -> Callable[[Float64], float]:
        return lambda theta: float(w @ slopes(theta)[:, j])

    H = np.array([numerical_gradient(slope(j), at) for j in range(8)])
    M = (w[:, None] * psi).T @ (w[:, None] * psi)
    inverse = np.linalg.inv(H)
    np.testing.assert_allclose(found.covariance, inverse @ M @ inverse, rtol=1e-6, atol=1e-9)
    assert "each row counts once" in found.meaning
    assert ("not of the coefficients without it" in found.meaning) == (l2 > 0.0)


def test_a_weight_of_the_hessian_counts_as_so_many_rows() -> None:
    rows, counts = simulated(200, 1), np.arange(200) % 3
    weighted = replace(rows, weights=counts.astype(float))
    repeated = rows.take(np.repeat(np.arange(200), counts))
    one, other = (ol.solve(d, l2=0, **EXACT).inference(d) for d in (weighted, repeated))
    np.testing.assert_allclose(one.standard_errors, other.standard_errors, rtol=1e-7)
    assert one.log_likelihood == pytest.approx(other.log_likelihood)
    assert one.null_log_likelihood == pytest.approx(other.null_log_likelihood)
    assert "a weight counts as so many rows" in one.meaning


def test_equal_weights_are_so_many_rows_too() -> None:
    rows = simulated(200, 1)
    twice = replace(rows, weights=np.full(200, 2.0))
    one, other = (ol.solve(d, l2=0, **EXACT).inference(d) for d in (rows, twice))
    np.testing.assert_allclose(other.standard_errors, one.standard_errors / np.sqrt(2), rtol=1e-7)


def test_the_scale_of_weights_changes_no_sandwich() -> None:
    rows = simulated(200, 1)
    w = np.random.default_rng(0).uniform(0.5, 2.0, 200)
    one, other = (
        ol.solve(d, l2=0, **EXACT).inference(d, errors="sandwich").standard_errors
        for d in (replace(rows, weights=w), replace(rows, weights=100.0 * w))
    )
    np.testing.assert_allclose(one, other, rtol=1e-7)


def test_rows_repeated_in_groups_have_the_errors_of_one_of_each() -> None:
    rows = simulated(200, 2)
    three = rows.take(np.tile(np.arange(200), 3))
    alone = ol.solve(rows, l2=0, **EXACT).inference(rows, errors="sandwich")
    model = ol.solve(three, l2=0, **EXACT)
    groups = np.tile(np.arange(200), 3)
    grouped = model.inference(replace(three, groups=groups))
    factor = np.sqrt(200 / 199)
    np.testing.assert_allclose(grouped.standard_errors, alone.standard_errors * factor, rtol=1e-6)
    drawn = model.inference(three, errors="bootstrap", groups=groups, resamples=300)
    np.testing.assert_allclose(drawn.standard_errors, grouped.standard_errors, rtol=0.15)


def test_errors_of_groups_are_judged_by_students_t() -> None:
    rows = simulated(200, 2)
    model = ol.solve(rows, l2=0, **EXACT)
    found = model.inference(rows, groups=np.arange(200) % 12, level=0.9)
    assert found.freedom == found.as_dict()["freedom"] == 11
    np.testing.assert_allclose(found.p, 2.0 * stats.t.sf(np.abs(found.z), 11), rtol=1e-9)
    half = stats.t.ppf(0.95, 11) * found.standard_errors
    np.testing.assert_allclose(found.high, found.coefficients + half, rtol=1e-9)
    np.testing.assert_allclose(found.low, found.coefficients - half, rtol=1e-9)
    x = rows.X[:3]
    logit = np.log(found.probabilities(x).high / (1.0 - found.probabilities(x).high))[:, 1]
    Z = np.column_stack([np.ones(3), x])
    error = np.sqrt(np.einsum("nt,ts,ns->n", Z, found.covariance, Z))
    expected = Z @ found.coefficients[0] + stats.t.ppf(0.95, 11) * error
    np.testing.assert_allclose(logit, expected, rtol=1e-7)
    assert "G/(G − 1)" in str(found)
    assert "Student's t of 11 degrees of freedom" in " ".join(str(found).split())
    assert model.inference(rows, errors="sandwich").freedom is None


@pytest.mark.parametrize("errors", ["sandwich", "bootstrap"])
def test_errors_by_few_groups_say_that_they_are_too_small(errors: Any) -> None:
    rows = simulated(300, 2)
    model = ol.solve(rows, l2=0, **EXACT)
    words = "with fewer than 30 groups errors are often too small"
    for groups, are_few in ((29, True), (30, False)):
        options: dict[str, Any] = {"groups": np.arange(300) % groups, "resamples": 100}
        found = model.inference(rows, errors=errors, **options)
        assert (words in " ".join(found.sentences)) == are_few
        assert f"in {groups} groups" in " ".join(found.sentences)


@pytest.mark.parametrize("errors", ["auto", "sandwich"])
@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (1, "need several groups, but all rows are of one"),
        (2, r"by 2 groups have a covariance of rank 1 at most, too low for 3 coefficients"),
        (3, r"by 3 groups have a covariance of rank 2 at most"),
    ],
)
def test_groups_that_are_too_few_for_the_coefficients_are_refused(
    errors: Any, groups: int, words: str
) -> None:
    rows = simulated(200, 2)
    model = ol.solve(rows, l2=0, **EXACT)
    with pytest.raises(ol.SettingsError, match=words):
        model.inference(rows, errors=errors, groups=np.arange(200) % groups)
    grouped = replace(rows, groups=np.arange(200) % groups)
    with pytest.raises(ol.SettingsError, match=words):
        model.inference(grouped, errors=errors)
    assert model.inference(grouped, errors="hessian").groups is None


def test_few_groups_are_enough_for_the_bootstrap_and_where_there_is_a_penalty() -> None:
    rows = simulated(300, 2)
    one, three = (replace(rows, groups=np.arange(300) % of) for of in (1, 3))
    free, penalised = (ol.solve(rows, l2=l2, **EXACT) for l2 in (0, 0.01))
    assert penalised.inference(three, errors="sandwich").freedom == 2
    assert free.inference(three, errors="bootstrap", resamples=100).groups == 3
    for model, errors in ((penalised, "sandwich"), (free, "bootstrap")):
        with pytest.raises(ol.SettingsError, match="all rows are of one"):
            model.inference(one, errors=errors)  # type: ignore[arg-type]


def test_the_unit_of_a_feature_divides_its_coefficient_and_error() -> None:
    rows = simulated(300, 3)
    other = replace(rows, X=np.multiply(rows.X, [1000.0, 1.0]) + np.array([0.0, 50.0]))
    one, two = (ol.solve(d, l2=0, **EXACT).inference(d) for d in (rows, other))
    np.testing.assert_allclose(two.coefficients[0, 1:] * [1000.0, 1.0], one.coefficients[0, 1:])
    np.testing.assert_allclose(two.standard_errors[0, 1:] * [1e3, 1.0], one.standard_errors[0, 1:])
    np.testing.assert_allclose(two.z[0, 1:], one.z[0, 1:], rtol=1e-6)


@pytest.mark.parametrize("errors", few(2, ["hessian", "sandwich", "bootstrap"]))
def test_each_of_many_labels_has_the_errors_that_it_has_alone(errors: Any) -> None:
    rows, rng = simulated(300, 4), np.random.default_rng(0)
    Y = np.column_stack([rows.y, np.add(rows.X[:, 1], rng.logistic(size=300)) > 0.5])
    both = Dataset(rows.X, Y.astype(np.uint8), ("one", "two"))
    found = ol.solve(both, l2=0, **EXACT).inference(both, errors=errors, resamples=100)
    assert (found.reference, found.class_names) == (None, ("one", "two"))
    for k in range(2):
        single = Dataset(rows.X, Y[:, k].astype(np.int64), ("no", "yes"))
        alone = ol.solve(single, l2=0, **EXACT).inference(single, errors=errors, resamples=100)
        np.testing.assert_allclose(found.coefficients[k], alone.coefficients[0], rtol=1e-6)
        near = 1e-6 if errors != "bootstrap" else 1e-3
        np.testing.assert_allclose(found.standard_errors[k], alone.standard_errors[0], rtol=near)
        np.testing.assert_allclose(
            found.probabilities(rows.X[:5]).low[:, k],
            alone.probabilities(rows.X[:5]).low[:, 1],
            rtol=near,
        )


@pytest.mark.slow
@pytest.mark.parametrize("l2", [0.0, 0.05])
def test_the_bootstrap_of_many_rows_is_the_sandwich(l2: float) -> None:
    rows = simulated(1000, 5)
    model = ol.solve(rows, l2=l2, **EXACT)
    robust = model.inference(rows, errors="sandwich")
    drawn, again = (
        model.inference(rows, errors="bootstrap", resamples=200, seed=7) for _ in range(2)
    )
    np.testing.assert_allclose(drawn.standard_errors, robust.standard_errors, rtol=0.15)
    for name in ("low", "high"):
        apart = getattr(drawn, name) - getattr(robust, name)
        assert (np.abs(apart) < 0.6 * robust.standard_errors).all()
    assert (drawn.standard_errors == again.standard_errors).all()
    ends = zip(drawn.probabilities(rows.X[:9]), robust.probabilities(rows.X[:9]), strict=True)
    for one, other in ends:
        np.testing.assert_allclose(one, other, atol=0.02)


def test_the_bootstrap_reports_its_progress_and_ctrl_c_ends_it() -> None:
    rows = simulated(100, 6)
    model, seen = ol.solve(rows, l2=0.1, **EXACT), list[Any]()

    def stop(now: Any) -> None:
        seen.append((now.done, now.total))
        if now.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.inference(rows, errors="bootstrap", on_progress=stop)
    assert seen == [(1, 1000), (2, 1000), (3, 1000)]


@pytest.mark.slow
def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    truth, covered = np.array([0.3, 1.0, -0.5]), list[Any]()
    for seed in range(120):
        rows = simulated(300, 1000 + seed)
        found = ol.solve(rows, l2=0).inference(rows)
        covered.append((found.low[0] <= truth) & (truth <= found.high[0]))
    assert np.abs(np.mean(covered) - 0.95) < 0.03


def test_the_table_names_every_coefficient_and_says_what_its_errors_are() -> None:
    rows = two_irises()
    found = ol.solve(rows, l2=0).inference(rows)
    text = str(found)
    assert "Log odds of virginica against versicolor" in text
    assert "petal width" in text
    assert "Errors by the inverse Hessian: of independent rows" in text
    assert "<table" in found._repr_html_()
    frame = found.to_frame()
    assert frame.loc[("virginica", "petal width"), "odds_ratio"] == pytest.approx(
        np.exp(found.coefficients[0, 4])
    )


def with_dummy() -> Dataset:
    """Rows of which those that have the feature "dummy" are all of one class."""
    rows, rng = simulated(200, 8), np.random.default_rng(0)
    dummy = rng.random(200) < 0.2
    y = np.where(dummy, 1, rows.y)
    X = np.column_stack([rows.X, dummy])
    return Dataset(X, y, rows.class_names, feature_names=("u", "v", "dummy"))


def dependent() -> Dataset:
    rows = simulated(200, 9)
    X = np.column_stack([rows.X, rows.X @ [1.0, -2.0], rows.X[:, 0] ** 2])
    return replace(rows, X=X, feature_names=("u", "v", "mixed", "square"))


def constant() -> Dataset:
    rows = simulated(200, 9)
    return replace(rows, X=np.column_stack([rows.X, np.full(200, 0.1)]), feature_names=tuple("uvc"))


def apart() -> Dataset:
    X = np.linspace(-1.0, 1.0, 40)[:, None]
    return Dataset(X, (X[:, 0] > 0).astype(np.int64), ("low", "high"))


@pytest.mark.parametrize("errors", ["auto", "sandwich", "bootstrap"])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (with_dummy, "can be separated from others by 'dummy', so with λ = 0 the coefficients"),
        (dependent, "features 'u', 'v', 'mixed' are linearly dependent, so with λ = 0"),
        (constant, "the feature 'c' is constant in these rows, so with λ = 0"),
        (apart, "the rows of high can be separated from the others, so with λ = 0"),
    ],
)
def test_what_has_no_finite_optimum_has_no_errors(
    make: Callable[[], Dataset], words: str, errors: Any
) -> None:
    rows = make()
    with pytest.raises(ol.SettingsError, match=words):
        ol.solve(rows, l2=0).inference(rows, errors=errors)
    assert np.isfinite(ol.solve(rows, l2=0.01, tol=1e-9).inference(rows).standard_errors).all()


def test_resamples_that_one_feature_separates_are_left_out_and_counted() -> None:
    rows, rng = simulated(300, 12), np.random.default_rng(0)
    some = [*np.flatnonzero(rows.y == 1)[:4], *np.flatnonzero(rows.y == 0)[:2]]
    dummy = np.isin(np.arange(300), some)
    X = np.column_stack([rows.X, dummy, rng.normal(size=300)])
    rows = Dataset(X, rows.y, rows.class_names, feature_names=("u", "v", "dummy", "w"))
    found = ol.solve(rows, l2=0, tol=1e-10).inference(rows, errors="bootstrap", resamples=200)
    drawn = [count[dummy] for count in row_counts(rows.y, None, 200, 0)[3]]
    of_class = rows.y[dummy]
    none = sum(not count.any() for count in drawn)
    one = sum(len({*of_class[count > 0]}) == 1 for count in drawn)
    assert one > 20
    assert f"; {one + none} of 200 resamples without an optimum left out" in found.meaning
    assert f"(in {one} 'dummy' separates classes alone" in found.meaning
    assert found.standard_errors.max() < 2.0  # 5 with the others


def test_weights_from_elsewhere_that_are_right_of_every_row_are_separated() -> None:
    rows = apart()
    model = ol.Model(np.array([[-9.0], [9.0]]), np.zeros(2), class_names=("low", "high"))
    with pytest.raises(ol.SettingsError, match="the model is right of every row"):
        replace(model, settings={"l2": 0.0}).inference(rows)


@pytest.mark.parametrize("errors", ["auto", "bootstrap"])
def test_a_model_that_is_not_at_its_optimum_has_no_errors(errors: Any) -> None:
    rows = simulated(400, 10)
    model = ol.solve(rows, l2=0.01)
    other = replace(model, W=1.5 * model.W)
    words = r"this model may be \d.* standard errors from it.*solve\(data, l2=0.01, tol=1e-10\)"
    with pytest.raises(ol.SettingsError, match=words):
        other.inference(rows, errors=errors)


def test_scores_that_a_step_still_moves_do_not_make_rows_separable() -> None:
    rows = simulated(30, 17)
    model = ol.solve(rows, l2=0, **EXACT)
    near = replace(model, W=1.05 * model.W)
    assert np.isfinite(near.inference(rows).standard_errors).all()


def test_a_hessian_that_does_not_fit_offers_the_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = simulated(200, 11)
    model = ol.solve(rows, l2=0.01)
    monkeypatch.setattr(inference, "available_memory", lambda: 500)
    with pytest.raises(ol.SettingsError, match=r"Hessian of 3 coefficients.*errors='bootstrap'"):
        model.inference(rows)
    found = model.inference(rows, errors="bootstrap", resamples=100)
    assert np.isfinite(found.standard_errors).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"errors": "robust"}, "errors must be auto or hessian or sandwich or bootstrap"),
        ({"level": 95}, "level must be above 0 and below 1"),
        ({"reference": "maybe"}, "reference must be no or yes, but 'maybe' was given"),
        ({"errors": "hessian", "groups": np.arange(100) % 9}, "groups have no effect"),
        ({"errors": "bootstrap", "resamples": 9}, "resamples must be a whole number, 100 or"),
    ],
)
def test_a_wrong_option_of_inference_is_refused(options: dict[str, Any], words: str) -> None:
    rows = simulated(100, 12)
    with pytest.raises(ol.SettingsError, match=words):
        ol.solve(rows, l2=0, **EXACT).inference(rows, **options)


def test_errors_by_the_hessian_are_of_a_likelihood_alone() -> None:
    rows = simulated(100, 12)
    for model, words in (
        (ol.solve(rows, l2=0.1), "with λ = 0.1 the model is not"),
        (ol.solve(rows, l2=0, class_weight="balanced"), "with class weights the model is not"),
    ):
        with pytest.raises(ol.SettingsError, match=words):
            model.inference(rows, errors="hessian")
        assert model.inference(rows).errors == "sandwich"
    smooth = replace(ol.solve(rows, l2=0), settings={"l2": 0.0, "label_smoothing": 0.1})
    with pytest.raises(ol.SettingsError, match=r"was trained with label_smoothing=0\.1"):
        smooth.inference(rows)
    bare = replace(smooth, settings={}, certificate=None)
    with pytest.raises(ol.SettingsError, match="does not know its l2"):
        bare.inference(rows)


def test_errors_of_a_model_of_weighted_rows_ask_for_the_weights() -> None:
    rows = simulated(100, 13)
    weighted = replace(rows, weights=np.linspace(0.5, 2.0, 100))
    model = ol.solve(weighted, l2=0.1)
    words = r"fitted to weighted rows; give the same weights with the rows: Dataset\(…, weights=…\)"
    with pytest.raises(ol.SettingsError, match=words):
        model.inference(rows)
    assert model.inference(weighted).rows == 100


def test_a_class_without_rows_has_no_errors() -> None:
    rows = simulated(100, 13)
    model = ol.solve(rows, l2=0.1)
    with pytest.raises(ol.SettingsError, match="no row is of the class 'no'"):
        model.inference(rows.take(np.flatnonzero(rows.y == 1)))


def test_a_feature_that_is_constant_has_a_coefficient_of_0_under_a_penalty() -> None:
    rows = constant()
    found = ol.solve(rows, l2=0.1, tol=1e-9).inference(rows)
    assert found.coefficients[0, 3] == 0.0
    assert np.isnan(found.z[0, 3])
    assert "–" in str(found)
