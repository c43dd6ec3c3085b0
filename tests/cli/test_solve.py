"""The commands about the optimum: solve, certify, suggest-learning-rate."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from onelayer import load, solve_path
from onelayer.solver import Path as LambdaPath
from onelayer.solver import suggest_learning_rate
from onelayer.solver.path import PathProgress
from onelayer.training.result import Result
from tests.cli.conftest import Command

QUICK = ("--data", "digits")


@pytest.mark.usefixtures("drawn_pages")
def test_a_path_proves_every_lambda_and_its_page_can_be_redrawn(
    run: Command, tmp_path: Path
) -> None:
    code, out, _ = run("solve", *QUICK, "--l2", "1e-4:1:3", "--tol", "1e-5")
    assert code == 0
    assert "chosen" in out
    folder = tmp_path / "runs" / "solve"
    solved = LambdaPath.load(folder)
    assert solved.l2.tolist() == pytest.approx([1.0, 0.01, 0.0001])
    assert all(p.gap <= 1e-5 * p.cost for p in (m.require_certificate() for m in solved.models))
    page = folder / "report.html"
    first = page.read_bytes()
    assert len(first) > 100_000
    assert json.loads((folder / "settings.json").read_text())["kind"] == "path"
    page.unlink()
    assert run("report", "runs/solve")[0] == 0
    assert page.read_bytes() == first


def test_without_a_lambda_the_path_follows_the_data_and_its_last_lines_say_what_was_chosen(
    run: Command, tmp_path: Path
) -> None:
    code, out, _ = run("solve", *QUICK, "--tol", "1e-2")
    assert code == 0
    path = LambdaPath.load(tmp_path / "runs" / "solve")
    assert path.l2_from_data
    assert path.l2[1] / path.l2[0] == pytest.approx(10 ** (-4 / 19))
    assert out.splitlines()[-1 - len(path.verdict) : -1] == list(path.verdict)


def test_l1_chooses_features_and_the_last_lines_count_them(run: Command, tmp_path: Path) -> None:
    code, out, _ = run(
        "solve", *QUICK, "--l1", "0.1,0.01", "--l1-ratio", "0.5", "--grouped", "--tol", "1e-4"
    )
    assert code == 0
    path = LambdaPath.load(tmp_path / "runs" / "solve")
    assert path.l1.tolist() == [0.1, 0.01]
    assert path.l2.tolist() == pytest.approx([0.05, 0.005])
    counted = f"{path.best.W.any(axis=0).sum()} of 64 features chosen"
    assert counted in out
    code, out, _ = run("certify", "runs/solve")
    assert code == 0
    assert "λ₁=0.01: cost" in out


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("--l1", "auto", "--l2", "0.1"), "give either l2 or l1"),
        (("--l1-ratio", "0.5"), "l1_ratio needs l1"),
        (("--l1", "0"), "l1 must be values above 0"),
        (("--l1", "few"), "--l1"),
    ],
)
def test_wrong_l1_options_are_refused(run: Command, wrong: tuple[str, ...], message: str) -> None:
    code, _, error = run("solve", *QUICK, *wrong)
    assert code != 0
    assert message in error


def test_offsets_and_penalty_factors_are_columns_of_a_table(run: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X, exposure = rng.normal(size=(120, 3)), rng.normal(size=120)
    y = (X[:, 0] + exposure + rng.logistic(size=120) > 0).astype(int)
    table = np.column_stack([X, exposure, y])
    header = "age,b,c,exposure,label"
    np.savetxt(tmp_path / "t.csv", table, delimiter=",", header=header, comments="")
    data = ("--data", "t.csv", "--offsets", "exposure")
    code, _, _ = run("solve", *data, "--l2", "0.5", "--penalty-factors", "age=0,c=4")
    assert code == 0
    [model] = LambdaPath.load(tmp_path / "runs" / "solve").models
    assert model.feature_names == ("age", "b", "c")
    assert model.settings["offsets"] is True
    assert model.settings["penalty_factors"] == {"age": 0.0, "c": 4.0}
    for more, gap in (((), 1e-6), (("--penalty-factors", "f.txt"), 1.0)):
        (tmp_path / "f.txt").write_text("1\n1\n1\n")
        code, out, _ = run("certify", "runs/solve", *more, "--json")
        assert code == 0
        assert json.loads(out)[0]["gap"] < gap


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("height=0", "penalty_factors name the feature 'height', which is not there"),
        ("0=0,0=1", "--penalty-factors names the feature '0' twice"),
        ("0=none", "--penalty-factors must be numbers"),
        ("0", "no such file or folder: 0"),
    ],
)
def test_wrong_penalty_factors_are_refused(run: Command, wrong: str, message: str) -> None:
    code, _, error = run("solve", *QUICK, "--l2", "0.1", "--penalty-factors", wrong)
    assert code != 0
    assert message in error


def test_folds_and_the_one_standard_error_rule_can_be_asked_for(
    run: Command, tmp_path: Path
) -> None:
    code, out, _ = run(
        "solve", *QUICK, "--l2", "1,0.01", "--folds", "3", "--scoring", "neg_log_loss",
        "--rule", "one-standard-error",
    )  # fmt: skip
    assert code == 0
    assert "loss on 3 folds" in out
    solved = LambdaPath.load(tmp_path / "runs" / "solve")
    assert (solved.folds, solved.choice.rule) == (3, "one-standard-error")


def test_one_lambda_is_solved_to_the_gap_asked_for(run: Command, tmp_path: Path) -> None:
    code, out, _ = run("solve", *QUICK, "--l2", "0.01", "--tol", "1e-8", "--json")
    assert code == 0
    [optimum] = LambdaPath.load(tmp_path / "runs" / "solve").models
    proof = optimum.require_certificate()
    assert proof.gap <= 1e-8 * proof.cost
    told = json.loads(out)
    assert told["chosen"]["l2"] == 0.01
    assert told["models"][0]["certificate"]["gap"] == proof.gap


def test_lambda_0_is_solved_with_a_note_that_nothing_is_proven(run: Command) -> None:
    code, _, err = run("solve", *QUICK, "--l2", "0", "--tol", "0.1")
    assert code == 0
    [line] = [line for line in err.splitlines() if line.startswith("note:")]
    assert "without l2 (λ = 0) no bound exists" in line


def test_ctrl_c_keeps_the_lambdas_that_were_solved_and_exits_130(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def interrupted_bar(*_: str) -> Iterator[Callable[[PathProgress], None]]:
        def show(now: PathProgress) -> None:
            if now.done == 2:
                raise KeyboardInterrupt

        yield show

    monkeypatch.setattr("onelayer.cli.output.progress_bar", interrupted_bar)
    code, _, err = run("solve", *QUICK, "--l2", "1,0.1,0.01,0.001")
    assert code == 130
    assert "interrupted; the 2 largest λ were solved and saved" in err
    assert LambdaPath.load(tmp_path / "runs" / "solve").l2.tolist() == [1.0, 0.1]


def test_certify_proves_what_training_proved_on_the_data_of_the_run(
    run: Command, tmp_path: Path
) -> None:
    run("train", *QUICK, "--lr", "auto", "--l2", "0.1,0", "--epochs", "3", "--certify")
    code, out, _ = run("certify", "runs/train")
    assert code == 0
    certificates = Result.load(tmp_path / "runs" / "train").certificates
    assert certificates[0].sentence in out
    assert "no bound exists" in out
    code, told, _ = run("certify", "runs/train:1", "--l2", "0.5", "--json")
    assert [one["l2"] for one in json.loads(told)] == [0.5]
    run("solve", *QUICK, "--l2", "0.1")
    code, out, _ = run("certify", "runs/solve")
    assert code == 0
    assert re.search(r"λ=0.1: cost [\d.]+, at most [\d.e-]+ above the best possible", out)
    assert run("export", "runs/solve", "m.safetensors")[0] == 0
    code, of_file, _ = run("certify", "m.safetensors")
    assert of_file.partition(": ")[2] == out.partition(": ")[2]


def test_certify_says_which_lambda_it_proves_where_it_is_not_the_models_own(run: Command) -> None:
    run("solve", *QUICK, "--l2", "0.1")
    for asked, penalty in (("--l2 5", "λ = 5"), ("--l1 0.3", "λ₁ = 0.3, λ₂ = 0.1")):
        _, out, _ = run("certify", "runs/solve", *asked.split())
        assert out.startswith(f"λ=0.1, certified for {penalty}: cost ")
    (Path("factors.txt")).write_text("2\n" * 64)
    _, out, _ = run("certify", "runs/solve", "--penalty-factors", "factors.txt")
    assert out.startswith("λ=0.1, with --penalty-factors: cost ")


def test_suggest_learning_rate_prints_what_the_function_returns(run: Command) -> None:
    words = ("suggest-learning-rate", *QUICK, "--batch-size", "50", "--l2", "0.1")
    code, out, _ = run(*words)
    assert code == 0
    bounds = suggest_learning_rate(load("digits").train, l2=0.1, batch_size=50)
    rates = ("stable", "batch_stable", "start_stable", "learning_rate")
    for name in rates:
        assert f"{getattr(bounds, name):.3g}" in out
    told = json.loads(run(*words, "--json")[1])
    assert {name: told[name] for name in rates} == {name: getattr(bounds, name) for name in rates}


def test_a_large_learning_rate_is_noted_in_one_line(run: Command) -> None:
    code, _, err = run("train", *QUICK, "--learning-rate", "2", "--epochs", "1")
    assert code == 0
    [line] = [line for line in err.splitlines() if line.startswith("note:")]
    assert "learning_rate 2 exceeds the guaranteed-stable limit 0.35" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("solve", "--scoring", "auc"), "unknown metric 'auc'"),
        (("solve", "--rule", "worst"), "rule must be best or one-standard-error"),
        (("solve", "--l2", "0.1", "--C", "1"), "--l2 and --C set the same penalty"),
        (("solve", "--max-passes", "0"), "max_passes must be"),
        (("solve", "--epochs", "3"), "No such option"),
        (("suggest-learning-rate", "--l2", "-1"), r"l2 (λ) must be"),
        (("suggest-learning-rate", "--l2", "1,2"), "one λ is needed, got 2"),
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
    assert "absent should be a model file, but it is not there" in err


def test_solve_ends_with_the_test_accuracy_and_says_when_lambda_lies_at_an_end(
    run: Command,
) -> None:
    _, out, _ = run("solve", "--data", "digits", "--l2", "0.1,0.01")
    best = solve_path(load("digits"), [0.1, 0.01])
    assert best.test is not None
    assert (
        f"test accuracy of λ = 0.01: {100 * best.test.accuracy:.2f} % (95 % Wilson interval" in out
    )
    assert "The chosen λ is the smallest that was tried" in out
    _, out, _ = run("solve", "--data", "digits", "--l2", "0.01", "--out", "runs/one")
    assert "that was tried" not in out
