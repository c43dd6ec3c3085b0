"""No bound exceeds what a better solution costs, whatever kind of problem it is of.

A long run: python -m tests.solver.bounds 5000.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.solver.bounds import draw, faults_of


@examples(8)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_model_costs_less_than_a_bound_says(seed: int) -> None:
    drawn = draw(seed)
    assert not faults_of(drawn)[0], drawn.kind
