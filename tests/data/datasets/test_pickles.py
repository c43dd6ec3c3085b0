"""A python file can name any function; none of them is ever looked up, let alone called."""

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
    with pytest.raises(DataError, match=f"must hold data of {ROWS} rows of 3072 bytes"):
        decode(tiny, tmp_path, raw)
    assert not proof.exists()
    pickle.loads(raw)
    assert proof.exists(), "the attack does work on an unpickler that is not restricted"


def test_calls_beside_the_data_are_not_made(tiny: TinyCifar, tmp_path: Path) -> None:
    import os

    proof = tmp_path / "it ran"
    content = {"first": Calls(os.mkdir, str(proof))} | tiny.content("test_batch")
    for flavour in ("python 2", "protocol 2", "protocol 4"):
        records = decode(tiny, tmp_path, pickled(content, flavour))
        np.testing.assert_array_equal(records, tiny.records["test_batch"])
    assert not proof.exists()


@pytest.mark.parametrize("raw", [b"", b"not a pickle", b"\x80\x02}"])
def test_a_damaged_pickle_is_one_clear_error(raw: bytes, tiny: TinyCifar, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="test_batch is not a python file of CIFAR-10"):
        decode(tiny, tmp_path, raw)


def test_a_truncated_pickle_is_one_clear_error(tiny: TinyCifar, tmp_path: Path) -> None:
    raw = tiny.python_files()["test_batch"]
    with pytest.raises(DataError, match="test_batch is not a python file of CIFAR-10"):
        decode(tiny, tmp_path, raw[: len(raw) // 2])


@pytest.mark.parametrize("raw", [pickle.dumps([1]), b"\x80\x02]\x94h\x09.", b"\x80\x02\x8c\x01aQ."])
def test_a_pickle_of_something_else_is_refused(raw: bytes, tiny: TinyCifar, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must hold data of"):
        decode(tiny, tmp_path, raw)


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"bytes",
        np.zeros((ROWS - 1, 3072), np.uint8),
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
        ([0.0] * ROWS, f"must hold a list of {ROWS} labels"),
        ([True] * ROWS, f"must hold a list of {ROWS} labels"),
    ],
)
def test_labels_out_of_range_are_refused_with_their_row(
    labels: object, message: str, tiny: TinyCifar, tmp_path: Path
) -> None:
    content = tiny.content("test_batch") | {"labels": labels}
    with pytest.raises(DataError, match=message):
        decode(tiny, tmp_path, pickled(content, "protocol 2"))
