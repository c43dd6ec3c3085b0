"""A folder of pictures: sub-folders are classes, pixels are kept, and a bad picture is named."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from onelayer.data import Dataset, load
from onelayer.errors import DataError, SettingsError
from tests.examples import examples

from .file_writers import Array
from .test_damage import refused


def picture(seed: int, shape: tuple[int, ...] = (4, 6, 3)) -> Array:
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    pixels.flat[0] = seed  # tells pictures apart
    return pixels


def put(folder: Path, pixels: Array, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / name)
    return folder / name


def make(folder: Path, classes: dict[str, int], shape: tuple[int, ...] = (4, 6, 3)) -> Path:
    seed = 0
    for name, count in classes.items():
        for i in range(count):
            put(folder / name, picture(seed, shape), f"{i}.png")
            seed += 1
    return folder


def check_rows(part: Dataset, first_of_class: list[int], shape: tuple[int, ...]) -> None:
    for row, label in zip(part.X, part.y, strict=True):
        seed = int(row[0])
        pixels = picture(seed, shape)
        planes = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        np.testing.assert_array_equal(row, planes.ravel())
        assert label == np.searchsorted(first_of_class, seed, side="right") - 1


@pytest.mark.parametrize(("shape", "channels"), [((4, 6, 3), 3), ((4, 6), 1)])
def test_rows_are_channel_planes_with_the_class_of_their_folder(
    shape: tuple[int, ...], channels: int, tmp_path: Path
) -> None:
    splits = load(make(tmp_path, {"ant": 10, "bee": 12}, shape))
    assert splits.train.class_names == ("ant", "bee")
    assert splits.train.image_shape == (channels, 4, 6)
    assert (splits.train.X.dtype.name, splits.train.max_value) == ("uint8", 255.0)
    assert (splits.train.rows, splits.validation.rows, splits.test.rows) == (14, 4, 4)
    for part in (splits.train, splits.validation, splits.test):
        check_rows(part, [0, 10], shape)


def test_sub_folders_train_validation_and_test_are_the_split(tmp_path: Path) -> None:
    for name, count in (("train", 6), ("val", 4), ("test", 2)):
        make(tmp_path / name, {"ant": count, "bee": count})
    splits = load(tmp_path)
    assert (splits.train.rows, splits.validation.rows, splits.test.rows) == (12, 8, 4)
    check_rows(splits.train, [0, 6], (4, 6, 3))
    assert np.count_nonzero(np.diff(splits.train.y)) > 1, "classes are mixed"
    with pytest.raises(SettingsError, match=r"already has test rows, .*/test; leave test"):
        load(tmp_path, test=tmp_path / "test")


def test_a_test_folder_can_be_named(tmp_path: Path) -> None:
    make(tmp_path / "a", {"ant": 10, "bee": 10})
    make(tmp_path / "b", {"bee": 1})
    splits = load(tmp_path / "a", test=tmp_path / "b")
    assert (splits.test.y.tolist(), splits.train.rows, splits.validation.rows) == ([1], 16, 4)


def test_one_picture_with_colours_makes_all_three_channels(tmp_path: Path) -> None:
    make(tmp_path, {"ant": 5, "bee": 5}, (4, 6))
    put(tmp_path / "bee", picture(99), "colour.png")
    assert load(tmp_path).train.image_shape == (3, 4, 6)


@pytest.mark.parametrize("size", [8, "8", (8, 8), "8x8"])
def test_pictures_are_resized_on_request(size: Any, tmp_path: Path) -> None:
    make(tmp_path, {"ant": 5, "bee": 5})
    put(tmp_path / "ant", np.full((20, 10, 3), 77, np.uint8), "flat.png")
    splits = load(tmp_path, image_size=size)
    assert splits.train.image_shape == (3, 8, 8)
    every = np.concatenate([splits.train.X, splits.validation.X, splits.test.X])
    assert (every == 77).all(axis=1).sum() == 1


def test_pictures_of_several_sizes_are_refused_with_both(tmp_path: Path) -> None:
    make(tmp_path, {"ant": 5, "bee": 5})
    put(tmp_path / "bee", picture(1, (5, 6, 3)), "odd.png")
    sentence = refused({"source": tmp_path})
    assert "odd.png is 5 × 6" in sentence or "where " in sentence
    assert "--image-size" in sentence


@examples(60)
@given(data=st.data())
@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "webp", "ppm", "tif"])
def test_a_cut_picture_is_refused_and_named_or_whole(
    suffix: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = make(tmp_path_factory.mktemp("cut"), {"ant": 2, "bee": 2})
    path = put(folder / "bee", picture(7), f"cut.{suffix}")
    raw = path.read_bytes()
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw) - 1))])
    try:
        load(folder, progress=False)
    except DataError as error:
        assert f"{path} is not a valid picture" in str(error)  # noqa: PT017
    else:
        assert suffix in ("png", "jpg", "gif", "tif", "bmp", "webp")  # what follows the pixels


@pytest.mark.parametrize("raw", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(20)])
def test_a_file_that_is_no_picture_is_refused(raw: bytes, tmp_path: Path) -> None:
    make(tmp_path, {"ant": 2, "bee": 2})
    (tmp_path / "bee" / "bad.png").write_bytes(raw)
    refused({"source": tmp_path}, r"bee/bad\.png is not a valid picture \(")


def deep(kind: str, channels: int) -> bytes:
    """4 × 6 pixels of 16 bits a channel, written by hand: Pillow writes no such colours."""
    big = np.random.default_rng(0).integers(0, 1 << 16, (4, 6, channels)).astype(">u2")
    if kind == "ppm":
        return b"P6 6 4 65535\n" + big.tobytes()
    if kind == "tif":
        tags = [(256, 6), (257, 4), (258, 122), (259, 1), (262, 2), (273, 128), (277, channels)]
        head = b"MM\0*" + struct.pack(">IH", 8, 9)
        for tag, value in [*tags, (278, 4), (279, big.nbytes)]:
            count, size = (channels, "I") if tag == 258 else (1, "H2x")
            head += struct.pack(f">HHI{size}", tag, 3, count, value)
        return head + struct.pack(">I3H", 0, 16, 16, 16) + big.tobytes()
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    lines = b"".join(b"\0" + line.tobytes() for line in big)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", 6, 4, 16, colour_type, 0, 0, 0),
        b"IDAT": zlib.compress(lines),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    )


@pytest.mark.parametrize(
    ("kind", "channels"), [("png", 1), ("png", 2), ("png", 3), ("png", 4), ("tif", 3), ("ppm", 3)]
)
def test_pictures_of_more_than_8_bits_are_refused(kind: str, channels: int, tmp_path: Path) -> None:
    make(tmp_path, {"ant": 2, "bee": 2})
    (tmp_path / "bee" / f"deep.{kind}").write_bytes(deep(kind, channels))
    refused({"source": tmp_path}, rf"deep\.{kind} has values of more than 8 bits")


def test_colours_of_another_kind_are_refused_by_name(tmp_path: Path) -> None:
    make(tmp_path, {"ant": 2, "bee": 2})
    bands = [Image.new("L", (6, 4), value) for value in (10, 128, 140)]
    Image.merge("LAB", bands).save(tmp_path / "bee" / "lab.tif")
    refused({"source": tmp_path}, r"lab\.tif has colours of the kind LAB; convert it to RGB")


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_set_upright_as_exif_says(
    orientation: int, suffix: str, tmp_path: Path
) -> None:
    upright = picture(3)
    turned = np.rot90(upright, {3: 2, 4: 2, 6: 1, 7: 2, 8: -1}.get(orientation, 0))
    if orientation in (5, 7):
        turned = turned.transpose(1, 0, 2)
    if orientation in (2, 4):
        turned = turned[:, ::-1]
    for label in ("ant", "bee"):
        for i in range(3):
            path = put(tmp_path / label, upright, f"{i}.png")
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.ascontiguousarray(turned)).save(
        path.with_name(f"turned.{suffix}"), exif=exif, lossless=True
    )
    splits = load(tmp_path)
    every = np.concatenate([splits.train.X, splits.validation.X, splits.test.X])
    np.testing.assert_array_equal(every, [upright.transpose(2, 0, 1).ravel()] * 7)


def test_what_is_read_as_another_picture_is_said_once(tmp_path: Path) -> None:
    make(tmp_path, {"ant": 5, "bee": 5})
    drawing = np.zeros((4, 6, 4), np.uint8)
    drawing[1:3, :, 3] = 255  # black lines whose shape is in the transparency alone
    put(tmp_path / "ant", drawing, "drawing.png")
    put(tmp_path / "bee", drawing, "drawing.png")
    put(tmp_path / "bee", np.full((4, 6, 4), 255, np.uint8), "opaque.png")
    frames = [Image.fromarray(picture(seed)) for seed in (1, 2)]
    frames[0].save(tmp_path / "bee" / "film.tif", save_all=True, append_images=frames[1:])
    messages: list[str] = []
    load(tmp_path, log=messages.append)
    changed = [line for line in messages if ", first " in line]
    transparent, film = sorted(changed, key=lambda line: "frames" in line)
    assert "transparency is dropped" in transparent
    assert transparent.endswith("drawing.png.")
    assert ": 2 of 14, first" in transparent
    assert film.endswith(f"several frames is read: 1 of 14, first {tmp_path}/bee/film.tif.")


@pytest.mark.parametrize("colour", ["train", "val", "test"])
def test_gray_and_colour_parts_are_brought_to_one_form(colour: str, tmp_path: Path) -> None:
    for name in ("train", "val", "test"):
        make(tmp_path / name, {"ant": 2, "bee": 2}, (4, 6, 3) if name == colour else (4, 6))
    splits = load(tmp_path)
    parts = {"train": splits.train, "val": splits.validation, "test": splits.test}
    for name, part in parts.items():
        assert part.image_shape == (3, 4, 6)
        shape = (4, 6, 3) if name == colour else (4, 6)
        grays = part.X if name == colour else part.X[:, :24]
        check_rows(replace(part, X=grays, image_shape=None), [0, 2], shape)
        np.testing.assert_array_equal(part.X[:, :24], grays[:, :24])
        if name != colour:
            np.testing.assert_array_equal(part.X, np.tile(grays, 3))


def test_rows_keep_the_names_of_their_pictures(tmp_path: Path) -> None:
    splits = load(make(tmp_path, {"ant": 10, "bee": 12}))
    for part in (splits.train, splits.validation, splits.test):
        assert part.ids is not None
        names = [
            f"ant/{seed}.png" if seed < 10 else f"bee/{seed - 10}.png" for seed in part.X[:, 0]
        ]
        assert part.ids.tolist() == names


def test_pictures_too_many_for_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, {"ant": 2, "bee": 2})
    monkeypatch.setattr("onelayer.data.formats.images.available_memory", lambda: 4 * 72 - 1)
    refused({"source": tmp_path}, r"4 pictures of 4 × 6 take 288 bytes, but .*--image-size")


def test_folders_that_are_not_as_they_should_be_are_named(tmp_path: Path) -> None:
    make(tmp_path / "one", {"ant": 3})
    refused({"source": tmp_path / "one"}, "every row is of class 'ant'")
    make(tmp_path / "empty", {"ant": 3})
    (tmp_path / "empty" / "bee").mkdir()
    refused({"source": tmp_path / "empty"}, "empty/bee should hold the pictures of a class")
    make(tmp_path / "parts" / "train", {"ant": 3, "bee": 3})
    make(tmp_path / "parts", {"cow": 3})
    refused({"source": tmp_path / "parts"}, "cow beside it is none of train, training")
    make(tmp_path / "twice" / "train", {"ant": 3, "bee": 3})
    for name in ("val", "valid"):
        make(tmp_path / "twice" / name, {"ant": 3})
    refused({"source": tmp_path / "twice"}, "twice holds validation twice")
    make(tmp_path / "flat", {"ant": 3, "bee": 3})
    refused({"source": tmp_path / "flat" / "ant"}, "folder of pictures has a sub-folder for each")


def test_other_files_are_left_out_and_said(tmp_path: Path) -> None:
    make(tmp_path, {"ant": 5, "bee": 5})
    (tmp_path / "ant" / "notes.txt").write_text("no picture")
    (tmp_path / "ant" / ".hidden").write_text("")
    messages: list[str] = []
    put(tmp_path, picture(1), "loose.png")
    load(tmp_path, log=messages.append)
    assert messages == [
        f"{tmp_path}/ant: ignored files that are no pictures: notes.txt.",
        f"{tmp_path}: ignored files beside its sub-folders: loose.png.",
    ]


def test_labels_of_a_folder_of_pictures_are_refused(tmp_path: Path) -> None:
    make(tmp_path, {"ant": 5, "bee": 5})
    with pytest.raises(SettingsError, match="whose sub-folders are the classes"):
        load(tmp_path, labels="y")
