"""`onelayer probe`: what it prints and writes, how it goes on, and what names its heads."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from onelayer.model import Model
from onelayer.training.checkpoint import unfinished
from onelayer.training.suite import Head, HeadKeeper, Suite
from tests.cli.conftest import Command
from tests.made_data import make_dataset

ROWS = make_dataset(300, seed=2)
WORDS = ("probe", "--data", "sets.npz", "--l2", "1,0.01", "--tol", "1e-4")


class Killed(BaseException):
    """What stands for SIGKILL."""


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    """Three sets in a file, one of them alone as more.npz with two others, and labels."""
    names = np.array(ROWS.class_names)[ROWS.y]
    sets = {f"layer{i}/mean": ROWS.X[:, : 3 * i + 2] for i in range(4)}
    np.savez(tmp_path / "more.npz", y=names, **sets)  # type: ignore[arg-type]
    del sets["layer3/mean"]
    np.savez(tmp_path / "sets.npz", y=names, **sets)  # type: ignore[arg-type]


def bits(folder: Path) -> bytes:
    return (folder / "weights.safetensors").read_bytes()


def test_it_ranks_the_sets_and_saves_a_run_with_a_page(
    run: Command, tmp_path: Path, drawn_pages: None
) -> None:
    code, out, err = run(*WORDS, "--folds", "2", "--scoring", "neg_log_loss", "--out", "a run")
    assert code == 0, err
    assert "Feature sets by log loss on 2 folds" in out
    suite = Suite.load(tmp_path / "a run")
    assert (suite.folds, suite.choice.by) == (2, "log_loss")
    order = [out.index(f"\n{head.name}") for head in suite.ranking]
    assert order == sorted(order)
    assert "the page: a run/report.html" in out
    assert "layer0/mean" in (tmp_path / "a run" / "report.html").read_text("utf-8")
    assert suite.command is not None
    assert suite.command.options["scoring"] == "neg_log_loss"
    code, again, _ = run("report", "a run")
    assert (code, again) == (0, out)


def test_figures_as_json(run: Command) -> None:
    code, out, _ = run(*WORDS, "--C", "1", "--json")
    assert code == 2
    code, out, _ = run(*WORDS, "--json")
    figures = json.loads(out)
    assert code == 0
    assert figures["best"] == figures["heads"][0]["name"]
    assert {head["name"] for head in figures["heads"]} == {f"layer{i}/mean" for i in range(3)}
    assert all(len(head["solutions"]) == 2 for head in figures["heads"])


def test_c_is_that_of_the_training_rows(run: Command, tmp_path: Path) -> None:
    assert run("probe", "--data", "sets.npz", "--C", "1")[0] == 0
    suite = Suite.load(tmp_path / "runs" / "probe")
    assert suite.heads[0].l2 == 1 / (2 * suite.data.train_rows)


def test_a_killed_suite_says_how_to_go_on_and_ends_with_the_same_bytes(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        keep = HeadKeeper.keep

        def kept(self: HeadKeeper, head: Head) -> None:
            keep(self, head)
            if len(self.heads) == 2:
                raise Killed

        patch.setattr(HeadKeeper, "keep", kept)
        with pytest.raises(Killed):
            run(*WORDS, "--out", "killed")
    found = unfinished(tmp_path / "killed")
    assert found is not None
    assert found.progress == "2 of 3 heads done"
    code, _, err = run("report", "killed")
    assert code == 1
    sentence, _, typed = err.partition("to resume: ")
    assert "killed holds no result yet, 2 of 3 heads done" in sentence
    program, *words = shlex.split(typed)
    code, _, err = run(*words)
    assert (program, code) == ("onelayer", 0), err
    assert "resuming from killed: 2 of 3 heads done" in err
    assert run(*WORDS, "--out", "whole")[0] == 0
    assert bits(tmp_path / "killed") == bits(tmp_path / "whole")
    assert not (tmp_path / "killed" / "checkpoints").exists()


def test_further_sets_are_added_to_a_finished_suite(run: Command, tmp_path: Path) -> None:
    more = [word.replace("sets", "more") for word in WORDS]
    assert run(*WORDS, "--out", "a")[0] == 0
    code, _, err = run(*more, "--out", "a")
    assert (code, "a holds a finished run" in err) == (1, True)
    code, _, err = run(*more, "--out", "a", "--resume")
    assert code == 0, err
    assert "resuming from a: 3 of 4 heads done" in err
    assert run(*more, "--out", "b")[0] == 0
    assert bits(tmp_path / "a") == bits(tmp_path / "b")
    code, _, err = run(*more, "--tol", "1e-5", "--out", "a", "--resume")
    assert code == 1
    assert "for the feature set 'layer0/mean', the tol was 0.0001 and is 1e-05" in err
    assert bits(tmp_path / "a") == bits(tmp_path / "b")


def test_ctrl_c_saves_the_heads_that_are_finished(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = HeadKeeper.keep

    def kept(self: HeadKeeper, head: Head) -> None:
        keep(self, head)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(HeadKeeper, "keep", kept)
        code, _, err = run(*WORDS, "--out", "a")
    assert code == 130
    assert "interrupted; 1 of 3 heads are saved; resume with: onelayer probe" in err
    assert Suite.load(tmp_path / "a").names == ("layer0/mean",)
    assert run(*WORDS, "--out", "a", "--resume")[0] == 0
    assert run(*WORDS, "--out", "b")[0] == 0
    assert bits(tmp_path / "a") == bits(tmp_path / "b")


def test_heads_are_named_by_set_or_rank_and_evaluated_on_their_own_rows(
    run: Command, tmp_path: Path
) -> None:
    assert run(*WORDS)[0] == 0
    suite = Suite.load(tmp_path / "runs" / "probe")
    for named, head in (
        ("runs/probe", suite.best),
        ("runs/probe:2", suite.ranking[1]),
        ("runs/probe:layer0/mean", suite["layer0/mean"]),
    ):
        code, out, err = run("evaluate", named, "--json")
        assert code == 0, err
        assert json.loads(out)["accuracy"] == head.test.accuracy
        assert head.name in err
    code, out, _ = run("certify", "runs/probe")
    assert [line.partition(":")[0] for line in out.splitlines()] == [*suite.names]
    code, _, err = run("evaluate", "runs/probe:layer9")
    assert (code, "settings: " in err) == (2, True)


def test_heads_are_compared_each_on_its_own_features(run: Command, tmp_path: Path) -> None:
    assert run(*WORDS)[0] == 0
    suite = Suite.load(tmp_path / "runs" / "probe")
    code, out, err = run("compare", "runs/probe", "--json")
    assert code == 0, err
    told = json.loads(out)
    found = {told["reference"]: told["reference_value"]}
    found |= {one["name"]: one["value"] for one in told["differences"]}
    assert found == {head.name: head.test.accuracy for head in suite.heads}


def test_the_best_head_is_exported_and_predicts(run: Command, tmp_path: Path) -> None:
    assert run(*WORDS)[0] == 0
    suite = Suite.load(tmp_path / "runs" / "probe")
    assert run("export", "runs/probe", "best.safetensors")[0] == 0
    assert (Model.load("best.safetensors").W == suite.best.model.W).all()
    np.save("rows.npy", ROWS.X[:5, : suite.best.model.features])
    assert run("predict", "runs/probe", "rows.npy", "out.csv")[0] == 0
    assert len(Path("out.csv").read_text().splitlines()) == 6


def test_a_suite_is_repeated_to_the_same_bits(run: Command) -> None:
    assert run(*WORDS, "--test-size", "0.3")[0] == 0
    code, out, err = run("rerun", "runs/probe")
    assert code == 0, err
    assert "the same bits: runs/probe-rerun/weights.safetensors" in out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "probe needs feature sets; name them with --data."),
        (("--data", "absent.npz"), 1, "no such file or folder: absent.npz."),
        (("--data", "sets.npz", "--folds", "1"), 2, "folds must be"),
        (("--data", "sets.npz", "--names", "a,b"), 2, "names (--names) has no effect on sets.npz"),
        (
            ("--data", "sets.npz", "--labels", "z"),
            1,
            "sets.npz has no array 'z'; choose the labels' array",
        ),
    ],
)
def test_what_cannot_be_probed_is_one_sentence_and_leaves_nothing(
    words: tuple[str, ...], code: int, said: str, run: Command, tmp_path: Path
) -> None:
    got, out, err = run("probe", *words)
    assert (got, out) == (code, "")
    assert said in err
    assert not (tmp_path / "runs").exists()


def test_groups_parts_and_folds_come_from_files(run: Command, tmp_path: Path) -> None:
    words = np.array(["train", "train", "test", "validation"])[np.arange(300) % 4]
    np.savetxt(tmp_path / "words.txt", words, fmt="%s")
    np.save(tmp_path / "who.npy", np.arange(300))
    np.save(tmp_path / "folds.npy", np.arange(300) // 2 % 5)
    own = ("--split", "words.txt", "--groups", "who.npy", "--folds-from", "folds.npy")
    code, _, err = run(*WORDS, *own)
    assert code == 0, err
    suite = Suite.load(tmp_path / "runs" / "probe")
    assert (suite.folds, suite.data.train_rows, suite.data.test_rows) == (5, 150, 75)
    assert suite.best.test_metrics[0].method.startswith("grouped")
    code, out, err = run("evaluate", "runs/probe", "--json")
    assert code == 0, err
    assert json.loads(out)["accuracy_interval_95"] == [*suite.best.test_interval]
    code, out, _ = run("rerun", "runs/probe")
    assert "the same bits" in out
    code, _, err = run(*WORDS, "--folds", "2", "--folds-from", "folds.npy")
    assert (code, "give either --folds or --folds-from, not both" in err) == (2, True)


def test_a_refitted_head_is_certified_on_all_rows_that_it_was_fitted_to(
    run: Command, tmp_path: Path
) -> None:
    assert run(*WORDS, "--refit")[0] == 0
    suite = Suite.load(tmp_path / "runs" / "probe")
    code, out, err = run("certify", "runs/probe", "--json")
    assert code == 0, err
    costs = {one["name"]: one["cost"] for one in json.loads(out)}
    for head in suite.heads:
        proof = head.model.require_certificate()
        assert costs[head.name] == pytest.approx(proof.cost, rel=1e-9)
        assert proof.cost != head.best.certificate.cost
    code, out, _ = run("evaluate", "runs/probe", "--json")
    assert json.loads(out)["accuracy"] == suite.best.test.accuracy
    code, out, _ = run("rerun", "runs/probe")
    assert "the same bits" in out
