"""A folder of pictures: a sub-folder for each class, every picture one row of bytes."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onelayer.data.formats.base import Table, first_line
from onelayer.data.progress import Log, counting
from onelayer.data.split import stratified_order
from onelayer.errors import DataError, SettingsError

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")

# The part that a sub-folder of this name holds.
PARTS = {
    "train": "train", "validation": "validation", "val": "validation", "valid": "validation",
    "test": "test",
}  # fmt: skip

MAX_SIDE = 4096
_PILLOW_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")

_GRAY, _COLOUR = ("1", "L", "LA"), ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


@dataclass(frozen=True)
class _Pixels:
    """What all pictures become: (height, width), and L or RGB."""

    size: tuple[int, int]
    mode: str

    @property
    def shape(self) -> tuple[int, int, int]:
        return (1 if self.mode == "L" else 3, *self.size)


def has_sub_folders(folder: Path) -> bool:
    """Whether a folder can be one of pictures: it has a sub-folder that is not hidden."""
    return bool(_sub_folders(folder))


def parts_of(folder: Path) -> dict[str, Path]:
    """The folders of train, validation and test that exist; without train the folder is train.

    Example:
        >>> parts_of(Path("missing"))
        Traceback (most recent call last):
        onelayer.errors.DataError: missing cannot be listed: No such file or directory.
    """
    folders = {path.name: path for path in _sub_folders(folder)}
    if "train" not in folders:
        return {"train": folder}
    parts: dict[str, Path] = {}
    for name, path in folders.items():
        if name not in PARTS:
            raise DataError(
                f"{folder} has a sub-folder train and so is taken as split, but {name} beside it "
                f"is none of {', '.join(PARTS)}; move it into train, or rename train."
            )
        if PARTS[name] in parts:
            raise DataError(f"{folder} holds {PARTS[name]} twice, as {name} too; keep one.")
        parts[PARTS[name]] = path
    return parts


def read_images(
    folder: Path, log: Log, *, image_size: tuple[int, int] | None, seed: int, progress: bool
) -> Table:
    """A folder of pictures as rows, classes mixed by a seed so that batches hold all of them.

    X (N, channels · height · width) uint8, channel planes one after another; one channel when every
    picture is gray, else three. Without `image_size` all must have one size.
    """
    classes = _sub_folders(folder)
    found = [(path, place.name) for place in classes for path in _pictures(place, log)]
    if not found:
        raise DataError(
            f"{folder} holds no pictures in sub-folders: make a sub-folder for each class and put "
            f"its pictures in it ({', '.join(PICTURES)})."
        )
    numbers = np.unique([name for _, name in found], return_inverse=True)[1]
    found = [found[i] for i in stratified_order(numbers.astype(np.int64), seed)]
    pixels = _common_pixels([path for path, _ in found], image_size)
    X = np.empty((len(found), int(np.prod(pixels.shape))), np.uint8)
    with counting(f"reading {folder.name}", len(found), show=progress) as step:
        for row, (path, _) in enumerate(found):
            X[row] = _read(path, pixels)
            step()
    labels = np.array([name for _, name in found], object)
    where = str(folder)
    return Table(X, labels, where, f"{where}, its sub-folders", None, pixels.shape, 255.0)


def parse_size(given: object) -> tuple[int, int] | None:
    """(height, width) of an `image_size`: None, a side, a pair, or text such as "32" or "32x24".

    Example:
        >>> parse_size("32x24"), parse_size(8)
        ((32, 24), (8, 8))
    """
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


def _sub_folders(folder: Path) -> list[Path]:
    with _listing(folder), os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    return [folder / name for name in names]


def _pictures(folder: Path, log: Log) -> list[Path]:
    with _listing(folder):
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    kept = [folder / name for name in names if name.lower().endswith(PICTURES)]
    if not kept:
        raise DataError(
            f"{folder} should hold the pictures of a class, but there is none in it "
            f"({', '.join(PICTURES)}); put some there or remove the folder."
        )
    others = [name for name in names if not name.lower().endswith(PICTURES)]
    if others:
        listed = ", ".join(others[:5]) + (" …" if len(others) > 5 else "")
        log(f"{folder}: ignored files that are no pictures: {listed}.")
    return kept


@contextmanager
def _listing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror or error}.") from error


def _common_pixels(paths: Sequence[Path], image_size: tuple[int, int] | None) -> _Pixels:
    """Look at every picture's header: sizes must agree, and one with colours makes all RGB."""
    mode, first = "L", (paths[0], (0, 0))
    for path in paths:
        with _opened(path) as image:
            size = (image.height, image.width)
            if image.mode not in _GRAY + _COLOUR:
                raise DataError(
                    f"{path} has values of more than 8 bits (Pillow's mode {image.mode}); convert "
                    "it to 8 bits a channel."
                )
            if image.mode in _COLOUR:
                mode = "RGB"
        if path == paths[0]:
            first = (path, size)
        if image_size is None and size != first[1]:
            raise DataError(
                f"all pictures must have one size, but {path} is {size[0]} × {size[1]} (height × "
                f"width) where {first[0]} is {first[1][0]} × {first[1][1]}; resize them with "
                "image_size (--image-size HEIGHTxWIDTH)."
            )
    return _Pixels(image_size or first[1], mode)


def _read(path: Path, pixels: _Pixels) -> NDArray[np.uint8]:
    from PIL.Image import Resampling

    with _opened(path) as image:
        converted = image.convert(pixels.mode)
        height, width = pixels.size
        if converted.size != (width, height):
            converted = converted.resize((width, height), Resampling.BILINEAR)
        values = np.asarray(converted)
    return (values if values.ndim == 2 else values.transpose(2, 0, 1)).reshape(-1)


@contextmanager
def _opened(path: Path) -> Iterator[Image]:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # Pillow warns of a picture that is far too large; such a one is refused.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_PILLOW_FORMATS) as image:
                yield image
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, Warning, Image.DecompressionBombError) as e:
        raise DataError(
            f"{path} is not a valid picture ({first_line(e)}); replace it or take it out."
        ) from e
