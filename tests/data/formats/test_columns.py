"""Which columns of a table are features, labels and names of rows, and how text is written."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet
import pytest

from onelayer.data import Dataset, Splits, load, split
from onelayer.data.load import load_for
from onelayer.data.streaming import stored_rows
from onelayer.errors import DataError, SettingsError
from onelayer.solver import solve

N = 60
X = np.random.default_rng(0).normal(size=N)
KINDS = np.repeat(["ant", "bee", "cow"], N // 3)
FRAME = pandas.DataFrame({"x": X, "z": X * 2, "kind": KINDS}, index=np.arange(N) * 7)


def silent(line: str) -> None:
    """Say nothing."""


def features(source: Any, **options: Any) -> tuple[str, ...]:
    return load(source, labels="kind", **({"log": silent} | options)).train.feature_names or ()


def _parquet(path: Path, frame: pandas.DataFrame) -> Path:
    frame.to_parquet(path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def _feather(path: Path, frame: pandas.DataFrame) -> Path:
    table = pa.Table.from_pandas(frame)
    file = pa.OSFile(str(path.with_suffix(".arrow")), "wb")
    with file, pa.ipc.new_file(file, table.schema) as to:
        to.write_table(table)
    return path.with_suffix(".arrow")


def _csv(path: Path, frame: pandas.DataFrame) -> Path:
    frame.to_csv(path.with_suffix(".csv"))
    return path.with_suffix(".csv")


def _read_back(path: Path, frame: pandas.DataFrame) -> Path:
    pandas.read_csv(_csv(path, frame)).to_csv(path.with_suffix(".csv"), index=False)
    return path.with_suffix(".csv")


def _reset(path: Path, frame: pandas.DataFrame) -> Path:
    frame.reset_index().to_csv(path.with_suffix(".csv"), index=False)
    return path.with_suffix(".csv")


@pytest.mark.parametrize("write", [_parquet, _feather, _csv, _read_back, _reset])
def test_the_index_of_a_data_frame_is_no_feature_and_said(write: Any, tmp_path: Path) -> None:
    messages: list[str] = []
    path = write(tmp_path / "a", FRAME)
    assert features(path, log=messages.append) == ("x", "z")
    assert len(messages) == 1
    assert messages[0].endswith("(index).")
    if path.suffix != ".csv":
        assert features(path, stream=True) == ("x", "z")


def test_an_index_with_a_name_is_known_by_pandas_s_metadata(tmp_path: Path) -> None:
    path = _parquet(tmp_path / "a", FRAME.rename_axis("patient"))
    assert features(path) == ("x", "z")
    assert features(path, features="patient,x") == ("x", "patient")
    assert features(FRAME.reset_index()) == ("x", "z")


def test_a_refractive_index_is_a_feature() -> None:
    assert features(FRAME.assign(index=1.5 + X)) == ("x", "z", "index")


def test_features_are_chosen_by_names_and_patterns(tmp_path: Path) -> None:
    frame = pandas.DataFrame({f"e{i}": X + i for i in range(12)} | {"age": X, "kind": KINDS})
    for source in (frame, _parquet(tmp_path / "a", frame), polars.from_pandas(frame)):
        assert features(source, features=["age", "e1*"]) == ("e1", "e10", "e11", "age")
        assert features(source, drop="e?,age") == ("e10", "e11")
        assert features(source, features="e1*", drop=["e1"]) == ("e10", "e11")
        with pytest.raises(DataError, match=r"has no column 'agee' for drop \(--drop\); it has e0"):
            features(source, drop="agee")
        with pytest.raises(DataError, match=r"has no column 'f\*' for features \(--features\)"):
            features(source, features="f*")
    with pytest.raises(
        DataError, match=r"features must be numbers, but name \((large_)?string\) is"
    ):
        features(frame.assign(name="a"), features="name,age")
    test = frame.drop(columns=["age"])
    assert load(frame, labels="kind", test=test, drop="age", log=silent).test.features == 12


@pytest.mark.parametrize("stream", [None, True])
def test_ids_go_with_their_rows_through_every_split(stream: bool | None, tmp_path: Path) -> None:
    path = _parquet(tmp_path / "a", FRAME.assign(patient=[f"p{v:.6f}" for v in X]))
    splits = load(path, labels="kind", id="patient", stream=stream, log=silent)
    assert (stored_rows(splits.train.X) is not None) == bool(stream)
    for part in (splits.train, splits.validation, splits.test, splits.train.take([1, 3])):
        assert part.ids is not None
        assert part.ids.tolist() == [f"p{v:.6f}" for v in part.X[:][:, 0]]
    with pytest.raises(DataError, match=r"has no column 'pat' for id \(--id\)"):
        load(path, labels="kind", id="pat")


def test_ids_of_a_csv_are_as_written(tmp_path: Path) -> None:
    rows = [f"{i:03d},{i}.5,{'ab'[i % 2]}\n" for i in range(20)]
    (tmp_path / "a.csv").write_text("code,x,label\n" + "".join(rows))
    train = load(tmp_path / "a.csv", id="code", log=silent).train
    assert train.ids is not None
    assert train.ids.tolist() == [f"{int(x):03d}" for x in train.X[:, 0]]


def test_columns_of_what_has_none_cannot_be_chosen(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.eye(4))
    with pytest.raises(SettingsError, match=r"no effect on .*a\.npy, whose features have no names"):
        load(tmp_path / "a.npy", labels=[0, 1, 0, 1], drop="x")
    with pytest.raises(SettingsError, match=r"drop \(--drop\) has no effect on the digits"):
        load("digits", drop="x")


def labelled(folder: Path, labels: list[str], head: str = "x,label", sep: str = ",") -> Splits:
    path = folder / "a.csv"
    path.write_text(f"{head}\n" + "".join(f"{i}{sep}{y}\n" for i, y in enumerate(labels * 10)))
    return load(path, log=silent)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["007", "01", "1"], ("007", "01", "1")),
        (["1", "1.0", "+1"], ("+1", "1", "1.0")),
        (["12345678901234567890123", "12345678901234567890124"],
         ("12345678901234567890123", "12345678901234567890124")),
        (["1e5", "100000"], ("100000", "1e5")),
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["1.0", "2.0"], ("1", "2")),
        (["True", "false"], ("false", "true")),
        (["2020-01-02", "2020-01-01"], ("2020-01-01", "2020-01-02")),
        (["NA", "DE"], ("DE", "NA")),
    ],
)  # fmt: skip
def test_labels_stay_text_where_a_number_would_not_print_back(
    labels: list[str], names: tuple[str, ...], tmp_path: Path
) -> None:
    assert labelled(tmp_path, labels).train.class_names == names
    np.save(tmp_path / "X.npy", np.arange(len(labels) * 10.0)[:, None])
    for name, head in (("y.csv", "code\n"), ("y.txt", "")):
        (tmp_path / name).write_text(head + "\n".join(labels * 10) + "\n")
        splits = load(tmp_path / "X.npy", labels=tmp_path / name, log=silent)
        assert splits.train.class_names == names


def test_a_missing_label_beside_numbers_is_empty(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="column 'label': row 1 is empty or NaN"):
        labelled(tmp_path, ["1", "NA", "2"])


@pytest.mark.parametrize("sep", [";", "\t", "|"])
def test_what_separates_columns_is_seen_in_the_header(sep: str, tmp_path: Path) -> None:
    rows = "".join(f"{i},5{sep}-1{sep}{'ab'[i % 2]}\n" for i in range(20))
    (tmp_path / "a.csv").write_text(f"x{sep}z{sep}label\n{rows}")
    messages: list[str] = []
    train = load(tmp_path / "a.csv", log=messages.append).train
    assert train.feature_names == ("x", "z")
    assert set(np.unique(train.X[:, 0] % 1)) == {0.5}
    assert "with decimal commas" in messages[0]


def test_a_csv_may_be_compressed_and_have_tabs(tmp_path: Path) -> None:
    plain = FRAME.to_csv(index=False)
    for name, text in (("a.csv", plain), ("b.tsv", plain.replace(",", "\t"))):
        (tmp_path / name).write_text(text)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    expected = load(tmp_path / "a.csv", labels="kind").test.X
    for name in ("a.csv.gz", "b.tsv", "b.tsv.gz"):
        found = load(tmp_path / name, labels="kind", log=silent).test
        np.testing.assert_array_equal(found.X, expected)
    (tmp_path / "A.CSV.GZ").write_bytes((tmp_path / "a.csv.gz").read_bytes())
    np.testing.assert_array_equal(load(tmp_path / "A.CSV.GZ", labels="kind").test.X, expected)
    (tmp_path / "c.csv.gz").write_bytes((tmp_path / "a.csv.gz").read_bytes()[:-40])
    with pytest.raises(DataError, match=r"c\.csv\.gz is not a valid CSV file"):
        load(tmp_path / "c.csv.gz", labels="kind")


def test_a_compressed_file_unpacks_only_to_what_fits_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = gzip.compress(b"1,2,ant\n3,4,bee\n" * 5000)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"x,z,label\n") + rows * 3)
    assert (tmp_path / "a.csv.gz").stat().st_size < 1000
    assert load(tmp_path / "a.csv.gz").train.features == 2
    monkeypatch.setattr("onelayer.data.formats.text.available_memory", lambda: 2 << 20)
    with pytest.raises(DataError, match=r"a\.csv\.gz unpacks to more than fits into the 2.1 MB of"):
        load(tmp_path / "a.csv.gz")


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("{}.5", "{},5", "column 'z': it holds decimal commas as text, such as '0,5' in row 0;"),
        ("{},5", "{}", "column 'z': row 0 is 0, but other columns have decimal commas; write all"),
    ],
)
def test_decimal_points_beside_decimal_commas_are_refused(
    first: str, second: str, told: str, tmp_path: Path
) -> None:
    # The sign is seen at the file's beginning, and the last row lies far behind it.
    rows = [f"{first.format(i)};{second.format(i)};{'ab'[i % 2]}\n" for i in range(9000)]
    rows += [f"{first.format(1)};1.5;a\n"]
    (tmp_path / "a.csv").write_text("x;z;label\n" + "".join(rows))
    told = told.replace("row 0;", "row 0, and decimal points, '1.5' in row 9000;")
    with pytest.raises(DataError, match=re.escape(told)):
        load(tmp_path / "a.csv", log=silent)
    assert load(tmp_path / "a.csv", log=silent, drop="z").train.features == 1


VALUES = [f"{i}.5" for i in range(N - 1)] + ["n/a"]
TEXTS: dict[str, Any] = {
    "string": pa.array(VALUES),
    "large_string": pa.array(VALUES, pa.large_string()),
    "string_view": pa.array(VALUES, pa.string_view()),
    "dictionary": pa.array(VALUES).dictionary_encode(),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_a_number_that_is_text_is_refused_on_every_way_in(kind: str, tmp_path: Path) -> None:
    table = pa.table({"x": X, "z": TEXTS[kind], "kind": KINDS})
    assert table["z"].type == TEXTS[kind].type
    # Before pyarrow 21 Parquet took no views of text.
    views = pa.types.is_string_view(TEXTS[kind].type)
    stored = table.set_column(1, "z", pa.array(VALUES)) if views else table
    pa.parquet.write_table(stored, tmp_path / "a.parquet")
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as file:
        file.write_table(table)
    with pa.ipc.new_stream(str(tmp_path / "b.arrow"), table.schema) as file:
        file.write_table(table)
    frames = [table, polars.from_arrow(table)]
    frames += [pandas.DataFrame({"x": X, "z": VALUES, "kind": KINDS}).astype({"z": of})
               for of in ("str", "object", "category")]  # fmt: skip
    files = [tmp_path / name for name in ("a.parquet", "a.arrow", "b.arrow")]
    for source, stream in [*((f, None) for f in frames), *((f, s) for f in files for s in (0, 1))]:
        more: dict[str, Any] = {} if stream is None else {"stream": bool(stream)}
        with pytest.raises(DataError, match=r"column 'z': it holds numbers and text, .*in row 59"):
            load(source, labels="kind", log=silent, **more)
        assert load(source, labels="kind", log=silent, drop="z", **more).train.features == 1


def test_labels_of_one_column_are_one_a_row_with_a_message(tmp_path: Path) -> None:
    rows, y = np.arange(40.0).reshape(20, 2), (np.arange(20) % 2)[:, None]
    np.savez(tmp_path / "a.npz", X=rows, y=y)
    messages: list[str] = []
    splits = load(tmp_path / "a.npz", log=messages.append)
    np.testing.assert_array_equal(splits.test.y, splits.test.X[:, 0] // 2 % 2)
    assert messages == [
        f"{tmp_path}/a.npz, the array 'y': the labels of shape (20, 1) are taken as one a row."
    ]
    assert split(rows, y).train.class_names == ("0", "1")


def test_labels_that_are_times_are_classes() -> None:
    days = pandas.Series(pandas.to_datetime(["2020-01-01", "2021-01-01"] * 30))
    table = pa.table({"x": X, "label": pa.array(days.dt.date)})
    assert load(table).train.class_names == ("2020-01-01", "2021-01-01")
    names = split(X[:, None], days.to_numpy().astype("M8[D]")).train.class_names
    assert names == ("2020-01-01", "2021-01-01")


def test_bfloat16_of_every_maker_is_float32(tmp_path: Path) -> None:
    import ml_dtypes
    import torch

    rows = np.arange(40).reshape(20, 2).astype(ml_dtypes.bfloat16)
    np.save(tmp_path / "a.npy", rows)
    labels = np.arange(20) % 2
    expected = split(np.arange(40, dtype=np.float32).reshape(20, 2), labels).test.X
    tensor = torch.arange(40).reshape(20, 2).to(torch.bfloat16)
    for found in (
        load(tmp_path / "a.npy", labels=labels, log=silent),
        split(rows, labels),
        split(tensor, torch.tensor(labels)),
        split(tensor.float().requires_grad_(), labels),
    ):
        assert found.test.X.dtype == np.float32
        np.testing.assert_array_equal(found.test.X, expected)


@pytest.mark.parametrize("kind", [polars.Categorical, polars.Enum(["ant", "bee", "cow"])])
def test_categories_of_polars_are_labels_wherever_they_lie(kind: Any, tmp_path: Path) -> None:
    frame = polars.DataFrame({"x": X, "label": polars.Series(KINDS.tolist(), dtype=kind)})
    frame.write_ipc(tmp_path / "a.arrow")
    frame.write_parquet(tmp_path / "a.parquet")
    for source, stream in (
        (frame, None),
        (tmp_path / "a.arrow", None),
        (tmp_path / "a.arrow", True),
        (tmp_path / "a.parquet", None),
        (tmp_path / "a.parquet", True),
    ):
        assert load(source, stream=stream, log=silent).train.class_names == ("ant", "bee", "cow")


def test_two_columns_of_one_name_and_what_is_masked_are_refused() -> None:
    twice = pandas.DataFrame(np.c_[X, X], columns=["a", "a"])
    with pytest.raises(DataError, match=r"^rows has two columns 'a'; give each column its own"):
        split(twice, KINDS)
    masked = np.ma.masked_array(np.c_[X, X], mask=np.c_[X > 2, X > 1])
    for rows, labels in ((masked, KINDS), (X[:, None], np.ma.masked_equal(KINDS, "ant"))):
        with pytest.raises(DataError, match="has masked values; fill them or drop their rows"):
            split(rows, labels)
    with pytest.raises(DataError, match=r"X cannot be read as an array \(setting an array"):
        split([[1], [1, 2]] * 3, ["a", "b"] * 3)


def test_a_packed_array_gives_the_numbers_of_an_aligned_one() -> None:
    from onelayer import solve

    rows = np.random.default_rng(1).normal(size=(N, 3)).astype(np.float32)
    packed = np.zeros(N, [("tag", "u1"), ("X", "f4", (3,))])
    packed["X"] = rows
    shifted = np.frombuffer(b"\0" + rows.tobytes(), np.float32, offset=1).reshape(N, 3)
    assert not shifted.flags.aligned
    expected = solve(split(rows, KINDS), l2=0.1).W
    for same in (packed["X"], shifted):
        np.testing.assert_array_equal(solve(split(same, KINDS), l2=0.1).W, expected)


@pytest.mark.parametrize("name", ["row_nr", "Id", "...1", "_c0"])
@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("stream", [None, True])
def test_a_column_that_numbers_the_rows_is_no_feature_whatever_its_name(
    name: str, start: int, stream: bool | None, tmp_path: Path
) -> None:
    frame = FRAME.reset_index(drop=True)
    frame.insert(0, name, np.arange(start, start + N))
    file = _parquet(tmp_path / "a", frame)
    messages: list[str] = []
    assert features(file, log=messages.append, stream=stream) == ("x", "z")
    assert f"{name!r} (numbers the rows)" in messages[0]
    assert features(file, features="*") == (name, "x", "z")
    assert features(frame[[name, "kind"]]) == (name,)  # no others are left
    frame.loc[3, name] = 7
    assert features(frame) == (name, "x", "z")


def test_an_index_that_pandas_saved_again_and_again_is_no_feature(tmp_path: Path) -> None:
    for _ in range(3):
        FRAME.reset_index().to_csv(tmp_path / "a.csv")
        for _ in range(2):
            pandas.read_csv(tmp_path / "a.csv").to_csv(tmp_path / "a.csv")
    assert features(tmp_path / "a.csv") == ("x", "z")
    assert features(pandas.read_csv(tmp_path / "a.csv")) == ("x", "z")
    levels = FRAME.set_index([np.arange(N) % 7, np.arange(N) % 5], append=False)
    assert features(levels.reset_index()) == ("x", "z")


def test_a_model_keeps_a_feature_that_numbers_the_rows_of_other_data(tmp_path: Path) -> None:
    frame = FRAME.assign(day=np.arange(N)[::-1])
    model = solve(load(frame, labels="kind", log=silent), l2=0.1)
    frame.assign(day=np.arange(N)).to_csv(tmp_path / "b.csv", index=False)
    rows = load_for(tmp_path / "b.csv", None, model.feature_names, None, labels="kind")
    assert isinstance(rows, Dataset)
    np.testing.assert_array_equal(rows.X[:, 2], np.arange(N))


@pytest.mark.parametrize("number", ["1.100,5", "1,234,567", "12_345", "1'000'000"])
def test_numbers_in_groups_of_thousands_are_refused_by_name(number: str, tmp_path: Path) -> None:
    rows = "".join(f'{i / 2}|"{number}"|{"ab"[i % 2]}\n' for i in range(20))
    (tmp_path / "a.csv").write_text(f"x|z|kind\n{rows}")
    with pytest.raises(
        DataError, match=r"column 'z': it holds numbers in groups, such as .* plain"
    ):
        features(tmp_path / "a.csv")


def test_a_header_that_is_not_utf_8_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("größe,kind\n1,a\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"must be UTF-8, but its first line has the byte 0xf6"):
        features(tmp_path / "a.csv")


def test_times_have_one_name_whatever_type_holds_them(tmp_path: Path) -> None:
    times = pandas.to_datetime(["2024-05-01 06:30:00.0", "2024-05-02 06:30:00.5"])
    frame = pandas.DataFrame({"x": X, "kind": times[np.arange(N) % 2]})
    names = ("2024-05-01 06:30:00", "2024-05-02 06:30:00.5")
    for source in (frame, polars.from_pandas(frame), _parquet(tmp_path / "b", frame)):
        assert load(source, labels="kind", log=silent).train.class_names == names
    for labels in (frame["kind"].to_numpy(), frame["kind"].dt.to_pydatetime().tolist()):
        assert split(X[:, None], labels).train.class_names == names


def _rows_csv(path: Path, header: str, cell: str = "{}", sign: str = ",") -> Path:
    drawn = np.random.default_rng(0).normal(size=(60, 3)).round(6).tolist()
    lines = [[str(x) for x in row] + [cell.format("ab"[i % 2])] for i, row in enumerate(drawn)]
    path.write_text("\n".join([header, *map(sign.join, lines)]) + "\n")
    return path


@pytest.mark.parametrize("header", ["0.25,-1.5,0.75,a", "7,3,9,b"])
def test_a_first_row_that_is_taken_for_the_header_is_told(tmp_path: Path, header: str) -> None:
    messages: list[str] = []
    path, label = _rows_csv(tmp_path / "rows.csv", header), header[-1]
    load(path, labels=label, log=messages.append)
    assert any("most names are numbers, such as" in line for line in messages)
    messages.clear()
    with pytest.raises(DataError, match="cannot tell which column"):
        load(path, log=messages.append)
    assert any("if it is a row, add a line of names above it" in line for line in messages)
    messages.clear()
    load(pandas.read_csv(path), labels=label, log=messages.append)
    assert any("most names are numbers" in line for line in messages)


def test_columns_that_are_numbered_or_called_by_wavelengths_are_no_first_row(
    tmp_path: Path,
) -> None:
    messages: list[str] = []
    load(_rows_csv(tmp_path / "numbered.csv", "0,1,2,label"), log=messages.append)
    waves = pandas.DataFrame(np.random.default_rng(0).normal(size=(40, 9)))
    waves.columns = [str(400 + 2.5 * i) for i in range(9)]
    load(waves.assign(label=["a", "b"] * 20), log=messages.append)
    drawn = np.random.default_rng(0).normal(size=(40, 3))
    pandas.DataFrame(drawn).to_csv(tmp_path / "plain.csv", index=False)
    found = load(tmp_path / "plain.csv", labels=["a", "b"] * 20, log=messages.append)
    assert found.train.feature_names == ("0", "1", "2")
    assert messages == []


def test_spaces_around_labels_of_a_csv_make_no_class_and_are_told(tmp_path: Path) -> None:
    messages: list[str] = []
    path = _rows_csv(tmp_path / "rows.csv", "x, y0, y1, label", sign=", ")
    found = load(path, log=messages.append)
    assert found.train.class_names == ("a", "b")
    assert messages == [f"{path}, column ' label': spaces around the texts are left out."]
    path.write_text(
        "x,label\n" + "".join(f"{i * i % 7},{' ' * (i % 3 // 2)}{i % 2}\n" for i in range(60))
    )
    assert load(path, log=messages.append).train.labels.dtype.kind == "i"


def test_a_message_quotes_names_of_columns_that_begin_with_a_space(tmp_path: Path) -> None:
    path = _rows_csv(tmp_path / "rows.csv", "x, y, z,kind")
    with pytest.raises(DataError, match=r"\(columns: x, ' y', ' z', kind\)"):
        load(path, labels="species")
    with pytest.raises(DataError, match=r"no column 'z' for drop.*it has x, ' y', ' z'"):
        load(path, labels="kind", drop="z")


def test_numbers_that_may_name_the_rows_are_told_and_used(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"x": np.arange(40) % 7, "patient_id": np.arange(40) * 7 % 97})
    messages: list[str] = []
    labels = ["a", "b"] * 20
    found = load(frame, labels=labels, log=messages.append)
    assert found.train.feature_names == ("x", "patient_id")
    assert [line for line in messages if "'patient_id' is used as a feature" in line]
    messages.clear()
    load(frame, labels=labels, drop="patient_id", log=messages.append)
    load(frame.assign(patient_id=np.arange(40) // 2), labels=labels, log=messages.append)
    assert not [line for line in messages if "is used as a feature" in line]


def test_categories_and_lines_of_other_lengths_are_told_in_plain_words(tmp_path: Path) -> None:
    messages: list[str] = []
    frame = pandas.DataFrame({"x": range(40), "z": [0.5, 1.5] * 20, "label": ["a", "b"] * 20})
    colours = pandas.Categorical(["red", "blue"] * 20)
    load(frame.assign(colour=colours), log=messages.append)
    assert any("colour (categories of text)" in line for line in messages)
    path = tmp_path / "rows.csv"
    path.write_text("x,z,label\n" + "1,2,a\n" * 5 + "1,2\n")
    why = r"every line needs the header's 3 columns, but line 7 has 2; correct or remove it"
    with pytest.raises(DataError, match=why):
        load(path)
