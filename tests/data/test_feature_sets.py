"""Feature sets from wherever they are: the same rows and one split for all, or one sentence."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from onelayer.data import split
from onelayer.data.feature_sets import FeatureSets, read_feature_sets
from onelayer.errors import DataError, OnelayerError, SettingsError

from .formats.file_writers import Array

N, L, D = 60, 3, 4
RNG = np.random.default_rng(7)
X = RNG.normal(size=(N, L, D)).astype(np.float16)
SETS = {f"layer{i}": X[:, i] for i in range(L)}
LABELS = np.array(["cat", "dog", "elk"])[np.arange(N) % 3]

Write = Callable[[Path], Any]


def read(features: Any, labels: Any = LABELS, **options: Any) -> FeatureSets:
    given = dict.fromkeys(("names", "groups", "split", "test", "test_labels"))
    given |= dict.fromkeys(("validation", "validation_labels"))
    sizes = {"test_size": 0.2, "validation_size": 0.2, "split_seed": 0}
    return read_feature_sets(features, labels, lambda line: None, **given | sizes | options)  # type: ignore[arg-type]


def _folder(place: Path) -> Path:
    for name, features in SETS.items():
        np.save(place / f"{name}.npy", features)
    np.save(place / "labels.npy", LABELS)
    return place


def _npz(place: Path, **arrays: Any) -> Path:
    np.savez(place / "sets.npz", **SETS | arrays)
    return place / "sets.npz"


def _compressed(place: Path) -> Path:
    np.savez_compressed(place / "sets.npz", **SETS)  # type: ignore[arg-type]
    return place / "sets.npz"


def _safetensors(place: Path) -> Path:
    save_file({name: np.ascontiguousarray(x) for name, x in SETS.items()}, place / "s.safetensors")
    return place / "s.safetensors"


def _npy(place: Path) -> Path:
    np.save(place / "acts.npy", X)
    return place / "acts.npy"


WAYS: dict[str, Write] = {
    "mapping": lambda _: SETS,
    "array": lambda _: X,
    "list": lambda _: X.tolist(),
    "torch": lambda _: {name: torch.from_numpy(x.copy()) for name, x in SETS.items()},
    "torch array": lambda _: torch.from_numpy(X),
    "folder": _folder,
    "npz": _npz,
    "compressed": _compressed,
    "safetensors": _safetensors,
    "npy": _npy,
}


def assert_same(found: FeatureSets, features: dict[str, Array], labels: Any = LABELS) -> None:
    """Every set has the parts that `split` gives of it alone."""
    assert found.names == tuple(features)
    for name, whole in features.items():
        expected, got = split(whole, labels), found.splits(name)
        for role in ("train", "validation", "test"):
            one, other = getattr(expected, role), getattr(got, role)
            np.testing.assert_array_equal(one.X, other.X)
            np.testing.assert_array_equal(one.y, other.y)
            assert one.class_names == other.class_names
            assert (one.max_value, one.label_type) == (other.max_value, other.label_type)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_giving_sets_gives_the_split_of_each_alone(way: str, tmp_path: Path) -> None:
    kind = np.float64 if way == "list" else np.float16
    assert_same(read(WAYS[way](tmp_path)), {name: x.astype(kind) for name, x in SETS.items()})


@pytest.mark.parametrize("labels", [None, "y"])
def test_labels_beside_the_sets_are_no_set(labels: str | None, tmp_path: Path) -> None:
    assert_same(read(_npz(tmp_path, y=LABELS), labels), SETS)


def test_labels_in_the_folder_of_the_sets_are_no_set(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    assert_same(read(folder, None), SETS)
    (folder / "labels.npy").rename(folder / "targets.npy")
    assert_same(read(str(folder), str(folder / "targets.npy")), SETS)


def test_files_in_sub_folders_have_names_of_two_parts_in_natural_order(tmp_path: Path) -> None:
    for layer in (10, 2):
        for pooling in ("mean", "cls"):
            (tmp_path / f"layer{layer}").mkdir(exist_ok=True)
            np.save(tmp_path / f"layer{layer}" / f"{pooling}.npy", SETS["layer0"])
    names = ("layer2/cls", "layer2/mean", "layer10/cls", "layer10/mean")
    assert read(tmp_path).names == names


@pytest.mark.parametrize("wide", [False, True])
def test_bfloat16_becomes_float32_set_by_set(wide: bool, tmp_path: Path) -> None:
    tensors = {name: torch.from_numpy(x.copy()).bfloat16() for name, x in SETS.items()}
    expected = {name: x.float().numpy() for name, x in tensors.items()}
    whole = {"acts": torch.stack([*tensors.values()], 1)}
    save_torch(whole if wide else tensors, tmp_path / "b.safetensors")
    assert_same(read(tmp_path / "b.safetensors"), expected)


def test_names_are_those_that_are_given() -> None:
    assert read(X, names=["a", "b/c", "d"]).names == ("a", "b/c", "d")


def test_integers_keep_their_values_in_all_parts() -> None:
    assert_same(read({"a": np.arange(N * D).reshape(N, D)}), {"a": np.arange(N * D).reshape(N, D)})


def test_test_rows_of_their_own_are_taken_as_they_are(tmp_path: Path) -> None:
    test = {name: x[::2] for name, x in SETS.items()}
    found = read(_npz(tmp_path, y=LABELS), "y", test={**test, "y": LABELS[::2], "more": test})
    for name in SETS:
        splits = found.splits(name)
        np.testing.assert_array_equal(splits.test.X, test[name])
        assert (splits.train.rows, splits.validation.rows, splits.test.rows) == (48, 12, 30)


def test_with_all_parts_given_the_training_rows_are_all_rows_and_in_order() -> None:
    half = {name: x[:30] for name, x in SETS.items()}
    own = {"test": half, "test_labels": LABELS[:30]}
    own |= {"validation": half, "validation_labels": LABELS[:30]}
    splits = read(SETS, **own).splits("layer1")
    np.testing.assert_array_equal(splits.train.X, SETS["layer1"])
    np.testing.assert_array_equal(splits.validation.X, half["layer1"])


def test_sets_that_are_split_already_stay_so() -> None:
    parts = {name: split(x, LABELS, seed=3) for name, x in SETS.items()}
    found = read(parts, None)
    assert found.splits("layer2") is parts["layer2"]
    assert found.rows.split is parts["layer0"].split


def test_no_group_is_in_two_parts(tmp_path: Path) -> None:
    groups = np.repeat(np.arange(20), 3)
    np.save(tmp_path / "groups.npy", groups)
    for given in (groups, groups.tolist(), str(tmp_path / "groups.npy")):
        rows = read(SETS, groups=given).rows
        parts = [set(groups[part.X[:, 0].astype(int)]) for part in (rows.train, rows.test)]
        assert not parts[0] & parts[1]


def test_one_set_at_a_time_is_copied_as_it_is_stored(tmp_path: Path) -> None:
    sets, rows, width = 8, 4000, 500
    np.save(tmp_path / "acts.npy", np.ones((rows, sets, width), np.float16))
    tracemalloc.start()
    try:
        found = read(tmp_path / "acts.npy", np.arange(rows) % 2)
        for name in found.names:
            assert found.splits(name).train.X.dtype == np.float16
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * rows * width * 2  # a set, and less than it for what compares its rows


def _nan() -> dict[str, Array]:
    broken = SETS["layer1"].copy()
    broken[17, 2] = np.nan
    return SETS | {"layer1": broken}


@pytest.mark.parametrize(
    ("features", "labels", "options", "words"),
    [
        ({}, LABELS, {}, "features holds no feature set; give at least one array"),
        ({"a": SETS["layer0"], "b": SETS["layer1"][:9]}, LABELS, {},
         "features: all feature sets must have the same rows, but 'b' has 9 and 'a' has 60."),
        (SETS, LABELS[:50], {},
         "labels (--labels) must hold one label for each of the 60 rows of features, but it holds "
         "50; give the labels of these rows, in their order."),
        (_nan(), LABELS, {},
         "features, 'layer1': every feature must be a finite number, but row 17, column 2 is nan;"),
        (X, LABELS, {"names": ["a", "b", "a"]}, "names (--names) must differ, but 'a' is there"),
        (X, LABELS, {"names": ["a"]}, "names (--names) must name each of the 3 feature sets"),
        (SETS, LABELS, {"names": ["a"]}, "names (--names) has no effect on features, whose"),
        (SETS, ["cat"] * N, {},
         "labels (--labels): a classifier needs rows of at least 2 classes, but every row is of "
         "class 'cat';"),
        (X[:, 0], LABELS, {}, "features must be an array (N, L, D) of L feature sets, but its"),
        ({"a": np.ones(N)}, LABELS, {}, "features, 'a': a feature set must be an array of rows"),
        ({"a": np.array([["x"]] * N)}, LABELS, {}, "features, 'a': row 0, column 0 must be a num"),
        (X, None, {}, "features has no labels; pass them with labels (--labels)."),
        (SETS, None, {}, "features: cannot tell which array holds the labels"),
        (SETS, LABELS, {"test_labels": LABELS}, "test_labels (--test-labels) needs test (--test)"),
        (SETS, LABELS, {"test": {"layer0": X[:, 0]}, "test_labels": LABELS},
         "the feature set 'layer1' is missing in test rows."),
        (SETS, LABELS, {"test": SETS | {"layer1": X[:, 1, :2]}, "test_labels": LABELS},
         "test rows, 'layer1' has 2 features, and in the training rows 4."),
        (SETS, LABELS, {"groups": "patient"}, "groups must hold one group for each"),
        (SETS, LABELS, {"test_size": 2}, "test_size (--test-size) must be"),
        ({"a": split(X[:, 0], LABELS), "b": X[:, 0]}, None, {}, "either all must be Splits"),
        ({"a": split(X[:, 0], LABELS), "b": split(X[:, 1], LABELS, seed=1)}, None, {},
         "the labels of the train rows of 'b' differ from those of 'a'"),
        ({"a": split(X[:, 0], LABELS)}, LABELS, {}, "feature sets that are Splits have their"),
        ("absent.npz", LABELS, {}, "no such file or folder: absent.npz."),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_sentence(
    features: Any, labels: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(OnelayerError) as caught:
        read(features, labels, **options)
    assert words in str(caught.value)
    assert isinstance(caught.value, DataError | SettingsError)


def test_files_that_are_no_sets_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,2\n")
    with pytest.raises(DataError, match=r"a.csv holds no feature sets; supported: .npy, .npz"):
        read(tmp_path / "a.csv")
    with pytest.raises(DataError, match="holds no feature set"):
        read(tmp_path)
    (tmp_path / "b.npy").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"b.npy is not an array as NumPy saves them"):
        read(tmp_path)
    (tmp_path / "b.npz").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"b.npz is not a valid .npz file"):
        read(tmp_path / "b.npz")
