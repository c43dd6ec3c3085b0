"""What CIFAR-100 is, byte for byte: names, sizes and pinned sums.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. One record is a
coarse and a fine label byte, then 3072 pixel bytes as in CIFAR-10. The sums are those that public
loaders of the official files check: SHA-256 of the binary files and archives, MD5 of the python
files.
"""

from __future__ import annotations

from dataclasses import dataclass

from onelayer.data.layout import PIXEL_BYTES, RecordFile

RECORD_BYTES = 2 + PIXEL_BYTES
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
        return self.rows * RECORD_BYTES

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
