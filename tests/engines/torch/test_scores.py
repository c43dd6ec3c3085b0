"""Scores kept on the device answer as NumPy does, and the optimum is the one of other engines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from onelayer.data.rows import Rows
from onelayer.engines import Mixture, make_engine, streaming
from onelayer.engines.torch import TorchEngine
from onelayer.engines.torch import device as devices
from onelayer.engines.torch import engine as scores
from onelayer.solver import certificate as bias
from onelayer.solver.certificate import certify_weights
from tests.solver.oracle import make_problem, random_weights, solve


@pytest.fixture(scope="module")
def torch_engine() -> TorchEngine:
    engine = make_engine("torch", device="cpu")
    assert isinstance(engine, TorchEngine)
    return engine


@given(
    seed=st.integers(0, 200), weighted=st.booleans(), chosen=st.booleans(), kept=st.booleans(),
    mixed=st.booleans(), absent=st.booleans(), dtype=st.sampled_from(["float32", "float64"]),
)  # fmt: skip
def test_every_question_has_numpys_answer(
    torch_engine: TorchEngine, seed: int, weighted: bool, chosen: bool, kept: bool, mixed: bool,
    absent: bool, dtype: str,
) -> None:  # fmt: skip
    problem, rng = make_problem(seed), np.random.default_rng(seed)
    rows = problem.rows
    if weighted:
        rows = replace(rows, weights=np.r_[1.0, rng.integers(0, 3, rows.count - 1)])
    if chosen:
        rows = rows.only(np.r_[0, rng.integers(0, rows.count, 2 * rows.count)])
    W, b = random_weights(problem, seed)
    W, shares = W.astype(dtype), rows.class_frequencies(problem.K)
    assume(np.abs(problem.X @ W.T).max() < 100)
    if absent:
        b = np.where(shares > 0.0, b, -np.inf)
    mixture = Mixture(0.25 if mixed else 0.0, shares)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(devices.TILE_BYTES, "cpu", 4000)
        patch.setattr(scores, "KEPT_BYTES", 1 << 30 if kept else 0)
        mine = torch_engine.fixed_scores(rows, W)
        got: list[Any] = [
            *mine.moments(b),
            *mine.moments(b),
            *mine.gradient(b, mixture),
        ]
    theirs = bias.Scores(make_engine("reference"), rows, W)
    expected = [*(2 * theirs.moments(b)), *theirs.gradient(b, mixture)]
    size = 1.0 + float(np.abs(problem.X).max()) ** 2 + float(np.abs(problem.X @ W.T).max()) ** 2
    tolerance = 16.0 * float(np.finfo(dtype).eps) * problem.X.shape[1] * size
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


def test_a_row_without_weight_may_be_of_a_class_that_no_other_row_has(
    torch_engine: TorchEngine,
) -> None:
    rows = Rows(
        np.eye(3), np.array([0, 1, 2]), np.ones(3), np.zeros(3), None, np.array([1.0, 1.0, 0.0])
    )
    mine = torch_engine.fixed_scores(rows, np.eye(3))
    b = np.array([0.0, 0.0, -np.inf])
    for answer in (*mine.moments(b), *mine.gradient(b, Mixture(0.1, rows.class_frequencies(3)))):
        assert np.isfinite(answer).all()


def test_the_curvature_may_be_of_some_rows_whatever_the_tiles(
    torch_engine: TorchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    rows = Rows(rng.normal(size=(97, 3)), rng.integers(0, 4, 97), np.ones(3), np.zeros(3))
    W, b = rng.normal(size=(4, 3)), np.zeros(4)
    monkeypatch.setitem(scores.CURVATURE_PRODUCTS, "cpu", 97 * 16 / 5)
    found = []
    for tile_bytes in (1, 3000, 1 << 20):
        monkeypatch.setitem(devices.TILE_BYTES, "cpu", tile_bytes)
        found.append(torch_engine.fixed_scores(rows, W).moments(b).hessian)
    some = torch_engine.fixed_scores(rows.part(0, 97).only(np.arange(0, 97, 5)), W)
    monkeypatch.setitem(scores.CURVATURE_PRODUCTS, "cpu", 1e9)
    for hessian in found:
        np.testing.assert_allclose(hessian, some.moments(b).hessian, rtol=0, atol=1e-14)


def test_certificates_and_scores_ask_the_engine_that_keeps_them(torch_engine: TorchEngine) -> None:
    problem = make_problem(7)
    W, b = random_weights(problem, 7)
    assert isinstance(streaming(torch_engine).fixed_scores(problem.rows, W), scores.TorchScores)
    assert streaming(make_engine("native")).fixed_scores(problem.rows, W) is None
    proofs = [
        certify_weights(engine, problem.rows, W, b, problem.penalty)
        for engine in (torch_engine, make_engine("native"))
    ]
    assert proofs[0].given.gap == pytest.approx(proofs[1].given.gap, rel=1e-9, abs=1e-12)
    np.testing.assert_allclose(proofs[0].bias, proofs[1].bias, atol=1e-7)


@pytest.mark.parametrize("precision", [None, "tf32", "bf16"])
def test_the_optimum_is_proven_whatever_float32_products_are_rounded_to(
    precision: str | None,
) -> None:
    engine = make_engine("torch", device="cpu", precision=precision)
    rng = np.random.default_rng(5)
    problem = make_problem(3)._replace(
        X=rng.normal(size=(600, 60)), y=rng.integers(0, 30, 600), K=30, l2=1e-2
    )
    optimum = solve(engine, problem, tol=1e-6)
    assert optimum.status == "optimal"
    other = solve(make_engine("native"), problem, tol=1e-6)
    assert abs(optimum.certificate.cost - other.certificate.cost) <= 2e-6 * other.certificate.cost
