"""Sweeps on the command line: lists and ranges, the choice by validation, and the same bits."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onelayer import load, train
from onelayer.cli.options import parse_choice, parse_values, parse_whole_values
from onelayer.errors import SettingsError
from onelayer.training.loop import Progress
from onelayer.training.run import grid
from onelayer.training.run_folder import load_result
from onelayer.training.sweep import sweep
from tests.cli.test_app import Command, run

__all__ = ["run"]

SWEEP = ("sweep", "--data", "digits", "--epochs", "2")


def test_a_grid_is_trained_ranked_and_shown(run: Command, tmp_path: Path) -> None:
    code, out, err = run(
        *SWEEP, "--learning-rate", "0.01:1:3", "--l2", "0,0.1", "--batch-size", "50,100"
    )
    assert code == 0, err
    assert "Best 10 of 12 settings" in " ".join(out.split())
    result = load_result(tmp_path / "runs" / "sweep")
    assert {(r.learning_rate, r.l2, r.batch_size, r.seed) for r in result.runs} == {
        (rate, l2, batch, seed)
        for rate in (0.01, 0.1, 1.0)
        for l2 in (0.0, 0.1)
        for batch in (50, 100)
        for seed in (0, 1)
    }
    assert len(result.settings) == 12
    charts = tmp_path / "runs" / "sweep" / "charts"
    names = {"sweep-batch-50.png", "sweep-batch-50.svg", "sweep-batch-100.png"}
    assert names <= {path.name for path in charts.iterdir()}
    page = (tmp_path / "runs" / "sweep" / "report.html").read_text(encoding="utf-8")
    assert "Which setting is best" in page
    assert "certified, at most" not in page


def test_scalings_are_swept_too_and_each_run_keeps_its_own(run: Command, tmp_path: Path) -> None:
    code, out, err = run(
        *SWEEP, "--learning-rate", "0.01,0.1", "--l2", "0,0.1", "--certify",
        "--scaling", "unit,standardize",
    )  # fmt: skip
    assert code == 0, err
    place = tmp_path / "runs" / "sweep"
    swept = load_result(place)
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
    code, out, _ = run("certify", "runs/sweep", "--data", "digits")
    assert [line.split(": ")[1] for line in out.strip().splitlines()] == [
        proof.sentence for proof in swept.certificates
    ]
    code, out, err = run("rerun", "runs/sweep")
    assert "the same bits" in out


def test_an_interrupted_sweep_keeps_the_scalings_that_were_begun() -> None:
    runs, seen = grid(learning_rate=[0.1, 0.01], epochs=3), list[Progress]()

    def stop(now: Progress) -> None:
        seen.append(now)
        if now.done == 8:  # of 2 × 3 run-epochs under each of three scalings
            raise KeyboardInterrupt

    result = sweep(load("digits"), runs, scaling=("unit", "none", "standardize"), on_progress=stop)
    assert [(now.done, now.total) for now in seen] == [(done, 18) for done in (2, 4, 6, 8)]
    assert result.interrupted
    assert [outcome.epochs for outcome in result.outcomes] == [3, 3, 1, 1]
    assert [result.scaling_of(i).name for i in range(4)] == ["unit", "unit", "none", "none"]


def test_the_best_is_watched_and_its_weights_are_the_same_bits(
    run: Command, tmp_path: Path
) -> None:
    assert run(*SWEEP, "--learning-rate", "0.01,0.1", "--l2", "0,1", "--out", "one")[0] == 0
    result = load_result(tmp_path / "one")
    [(position, shots)] = result.snapshots.items()
    means = {name: result.validation_accuracy[result.positions(name)].mean() for name in
             result.settings}  # fmt: skip
    assert means[result.runs[position].name] == max(means.values())
    np.testing.assert_array_equal(shots[-1], result.W[position].astype(np.float16))


def test_random_settings_are_drawn_and_rerun_gives_the_same_bits(
    run: Command, tmp_path: Path
) -> None:
    code, out, err = run(
        *SWEEP, "--random", "3", "--sweep-seed", "5", "--learning-rate", "0.01:1",
        "--l2", "0,0.1", "--certify", "--out", "drawn",
    )  # fmt: skip
    assert code == 0, err
    first = load_result(tmp_path / "drawn")
    assert len(first.settings) == 3
    assert len(first.certificates) == 6
    assert "sweep.png" not in {path.name for path in (tmp_path / "drawn" / "charts").iterdir()}
    code, out, _ = run("rerun", "drawn")
    assert code == 0
    assert "the same bits" in out


def test_lists_of_a_settings_file_are_lists_of_the_sweep(run: Command, tmp_path: Path) -> None:
    Path("s.toml").write_text(
        'data = "digits"\nlearning-rate = [0.1, "0.2:0.4:2"]\nl2 = 0\nseeds = 1\nepochs = 1\n'
    )
    code, _, err = run("sweep", "--settings", "s.toml")
    assert code == 0, err
    rates = [run.learning_rate for run in load_result(tmp_path / "runs" / "sweep").runs]
    assert rates == [0.1, 0.2, 0.4]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--learning-rate", "fast"), "--learning-rate must be numbers with commas"),
        (("--learning-rate", "0.1:0.2"), "does not say how many values; write 0.1:0.2:5"),
        (("--learning-rate", "0.1:0.2:1"), "with n a whole number, 2 or above"),
        (("--learning-rate", "0.3:0.1:4"), "from a number above 0 to a larger one"),
        (("--l2", "0:1:4"), "put 0 beside it with a comma"),
        (("--l2", "0,"), "but '' was given"),
        (("--l2", "-1"), "l2 (λ) must be"),
        (("--batch-size", "10.5"), "--batch-size must be whole numbers"),
        (("--random", "-1"), "--random must be a whole number"),
        (("--random", "9", "--learning-rate", "0.1,0.2", "--l2", "0"), "only 2 could be drawn"),
        (("--scaling", "unit,unit"), "scaling must be one or several, each once, but 'unit, unit'"),
        (
            ("--scaling", "unit,max"),
            "one of auto, none, unit, standardize, but 'max'",
        ),
        (("--seeds", "0"), "seeds must be"),
    ],
)
def test_wrong_values_are_refused_in_a_sentence_and_nothing_is_left(
    words: tuple[str, ...], said: str, run: Command, tmp_path: Path
) -> None:
    code, _, err = run(*SWEEP, *words)
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
    assert parse_whole_values("--batch-size", "100,10:100:2") == [100, 10]


def test_a_bare_range_is_drawn_from_and_a_list_chosen_from() -> None:
    assert parse_choice("--l2", "0.1:1") == (0.1, 1.0)
    assert parse_choice("--l2", "0.1:1:3,5") == [0.1, 0.316, 1.0, 5.0]
    with pytest.raises(SettingsError, match="from a number above 0"):
        parse_choice("--l2", "0:1")
