"""The torch engine against the reference and the native one, every option, whole trajectories."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onelayer.engines import Engine, make_engine
from onelayer.engines.torch import device as devices
from tests.engines.torch.drawn import Problem, assert_same, problems, scaled_features, trained


@pytest.fixture(scope="module")
def torch_engine() -> Engine:
    return make_engine("torch", device="cpu")


# From a row at a time over several batches at a time to all that there is.
tile_sizes = st.sampled_from([1, 2000, 1 << 20])


@settings(max_examples=150)
@given(problem=problems(), tile_size=tile_sizes)
def test_trajectories_are_the_references_with_every_option(
    torch_engine: Engine, problem: Problem, tile_size: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(devices.TILE_BYTES, "cpu", tile_size)
        state, measured, predicted = trained(torch_engine, problem)
    expected, judged, _ = trained(make_engine("reference"), problem)
    assert_same(state, expected, problem.tolerance, problem.of_velocity)
    size = 1.0 + float(np.abs(scaled_features(problem.rows)).sum(axis=1).max())
    for mine, theirs in zip(measured, judged, strict=True):
        np.testing.assert_allclose(mine.loss, theirs.loss, rtol=0, atol=problem.tolerance * size)
    scores = make_engine("reference").scores(problem.rows, expected.model)
    best = np.take_along_axis(scores, predicted[:, :, None], 2)[:, :, 0]
    np.testing.assert_allclose(best, scores.max(axis=2), rtol=0, atol=problem.tolerance * size)


@given(problem=problems(plain=True))
def test_trajectories_of_plain_descent_are_the_native_engines(
    torch_engine: Engine, problem: Problem
) -> None:
    state, _, _ = trained(torch_engine, problem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *args, **kwargs: None)  # of X that is copied once
        expected, _, _ = trained(make_engine("native"), problem)
    assert_same(state, expected, problem.tolerance)
