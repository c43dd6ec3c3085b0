"""Templates: each row of W as the picture that its class answers to most.

Grey is a weight of 0, and brighter and darker are weights for and against; every picture has its
own scale, the same in both directions, so that the RANK-th largest of its |w| is full white or
black and pictures from small and from large weights can both be read. The scale is set anew at
each epoch: how the weights grow or shrink is told by ‖W‖ beside the slider.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.report.chart import LIGHT, PAPER_FONT
from onelayer.training.result import Result

# The share of |w| that is within the scale: the few largest, at the corners, would grey the rest.
RANK = 0.995

MOST_CLASSES = 20

MOST_FRAMES = 61

MOST_PIXELS = 64

# On paper each picture has at least this side, in CSS pixels, before it is doubled for PNG.
PAPER_SIDE = 128


@dataclass(frozen=True)
class TemplateSheet:
    """The templates of one run at several epochs, or of several λ, in one picture.

    Attributes:
        uri: the picture as a data URI: one row of K templates for each epoch or λ.
        width: of one template, px.
        height: of one template, px.
        step: what the slider goes through, "epoch" or "λ".
        labels: what each row is, "epoch 3" or "λ = 0.1".
        start: row that is shown at first.
        class_names: names of the K classes.
        readings: what to say beside the slider at each row.
        caption: which run or model it is.
    """

    uri: str
    width: int
    height: int
    step: str
    labels: tuple[str, ...]
    start: int
    class_names: tuple[str, ...]
    readings: tuple[str, ...]
    caption: str


def template_sheet(result: Result, position: int) -> TemplateSheet | None:
    """Draw one run's templates at every epoch of its snapshots, or at the end without them.

    Args:
        result: the records.
        position: of the run.

    Returns:
        The sheet; None when the features are no picture.
    """
    shape = result.data.image_shape
    if shape is None:
        return None
    last = result.outcomes[position].epochs
    epochs = [last]
    shots = result.snapshots.get(position)
    if shots is not None:
        epochs = sorted({int(e) for e in np.linspace(0, last, min(last + 1, MOST_FRAMES))})
    last_only = len(epochs) == 1
    caption = f"seed {result.runs[position].seed}"
    return draw_sheet(
        [result.W[position] if shots is None else shots[epoch] for epoch in epochs],
        result.data.class_names,
        shape,
        step="epoch",
        labels=tuple(f"epoch {epoch}" for epoch in epochs),
        start=len(epochs) - 1,
        readings=tuple(_reading(result, position, epoch) for epoch in epochs),
        caption=f"{caption}, epoch {last}" if last_only else caption,
    )


def draw_sheet(
    frames: Sequence[NDArray[np.floating]],
    class_names: tuple[str, ...],
    image_shape: tuple[int, int, int],
    **words: Any,
) -> TemplateSheet:
    """Draw the templates of several W below each other, in one picture.

    Args:
        frames: weights, each of shape (K, D).
        class_names: names of the K classes.
        image_shape: (channels, height, width) with channels · height · width = D.
        **words: the other attributes of the sheet.

    Returns:
        The sheet, of the first MOST_CLASSES classes.
    """
    names = class_names[:MOST_CLASSES]
    rows = [
        np.concatenate(list(_shrunk(pictures_of(W[: len(names)], image_shape))), axis=1)
        for W in frames
    ]
    sheet = np.concatenate(rows, axis=0)
    return TemplateSheet(
        uri=picture_uri(sheet),
        width=sheet.shape[1] // len(names),
        height=sheet.shape[0] // len(frames),
        class_names=names,
        **words,
    )


def pictures_of(W: NDArray[np.floating], image_shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Turn rows of W into pictures by the rule at the head of this module.

    Args:
        W: weights, shape (K, D), planes of channels one after the other.
        image_shape: (channels, height, width) with channels · height · width = D.

    Returns:
        RGB pictures, shape (K, height, width, 3); one channel becomes grey, and of more than
        three the first three are shown. A weight that is not a number is drawn as 0.

    Example:
        >>> pictures_of(np.array([[-1.0, 0.0, 1.0]]), (1, 1, 3))[0, 0, :, 0]
        array([  0, 128, 255], dtype=uint8)
    """
    values = np.nan_to_num(W.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    scale = np.quantile(np.abs(values), RANK, axis=1, method="lower", keepdims=True)
    unit = np.clip(values / np.where(scale > 0, scale, 1.0), -1.0, 1.0)
    bytes_ = np.floor(127.5 * (unit + 1.0) + 0.5).astype(np.uint8)
    planes = bytes_.reshape(-1, *image_shape)
    channels = [0, 1, 2] if image_shape[0] >= 3 else [0, 0, 0]
    return np.ascontiguousarray(planes[:, channels].transpose(0, 2, 3, 1))


def template_drawing(
    W: NDArray[np.floating],
    class_names: tuple[str, ...],
    image_shape: tuple[int, int, int] | None,
    title: str,
) -> str | None:
    """Draw the templates of one W, for a paper.

    Args:
        W: weights, shape (K, D).
        class_names: names of the K classes.
        image_shape: as for `pictures_of`, or None.
        title: printed above.

    Returns:
        SVG text, every pixel enlarged to a square; None when the features are no picture.
    """
    if image_shape is None:
        return None
    names = class_names[:MOST_CLASSES]
    pictures = _shrunk(pictures_of(W[: len(names)], image_shape))
    height, width = pictures.shape[1:3]
    zoom = max(1, -(-PAPER_SIDE // max(width, height)))
    across, down = width * zoom, height * zoom
    columns = min(5, len(names))
    lines = -(-len(names) // columns)
    page_width = max(24 + columns * (across + 12) - 12, 480)
    page_height = 56 + lines * (down + 34)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{page_width}" height="{page_height}" '
        f'viewBox="0 0 {page_width} {page_height}" font-family="{PAPER_FONT}" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="100%" height="100%" fill="{LIGHT.panel}"/>',
        f'<text x="12" y="28" font-size="15" font-weight="600" fill="{LIGHT.ink}">'
        f"{escape(title)}</text>",
    ]
    for k, (name, picture) in enumerate(zip(names, pictures, strict=True)):
        x, y = 12 + k % columns * (across + 12), 44 + k // columns * (down + 34)
        enlarged = picture.repeat(zoom, axis=0).repeat(zoom, axis=1)
        parts.append(
            f'<image x="{x}" y="{y}" width="{across}" height="{down}" '
            f'image-rendering="optimizeSpeed" href="{picture_uri(enlarged, "PNG")}"/>'
            f'<text x="{x + across / 2}" y="{y + down + 18}" font-size="13" '
            f'text-anchor="middle" fill="{LIGHT.ink}">{escape(name[:24])}</text>'
        )
    return "".join([*parts, "</svg>"])


def _reading(result: Result, position: int, epoch: int) -> str:
    norm = result.history.weight_norm[position, epoch]
    accuracy = 100.0 * result.history.validation_accuracy[position, epoch]
    if not np.isfinite(norm):
        return "nothing was measured here"
    return f"‖W‖ = {norm:.3g}, validation accuracy {accuracy:.2f} %"


def _shrunk(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Halve large pictures by leaving out pixels until they fit: a page shows them small."""
    step = -(-max(pictures.shape[1:3]) // MOST_PIXELS)
    return pictures[:, ::step, ::step]


def picture_uri(picture: NDArray[np.uint8], form: str = "WEBP") -> str:
    """A picture as a data URI."""
    from PIL import Image

    image = Image.fromarray(picture)
    buffer = io.BytesIO()
    if form == "WEBP" and max(picture.shape[:2]) <= 16383:
        image.save(buffer, "WEBP", quality=82, method=2, use_sharp_yuv=True)
    else:
        form = "PNG"
        image.save(buffer, "PNG")
    payload = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{form.lower()};base64,{payload}"
