"""Pictures, each a row of bytes: with classes, a sub-folder for each; or as rows to classify."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from onelayer.data.formats import base
from onelayer.data.memory import available_memory, format_bytes
from onelayer.data.progress import Log, counting
from onelayer.data.split import stratified_order
from onelayer.errors import DataError, SettingsError, require_file

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")

MAX_SIDE = 4096
_PILLOW_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
_GRAY, _COLOUR = ("1", "L", "LA"), ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")

# EXIF's tag of the orientation, and Pillow's name for what sets each upright.
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
    6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90",
}  # fmt: skip

# What is said of pictures that are read as others than they are.
_TRANSPARENT = "transparency is dropped (put pictures that need it on a background)"
_FRAMES = "only the first of several frames is read"
_RESIZED, _TO_GRAY = "resized to the model's {} × {}", "colours become the model's gray"
Shape = tuple[int, int, int]


def sub_folders(folder: Path) -> list[Path]:
    """The sub-folders that are not hidden; a folder of pictures has one for each class."""
    return [path for path in base.list_folder(folder) if os.path.isdir(path)]


def parts_of(folder: Path, log: Log) -> dict[str, Path]:
    """The folders of train, validation and test that exist; without train the folder is train."""
    folders = {path.name: path for path in sub_folders(folder)}
    if not any(base.PARTS.get(name.lower()) == "train" for name in folders):
        return {"train": folder}
    _note_loose_files(folder, log)
    parts: dict[str, Path] = {}
    for name, path in folders.items():
        part = base.PARTS.get(name.lower())
        if part is None:
            raise DataError(
                f"{folder} has a sub-folder train and so is taken as split, but {name} beside it "
                f"is none of {', '.join(base.PARTS)}; move it into train, or rename train."
            )
        if part in parts:
            raise DataError(f"{folder} holds {part} twice, as {name} too; keep one.")
        parts[part] = path
    return parts


def read_images(folder: Path, options: base.ReadOptions) -> base.Table:
    """A folder of pictures as rows of bytes, (N, channels · height · width), classes mixed."""
    classes = sub_folders(folder)
    found = [(path, place.name) for place in classes for path in _pictures(place, options.log)]
    if not found:
        raise DataError(
            f"{folder} holds no pictures in sub-folders: make a sub-folder for each class and put "
            f"its pictures in it ({', '.join(PICTURES)})."
        )
    _note_loose_files(folder, options.log)
    numbers = np.unique([name for _, name in found], return_inverse=True)[1]
    found = [found[i] for i in stratified_order(numbers.astype(np.int64), options.seed)]
    table = _read_pictures([path for path, _ in found], folder, options)
    labels = np.array([name for _, name in found], object)
    return replace(table, labels=labels, labels_where=f"{folder}, its sub-folders")


def read_pictures(named: Path, log: Log, image_shape: Shape | None) -> base.Table | None:
    """Every picture of a folder or a pattern as a row, in a model's form; None without any."""
    folder = named if os.path.isdir(named) else None
    if folder is not None:
        found = list(_files_under(folder))
    else:
        found = base.match_pattern(named) if base.is_pattern(named) else [named]
    kept, others = _apart(found)
    if not kept:
        return None
    _note_ignored(named, "that are no pictures", others, log)
    options = base.ReadOptions(log, progress=True, image_shape=image_shape)
    return _read_pictures(kept, folder, options)


def in_one_form(tables: dict[str, base.Table]) -> dict[str, base.Table]:
    """The parts of a data set, the gray pictures in three channels where another part has them."""
    if all(table.image_shape is None or table.image_shape[0] < 3 for table in tables.values()):
        return tables
    return {
        role: replace(table, X=np.tile(table.X, 3), image_shape=(3, *table.image_shape[1:]))
        if table.image_shape is not None and table.image_shape[0] == 1
        else table
        for role, table in tables.items()
    }


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
    kept, others = _apart(base.list_folder(folder))
    if not kept:
        raise DataError(
            f"{folder} should hold the pictures of a class, but there is none in it "
            f"({', '.join(PICTURES)}); put some there or remove the folder."
        )
    _note_ignored(folder, "that are no pictures", others, log)
    return kept


def _apart(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    kept, others = list[Path](), list[Path]()
    for path in paths:
        (kept if path.suffix.lower() in PICTURES else others).append(path)
    return kept, others


def _files_under(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """The files of a folder and of its sub-folders, but for links to a folder that they are in."""
    above = (*above, os.path.realpath(folder))
    for path in base.list_folder(folder):
        if not os.path.isdir(path):
            yield path
        elif os.path.realpath(path) not in above:
            yield from _files_under(path, above)


def _note_loose_files(folder: Path, log: Log) -> None:
    loose = [path for path in base.list_folder(folder) if not os.path.isdir(path)]
    _note_ignored(folder, "beside its sub-folders", loose, log)


def _note_ignored(where: Path, which: str, paths: Sequence[Path], log: Log) -> None:
    if paths:
        listed = ", ".join(path.name for path in paths[:5])
        more = f", … ({len(paths)} in all)" if len(paths) > 5 else ""
        log(f"{where}: ignored files {which}: {listed}{more}.")


def _read_pictures(
    paths: Sequence[Path], folder: Path | None, options: base.ReadOptions
) -> base.Table:
    """Pictures as rows of one size, in three channels if any has colours, or in a model's."""
    size, channels, X = options.image_size, 0, np.empty((0, 0, 0, 0), np.uint8)
    if options.image_shape is not None:
        channels, *own = options.image_shape
        size = size or (own[0], own[1])
    changes: dict[str, list[Path]] = {}
    where = str(folder or (paths[0] if len(paths) == 1 else paths[0].parent))
    with counting(f"reading {Path(where).name}", len(paths), show=options.progress) as step:
        for row, path in enumerate(paths):
            with open_image(path, path) as image:
                planes = _decode(image, path, size, channels, changes)
            if not row:
                X = _make_room(len(paths), max(len(planes), channels), planes.shape[1:], where)
            if planes.shape[1:] != X.shape[2:]:
                sides = ((*X.shape[2:], paths[0]), (*planes.shape[1:], path))
                both = " and ".join(f"{at} is {h} × {w}" for h, w, at in sides)
                raise DataError(
                    f"all pictures must have one size, but {both} (height × width); resize them "
                    "with image_size (--image-size HEIGHTxWIDTH)."
                )
            if len(planes) > X.shape[1]:
                X = X.repeat(len(planes), axis=1)  # the first with colours
            X[row] = planes
            step()
    for change, changed in changes.items():
        options.log(f"{where}: {change}: {len(changed)} of {len(paths)}, first {changed[0]}.")
    names = [str(path.relative_to(folder) if folder else path) for path in paths]
    ids = np.array([name.encode(errors="backslashreplace").decode() for name in names], object)
    shape = (X.shape[1], X.shape[2], X.shape[3])
    return base.Table(X.reshape(len(X), -1), None, where, where, None, shape, 255.0, ids)


def _make_room(count: int, channels: int, sides: tuple[int, ...], where: str) -> NDArray[np.uint8]:
    needed, left = count * channels * prod(sides), available_memory()
    if needed > left:
        raise DataError(
            f"{where}: {count} pictures of {sides[0]} × {sides[1]} take {format_bytes(needed)}, "
            f"but {format_bytes(left)} of memory are left; make them smaller with image_size "
            "(--image-size)."
        )
    return np.empty((count, channels, *sides), np.uint8)


def _decode(
    image: ImageFile,
    path: Path,
    size: tuple[int, int] | None,
    channels: int,
    changes: dict[str, list[Path]],
) -> NDArray[np.uint8]:
    """The channel planes, upright; the path is added to what `changes` the picture."""
    from PIL.Image import Resampling, Transpose

    _check_mode(image, path)
    found = [_FRAMES] if getattr(image, "is_animated", False) else []
    image.load()
    gray = image.mode in _GRAY
    if image.has_transparency_data:
        opaque = image.convert("RGBA").getchannel("A").getextrema() == (255, 255)
        found += [] if opaque else [_TRANSPARENT]
    found += [_TO_GRAY] if channels == 1 and not gray else []
    pixels = image.convert("L" if gray or channels == 1 else "RGB")
    turn = _UPRIGHT.get(_orientation(image))
    pixels = pixels if turn is None else pixels.transpose(Transpose[turn])
    if size is not None and pixels.size != size[::-1]:
        found += [_RESIZED.format(*size)] if channels else []  # else the user asked for the size
        pixels = pixels.resize(size[::-1], Resampling.BILINEAR)
    for change in found:
        changes.setdefault(change, []).append(path)
    return np.atleast_3d(np.asarray(pixels)).transpose(2, 0, 1)


def _check_mode(image: ImageFile, path: Path) -> None:
    """Refuse what 8 bits a channel do not hold; Pillow drops the lower half of 16 in silence."""
    codec, coding = (image.tile[0][0], image.tile[0][3]) if image.tile else ("", "")
    raw, *more = coding if isinstance(coding, tuple) else (coding,)
    deep = image.mode[0] in "IF" or (";16" in str(raw) and not str(raw).startswith("BGR"))
    if deep or (codec == "ppm" and more and more[0] > 255):
        raise DataError(
            f"{path} has values of more than 8 bits (Pillow reads {raw or image.mode}); convert it "
            "to 8 bits a channel."
        )
    if image.mode not in _GRAY + _COLOUR:
        raise DataError(f"{path} has colours of the kind {image.mode}; convert it to RGB.")


def _orientation(image: Image) -> int:
    """How the camera was held, by EXIF; 1, upright, where that is damaged or says nothing."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a damaged tag can raise anything, and is no part of the picture
        return 1


@contextmanager
def open_image(
    source: Path | BinaryIO,
    path: Path,
    kind: str = "picture",
    formats: tuple[str, ...] = _PILLOW_FORMATS,
    advice: str = "replace it or take it out",
) -> Iterator[ImageFile]:
    """Open the picture of that path; a damaged one, or one that is far too large, is refused."""
    from PIL import Image

    with base.file_errors(path, kind, advice), warnings.catch_warnings():
        if isinstance(source, Path):
            require_file(source)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(source, formats=formats) as image:
            yield image
