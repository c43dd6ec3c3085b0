"""Weights of rows from a column, an array or a file, loaded and streamed; and of classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest

import onelayer as ol
from onelayer.data import Splits
from onelayer.errors import DataError, SettingsError
from onelayer.training.run_folder import load_any
from tests.cli.conftest import Command

N = 60
RNG = np.random.default_rng(0)
Y = np.array(["cat", "dog", "eel"])[np.arange(N) % 3]
X = np.round(RNG.normal(size=(N, 3)) + 2 * np.eye(3)[np.arange(N) % 3], 3)
W = RNG.choice([0.0, 0.5, 2.0, 3.0], N)
TABLE = pa.table({"a": X[:, 0], "b": X[:, 1], "w": W, "c": X[:, 2], "label": Y.tolist()})


def quiet(line: str) -> None:
    """Say nothing."""


def same(found: Splits, expected: Splits) -> None:
    for role in ("train", "validation", "test"):
        one, other = getattr(found, role), getattr(expected, role)
        np.testing.assert_array_equal(one.X[:], other.X[:])
        np.testing.assert_array_equal(one.y, other.y)
        np.testing.assert_array_equal(one.weights, other.weights)


def write_csv(place: Path) -> Any:
    pa.csv.write_csv(TABLE, place / "rows.csv")
    return place / "rows.csv"


def write_decimal_commas(place: Path) -> Any:
    lines = ["a;b;w;c;label"]
    for i in range(N):
        numbers = [str(v).replace(".", ",") for v in (X[i, 0], X[i, 1], W[i], X[i, 2])]
        lines.append(";".join([*numbers, Y[i]]))
    (place / "commas.csv").write_text("\n".join(lines))
    return place / "commas.csv"


def write_parquet(place: Path) -> Any:
    pa.parquet.write_table(TABLE, place / "rows.parquet", row_group_size=16)
    return place / "rows.parquet"


def write_feather(place: Path) -> Any:
    pa.feather.write_feather(TABLE, str(place / "rows.feather"))
    return place / "rows.feather"


def write_several(place: Path) -> Any:
    (place / "shards").mkdir()
    for i in range(3):
        part = TABLE.slice(20 * i, 20)
        pa.parquet.write_table(part, place / "shards" / f"part-{i}.parquet")
    return place / "shards"


def write_npz(place: Path) -> Any:
    np.savez(place / "rows.npz", X=X, y=Y, w=W)
    return place / "rows.npz"


def frame(place: Path) -> Any:
    return TABLE.to_pandas()


SOURCES = (write_csv, write_decimal_commas, write_parquet, write_feather, write_several, write_npz,
           frame)  # fmt: skip


@pytest.mark.parametrize("make", SOURCES)
def test_a_column_of_weights_is_no_feature_and_its_rows_of_0_are_left_out(
    make: Callable[[Path], Any], tmp_path: Path
) -> None:
    found = ol.load(make(tmp_path), weights="w", log=quiet)
    kept = W > 0
    same(found, ol.split(X[kept], Y[kept], weights=W[kept]))
    assert found.train.feature_names in (("a", "b", "c"), None)


@pytest.mark.parametrize("make", [write_parquet, write_feather, write_several])
def test_streamed_rows_have_their_weights(make: Callable[[Path], Any], tmp_path: Path) -> None:
    source = make(tmp_path)
    streamed = ol.load(source, weights="w", stream=True, log=quiet)
    loaded = ol.load(source, weights="w", stream=False, log=quiet)
    for role in ("train", "validation", "test"):
        one, other = getattr(streamed, role), getattr(loaded, role)
        order, ordered = np.argsort(one.X[:][:, 0]), np.argsort(other.X[:][:, 0])
        np.testing.assert_array_equal(one.weights[order], other.weights[ordered])
    how: dict[str, Any] = {"l2": 0.01, "tol": 1e-10, "class_weight": {"dog": 0.5}}
    models = [ol.solve(data, **how) for data in (streamed, loaded)]
    np.testing.assert_allclose(models[0].W, models[1].W, atol=1e-4)
    run = ol.Run(0.1, epochs=2, batch_size=8, shuffle=False)
    results = [ol.train(data, run, class_weight="balanced") for data in (streamed, streamed)]
    np.testing.assert_array_equal(results[0].W, results[1].W)
    left = ol.train(streamed, run, class_weight={"eel": 0})
    assert left.data.train_rows < results[0].data.train_rows


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".txt", ".parquet"])
def test_a_file_of_weights_is_one_number_a_row(suffix: str, tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", Y)
    file = tmp_path / f"w{suffix}"
    if suffix == ".npy":
        np.save(file, W)
    elif suffix == ".parquet":
        pa.parquet.write_table(pa.table({"w": W}), file)
    else:
        file.write_text("\n".join(["w"] * (suffix == ".csv") + [f"{w:g}" for w in W]))
    found = ol.load(tmp_path / "X.npy", labels=tmp_path / "y.npy", weights=file, log=quiet)
    same(found, ol.load(tmp_path / "X.npy", labels=Y, weights=W, log=quiet))
    assert found.train.weights is not None
    assert found.train.weights.min() > 0


def test_a_test_file_has_its_own_column_of_weights(tmp_path: Path) -> None:
    pa.csv.write_csv(TABLE.slice(0, 40), tmp_path / "train.csv")
    pa.csv.write_csv(TABLE.slice(40), tmp_path / "test.csv")
    data = ol.load(tmp_path / "train.csv", test=tmp_path / "test.csv", weights="w", log=quiet)
    np.testing.assert_array_equal(data.test.weights, W[40:])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weights": "mass"}, r"has no column 'mass' for weights \(--weights\)"),
        ({"weights": "label"}, "weights must be numbers, but it holds 'cat'"),
        ({"weights": W[:-1]}, r"one number for each of the 60 rows, but its shape is \(59,\)"),
        ({"weights": -W}, "weights must be finite and 0 or above, but row"),
    ],
)
def test_bad_columns_are_refused_in_a_sentence(
    options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    labels = Y.tolist() if options.get("weights") is not None else None
    table = TABLE.drop_columns(["label"]).append_column("label", pa.array(labels))
    pa.csv.write_csv(table, tmp_path / "rows.csv")
    with pytest.raises(DataError, match=words):
        ol.load(tmp_path / "rows.csv", labels=Y, log=quiet, **options)


def test_known_data_sets_have_no_weights() -> None:
    with pytest.raises(SettingsError, match=r"weights \(--weights\) has no effect on the digits"):
        ol.load("digits", weights="w")


def test_feature_sets_share_the_weights_of_their_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", W)
    how: dict[str, Any] = {"l2": [0.1], "log": quiet, "class_weight": "balanced"}
    suite = ol.probe({"all": X, "two": X[:, :2]}, Y, weights=tmp_path / "w.npy", **how)
    kept = W > 0
    alone = ol.solve_path(
        ol.split(X[kept], Y[kept], weights=W[kept]), [0.1], class_weight="balanced"
    )
    np.testing.assert_array_equal(suite["all"].model.W, alone.best.W)
    assert suite["all"].test == alone.test
    assert suite["all"].model.settings["class_weight"] == "balanced"
    assert suite["all"].model.settings["sample_weight"] is True


@pytest.mark.parametrize("command", ["solve", "train"])
def test_commands_take_weights_and_a_run_folder_knows_them(
    command: str, run: Command, tmp_path: Path
) -> None:
    write_csv(tmp_path)
    words = [command, "--data", "rows.csv", "--weights", "w", "--class-weight", "cat=2,eel=.5"]
    words += ["--l2", "0.01", "--out", "run"]
    code, _, err = run(*words)
    assert code == 0, err
    record: Any = load_any(tmp_path / "run")
    assert record.best.settings["class_weight"] == {"cat": 2.0, "eel": 0.5}
    assert record.data.weighted
    code, out, err = run("certify", "run", "--json")
    assert code == 0, err
    (figures,) = json.loads(out)
    proven = record.best.require_certificate()
    assert figures["cost"] == pytest.approx(proven.cost, rel=1e-5)
    assert figures["trained_with"] == ""
    code, _, err = run("rerun", "run")
    assert code == 0, err
    assert run("evaluate", "run")[0] == 0
    code, _, err = run(*words[:-2], "--out", "run", "--weights", "b", "--resume")
    assert code != 0


def test_probe_and_suggestions_take_class_weights(run: Command, tmp_path: Path) -> None:
    np.savez(tmp_path / "sets.npz", one=X, two=X[:, :2], y=Y)
    np.save(tmp_path / "w.npy", W)
    words = ["probe", "--data", "sets.npz", "--l2", "0.1", "--baselines"]
    code, out, err = run(*words, "--weights", "w.npy", "--class-weight", "balanced")
    assert code == 0, err
    assert "20 nearest" in out
    write_csv(tmp_path)
    words = ["suggest-learning-rate", "--data", "rows.csv", "--drop", "w", "--json"]
    rates = []
    for more in ([], ["--class-weight", "cat=90"]):
        code, out, err = run(*words, *more)
        assert code == 0, err
        rates.append(json.loads(out)["learning_rate"])
    assert rates[1] != pytest.approx(rates[0], rel=1e-3)


def test_c_counts_rows_by_weight(run: Command, tmp_path: Path) -> None:
    write_csv(tmp_path)
    words = ["solve", "--data", "rows.csv", "--weights", "w", "--C", "1", "--out", "run"]
    code, _, err = run(*words, "--class-weight", "cat=2")
    assert code == 0, err
    train = ol.load(tmp_path / "rows.csv", weights="w", log=quiet).train
    assert train.weights is not None
    mass = float((train.weights * np.where(train.y == 0, 2.0, 1.0)).sum())
    assert ol.Path.load(tmp_path / "run").best.l2 == pytest.approx(1 / (2 * mass), rel=1e-12)


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("heavy", "--class-weight must be balanced or NAME=WEIGHT for some classes"),
        ("cat=2,cat=3", "--class-weight names the class 'cat' twice"),
        ("cat=much", "--class-weight must be numbers"),
        ("cow=2", "class_weight names the class 'cow', which is not there"),
        ("cat=-1", "class_weight must be finite and 0 or above, but 'cat' has -1.0"),
    ],
)
def test_bad_words_are_refused_in_a_sentence(
    word: str, words: str, run: Command, tmp_path: Path
) -> None:
    write_csv(tmp_path)
    code, _, err = run("solve", "--data", "rows.csv", "--drop", "w", "--class-weight", word)
    assert code != 0
    assert words in " ".join(err.split())
