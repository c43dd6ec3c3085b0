"""The method on the command line: what is typed is what is trained, again to the same bits."""

from __future__ import annotations

from pathlib import Path

import pytest

from onelayer.training.run import Run
from onelayer.training.run_folder import load_result
from tests.cli.test_app import Command, run

__all__ = ["run"]

FIT = ("fit", "--data", "digits", "--epochs", "2", "--learning-rate", "0.1")
SWEEP = ("sweep", "--data", "digits", "--epochs", "1", "--seeds", "1", "--l2", "0")
WORDS = (
    "--momentum", "0.9", "--nesterov", "--schedule", "cosine", "--warmup", "0.5",
    "--averaging", "ema:0.9", "--loss", "sigmoid", "--label-smoothing", "0.1",
    "--flip-seed", "3", "--patience", "5",
)  # fmt: skip


def test_fit_trains_by_the_method_typed_and_rerun_gives_the_same_bits(
    run: Command, tmp_path: Path
) -> None:
    code, _, err = run(*FIT, *WORDS, "--out", "first")
    assert code == 0, err
    expected = Run(
        0.1, epochs=2, shuffle=False, momentum=0.9, nesterov=True, schedule="cosine", warmup=0.5,
        averaging="ema:0.9", loss="sigmoid", label_smoothing=0.1, flip_seed=3, patience=5,
    )  # fmt: skip
    assert load_result(tmp_path / "first").runs == (expected,)
    code, out, err = run("rerun", "first")
    assert code == 0, err
    assert "the same bits" in out
    assert load_result(tmp_path / "first-rerun").runs == (expected,)


def test_sweep_takes_lists_typed_or_from_a_file_and_names_runs_by_what_differs(
    run: Command, tmp_path: Path
) -> None:
    (tmp_path / "s.toml").write_text(
        'learning_rate = 0.1\nmomentum = [0, 0.9]\nloss = ["softmax", "sigmoid"]\npatience = 4\n'
    )
    code, out, err = run(*SWEEP, "--settings", "s.toml", "--out", "file")
    assert code == 0, err
    typed = ("--learning-rate", "0.1", "--momentum", "0,0.9", "--loss", "softmax,sigmoid")
    assert run(*SWEEP, *typed, "--patience", "4", "--out", "typed")[0] == 0
    runs = load_result(tmp_path / "file").runs
    assert runs == load_result(tmp_path / "typed").runs
    assert {(r.momentum, r.loss, r.patience) for r in runs} == {
        (momentum, loss, 4) for momentum in (0.0, 0.9) for loss in ("softmax", "sigmoid")
    }
    assert len({r.name for r in runs}) == 4
    assert "μ=0.9" in out
    assert "sigmoid" in out
    assert run("rerun", "file")[0] == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((*FIT, "--momentum", "1"), "momentum (μ) must be"),
        ((*FIT, "--schedule", "cosin"), "schedule must be"),
        ((*FIT, "--averaging", "ema:1"), "averag"),
        ((*FIT, "--loss", "hinge"), "loss must be softmax or sigmoid"),
        ((*FIT, "--warmup", "3"), "warmup must be at most the 2 epochs"),
        ((*FIT, "--patience", "0"), "patience must be"),
        ((*SWEEP, "--momentum", "much"), "--momentum must be numbers"),
        ((*SWEEP, "--loss", "softmax,"), "--loss must be names"),
        (("fit", "--solver", "optimum", "--loss", "sigmoid"), "--loss means nothing"),
    ],
)
def test_a_bad_value_is_one_sentence_that_names_the_option(
    words: tuple[str, ...], sentence: str, run: Command
) -> None:
    code, _, err = run(*words)
    assert code != 0
    assert sentence in " ".join(err.split())
