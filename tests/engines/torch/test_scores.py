"""Certificates and the optimum are those of other engines."""

from __future__ import annotations

import numpy as np
import pytest

from onelayer.engines import make_engine
from onelayer.engines.torch import TorchEngine
from onelayer.solver.certificate import certify_weights
from tests.solver.oracle import make_problem, random_weights, solve


@pytest.fixture(scope="module")
def torch_engine() -> TorchEngine:
    engine = make_engine("torch", device="cpu")
    assert isinstance(engine, TorchEngine)
    return engine


def test_certificates_are_those_of_the_native_engine(torch_engine: TorchEngine) -> None:
    problem = make_problem(7)
    W, b = random_weights(problem, 7)
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
