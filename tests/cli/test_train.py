"""`onelayer train`: one setting, grids, ranges and draws; the ranking, and the same bits."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest

from onelayer import load, train
from onelayer.cli.options import SettingOptions, parse_setting, parse_values
from onelayer.errors import SettingsError
from onelayer.training.loop import Progress
from onelayer.training.result import Result
from onelayer.training.run import Run, grid
from onelayer.training.sweep import sweep
from tests.cli.conftest import Command
from tests.conftest import blank_page

TRAIN = ("train", "--data", "digits", "--epochs", "2")


def test_every_field_of_run_is_an_option_as_a_value_and_as_a_list(run: Command) -> None:
    @dataclass(frozen=True)
    class Extended(Run):
        decay: float = field(default=0.5, metadata={"help": "Decay of the second moment."})

    options = {p.name: p for p in SettingOptions.parameters(Extended)}
    assert set(options) == {f.name for f in fields(Extended)} - {"seed", "name"} | {"C"}
    assert options["decay"].default == "0.5"
    hints = get_type_hints(Extended)
    assert parse_setting("decay", "0.5", hints["decay"]) == [0.5]
    assert parse_setting("decay", "0.5,0.1:1:2", hints["decay"]) == [0.5, 0.1, 1.0]
    shown = " ".join(run("train", "--help")[1].split())
    for item in fields(Run):
        if item.name not in ("seed", "name"):
            assert "--" + item.name.replace("_", "-") in shown
            assert item.metadata["help"] in shown.replace("- ", "-")


def test_one_setting_is_trained_as_typed_certified_and_shown_with_its_test_accuracy(
    run: Command, tmp_path: Path
) -> None:
    code, out, err = run(
        *TRAIN, "--lr", "0.2", "--l2", "0.01", "--batch-size", "50", "--seeds", "2",
        "--shuffle-seed", "3", "--scaling", "standardize", "--dtype", "float64",
    )  # fmt: skip
    assert code == 0, err
    result = Result.load(tmp_path / "runs" / "train")
    assert {(r.learning_rate, r.l2, r.batch_size, r.epochs, r.shuffle_seed) for r in result.runs} \
        == {(0.2, 0.01, 50, 2, 3)}  # fmt: skip
    assert [r.seed for r in result.runs] == [0, 1]
    assert result.W.dtype == np.float64
    assert result.scaling.name == "standardize"
    assert len(result.certificates) == 2
    assert f"{100 * result.test_accuracy.mean():.2f}" in out
    assert list(result.snapshots) == [0]


def test_seeds_are_a_count_or_a_list(run: Command, tmp_path: Path) -> None:
    assert run(*TRAIN, "--seeds", "5,2", "--no-certify")[0] == 0
    result = Result.load(tmp_path / "runs" / "train")
    assert [r.seed for r in result.runs] == [5, 2]
    assert result.certificates == ()


def test_the_penalty_can_be_scikit_learns_c(run: Command, tmp_path: Path) -> None:
    assert run(*TRAIN, "--C", "1,2")[0] == 0
    rows = load("digits").train.rows
    runs = Result.load(tmp_path / "runs" / "train").runs
    assert [r.l2 for r in runs] == [1 / (2 * rows), 1 / (4 * rows)]
    code, out, _ = run("rerun", "runs/train")
    assert code == 0
    assert "--C 1,2" in out
    assert "--l2" not in out


def test_json_has_the_ranking_and_the_certificates(run: Command) -> None:
    code, out, _ = run(*TRAIN, "--lr", "0.1,0.001", "--l2", "0.1", "--certify", "--json")
    assert code == 0
    told = json.loads(out)
    assert [one["learning_rate"] for one in told["ranking"]] == [0.1, 0.001]
    assert told["best"]["name"] == told["ranking"][0]["name"]
    result = Result.load(Path("runs/train"))
    assert [one["validation_accuracy"] for one in told["runs"]] == list(result.validation_accuracy)
    assert told["runs"][0]["certificate"]["gap"] == result.certificates[0].gap


@pytest.mark.usefixtures("drawn_pages")
def test_a_grid_is_trained_ranked_and_shown(run: Command, tmp_path: Path) -> None:
    code, out, err = run(
        *TRAIN, "--learning-rate", "0.01:1:3", "--l2", "0,0.1", "--batch-size", "50,100",
        "--seeds", "2",
    )  # fmt: skip
    assert code == 0, err
    assert "Best 10 of 12 settings" in " ".join(out.split())
    assert err.count("note: learning_rate 1 exceeds the guaranteed-stable limit") == 1
    folder = tmp_path / "runs" / "train"
    result = Result.load(folder)
    assert {(r.learning_rate, r.l2, r.batch_size, r.seed) for r in result.runs} == {
        (rate, l2, batch, seed)
        for rate in (0.01, 0.1, 1.0)
        for l2 in (0.0, 0.1)
        for batch in (50, 100)
        for seed in (0, 1)
    }
    assert len(result.settings) == 12
    names = {"sweep-batch-50.png", "sweep-batch-50.svg", "sweep-batch-100.png"}
    assert names <= {path.name for path in (folder / "charts").iterdir()}
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Best setting" in page
    assert "certified, at most" not in page
    # The best setting's weights were kept at every epoch, and come to the same bits.
    [(position, shots)] = result.snapshots.items()
    means = {one.name: result.validation_accuracy[[*one.positions]].mean()
             for one in result.ranking}  # fmt: skip
    assert means[result.runs[position].name] == max(means.values())
    np.testing.assert_array_equal(shots[-1], result.W[position].astype(np.float16))


@pytest.mark.usefixtures("drawn_pages")
def test_scalings_are_swept_too_and_each_run_keeps_its_own(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = run(
        *TRAIN, "--learning-rate", "0.01,0.1", "--l2", "0,0.1", "--certify",
        "--scaling", "unit,standardize",
    )  # fmt: skip
    assert code == 0, err
    place = tmp_path / "runs" / "train"
    swept = Result.load(place)
    assert len(swept.settings) == 8
    assert "with" in out
    assert out.count("standardize") >= 4
    splits = load("digits")
    for scaling in ("unit", "standardize"):
        found = [i for i, one in enumerate(swept.runs) if one.name.endswith(scaling)]
        alone = train(splits, [replace(swept.runs[i], name="") for i in found], scaling=scaling)
        np.testing.assert_array_equal(alone.W, swept.W[found])
        assert [swept.certificates[i] for i in found] == list(alone.certificates)
        np.testing.assert_array_equal(alone.validation_accuracy, swept.validation_accuracy[found])
        for i in found:
            assert swept.scaling_of(i).name == scaling
            np.testing.assert_array_equal(swept.scaling_of(i).scale, alone.scaling.scale)
            np.testing.assert_array_equal(swept.scaling_of(i).offset, alone.scaling.offset)
    best = int(swept.validation_accuracy.argmax())
    model = swept.model(best)
    right = model.predict(splits.test.X) == splits.test.y
    assert float(np.mean(right)) == swept.test_accuracy[best]
    charts = {path.name for path in (place / "charts").iterdir()}
    assert {"sweep-unit.png", "sweep-standardize.png"} <= charts
    code, out, _ = run("certify", "runs/train", "--data", "digits")
    assert [line.split(": ")[1] for line in out.strip().splitlines()] == [
        proof.sentence for proof in swept.certificates
    ]
    monkeypatch.setattr("onelayer.report.page.write_report", blank_page)
    code, out, err = run("rerun", "runs/train")
    assert "the same bits" in out


def test_an_interrupted_sweep_keeps_the_scalings_that_were_begun() -> None:
    runs, seen = grid(learning_rate=[0.1, 0.01], epochs=3), list[Progress]()

    def stop(now: Progress) -> None:
        seen.append(now)
        if now.done == 8:  # of 2 × 3 epochs under each of three scalings
            raise KeyboardInterrupt

    result = sweep(load("digits"), runs, scaling=("unit", "none", "standardize"), on_progress=stop)
    assert [(now.done, now.total) for now in seen] == [(done, 18) for done in (2, 4, 6, 8)]
    assert result.interrupted
    assert [outcome.epochs for outcome in result.outcomes] == [3, 3, 1, 1]
    assert [result.scaling_of(i).name for i in range(4)] == ["unit", "unit", "none", "none"]


@pytest.mark.usefixtures("drawn_pages")
def test_random_settings_are_drawn_and_rerun_gives_the_same_bits(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = run(
        *TRAIN, "--random", "3", "--draw-seed", "5", "--learning-rate", "0.01:1",
        "--l2", "0,0.1", "--seeds", "2", "--certify", "--out", "drawn",
    )  # fmt: skip
    assert code == 0, err
    first = Result.load(tmp_path / "drawn")
    assert len(first.settings) == 3
    assert len(first.certificates) == 6
    assert "sweep.png" not in {path.name for path in (tmp_path / "drawn" / "charts").iterdir()}
    monkeypatch.setattr("onelayer.report.page.write_report", blank_page)
    code, out, _ = run("rerun", "drawn")
    assert code == 0
    assert "the same bits" in out


def test_lists_of_a_config_file_are_lists_of_the_grid(run: Command, tmp_path: Path) -> None:
    Path("s.toml").write_text(
        'data = "digits"\nlearning-rate = [0.1, "0.2:0.4:2"]\nl2 = 0\nseeds = 1\nepochs = 1\n'
    )
    code, _, err = run("train", "--config", "s.toml")
    assert code == 0, err
    rates = [run.learning_rate for run in Result.load(tmp_path / "runs" / "train").runs]
    assert rates == [0.1, 0.2, 0.4]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--lr fast", "--learning-rate must be numbers separated by commas"),
        ("--lr 0.1:0.2", "does not say how many values; write 0.1:0.2:5"),
        ("--lr 0.1:0.2:1", "a range is low:high:n, with n at least 2"),
        ("--lr 0.3:0.1:4", "from a number above 0 to a larger one"),
        ("--l2 0:1:4", "for 0 as well write 0,0.001:1:4"),
        ("--l2 0,", "got ''"),
        ("--batch-size 10.5", "--batch-size must be whole numbers"),
        ("--random -1", "--random must be a whole number"),
        ("--random 9 --lr 0.1,0.2", "the values given make only 2"),
        ("--scaling unit,", "--scaling must be names separated by commas, got 'unit,'"),
        ("--scaling unit,max", "scaling must be one of auto, none, unit, standardize, but 'max'"),
        ("--seeds 0", "seeds must be"),
        ("--momentum 1", "momentum (μ) must be"),
        ("--momentum much", "--momentum must be numbers"),
        ("--schedule cosin", "schedule must be"),
        ("--averaging ema:1", "averag"),
        ("--loss hinge", "loss must be softmax or sigmoid"),
        ("--loss softmax,", "--loss must be names"),
        ("--warmup 3", "warmup must be at most the 2 epochs"),
        ("--patience 0", "patience must be"),
    ],
)
def test_wrong_values_are_refused_in_a_sentence_and_nothing_is_left(
    words: str, said: str, run: Command, tmp_path: Path
) -> None:
    code, _, err = run(*TRAIN, *words.split())
    assert code == 2
    assert said in " ".join(err.split())
    assert list(tmp_path.iterdir()) == []


def test_ranges_are_even_in_their_logarithm_and_end_where_they_say() -> None:
    values = parse_values("--l2", "0.0012345:0.3:9")
    assert (values[0], values[-1]) == (0.0012345, 0.3)
    steps = np.diff(np.log(values))
    # Three digits move a value by half a per cent at most, so a step by one.
    np.testing.assert_allclose(steps, math.log(0.3 / 0.0012345) / 8, atol=0.01)
    assert all(value == float(f"{value:.3g}") for value in values[1:-1])


def test_values_that_three_digits_would_confuse_keep_all_of_theirs() -> None:
    assert len(set(parse_values("--l2", "1:1.01:40"))) == 40


def test_a_value_named_twice_is_taken_once() -> None:
    assert parse_values("--l2", "1,0.1:1:2,1e0") == [1.0, 0.1]
    assert parse_values("--batch-size", "100,10:100:2", whole=True) == [100, 10]


def test_a_bare_range_is_drawn_from_and_a_list_chosen_from() -> None:
    assert parse_values("--l2", "0.1:1", draw=True) == (0.1, 1.0)
    assert parse_values("--l2", "0.1:1:3,5", draw=True) == [0.1, 0.316, 1.0, 5.0]
    with pytest.raises(SettingsError, match="from a number above 0"):
        parse_values("--l2", "0:1", draw=True)


METHOD = (
    "--momentum", "0.9", "--nesterov", "--schedule", "cosine", "--warmup", "0.5",
    "--averaging", "ema:0.9", "--loss", "sigmoid", "--label-smoothing", "0.1",
    "--flip-seed", "3", "--patience", "5",
)  # fmt: skip


def test_the_method_typed_is_trained_and_rerun_gives_the_same_bits(
    run: Command, tmp_path: Path
) -> None:
    code, _, err = run(*TRAIN, "--lr", "0.1", *METHOD, "--out", "first")
    assert code == 0, err
    expected = Run(
        0.1, batch_size=100, epochs=2, momentum=0.9, nesterov=True, schedule="cosine", warmup=0.5,
        averaging="ema:0.9", loss="sigmoid", label_smoothing=0.1, flip_seed=3, patience=5,
    )  # fmt: skip
    assert Result.load(tmp_path / "first").runs == (expected,)
    code, out, err = run("rerun", "first")
    assert code == 0, err
    assert "the same bits" in out
    assert Result.load(tmp_path / "first-rerun").runs == (expected,)


def test_methods_are_lists_typed_or_in_a_file_and_runs_are_named_by_what_differs(
    run: Command, tmp_path: Path
) -> None:
    (tmp_path / "s.toml").write_text(
        'lr = 0.1\nmomentum = [0, 0.9]\nloss = ["softmax", "sigmoid"]\npatience = 4\n'
    )
    code, out, err = run(*TRAIN, "--config", "s.toml", "--out", "file")
    assert code == 0, err
    typed = ("--learning-rate", "0.1", "--momentum", "0,0.9", "--loss", "softmax,sigmoid")
    assert run(*TRAIN, *typed, "--patience", "4", "--out", "typed")[0] == 0
    runs = Result.load(tmp_path / "file").runs
    assert runs == Result.load(tmp_path / "typed").runs
    assert {(r.momentum, r.loss, r.patience) for r in runs} == {
        (momentum, loss, 4) for momentum in (0.0, 0.9) for loss in ("softmax", "sigmoid")
    }
    assert len({r.name for r in runs}) == 4
    assert "μ=0.9" in out
    assert "sigmoid" in out
    assert run("rerun", "file")[0] == 0


def test_train_ends_with_the_proof_of_one_run_and_with_the_edges_of_a_grid(run: Command) -> None:
    _, out, _ = run(*TRAIN, "--lr", "0.1", "--l2", "0.01", "--out", "runs/one")
    assert "above the best possible" in out
    _, out, _ = run(*TRAIN, "--lr", "0.01,0.03,0.1", "--l2", "0.01,0.1", "--out", "runs/grid")
    assert "lies at the edge of the grid" in out
    assert "above the best possible" not in out
