"""CIFAR-100 in a tiny form of its own sums: every source gives the same bits, or one sentence."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onelayer.data import load
from onelayer.data.dataset import Splits
from onelayer.data.datasets.decode import holds_files
from onelayer.data.datasets.layout import CIFAR100, FINE_NAMES, Layout, RecordFile
from onelayer.data.datasets.named import load_cifar100
from onelayer.errors import DataError, SettingsError, SourceError

from ..formats.file_writers import Array
from .conftest import Serve, refusing, sending
from .tiny_cifar import pickled, tar_gz, under, write_files

ROWS = {"train": 200, "test": 100}


def records(stem: str) -> Array:
    rows = np.random.default_rng(len(stem)).integers(0, 256, (ROWS[stem], 3074), np.uint8)
    rows[:, 1] = np.arange(ROWS[stem]) % 100
    rows[:, 0] = rows[:, 1] // 5
    return rows


BINARY = {f"{stem}.bin": records(stem).tobytes() for stem in ROWS}
PYTHON = {
    stem: pickled(
        {
            "data": np.ascontiguousarray(records(stem)[:, 2:]),
            "fine_labels": records(stem)[:, 1].tolist(),
            "coarse_labels": records(stem)[:, 0].tolist(),
        },
        "python 2",
    )
    for stem in ROWS
}
ARCHIVE = tar_gz(under("cifar-100-binary", BINARY))
TRAIN, TEST = (
    RecordFile(
        stem,
        hashlib.sha256(BINARY[f"{stem}.bin"]).hexdigest(),
        ROWS[stem],
        hashlib.md5(PYTHON[stem]).hexdigest(),
    )
    for stem in ROWS
)
LAYOUT = replace(
    CIFAR100,
    batches=(TRAIN,),
    test=TEST,
    archive_url="http://127.0.0.1:9/cifar-100-binary.tar.gz",
    archive_sha256=hashlib.sha256(ARCHIVE).hexdigest(),
    connect_seconds=2.0,
)


def loaded(folder: Path | None, layout: Layout = LAYOUT) -> Splits:
    return load_cifar100(folder, log=lambda line: None, progress=False, layout=layout)


def check_bits(splits: Splits) -> None:
    np.testing.assert_array_equal(splits.test.X, records("test")[:, 2:])
    np.testing.assert_array_equal(splits.test.y, records("test")[:, 1])
    rows = {bytes(row[2:]): row[1] for row in records("train")}
    for part in (splits.train, splits.validation):
        assert [rows[bytes(row)] for row in part.X] == part.y.tolist()
    assert splits.train.rows + splits.validation.rows == 200
    assert (splits.name, splits.train.image_shape) == ("cifar100", (3, 32, 32))


@pytest.mark.parametrize(
    "files",
    [
        BINARY,
        PYTHON,
        {"cifar-100-binary.tar.gz": ARCHIVE},
        {"cifar-100-python.tar.gz": tar_gz(under("cifar-100-python", PYTHON))},
    ],
    ids=["binary", "python", "binary archive", "python archive"],
)
def test_every_form_gives_the_same_bits(files: dict[str, bytes], tmp_path: Path) -> None:
    write_files(tmp_path, files)
    assert holds_files(tmp_path, CIFAR100)
    check_bits(loaded(tmp_path))


def test_sub_folders_of_the_official_names_are_found(tmp_path: Path) -> None:
    write_files(tmp_path / "cifar-100-binary", BINARY)
    check_bits(loaded(tmp_path))


def test_the_archive_fills_the_cache_and_the_cache_is_checked(cache: Path, serve: Serve) -> None:
    layout = replace(LAYOUT, archive_url=serve(sending(ARCHIVE), refusing(503)))
    check_bits(loaded(None, layout))
    folder = cache.parent / "cifar100"
    assert sorted(p.name for p in folder.iterdir()) == [".lock", "test.bin", "train.bin"]
    check_bits(loaded(None, layout))
    (folder / "test.bin").write_bytes(b"cut")
    with pytest.raises(SourceError, match=r"(?s)the server answered 503.*--data DIR"):
        loaded(None, layout)


def test_another_archive_is_not_kept(cache: Path, serve: Serve) -> None:
    layout = replace(LAYOUT, archive_url=serve(sending(ARCHIVE[:-1] + b"?")))
    with pytest.raises(SourceError, match="not the official archive: its SHA-256 is another one"):
        loaded(None, layout)
    assert not list((cache.parent / "cifar100").glob("*.bin"))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (BINARY | {"test.bin": BINARY["test.bin"][:-1]}, r"307399 bytes where .* has 307400"),
        (BINARY | {"test.bin": bytes(307_400)}, r"test\.bin is not test: the SHA-256"),
        (PYTHON | {"test": PYTHON["test"][:-9]}, "test is not a python file of CIFAR-100"),
        (PYTHON | {"test": PYTHON["train"]}, "must hold data of 100 rows"),
        (
            PYTHON | {"test": pickled({"data": records("test")[:, 2:].copy()}, "protocol 2")},
            "must hold a list of 100 labels",
        ),
    ],
)
def test_damaged_files_are_named(files: dict[str, bytes], message: str, tmp_path: Path) -> None:
    write_files(tmp_path, files)
    with pytest.raises(DataError, match=message):
        loaded(tmp_path)


def test_a_folder_is_known_by_its_files_and_checked_against_the_official_sums(
    tmp_path: Path,
) -> None:
    write_files(tmp_path, BINARY)
    with pytest.raises(DataError, match=r"where train\.bin has 153700000"):
        load(tmp_path)


def test_a_folder_called_as_the_cache_s_is_taken_for_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path / "cifar100", BINARY)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"cifar100/train\.bin holds 614800 bytes"):
        load("cifar100")


def test_what_has_no_meaning_to_it_is_refused(tmp_path: Path) -> None:
    for choices, message in (
        ({"test": "t.npy"}, r"test \(--test\) has no effect on CIFAR-100"),
        ({"validation": "v.npy"}, r"validation \(--validation\) has no effect on CIFAR-100"),
        ({"train_batches": (2,)}, "have no effect on cifar100"),
    ):
        with pytest.raises(SettingsError, match=message):
            load("cifar100", **choices)
    with pytest.raises(DataError, match=r"holds nothing that is read: .* one of CIFAR-100 holds"):
        loaded(tmp_path)


def test_the_names_are_a_hundred_in_the_order_of_the_alphabet() -> None:
    assert len(set(FINE_NAMES)) == 100
    assert list(FINE_NAMES) == sorted(FINE_NAMES)
    assert [part.rows * CIFAR100.record_bytes for part in CIFAR100.parts] == [
        153_700_000,
        30_740_000,
    ]
