"""A folder of pictures: a sub-folder for each class, every picture one row of bytes."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from onelayer.data.formats.base import ReadOptions, Table, first_line, list_folder
from onelayer.data.progress import Log, counting
from onelayer.data.split import stratified_order
from onelayer.errors import DataError, SettingsError

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")

# The part that a sub-folder of this name holds, in any case, or a file whose name begins so.
PARTS = {
    "train": "train", "training": "train", "validation": "validation", "val": "validation",
    "valid": "validation", "test": "test", "testing": "test",
}  # fmt: skip

MAX_SIDE = 4096
_PILLOW_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")

_GRAY, _COLOUR = ("1", "L", "LA"), ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


def sub_folders(folder: Path) -> list[Path]:
    """The sub-folders that are not hidden; a folder of pictures has one for each class."""
    return [path for path in list_folder(folder) if os.path.isdir(path)]


def parts_of(folder: Path) -> dict[str, Path]:
    """The folders of train, validation and test that exist; without train the folder is train."""
    folders = {path.name: path for path in sub_folders(folder)}
    if not any(PARTS.get(name.lower()) == "train" for name in folders):
        return {"train": folder}
    parts: dict[str, Path] = {}
    for name, path in folders.items():
        part = PARTS.get(name.lower())
        if part is None:
            raise DataError(
                f"{folder} has a sub-folder train and so is taken as split, but {name} beside it "
                f"is none of {', '.join(PARTS)}; move it into train, or rename train."
            )
        if part in parts:
            raise DataError(f"{folder} holds {part} twice, as {name} too; keep one.")
        parts[part] = path
    return parts


def read_images(folder: Path, options: ReadOptions) -> Table:
    """A folder of pictures as rows, classes mixed by a seed so that batches hold all of them.

    X (N, channels · height · width) uint8, channel planes one after another; one channel when every
    picture is gray, else three. Without `image_size` all must have one size.
    """
    from PIL.Image import Resampling

    classes = sub_folders(folder)
    found = [(path, place.name) for place in classes for path in _pictures(place, options.log)]
    if not found:
        raise DataError(
            f"{folder} holds no pictures in sub-folders: make a sub-folder for each class and put "
            f"its pictures in it ({', '.join(PICTURES)})."
        )
    numbers = np.unique([name for _, name in found], return_inverse=True)[1]
    found = [found[i] for i in stratified_order(numbers.astype(np.int64), options.seed)]
    size, mode = _common_pixels([path for path, _ in found], options.image_size)
    shape = (1 if mode == "L" else 3, *size)
    X = np.empty((len(found), prod(shape)), np.uint8)
    with counting(f"reading {folder.name}", len(found), show=options.progress) as step:
        for row, (path, _) in enumerate(found):
            with open_image(path, path) as image:
                pixels = image.convert(mode)
                if pixels.size != size[::-1]:
                    pixels = pixels.resize(size[::-1], Resampling.BILINEAR)
                planes = np.atleast_3d(np.asarray(pixels)).transpose(2, 0, 1)
            X[row] = planes.reshape(-1)
            step()
    labels = np.array([name for _, name in found], object)
    where = str(folder)
    return Table(X, labels, where, f"{where}, its sub-folders", None, shape, 255.0)


def parse_size(given: object) -> tuple[int, int] | None:
    """(height, width) of an `image_size`: None, a side, a pair, or text such as "32" or "32x24"."""
    if given is None:
        return None
    sides: object = (given, given) if isinstance(given, int) else given
    if isinstance(given, str):
        found = re.fullmatch(r"(\d{1,6})(?:[x×](\d{1,6}))?", given)
        sides = found and (int(found[1]), int(found[2] or found[1]))
    match sides:
        case (int(height), int(width)) if 0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE:
            return height, width
    raise SettingsError(
        "image_size (--image-size) must be one side or HEIGHTxWIDTH in pixels, such as 32 or "
        f"32x24, each from 1 to {MAX_SIDE}, but it is {given!r}."
    )


def _pictures(folder: Path, log: Log) -> list[Path]:
    paths = list_folder(folder)
    kept = [path for path in paths if path.suffix.lower() in PICTURES]
    if not kept:
        raise DataError(
            f"{folder} should hold the pictures of a class, but there is none in it "
            f"({', '.join(PICTURES)}); put some there or remove the folder."
        )
    others = [path.name for path in paths if path.suffix.lower() not in PICTURES]
    if others:
        listed = ", ".join(others[:5]) + (" …" if len(others) > 5 else "")
        log(f"{folder}: ignored files that are no pictures: {listed}.")
    return kept


def _common_pixels(
    paths: Sequence[Path], image_size: tuple[int, int] | None
) -> tuple[tuple[int, int], str]:
    """(height, width) and mode of all: sizes must agree, and one with colours makes all RGB."""
    mode, sizes = "L", dict[tuple[int, int], Path]()
    for path in paths:
        with open_image(path, path) as image:
            if image.mode not in _GRAY + _COLOUR:
                raise DataError(
                    f"{path} has values of more than 8 bits (Pillow's mode {image.mode}); convert "
                    "it to 8 bits a channel."
                )
            if image.mode in _COLOUR:
                mode = "RGB"
            sizes.setdefault((image.height, image.width), path)
        if image_size is None and len(sizes) > 1:
            found = " and ".join(f"{at} is {h} × {w}" for (h, w), at in sizes.items())
            raise DataError(
                f"all pictures must have one size, but {found} (height × width); resize them with "
                "image_size (--image-size HEIGHTxWIDTH)."
            )
    return image_size or next(iter(sizes)), mode


@contextmanager
def open_image(
    source: Path | BinaryIO,
    path: Path,
    kind: str = "picture",
    formats: tuple[str, ...] = _PILLOW_FORMATS,
    advice: str = "replace it or take it out",
) -> Iterator[Image]:
    """Open the picture of that path; a damaged one, or one that is far too large, is refused."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source, formats=formats) as image:
                yield image
    except DataError:
        raise
    except Exception as e:  # a damaged picture can raise anything
        raise DataError(f"{path} is not a valid {kind} ({first_line(e)}); {advice}.") from e
