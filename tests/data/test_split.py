"""Splits hold every class by its fraction, never split a group, and lose no row."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import polars
import pyarrow
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelayer.data import load, split
from onelayer.data.split import cut_fraction, fold_groups, stratified_folds, stratified_order
from onelayer.errors import DataError, SettingsError

from .formats.file_writers import Array


@given(
    counts=st.lists(st.integers(2, 40), min_size=2, max_size=6),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32),
)
def test_each_class_gives_its_share_to_within_half_a_row_or_one(
    counts: list[int], share: float, seed: int
) -> None:
    y = np.repeat(np.arange(len(counts)), counts)
    kept, cut = cut_fraction(y, share, seed, "made")
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, cut])), np.arange(len(y)))
    for label, count in enumerate(counts):
        given_up = np.count_nonzero(y[cut] == label)
        assert 1 <= given_up <= count - 1
        assert abs(given_up - share * count) <= 0.5 or given_up in (1, count - 1)
    again = cut_fraction(y, share, seed, "made")[1]
    np.testing.assert_array_equal(cut, again)


@given(counts=st.lists(st.integers(1, 50), min_size=2, max_size=5), seed=st.integers(0, 99))
def test_every_stretch_of_the_order_holds_each_class_by_its_share(
    counts: list[int], seed: int
) -> None:
    y = np.repeat(np.arange(len(counts)), counts)
    order = stratified_order(y, seed)
    np.testing.assert_array_equal(np.sort(order), np.arange(len(y)))
    for label, count in enumerate(counts):
        so_far = np.cumsum(y[order] == label)
        expected = np.arange(1, len(y) + 1) * count / len(y)
        assert np.abs(so_far - expected).max() <= len(counts)


def test_a_class_of_one_row_stays_and_a_set_of_such_is_refused() -> None:
    kept, _ = cut_fraction(np.array([0, 0, 0, 1]), 0.5, 0, "made")
    assert 3 in kept
    with pytest.raises(
        DataError, match=r"made: cannot .* each of the 3 rows is the only one of its class"
    ):
        cut_fraction(np.arange(3), 0.5, 0, "made")


def stored(folder: Path, rows: int = 100) -> tuple[Path, Array]:
    X = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
    np.savez(folder / "a.npz", X=X, y=np.arange(rows) % 5)
    return folder / "a.npz", X


def test_the_test_share_is_cut_first_so_validation_does_not_change_it(tmp_path: Path) -> None:
    path, X = stored(tmp_path)
    one, other = load(path), load(path, validation_size=0.5)
    np.testing.assert_array_equal(one.test.X, other.test.X)
    assert (one.train.rows, one.validation.rows, one.test.rows) == (65, 15, 20)
    assert (other.train.rows, other.validation.rows, other.test.rows) == (40, 40, 20)
    every = np.concatenate([one.train.X, one.validation.X, one.test.X])
    np.testing.assert_array_equal(np.sort(every, axis=0), X)


def test_another_seed_gives_another_split_and_the_same_seed_the_same(tmp_path: Path) -> None:
    path, _ = stored(tmp_path)
    np.testing.assert_array_equal(load(path, split_seed=3).test.X, load(path, split_seed=3).test.X)
    assert (load(path, split_seed=3).test.X != load(path).test.X).any()


def test_rows_keep_their_labels_through_the_split(tmp_path: Path) -> None:
    path, _ = stored(tmp_path)
    for part in (load(path).train, load(path).validation, load(path).test):
        np.testing.assert_array_equal(part.y, part.X[:, 0] // 2 % 5)
        assert np.bincount(part.y).tolist() == [part.rows // 5] * 5


def test_a_test_set_that_is_given_is_kept_apart_as_it_is(tmp_path: Path) -> None:
    path, X = stored(tmp_path)
    np.savez(tmp_path / "t.npz", X=X[::-1] + 1000, y=np.arange(100) % 5)
    splits = load(path, test=tmp_path / "t.npz")
    np.testing.assert_array_equal(splits.test.X, X[::-1] + 1000)
    assert splits.train.rows + splits.validation.rows == 100
    assert splits.source.endswith("validation rows a fraction of 0.2, stratified, with seed 0.")


def test_a_large_file_says_that_it_is_copied_and_how_not_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = stored(tmp_path)
    monkeypatch.setattr(sys.modules["onelayer.data.split"], "_LARGE_BYTES", 100)
    messages: list[str] = []
    load(path, log=messages.append)
    assert "splitting copies 0.0 GB into memory; to avoid that, give the test" in messages[0]
    assert "--stream" in messages[0]


def test_rows_that_lie_class_by_class_are_said_to_do_so(tmp_path: Path) -> None:
    X = np.arange(40, dtype=np.float32).reshape(20, 2)
    for place, name in enumerate(("a", "b", "c")):
        np.savez(tmp_path / f"{name}.npz", X=X + 100 * place, y=np.repeat([0, 1], 10))
    messages: list[str] = []
    load(
        tmp_path / "a.npz",
        validation=tmp_path / "b.npz",
        test=tmp_path / "c.npz",
        log=messages.append,
    )
    assert "sorted by class" in messages[0]
    load(tmp_path / "a.npz", log=messages.append)
    assert len(messages) == 1, "a share's rows are mixed"


class TestSplit:
    """`split` of arrays in memory."""

    X = np.arange(200, dtype=np.float32).reshape(100, 2)

    @pytest.mark.parametrize(
        ("y", "names"),
        [
            (np.arange(100) % 3, ("0", "1", "2")),
            (np.arange(100) % 2 == 0, ("false", "true")),
            (["ant", "bee"] * 50, ("ant", "bee")),
            (np.array(["ant", "bee"] * 50, object), ("ant", "bee")),
            (np.array([1, 2] * 50, object), ("1", "2")),
            (np.arange(100.0) % 2, ("0", "1")),
            (pandas.Series(["b", "a"] * 50), ("a", "b")),
            (pandas.Categorical(["b", "a"] * 50), ("a", "b")),
            (polars.Series(["b", "a"] * 50), ("a", "b")),
        ],
    )
    def test_labels_of_any_type_name_the_classes(self, y: Any, names: tuple[str, ...]) -> None:
        splits = split(self.X, y)
        assert splits.train.class_names == names
        rows = np.concatenate([p.X[:, 0] for p in (splits.train, splits.validation, splits.test)])
        np.testing.assert_array_equal(np.sort(rows), self.X[:, 0])
        labels = np.asarray(y)
        for part in (splits.train, splits.test):
            at = (part.X[:, 0] // 2).astype(int)
            assert [names[k] for k in part.y] == [
                str(labels[i]).lower().removesuffix(".0") for i in at
            ]

    def test_it_is_the_split_that_a_file_gets(self, tmp_path: Path) -> None:
        path, X = stored(tmp_path)
        ours, theirs = split(X, np.arange(100) % 5), load(path)
        for part in ("train", "validation", "test"):
            np.testing.assert_array_equal(getattr(ours, part).X, getattr(theirs, part).X)

    def test_integers_are_indices_where_the_classes_are_named(self) -> None:
        splits = split(self.X, np.arange(100) % 2, class_names=("cat", "ant"))
        assert splits.test.class_names == ("cat", "ant")
        np.testing.assert_array_equal(splits.test.y, splits.test.X[:, 0] // 2 % 2)
        by_name = split(self.X, ["cat", "ant"] * 50, class_names=("cat", "ant"))
        np.testing.assert_array_equal(by_name.test.y, splits.test.y)
        with pytest.raises(DataError, match="'cow', which no training row has"):
            split(self.X, ["cat", "cow"] * 50, class_names=("cat", "ant"))

    def test_features_are_converted_as_those_of_files(self) -> None:
        assert split(self.X.astype(int), np.arange(100) % 2).train.X.dtype == np.float32
        bytes_, flags = self.X.astype(np.uint8), self.X > 50
        assert split(bytes_, np.arange(100) % 2).train.max_value == 255.0
        assert split(flags, np.arange(100) % 2).train.max_value == 1.0
        image = split(bytes_, np.arange(100) % 2, image_shape=(1, 1, 2), feature_names=("a", "b"))
        assert (image.train.image_shape, image.train.feature_names) == ((1, 1, 2), ("a", "b"))

    @pytest.mark.parametrize("frame", [pandas.DataFrame, polars.DataFrame, pyarrow.table])
    def test_a_data_frame_names_the_features(self, frame: Any) -> None:
        splits = split(frame({"a": self.X[:, 0], "b": self.X[:, 1]}), ["x", "y"] * 50)
        assert splits.train.feature_names == ("a", "b")
        np.testing.assert_array_equal(splits.test.X, split(self.X, ["x", "y"] * 50).test.X)

    def test_what_does_not_fit_is_refused(self) -> None:
        with pytest.raises(DataError, match="one label for each of the 100 rows"):
            split(self.X, np.arange(99) % 2)
        with pytest.raises(DataError, match="one group for each of the 100 rows"):
            split(self.X, np.arange(100) % 2, groups=np.arange(99))
        with pytest.raises(SettingsError, match=r"test_size \(--test-size\) must be a fraction"):
            split(self.X, np.arange(100) % 2, test_size=1)

    def test_numpy_numbers_are_taken(self) -> None:
        ours = split(self.X, ["a", "b"] * 50, test_size=np.float32(0.5), seed=np.int64(3))  # type: ignore[arg-type]
        assert ours.test.rows == 50


@given(
    sizes=st.lists(st.integers(1, 30), min_size=6, max_size=30),
    classes=st.integers(2, 4),
    fraction=st.floats(0.05, 0.5),
    seed=st.integers(0, 99),
)
def test_no_group_is_on_two_sides_and_every_class_stays(
    sizes: list[int], classes: int, fraction: float, seed: int
) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    y = np.random.default_rng(seed).integers(0, classes, len(groups))
    kept, cut = cut_fraction(y, fraction, seed, "example", groups)
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, cut])), np.arange(len(y)))
    assert not set(groups[kept]) & set(groups[cut])
    assert set(y[kept]) == set(y)
    np.testing.assert_array_equal(cut, cut_fraction(y, fraction, seed, "example", groups)[1])


def test_groups_of_one_size_are_dealt_by_the_fraction_of_each_class() -> None:
    groups = np.repeat(np.arange(100), 5)
    y = groups % 4
    _, cut = cut_fraction(y, 0.2, 0, "example", groups)
    assert np.bincount(y[cut]).tolist() == [25, 25, 25, 25]
    for kept, held_out in stratified_folds(y, 5, groups=groups):
        assert not set(groups[kept]) & set(groups[held_out])
        assert np.bincount(y[held_out]).tolist() == [25, 25, 25, 25]


def test_groups_hold_through_all_three_parts_of_a_split() -> None:
    groups = np.repeat(np.arange(40), 3)
    X = np.stack([groups, np.arange(120)], axis=1).astype(np.float32)
    splits = split(X, np.arange(120) % 3, groups=groups, seed=5)
    parts = [set(p.X[:, 0]) for p in (splits.train, splits.validation, splits.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 40
    assert splits.test.rows == 24
    assert "stratified in whole groups, with seed 5" in splits.source


def test_groups_that_cannot_be_spared_are_said_to_be_so() -> None:
    with pytest.raises(DataError, match="no group of the 4 rows can be spared without"):
        cut_fraction(np.array([0, 0, 1, 1]), 0.5, 0, "example", np.array([0, 0, 1, 1]))
    with pytest.raises(SettingsError, match="folds must be from 2 to the number of groups, 2"):
        stratified_folds(np.array([0, 0, 1, 1]), 3, groups=np.array([0, 0, 1, 1]))


def test_the_rows_of_a_seed_are_pinned() -> None:
    """The same seed gives the same rows as in every earlier version."""
    y = np.repeat([0, 1, 2], [7, 5, 3])
    assert cut_fraction(y, 0.3, 1, "example")[1].tolist() == [0, 5, 9, 10, 13]
    assert stratified_order(y, 1).tolist() == [5, 8, 0, 13, 7, 1, 4, 9, 12, 2, 10, 6, 11, 3, 14]
    assert [out.tolist() for _, out in stratified_folds(y, 3, 1)] == [
        [0, 2, 4, 7, 14],
        [3, 5, 8, 9, 13],
        [1, 6, 10, 11, 12],
    ]


def sides(splits: Any) -> dict[str, str]:
    """The part of each row, by its id."""
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    return {str(name): role for role, part in parts.items() for name in part.ids}


def rows_with_ids(count: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(count, 3))
    return {"X": X, "y": np.arange(count) % 2, "ids": [f"row-{i}" for i in range(count)]}


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_rows_with_ids_keep_their_side_when_rows_are_appended_or_permuted(seed: int) -> None:
    few, more = (split(**rows_with_ids(n), seed=seed) for n in (400, 450))
    assert sides(few).items() <= sides(more).items()
    backwards: Any = {name: list(values)[::-1] for name, values in rows_with_ids(400).items()}
    assert sides(split(**backwards, seed=seed)) == sides(few)
    # 80 ± 8 and 64 ± 7 of 400 rows; four standard deviations.
    assert abs(few.test.rows - 80) < 32
    assert abs(few.validation.rows - 64) < 29


def test_another_seed_gives_rows_with_ids_other_sides() -> None:
    one, other = (sides(split(**rows_with_ids(100), seed=seed)) for seed in (0, 1))
    assert one != other


def test_rows_of_one_id_are_in_one_part(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame(rng.normal(size=(200, 2)), columns=["a", "b"])
    frame["patient"], frame["label"] = rng.integers(0, 40, 200), rng.integers(0, 2, 200)
    splits = load(frame, id="patient")
    parts = [set(part.ids.tolist()) for part in (splits.train, splits.validation, splits.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == frame["patient"].nunique()
    frame.to_parquet(tmp_path / "t.parquet")
    assert sides(load(tmp_path / "t.parquet", id="patient")) == sides(splits)
    assert splits.split is not None
    assert splits.split.by == "id"


def few_distinct(count: int = 240) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 12, (count, 2)).astype(np.float32), rng.integers(0, 2, count)


def shared(splits: Any) -> int:
    parts = [{*map(bytes, part.X)} for part in (splits.train, splits.validation, splits.test)]
    return sum(map(len, parts)) - len(set.union(*parts))


def test_identical_rows_in_two_parts_get_one_line_with_count_and_remedy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    X, y = few_distinct()
    splits = split(X, y)
    others = {*map(bytes, splits.train.X)} | {*map(bytes, splits.validation.X)}
    tested = sum(bytes(row) in others for row in splits.test.X)
    validated = sum(bytes(row) in {*map(bytes, splits.train.X)} for row in splits.validation.X)
    said = " ".join(capsys.readouterr().err.split())
    assert tested > 30
    assert said == (
        f"rows: {tested} of 48 test rows are identical to training or validation rows, {validated} "
        f"of {splits.validation.rows} validation rows are identical to training rows; "
        'groups="identical" (--groups identical) keeps identical rows in one part.'
    )


def test_identical_rows_stay_in_one_part_whatever_is_appended(
    capsys: pytest.CaptureFixture[str],
) -> None:
    X, y = few_distinct()
    splits = split(X, y, groups="identical")
    assert shared(splits) == 0
    assert capsys.readouterr().err == ""
    more = split(np.concatenate([X, X[:90] + 0.5]), np.concatenate([y, y[:90]]), groups="identical")
    for role in ("train", "validation", "test"):
        before, after = ({*map(bytes, getattr(s, role).X)} for s in (splits, more))
        assert before <= after
    again = split(X.astype(np.float64), y, groups="identical")
    np.testing.assert_array_equal(again.test.X, splits.test.X)


def test_a_file_and_its_stream_keep_identical_rows_in_the_same_parts(tmp_path: Path) -> None:
    X, y = few_distinct()
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", y)
    said: list[str] = []
    streamed, loaded = (
        load(
            tmp_path / "x.npy", labels=tmp_path / "y.npy", groups="identical", stream=stream,
            log=said.append,
        )
        for stream in (True, False)
    )  # fmt: skip
    np.testing.assert_array_equal(streamed.test.X[:], loaded.test.X)
    assert not any("identical" in line for line in said)
    load(tmp_path / "x.npy", labels=tmp_path / "y.npy", stream=True, log=said.append)
    line = said[-1]
    assert "rows that stay in their files are not checked for identical ones" in line


def test_rows_that_are_all_the_same_cannot_be_split_by_their_values() -> None:
    with pytest.raises(DataError, match="all of the 6 rows are the same"):
        split(np.ones((6, 2)), [0, 1] * 3, groups="identical")


def test_groups_that_are_not_there_are_refused(tmp_path: Path) -> None:
    path, X = stored(tmp_path)
    with pytest.raises(SettingsError, match="groups must be 'identical' or hold one group for"):
        split(X, np.arange(100) % 5, groups="equal")
    with pytest.raises(DataError, match=r"has no .* 'equal' for groups \(--groups\)"):
        load(path, groups="equal")
    with pytest.raises(DataError, match="groups must hold one group for each of the 100 rows"):
        load(path, groups=np.arange(99))


def test_a_class_too_small_to_be_split_gets_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    y = np.array(["a"] * 20 + ["b"] * 2 + ["c"])
    split(np.arange(46.0).reshape(23, 2), y)
    said = " ".join(capsys.readouterr().err.split())
    assert said == (
        "rows: classes are too small to be split: 'b' (2 rows, no validation rows), "
        "'c' (1 row, no validation or test rows)."
    )


def test_splits_say_how_they_were_drawn_and_by_none_where_they_were_given(tmp_path: Path) -> None:
    path, X = stored(tmp_path)
    drawn = load(path, split_seed=3, test_size=0.3).split
    assert drawn is not None
    assert (drawn.by, drawn.seed, drawn.test_size, drawn.validation_size) == ("rows", 3, 0.3, 0.2)
    np.savez(tmp_path / "t.npz", X=X + 1000, y=np.arange(100) % 5)
    half = load(path, test=tmp_path / "t.npz").split
    assert half is not None
    assert (half.by, half.test_size, half.validation_size) == ("rows", None, 0.2)
    given = load("digits").split
    assert given is None


def test_repeated_rows_of_files_of_their_own_are_said_to_be_removed(tmp_path: Path) -> None:
    path, X = stored(tmp_path)
    np.savez(tmp_path / "t.npz", X=X[:10], y=np.arange(10) % 5)
    said: list[str] = []
    load(path, test=tmp_path / "t.npz", log=said.append)
    assert said[0].endswith(
        "10 of 10 test rows are identical to training or validation rows; remove them from one of "
        "the files."
    )


def test_folds_keep_together_what_the_split_did() -> None:
    X, y = few_distinct()
    splits = split(X, y, groups="identical")
    keys = fold_groups(splits)
    assert keys is not None
    for kept, held_out in stratified_folds(splits.train.y, 4, groups=keys):
        parts = [{*map(bytes, splits.train.X[rows])} for rows in (kept, held_out)]
        assert not parts[0] & parts[1]
    assert fold_groups(split(X, y)) is None
    assert fold_groups(split(**rows_with_ids(60))) is None, "each id names one row"


def test_groups_and_parts_come_from_a_column_an_array_or_a_file(tmp_path: Path) -> None:
    """However they are given the parts are those of arrays in memory, and so are the groups."""
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 99, (60, 2)) / 2, np.arange(60) % 3
    who = np.array([f"p{w:02d}" for w in rng.integers(0, 20, 60)])
    rows = zip(X.tolist(), y, who, strict=True)
    lines = [f"{a},{b},{c},{w}" for (a, b), c, w in rows]
    (tmp_path / "a.csv").write_text("\n".join(["u,v,label,who", *lines]) + "\n")
    np.savez(tmp_path / "a.npz", X=X, y=y, who=who)
    np.savetxt(tmp_path / "who.txt", who, fmt="%s")
    expected = split(X, y, groups=who)
    for found in (
        load(tmp_path / "a.csv", groups="who"),
        load(tmp_path / "a.npz", groups="who"),
        load(tmp_path / "a.csv", drop="who", groups=tmp_path / "who.txt"),
        load(tmp_path / "a.csv", drop="who", groups=who),
    ):
        for role in ("train", "validation", "test"):
            part, same = getattr(found, role), getattr(expected, role)
            np.testing.assert_array_equal(part.X, same.X)
            assert part.groups.tolist() == same.groups.tolist()


@pytest.mark.parametrize("stream", [False, True])
def test_a_column_says_which_part_a_row_is_in(tmp_path: Path, stream: bool) -> None:
    words = np.array(["Train", "training", "val", "test"])[np.arange(40) % 4]
    X, y = np.arange(80.0).reshape(40, 2), np.arange(40) // 2 % 2
    table = pyarrow.table({"a": X[:, 0], "b": X[:, 1], "y": y, "part": words})
    pq.write_table(table, tmp_path / "rows.parquet")
    splits = load(tmp_path / "rows.parquet", split="part", stream=stream)
    assert splits.train.feature_names == ("a", "b")
    np.testing.assert_array_equal(splits.train.X[:], X[np.arange(40) % 4 < 2])
    np.testing.assert_array_equal(splits.validation.X[:], X[2::4])
    np.testing.assert_array_equal(splits.test.X[:], X[3::4])
    in_memory = split(X, y, split=np.where(words == "test", "test", "train"))
    assert (in_memory.validation.rows, in_memory.test.rows) == (6, 10)


def test_what_splits_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    X, y = np.arange(8.0).reshape(4, 2), [0, 1, 0, 1]
    with pytest.raises(DataError, match="the group q has training rows and test rows; keep each"):
        split(X, y, split=["train", "train", "validation", "test"], groups=list("pqrq"))
    with pytest.raises(DataError, match="row 2 has 'dev'"):
        split(X, y, split=["train", "train", "dev", "test"])
    with pytest.raises(DataError, match="must name training rows, but there are none"):
        split(X, y, split=["test"] * 4)
    with pytest.raises(DataError, match="one word for each of the 4 rows, but its shape is"):
        split(X, y, split=["test"] * 3)
    np.savez(tmp_path / "a.npz", X=X, y=y, part=["train", "train", "test", "test"])
    np.savez(tmp_path / "b.npz", X=X, y=y)
    with pytest.raises(SettingsError, match=r"split \(--split\) names test rows, and test \("):
        load(tmp_path / "a.npz", split="part", test=tmp_path / "b.npz")


def test_what_cannot_be_held_out_is_named_with_the_rows_own_counts() -> None:
    two_each = np.repeat(np.arange(100), 2)
    why = (
        r"cannot hold out validation rows, because each of the 100 rows that are left of 200 after "
        r"the test rows is the only one of its class"
    )
    with pytest.raises(DataError, match=why):
        split(np.eye(200), two_each)
    with pytest.raises(DataError, match=r"hold out test rows, because each of the 3 rows is the"):
        split(np.eye(3), np.arange(3))
    with pytest.raises(DataError, match=r"validation rows.*no group of the 2 rows that are left"):
        split(np.eye(4), [0, 1, 0, 1], groups=[0, 0, 1, 1])


def test_classes_in_memory_that_differ_only_by_spaces_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    split(np.eye(20), [" ant", "ant", "bee", "bee "] * 5)
    assert "the classes ' ant' and 'ant' differ only by spaces" in capsys.readouterr().err
