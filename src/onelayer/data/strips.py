"""The npm package's PNG strips: 1024 pixels wide, one image of 32 × 32 a row of the strip."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onelayer.data.labels import checked_labels
from onelayer.data.layout import PIXEL_BYTES, Layout, RecordFile
from onelayer.data.records import Records, encode_records, read_bounded
from onelayer.errors import DataError

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
        >>> from onelayer.data.layout import CIFAR10
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
