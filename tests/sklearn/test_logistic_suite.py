"""scikit-learn's own tests of LogisticRegression and LogisticRegressionCV, of onelayer's.

The installed file of tests is run with the two names taken from onelayer. A test that cannot apply
stands below with the reason; should it pass, it fails here. Tests of arrays on other devices are
left out: coef_ is NumPy's.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from unittest import mock

import pytest
import sklearn.linear_model
from sklearn import linear_model

from onelayer.sklearn import LogisticRegression, LogisticRegressionCV

STEPS = "it counts the steps of scikit-learn's solvers, and onelayer's takes others"
INDICES = "scikit-learn's own solver does not take 64-bit indices; onelayer's takes them"

# Patterns of the names of tests, and why they cannot hold.
CANNOT_APPLY = {
    r"test_liblinear_dual_random_state": "nothing is drawn, so that no seed changes the solution",
    r"test_logistic_cv_multinomial_score\[neg_log_loss-.*": "it asks for 6 digits of a search by "
    "scikit-learn that is stopped at the default tol, which has 3",
    r"test_max_iter\[(?!newton-cholesky).*-max_iter3\]": "4 passes suffice",
    r"test_warm_start_newton_solver\[.*": STEPS,
    r"test_newton_cholesky_fallback_to_lbfgs": STEPS,
    r"test_logistic_regression_callback_support\[.*": "the solver calls no callbacks, of which "
    "set_callbacks warns",
    r"test_large_sparse_matrix\[csr_(matrix|array)-(liblinear|sag|saga)\]": INDICES,
    r"test_liblinear_with_large_values": "it wants LIBLINEAR's words for numbers above 1e30, at "
    "which only LIBLINEAR stops",
}

_file = Path(sklearn.linear_model.__file__).parent / "tests" / "test_logistic.py"
_spec = importlib.util.spec_from_file_location("scikit_learns_test_logistic", _file)
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
with (
    mock.patch.object(linear_model, "LogisticRegression", LogisticRegression),
    mock.patch.object(linear_model, "LogisticRegressionCV", LogisticRegressionCV),
):
    _spec.loader.exec_module(_module)


def fitting(mark: pytest.Mark) -> pytest.Mark:
    """A mark whose values are a list, as pytest wants them, and of array libraries NumPy alone."""
    if mark.name != "parametrize":
        return mark
    names, values = mark.args[0], list(mark.args[1])
    if "array_namespace" in names:
        values = [value for value in values if getattr(value, "values", value)[0] == "numpy"]
    return pytest.mark.parametrize(names, values, **mark.kwargs).mark


for _name, _test in vars(_module).items():
    if _name.startswith("test_"):
        _test.pytestmark = [fitting(mark) for mark in getattr(_test, "pytestmark", ())]
        globals()[_name] = _test

# The suite's own marks, and its warnings, which are not onelayer's to forbid.
pytestmark = [_module.pytestmark, pytest.mark.filterwarnings("default"), pytest.mark.slow]


@pytest.fixture
def global_random_seed() -> int:
    """scikit-learn's fixture, at its default."""
    return 42


@pytest.fixture(autouse=True)
def expected_to_fail(request: pytest.FixtureRequest) -> None:
    """Expect the failure of what cannot apply."""
    for pattern, reason in CANNOT_APPLY.items():
        if re.fullmatch(pattern, request.node.name):
            request.node.add_marker(pytest.mark.xfail(reason=reason, strict=True))
