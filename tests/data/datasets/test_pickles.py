"""A python file can name any function; none of them is ever called."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onelayer.data.datasets.decode import read_python
from onelayer.errors import DataError

from .tiny_cifar import ROWS, TinyCifar, pickled


def decode(tiny: TinyCifar, folder: Path, raw: bytes) -> object:
    (folder / "test_batch").write_bytes(raw)
    return read_python(folder, tiny.layout.test, tiny.layout)


class Calls:
    """Pickles to a call of any function."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_runs_code_is_refused_and_runs_nothing(
    protocol: int, tiny: TinyCifar, tmp_path: Path
) -> None:
    import os

    proof = tmp_path / "it ran"
    raw = pickle.dumps({"data": Calls(os.mkdir, str(proof))}, protocol=protocol)
    with pytest.raises(DataError, match=r"asks for (posix|nt)\.mkdir, .*nothing was run"):
        decode(tiny, tmp_path, raw)
    assert not proof.exists()
    pickle.loads(raw)
    assert proof.exists(), "the attack does work on an unpickler that is not restricted"


@pytest.mark.parametrize(
    "function", [eval, exec, __import__, getattr, pickle.loads, np.load, np.frombuffer]
)
def test_no_other_name_is_admitted(
    function: Callable[..., Any], tiny: TinyCifar, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=f"asks for .*{function.__name__}"):
        decode(tiny, tmp_path, pickle.dumps(Calls(function, "1 / 0"), protocol=2))


def test_a_dotted_name_does_not_reach_through_an_admitted_one(
    tiny: TinyCifar, tmp_path: Path
) -> None:
    raw = b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93."
    with pytest.raises(DataError, match=r"asks for numpy\.ndarray\.tofile"):
        decode(tiny, tmp_path, raw)


def test_a_persistent_object_is_refused(tiny: TinyCifar, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be unpickled"):
        decode(tiny, tmp_path, b"\x80\x02\x8c\x01aQ.")


@pytest.mark.parametrize("arguments", [("é", "rot13"), (b"bytes", "latin1"), ("☃", "latin1")])
def test_only_latin1_text_is_encoded(
    arguments: tuple[object, ...], tiny: TinyCifar, tmp_path: Path
) -> None:
    import _codecs

    with pytest.raises(DataError, match="cannot be unpickled"):
        decode(tiny, tmp_path, pickle.dumps(Calls(_codecs.encode, *arguments), protocol=3))


@pytest.mark.parametrize("raw", [b"", b"not a pickle", b"\x80\x02}", b"\x80\x02]\x94h\x09."])
def test_a_damaged_pickle_is_one_clear_error(raw: bytes, tiny: TinyCifar, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="test_batch is not a python file of CIFAR-10"):
        decode(tiny, tmp_path, raw)


def test_a_truncated_pickle_is_one_clear_error(tiny: TinyCifar, tmp_path: Path) -> None:
    raw = tiny.python_files()["test_batch"]
    with pytest.raises(DataError, match="cannot be unpickled"):
        decode(tiny, tmp_path, raw[: len(raw) // 2])


def test_a_pickle_of_something_else_is_refused(tiny: TinyCifar, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must hold a dictionary .* holds list"):
        decode(tiny, tmp_path, pickle.dumps([1]))


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"bytes",
        np.zeros((ROWS - 1, 3072), np.uint8),
        np.zeros((ROWS, 3072), np.int8),
        np.zeros((ROWS, 384), np.float64),
        np.array([["object"]], object),
    ],
)
def test_data_of_another_shape_or_type_are_refused(
    data: object, tiny: TinyCifar, tmp_path: Path
) -> None:
    content = tiny.content("test_batch") | {"data": data}
    with pytest.raises(DataError, match=f"must hold data of {ROWS} rows of 3072 bytes"):
        decode(tiny, tmp_path, pickled(content, "python 2"))


def test_data_by_columns_are_read_by_columns(tiny: TinyCifar, tmp_path: Path) -> None:
    records = tiny.records["test_batch"]
    content = tiny.content("test_batch") | {"data": np.asfortranarray(records[:, 1:])}
    np.testing.assert_array_equal(decode(tiny, tmp_path, pickled(content, "python 2")), records)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, f"must hold a list of {ROWS} labels"),
        ([0] * (ROWS + 1), f"must hold a list of {ROWS} labels"),
        ([0, 10] + [0] * (ROWS - 2), "row 1 has 10"),
        ([0, 0, -1] + [0] * (ROWS - 3), "row 2 has -1"),
        ([0.0] * ROWS, "row 0 has 0.0"),
        ([True] * ROWS, "row 0 has True"),
    ],
)
def test_labels_out_of_range_are_refused_with_their_row(
    labels: object, message: str, tiny: TinyCifar, tmp_path: Path
) -> None:
    content = tiny.content("test_batch") | {"labels": labels}
    with pytest.raises(DataError, match=message):
        decode(tiny, tmp_path, pickled(content, "protocol 2"))
