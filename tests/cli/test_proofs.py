"""The commands about the optimum: path, certify, suggest, fit --solver optimum."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from onelayer import load
from onelayer.solver import suggest_learning_rate
from onelayer.training.run_folder import load_path, load_result
from tests.cli.test_app import Command, run

__all__ = ["run"]

QUICK = ("--data", "digits")


def test_path_proves_every_lambda_and_leaves_its_page(run: Command, tmp_path: Path) -> None:
    code, out, _ = run("path", *QUICK, "--points", "3", "--tol", "1e-5")
    assert code == 0
    assert "chosen" in out
    solved = load_path(tmp_path / "runs" / "path")
    assert solved.l2.tolist() == pytest.approx([1.0, 0.01, 0.0001])
    assert all(p.gap <= 1e-5 * p.cost for p in (m.require_certificate() for m in solved.models))
    assert (tmp_path / "runs" / "path" / "report.html").stat().st_size > 100_000
    assert json.loads((tmp_path / "runs" / "path" / "settings.json").read_text())["kind"] == "path"


def test_a_page_of_a_path_is_drawn_anew_from_its_records(run: Command, tmp_path: Path) -> None:
    assert run("path", *QUICK, "--l2", "0.1")[0] == 0
    page = tmp_path / "runs" / "path" / "report.html"
    first = page.read_bytes()
    page.unlink()
    assert run("report", "runs/path")[0] == 0
    assert page.read_bytes() == first


def test_folds_and_the_one_standard_error_rule_can_be_asked_for(
    run: Command, tmp_path: Path
) -> None:
    code, out, _ = run(
        "path", *QUICK, "--l2", "1", "--l2", "0.01", "--folds", "3", "--by", "loss",
        "--rule", "one-standard-error",
    )  # fmt: skip
    assert code == 0
    assert "loss on 3 folds" in out
    solved = load_path(tmp_path / "runs" / "path")
    assert (solved.folds, solved.choice.rule) == (3, "one-standard-error")


def test_fit_solves_for_the_optimum(run: Command, tmp_path: Path) -> None:
    code, _, _ = run("fit", *QUICK, "--solver", "optimum", "--l2", "0.01", "--tol", "1e-8")
    assert code == 0
    [optimum] = load_path(tmp_path / "runs" / "fit").models
    proof = optimum.require_certificate()
    assert proof.gap <= 1e-8 * proof.cost


def test_certify_says_what_training_proved(run: Command, tmp_path: Path) -> None:
    run("fit", *QUICK, "--learning-rate", "auto", "--l2", "0.1", "--l2", "0", "--epochs", "3")
    code, out, _ = run("certify", "runs/fit", *QUICK)
    assert code == 0
    certificates = load_result(tmp_path / "runs" / "fit").certificates
    assert certificates[0].sentence in out
    assert "no bound exists" in out
    run("path", *QUICK, "--l2", "0.1")
    code, out, _ = run("certify", "runs/path", *QUICK)
    assert code == 0
    assert re.search(r"λ=0.1: cost [\d.]+, at most [\d.e-]+ above the best possible", out)


def test_suggest_prints_what_the_function_returns(run: Command) -> None:
    code, out, _ = run("suggest", *QUICK, "--batch-size", "50", "--l2", "0.1")
    assert code == 0
    advice = suggest_learning_rate(load("digits").train, l2=0.1, batch_size=50)
    for number in (advice.stable, advice.batch_stable, advice.start_stable, advice.learning_rate):
        assert f"{number:.3g}" in out


def test_a_large_step_is_told_of_in_one_line(run: Command) -> None:
    code, _, err = run("fit", *QUICK, "--learning-rate", "2", "--epochs", "1")
    assert code == 0
    [line] = [line for line in err.splitlines() if line.startswith("note:")]
    assert "learning_rate 2 is above 0.35" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("path", "--l2", "0.1", "--points", "3"), "but both were"),
        (("path", "--by", "auc"), "choose_by must be accuracy or loss"),
        (("path", "--folds", "1"), "folds must be from 2"),
        (("path", "--smallest", "2"), "smallest ≤ largest"),
        (("fit", "--solver", "sgd"), "solver must be optimum or minibatch"),
        (("fit", "--solver", "optimum", "--epochs", "3"), "--epochs means nothing"),
        (("fit", "--learning-rate", "0.1", "--tol", "1e-3"), "--tol means nothing"),
        (("fit", "--l2", "0.1"), "needs --learning-rate"),
        (("fit", "--learning-rate", "fast"), "but 'fast' was given"),
        (("suggest", "--l2", "-1"), r"l2 (λ) must be"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_2(
    arguments: tuple[str, ...], words: str, run: Command, tmp_path: Path
) -> None:
    code, _, err = run(*arguments, *QUICK)
    assert code == 2
    assert words in err.replace("\n", " ")
    assert not (tmp_path / "runs").exists()


def test_certify_refuses_weights_of_other_data(run: Command, tmp_path: Path) -> None:
    code, _, err = run("certify", "absent", *QUICK)
    assert code == 1
    assert "settings.json is not there" in err
