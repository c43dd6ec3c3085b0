"""Sweeps in the dual, and figures of their weights, are those of NumPy on rows as an array."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from onelayer import _native
from onelayer.data.sparse import SparseRows
from tests.native.problems import softmax_residual
from tests.native.test_process import run

Float64 = NDArray[np.float64]

# So many features that rows share most of what they store, or little.
SHARED, OWN = 300, 9000


class Wide(NamedTuple):
    """Rows in another order than they are stored, with weights, features scaled."""

    stored: SparseRows
    y: NDArray[np.int64]  # in order
    labels: NDArray[np.int64]  # as stored
    order: NDArray[np.int64]
    scale: Float64
    fractions: Float64

    @property
    def dense(self) -> Float64:
        """The rows in order, scaled."""
        return np.asarray(self.stored.toarray()[self.order] * self.scale, np.float64)

    def solution(
        self, K: int, *, intercept: bool = True, wide: bool = True, threads: int = 1
    ) -> Any:
        return _native.DualSolution(
            self.stored.arrays, self.labels, K, self.fractions, 0.01, intercept, wide, threads,
            self.scale, self.order,
        )  # fmt: skip


def made(
    K: int, N: int = 80, D: int = 300, dtype: str = "float32", index: str = "int32",
    *, repeats: bool = False,
) -> Wide:  # fmt: skip
    rng = np.random.default_rng(K)
    columns, numbers = rng.integers(0, D, (N, 15)), np.repeat(np.arange(N), 15)
    places = numbers, columns.ravel()
    matrix = sparse.csr_array((rng.normal(size=15 * N), places), (N, D)).astype(dtype)
    matrix.indices = matrix.indices.astype(index)
    labels, order = rng.integers(0, K, N), rng.permutation(N)[: N - 9]
    order = order % 50 if repeats else order
    scale, weights = rng.uniform(0.3, 2.0, D), rng.uniform(0.2, 2.0, N - 9)
    fractions = weights / weights.sum()
    return Wide(SparseRows.of(matrix), labels[order], labels, order, scale, fractions)


def ascended(of: Wide, K: int, b: Float64, sweeps: int, **how: Any) -> Any:
    solution = of.solution(K, **how)
    for _ in range(sweeps):
        found = solution.sweep(b)
    solution.finish()
    return solution, found


@pytest.mark.parametrize("K", [2, 3, 4, 9, 20, 40])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize(("D", "repeats"), [(SHARED, False), (OWN, False), (OWN, True)])
def test_sweeps_end_where_the_gradient_by_the_weights_vanishes(
    K: int, intercept: bool, D: int, repeats: bool
) -> None:
    dtype, index = ("float64", "int64") if K % 2 else ("float32", "int32")
    of, b = made(K, 80, D, dtype, index, repeats=repeats), np.linspace(-0.5, 0.5, K)
    solution, (bent, shift, loss, square, off) = ascended(of, K, b, 80, intercept=intercept)
    W = solution.weights()
    # With a bias that stays the weights are those of centred rows.
    m = of.fractions @ of.dense if intercept else np.zeros(D)
    residual, losses = softmax_residual((of.dense - m) @ W.T + b, of.y)
    G = (of.fractions[:, None] * residual).T @ (of.dense - m)
    assert np.abs(G + 0.02 * W).max() < 1e-12
    assert off < 1e-20
    assert loss == pytest.approx(of.fractions @ losses, rel=1e-12)
    if not intercept:
        assert square == pytest.approx((W**2).sum(), rel=1e-12)
    else:
        mean = of.fractions @ residual
        np.testing.assert_allclose(-0.02 * shift, mean, rtol=1e-9, atol=1e-13)
        # What the bias bends the r of each row by, while the other rows stay.
        P = residual + np.eye(K)[of.y]
        c = of.fractions * ((of.dense - m) ** 2).sum(axis=1) / 0.02
        each = np.linalg.inv(
            np.eye(K) + c[:, None, None] * (np.eye(K) * P[:, None] - P[:, :, None] * P[:, None])
        ) @ (np.eye(K) * P[:, None] - P[:, :, None] * P[:, None])
        np.testing.assert_allclose(bent, np.einsum("n,nkl->kl", of.fractions, each), atol=1e-12)


@pytest.mark.parametrize("K", [2, 3, 20])
@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("D", [SHARED, 1200, OWN])
def test_figures_of_the_weights_are_those_of_the_rows_as_an_array(
    K: int, wide: bool, D: int
) -> None:
    of, b = made(K, D=D), np.linspace(-0.5, 0.5, K)
    solution, _ = ascended(of, K, b, 2, wide=wide)
    met = of.stored[: of.order.max() + 1]
    assert solution.features() == len(np.unique(met.indices[: met.nnz]))
    at = b + 0.1
    at[0] -= 0.3
    loss, g, bends, scores = solution.moments(at)
    gradient, square, length = solution.slope(at)
    W = solution.weights()
    assert W.dtype == (np.float64 if wide else np.float32)
    W = W.astype(float)
    S, f = of.dense @ W.T + at, of.fractions
    residual, losses = softmax_residual(S, of.y)
    Y = np.eye(K)[of.y]
    P = residual + Y
    assert loss == pytest.approx(f @ losses, rel=1e-13)
    np.testing.assert_allclose(g, f @ residual, atol=1e-15)
    np.testing.assert_allclose(bends, np.diag(f @ P) - (f[:, None] * P).T @ P, atol=1e-15)
    np.testing.assert_allclose(scores, (f[:, None] * Y).T @ S, atol=1e-14)
    G = (f[:, None] * residual).T @ of.dense + 0.02 * W
    assert gradient == pytest.approx((G**2).sum(), rel=1e-12)
    assert square == pytest.approx((W**2).sum(), rel=1e-13)
    assert length == pytest.approx(f @ (of.dense**2).sum(axis=1), rel=1e-13)


@pytest.mark.parametrize("K", [2, 5])
def test_a_state_in_float32_is_near_that_in_float64(K: int) -> None:
    of, b = made(K), np.zeros(K)
    (a, of_a), (c, of_c) = (ascended(of, K, b, 5, wide=wide) for wide in (True, False))
    np.testing.assert_allclose(a.weights(), c.weights(), atol=1e-6 * np.abs(a.weights()).max())
    assert of_a[2] == pytest.approx(of_c[2], rel=1e-6)


@pytest.mark.parametrize("K", [2, 5])
def test_bits_do_not_depend_on_threads(K: int) -> None:
    of = made(K, N=3000, D=9000 if K == 5 else 300_000)
    b = np.linspace(-0.5, 0.5, K)

    def bits(threads: int) -> list[bytes]:
        solution, found = ascended(of, K, b, 2, wide=False, threads=threads)
        figures = *found, *solution.moments(b), *solution.slope(b), solution.weights()
        return [np.asarray(figure).tobytes() for figure in figures]

    assert bits(1) == bits(2) == bits(7)


@pytest.mark.slow
@pytest.mark.parametrize("K", [2, 5])
def test_bits_do_not_depend_on_instruction_sets(K: int) -> None:
    code = f"""
from tests.native.test_dual import ascended, made
b = np.zeros({K})
solution, found = ascended(made({K}), {K}, b, 3, wide=False)
figures = *found, *solution.moments(b), *solution.slope(b), solution.weights()
print(*(np.asarray(of).tobytes().hex() for of in figures))
"""
    sets = [run(code, ONELAYER_ISA=name) for name in _native.supported_instruction_sets()]
    assert all(done.stdout for done in sets), sets[0].stderr
    assert len({done.stdout for done in sets}) == 1


def test_stored_features_are_numbered_in_order() -> None:
    rng = np.random.default_rng(0)
    matrix = sparse.csr_array((rng.random((40, 700)) < 0.01).astype(np.float32))
    X = SparseRows.of(matrix)
    features, indices = _native.stored_features(X.arrays, 700) or pytest.fail("none")
    wanted, places = np.unique(matrix.indices, return_inverse=True)
    np.testing.assert_array_equal(features, wanted)
    np.testing.assert_array_equal(indices, places)
    assert _native.stored_features(X.arrays, len(wanted) - 1) is None
    part = X[10:20]
    found = part.stored_columns(700)
    assert found is not None
    np.testing.assert_array_equal(found[0].toarray(), part.toarray()[:, found[1]])
    assert SparseRows.of(sparse.csr_array((3, 5))).stored_columns(5) is None
