"""The gradient check of a data set: which rows, λ and weights it takes."""

from __future__ import annotations

import pytest

from onelayer import Run, check_gradient, load
from onelayer.errors import SettingsError
from onelayer.objective.gradcheck import compare_gradients
from onelayer.training.loop import initial_weights

DIGITS = load("digits")


def test_every_lambda_is_checked_with_every_batch_on_the_first_rows_at_seeded_weights() -> None:
    table = check_gradient(DIGITS, l2=[0.0, 0.2], batch_sizes=(1, 7), seed=3)
    assert table.passed
    assert [(c.l2, c.batch_size) for c in table.checks[::2]] == [
        (l2, size) for l2 in (0.0, 0.2) for size in (1, 7)
    ]
    (W,), (b,) = initial_weights([Run(0.1, seed=3)], 10, 64, "float64")
    X, y = DIGITS.train.X[:7].astype(float) / 16.0, DIGITS.train.y[:7]
    assert table.checks[-2:] == compare_gradients(X, y, W, b, 0.2)


def test_the_training_part_alone_is_the_same_as_its_splits() -> None:
    assert check_gradient(DIGITS, batch_sizes=[5]) == check_gradient(DIGITS.train, batch_sizes=[5])


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_both_losses_pass_with_label_smoothing(loss: str, label_smoothing: float) -> None:
    table = check_gradient(
        DIGITS,
        loss=loss,  # type: ignore[arg-type]
        label_smoothing=label_smoothing,
    )
    assert table.passed
    assert {check.loss for check in table.checks} == {loss}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"l2": -0.1}, r"l2 \(λ\) must be"),
        ({"batch_sizes": (0,)}, "batch_sizes must be"),
        ({"loss": "hinge"}, "loss must be softmax or sigmoid"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
    ],
)
def test_bad_settings_are_refused_in_a_sentence(change: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        check_gradient(DIGITS, **change)  # type: ignore[arg-type]
