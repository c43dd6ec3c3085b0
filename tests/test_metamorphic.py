"""What changes no figure: the way in, storage, shards, and the order of columns, rows and classes.

Equal to the last bit are the figures of every way in, of every storage type, of shards and of new
names; and what a model that exists says of rows, whatever the order of their columns and classes is
and whatever rows are appended. Training on columns, rows or classes in another order adds the same
numbers in another order: full batches and the optimum agree to rounding. Minibatches depend on the
order of rows by design, and rows in files are shuffled by blocks.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

import onelayer as ol
from onelayer.data.formats.base import as_features
from onelayer.data.formats.registry import read_features

Array = NDArray[Any]
Figures = dict[str, Array]
Tables = Mapping[str, Any]  # of train, validation and test

# Whole numbers up to 15, which every storage type holds.
N, NAMES = 48, ("a", "b", "c", "d")
KINDS = np.array(["ant", "bee", "cow"])
STORAGE = ("uint8", "int16", "float16", "float32", "float64")
ROLES = ("train", "validation", "test")

# Another order of the columns and of the rows.
COLUMNS = (2, 0, 3, 1)
ROWS = np.random.default_rng(5).permutation(N)


def silent(line: str) -> None:
    """Say nothing."""


@cache
def tables(dtype: str = "float64") -> Tables:
    """Rows around the centres of their classes, in columns and with a column of labels.

    No row is in two parts: the last column differs.
    """
    made = {}
    for seed, role in enumerate(ROLES):
        rng = np.random.default_rng(seed)
        y = np.arange(N) % 3
        centres = np.array([[3, 9, 5], [9, 4, 6], [6, 7, 11]])
        around = np.clip(centres[y] + rng.integers(-3, 4, (N, 3)), 0, 15)
        X = np.column_stack([around, rng.integers(0, 5, N) * 3 + seed]).astype(dtype)
        columns = {name: np.ascontiguousarray(X[:, i]) for i, name in enumerate(NAMES)}
        made[role] = pa.table(columns | {"label": pa.array(KINDS[y].tolist())})
    return made


def matrix(table: Any) -> Array:
    names = [name for name in table.column_names if name != "label"]
    return np.column_stack([table[name].to_numpy() for name in names])


def labels_of(table: Any) -> Array:
    return np.array(table["label"].to_pylist())


def dataset(table: Any, *, named: bool = True) -> ol.Dataset:
    """Rows in memory, classes by their letters."""
    kinds, y = np.unique(labels_of(table), return_inverse=True)
    names = tuple(n for n in table.column_names if n != "label") if named else None
    return ol.Dataset(as_features(matrix(table), str), y, tuple(kinds), feature_names=names)


def splits_of(made: Tables, *, named: bool = True) -> ol.Splits:
    parts: dict[str, Any] = {role: dataset(made[role], named=named) for role in ROLES}
    return ol.Splits(**parts, name="made", source="made")


def _npy(path: Path, table: Any) -> Path:
    np.save(path, matrix(table))
    np.save(path.with_name(f"labels of {path.name}"), labels_of(table))
    return path


def _npz(path: Path, table: Any) -> Path:
    np.savez(path, X=matrix(table), y=labels_of(table))
    return path


def _safetensors(path: Path, table: Any) -> Path:  # which has no text
    y = np.searchsorted(KINDS, labels_of(table))
    save_file({"X": np.ascontiguousarray(matrix(table)), "y": y}, path)
    return path


def _csv(path: Path, table: Any) -> Path:
    kinds = [(n, pa.string() if n == "label" else pa.int64()) for n in table.column_names]
    raw = pa.BufferOutputStream()
    pa.csv.write_csv(table.cast(pa.schema(kinds)), raw)
    text = raw.getvalue().to_pybytes()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def _parquet(path: Path, table: Any) -> Path:
    pa.parquet.write_table(table, path, row_group_size=5)
    return path


def _file(path: Path, table: Any) -> Path:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as to:
        to.write_table(table, max_chunksize=5)
    return path


def _stream(path: Path, table: Any) -> Path:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as to:
        to.write_table(table, max_chunksize=5)
    return path


def in_lists(write: Callable[[Path, Any], Path]) -> Callable[[Path, Any], Path]:
    def written(path: Path, table: Any) -> Path:
        X = matrix(table)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), X.shape[1])
        return write(path, pa.table({"row": lists, "label": table["label"]}))

    return written


# What writes a table, and the suffix of its file.
FILES: dict[str, tuple[str, Callable[[Path, Any], Path]]] = {
    "npy": (".npy", _npy),
    "npz": (".npz", _npz),
    "safetensors": (".safetensors", _safetensors),
    "csv": (".csv", _csv),
    "csv.gz": (".csv.gz", _csv),
    "parquet": (".parquet", _parquet),
    "parquet of lists": (".parquet", in_lists(_parquet)),
    "arrow": (".arrow", _file),
    "arrow stream": (".arrow", _stream),
    "arrow of lists": (".arrow", in_lists(_file)),
}
FRAMES: dict[str, Callable[[Any], Any]] = {
    "pandas": lambda table: table.to_pandas(),
    "polars": polars.from_arrow,
    "pyarrow": lambda table: table,
}
STREAMED = [name for name in FILES if name not in ("npz", "csv", "csv.gz")]
WAYS = [(way, False) for way in ("arrays", *FRAMES, *FILES)] + [(way, True) for way in STREAMED]
NAMED = [w for w in WAYS if w[0] in (*FRAMES, "csv", "csv.gz", "parquet", "arrow", "arrow stream")]


def over(ways: list[tuple[str, bool]]) -> pytest.MarkDecorator:
    names = [f"{way}{' streamed' * stream}" for way, stream in ways]
    return pytest.mark.parametrize(("way", "stream"), ways, ids=names)


def write(way: str, folder: Path, table: Any, shards: int = 1) -> Path:
    """A table as a file, or as a folder of shards."""
    suffix, write_one = FILES[way]
    if shards == 1:
        return write_one(folder.with_name(f"{folder.name}{suffix}"), table)
    folder.mkdir()
    cuts = np.linspace(0, len(table), shards + 1).astype(int).tolist()
    for i, (a, b) in enumerate(pairwise(cuts)):
        # With numbers of their own: part-10 comes after part-9.
        write_one(folder / f"part-{i + 9}{suffix}", table[a:b])
    return folder


def load_by(
    way: str, folder: Path, made: Tables, *, stream: bool = False, shards: int = 1
) -> ol.Splits:
    """The same training, validation and test rows by any way in."""
    if way == "arrays":
        return splits_of(made, named=False)
    if way in FRAMES:
        frames = {role: FRAMES[way](made[role]) for role in ROLES}
        return ol.load(frames.pop("train"), **frames, log=silent)
    files: dict[str, Any] = {r: write(way, folder / r, made[r], shards) for r in ROLES}
    if way == "npy":
        for labels in folder.rglob("labels of *"):
            labels.unlink()
        for role, name in zip(ROLES, ("labels", "validation_labels", "test_labels"), strict=True):
            files[name] = labels_of(made[role])
    return ol.load(files.pop("train"), **files, stream=stream, log=silent)


def figures(splits: ol.Splits, *, shuffle: bool = True) -> Figures:
    """What every verb says: train by minibatches, solve, evaluate, predict and certify."""
    run = ol.Run(learning_rate=0.1, l2=0.01, epochs=2, batch_size=7, shuffle=shuffle)
    result = ol.train(splits, run, scaling="standardize")
    solved = ol.solve(splits, l2=0.05, scaling="standardize")
    found: Figures = {"history": np.asarray(result.history.train_loss)}
    for name, model in (("trained", result.best), ("solved", solved)):
        found |= {f"{name} {what}": value for what, value in said_of(model, splits).items()}
        found |= {f"{name} W": model.W, f"{name} b": model.b}
    return found


def said_of(model: ol.Model, splits: ol.Splits) -> Figures:
    """What a model and rows say together: evaluate, predict and certify."""
    on_test, proof = model.evaluate(splits.test), ol.certify(model, splits.train, l2=0.05)
    return {
        "probabilities": model.predict_proba(splits.test.X),
        "accuracy": np.array(on_test.accuracy),
        "log loss": np.array(on_test.log_loss),
        "confusion": np.asarray(on_test.confusion),
        "certificate": np.array([proof.cost, proof.gap]),
    }


@cache
def expected(*, shuffle: bool = True) -> Figures:
    return figures(splits_of(tables()), shuffle=shuffle)


@cache
def a_model() -> ol.Model:
    return ol.solve(splits_of(tables()), l2=0.05, scaling="standardize")


def check_bits(found: Figures, wanted: Figures) -> None:
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
        assert found[name].dtype == value.dtype


def check_rounding(found: Figures, wanted: Figures, tolerance: float) -> None:
    """Counts are equal, and sums up to rounding."""
    for name, value in wanted.items():
        most = 0.0 if name.endswith(("confusion", "accuracy")) else tolerance
        np.testing.assert_allclose(found[name], value, rtol=most, atol=most, err_msg=name)


@over(WAYS)
def test_every_way_in_gives_the_same_figures_to_the_last_bit(
    way: str, stream: bool, tmp_path: Path
) -> None:
    splits = load_by(way, tmp_path, tables(), stream=stream)
    check_bits(figures(splits, shuffle=not stream), expected(shuffle=not stream))


@pytest.mark.parametrize("dtype", STORAGE)
@over([("arrays", False), *((way, s) for way in ("npy", "parquet") for s in (False, True))])
def test_every_storage_type_gives_the_same_figures_to_the_last_bit(
    way: str, stream: bool, dtype: str, tmp_path: Path
) -> None:
    splits = load_by(way, tmp_path, tables(dtype), stream=stream)
    check_bits(figures(splits, shuffle=not stream), expected(shuffle=not stream))


@pytest.mark.parametrize(("dtype", "most"), [("uint8", 255.0), ("bool", 1.0)])
@over([w for w in WAYS if w[0] not in ("arrays", "csv", "csv.gz")])
def test_what_unit_scaling_divides_by_is_the_same_on_every_way_in(
    way: str, stream: bool, dtype: str, most: float, tmp_path: Path
) -> None:
    for shards in (1, 2):
        folder = tmp_path / f"{shards}"
        folder.mkdir()
        splits = load_by(way, folder, tables(dtype), stream=stream, shards=shards)
        assert splits.train.max_value == splits.test.max_value == most


@over([w for w in WAYS if w[0] in FILES])
def test_shards_give_the_figures_of_one_file_to_the_last_bit(
    way: str, stream: bool, tmp_path: Path
) -> None:
    splits = load_by(way, tmp_path, tables(), stream=stream, shards=3)
    check_bits(figures(splits, shuffle=not stream), expected(shuffle=not stream))


def load_one(
    way: str, folder: Path, table: Any, *, stream: bool = False, shards: int = 1, **options: Any
) -> ol.Splits:
    """Rows by any way in, whose test and validation rows are drawn."""
    if way in FRAMES:
        return ol.load(FRAMES[way](table), log=silent, **options)
    source = write(way, folder, table, shards)
    for path in folder.parent.rglob("labels of *"):
        path.unlink()
    if way == "npy":
        options["labels"] = labels_of(table)
    return ol.load(source, stream=stream, log=silent, **options)


@over([w for w in WAYS if w[0] != "arrays"])
@pytest.mark.parametrize("shards", [1, 3])
def test_the_split_that_is_drawn_is_the_same_on_every_way_in(
    way: str, stream: bool, shards: int, tmp_path: Path
) -> None:
    table = tables()["train"]
    table = table.set_column(3, "d", pa.array(np.arange(N) * 16.0))  # so that all rows differ
    wanted = ol.split(matrix(table), labels_of(table))
    found = load_one(way, tmp_path / "all", table, stream=stream, shards=shards)
    for role in ROLES:
        one, other = (np.sort(getattr(s, role).X[:], axis=0) for s in (found, wanted))
        np.testing.assert_array_equal(one, other)


@over([w for w in WAYS if w[0] != "arrays"])
def test_rows_that_are_appended_change_no_part_of_the_others_where_a_row_is_its_values(
    way: str, stream: bool, tmp_path: Path
) -> None:
    more = pa.concat_tables([tables()["test"], tables()["train"]])
    splits = [
        load_one(way, tmp_path / name, table, stream=stream, groups="identical")
        for name, table in (("few", tables()["train"]), ("more", more))
    ]
    for role in ROLES:
        few, many = ({tuple(row) for row in getattr(s, role).X[:].tolist()} for s in splits)
        assert few <= many


@over(NAMED)
def test_a_model_meets_columns_in_another_order_to_the_last_bit(
    way: str, stream: bool, tmp_path: Path
) -> None:
    model, names = a_model(), [NAMES[i] for i in COLUMNS]
    moved = {role: table.select([*names, "label"]) for role, table in tables().items()}
    splits = load_by(way, tmp_path, moved, stream=stream)
    assert splits.train.feature_names == tuple(names)
    on_test, proof = model.evaluate(splits.test), ol.certify(model, splits.train, l2=0.05)
    test = moved["test"].drop_columns("label")
    rows = FRAMES[way](test) if way in FRAMES else read_features(
        write(way, tmp_path / "alone", moved["test"]), model.feature_names, silent).X  # fmt: skip
    check_bits({
        "probabilities": model.predict_proba(rows),
        "accuracy": np.array(on_test.accuracy),
        "log loss": np.array(on_test.log_loss),
        "confusion": np.asarray(on_test.confusion),
        "certificate": np.array([proof.cost, proof.gap]),
    }, said_of(model, splits_of(tables())))  # fmt: skip


@over(NAMED)
def test_parts_with_columns_in_another_order_give_the_same_figures_to_the_last_bit(
    way: str, stream: bool, tmp_path: Path
) -> None:
    order = [*(NAMES[i] for i in COLUMNS), "label"]
    made = dict(tables()) | {"test": tables()["test"].select(order[::-1])}
    made["validation"] = made["validation"].select(order)
    splits = load_by(way, tmp_path, made, stream=stream)
    check_bits(figures(splits, shuffle=not stream), expected(shuffle=not stream))


def trained(made: Tables) -> tuple[ol.Model, ol.Model]:
    """A model of full batches from weights of 0, and the optimum."""
    splits = splits_of(made)
    run = ol.Run(learning_rate=0.1, l2=0.01, epochs=5, batch_size=N, init_scale=0.0, shuffle=False)
    by_descent = ol.train(splits, run, scaling="standardize", dtype="float64").best
    return by_descent, ol.solve(splits, l2=0.05, scaling="standardize", tol=1e-12)


def check_models(moved: Tables, W: Callable[[Array], Array], b: Callable[[Array], Array]) -> None:
    """Models of moved rows are those of the rows, moved; and they say the same of the same rows."""
    for found, wanted in zip(trained(moved), trained(tables()), strict=True):
        np.testing.assert_allclose(found.W, W(wanted.W), rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(found.b, b(wanted.b), rtol=1e-6, atol=1e-7)
        classes = b(np.arange(3))
        said = said_of(wanted, splits_of(tables()))
        said["probabilities"] = said["probabilities"][:, classes]
        said["confusion"] = said["confusion"][np.ix_(classes, classes)]
        parts = splits_of({**moved, "test": moved["test in order"]})
        check_rounding(said_of(found, parts), said, 1e-6)


def test_training_on_columns_in_another_order_gives_the_same_model_up_to_rounding() -> None:
    names = [*(NAMES[i] for i in COLUMNS), "label"]
    moved = {role: table.select(names) for role, table in tables().items()}
    check_models(moved | {"test in order": moved["test"]}, lambda W: W[:, COLUMNS], lambda b: b)


def test_training_on_rows_in_another_order_gives_the_same_model_up_to_rounding() -> None:
    moved = {role: table.take(ROWS) for role, table in tables().items()}
    moved["test in order"] = tables()["test"]
    check_models(moved, lambda W: W, lambda b: b)


def renamed(table: Any, names: Mapping[str, str]) -> Any:
    labels = pa.array([names[label] for label in table["label"].to_pylist()])
    return table.set_column(table.schema.get_field_index("label"), "label", labels)


def test_training_on_classes_in_another_order_gives_the_same_model_up_to_rounding() -> None:
    names = dict(zip(KINDS, ("z", "y", "x"), strict=True))
    moved = {role: renamed(table, names) for role, table in tables().items()}
    check_models(moved | {"test in order": moved["test"]}, lambda W: W[::-1], lambda b: b[::-1])


def test_names_of_columns_and_classes_change_no_bit() -> None:
    names = dict(zip(KINDS, ("a wasp", "bumblebee", "calf"), strict=True))
    other = {
        role: renamed(table, names).rename_columns(["height", "x/y", "ü", "0", "label"])
        for role, table in tables().items()
    }
    check_bits(figures(splits_of(other)), expected())


def test_a_model_says_the_same_of_rows_in_another_order() -> None:
    model, whole = a_model(), splits_of(tables())
    moved = ol.Splits(whole.train.take(ROWS), whole.validation, whole.test.take(ROWS), "", "")
    found, wanted = said_of(model, moved), said_of(model, whole)
    np.testing.assert_array_equal(found["probabilities"], wanted["probabilities"][ROWS])
    del found["probabilities"], wanted["probabilities"]
    check_rounding(found, wanted, 1e-12)


def test_a_model_says_the_same_of_classes_in_another_order_to_the_last_bit() -> None:
    model, whole = a_model(), splits_of(tables())

    def moved(data: ol.Dataset) -> ol.Dataset:
        return ol.Dataset(data.X, 2 - data.y, data.class_names[::-1],
                          feature_names=data.feature_names)  # fmt: skip

    other = ol.Splits(moved(whole.train), moved(whole.validation), moved(whole.test), "", "")
    check_bits(said_of(model, other), said_of(model, whole))


@over(WAYS)
def test_rows_that_are_appended_change_no_prediction_of_the_others(
    way: str, stream: bool, tmp_path: Path
) -> None:
    more = pa.concat_tables([tables()["test"], tables()["train"]])
    splits = load_by(way, tmp_path, {**tables(), "test": more}, stream=stream)
    probabilities = a_model().predict_proba(splits.test.X)
    wanted = a_model().predict_proba(splits_of(tables()).test.X)
    np.testing.assert_array_equal(probabilities[:N], wanted)


@over(WAYS)
def test_rows_that_a_model_was_trained_on_are_known_on_every_way_in(
    way: str, stream: bool, tmp_path: Path
) -> None:
    a_model().save(tmp_path / "m.safetensors")
    model = ol.Model.load(tmp_path / "m.safetensors")
    more = {**tables(), "test": pa.concat_tables([tables()["test"], tables()["train"]])}
    if (way, stream) in NAMED:  # whatever order the columns have
        names = [*(NAMES[i] for i in COLUMNS), "label"]
        more = {role: table.select(names) for role, table in more.items()}
    test = load_by(way, tmp_path, more, stream=stream).test
    # A safetensors file has no text.
    found = replace(model, class_names=test.class_names).evaluate(test)
    wanted = model.evaluate(splits_of(tables()).test)
    assert (found.training_rows_left_out, wanted.training_rows_left_out) == (N, 0)
    np.testing.assert_array_equal(found.confusion, wanted.confusion)
    np.testing.assert_allclose(found.log_loss, wanted.log_loss, rtol=1e-12)


def test_rows_of_a_class_that_the_model_does_not_know_change_no_figure() -> None:
    model, whole = a_model(), splits_of(tables())
    strange = renamed(tables()["validation"], dict.fromkeys(KINDS, "dog"))
    with_more = dataset(pa.concat_tables([tables()["test"], strange]))
    found, wanted = model.evaluate(with_more), model.evaluate(whole.test)
    assert (found.accuracy, found.log_loss) == (wanted.accuracy, wanted.log_loss)
    np.testing.assert_array_equal(found.confusion, wanted.confusion)
    assert dict(found.left_out) == {"dog": N}
