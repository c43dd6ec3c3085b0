"""Templates: each row of W as the picture that its class answers to most.

Grey is a weight of 0, and brighter and darker are weights for and against; every picture has its
own scale, the same in both directions, so that the RANK-th largest of its |w| is full white or
black and pictures from small and from large weights can both be read. The scale is set anew at
each epoch; ‖W‖, beside the name, shows how the weights grow or shrink.
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

from onelayer.report.theme import LIGHT, PAPER_FONT
from onelayer.training.result import Result

# The share of |w| that is within the scale: the few largest, at the corners, would grey the rest.
RANK = 0.995

MOST_CLASSES = 20

MOST_FRAMES = 61

MOST_PIXELS = 64

# On paper each picture has at least this side, in CSS pixels, before it is doubled for PNG.
PAPER_SIDE = 128


@dataclass(frozen=True)
class TemplateRow:
    """The templates of one run or model: one picture a class, in each frame.

    Attributes:
        name: what the row is called, as a setting.
        uri: all frames below each other as a data URI, in each the K templates side by side.
        frames: which frame is shown at each step of the slider.
        readings: what to say beside the name at each step.
        drawing: the last frame, or the chosen one, as a finished SVG text for a paper.
        file: name of that file, without ending.
    """

    name: str
    uri: str
    frames: tuple[int, ...]
    readings: tuple[str, ...]
    drawing: str
    file: str


@dataclass(frozen=True)
class TemplateGrid:
    """Rows of templates under one slider.

    Attributes:
        step: what the slider goes through, "epoch" or "λ".
        labels: what each step is, "epoch 3" or "λ = 0.1".
        start: step that is shown at first.
        class_names: names of the classes that are shown.
        classes: K, how many there are.
        width: of one template, px.
        height: of one template, px.
        rows: one for each setting.
    """

    step: str
    labels: tuple[str, ...]
    start: int
    class_names: tuple[str, ...]
    classes: int
    width: int
    height: int
    rows: tuple[TemplateRow, ...]

    @property
    def drawings(self) -> dict[str, str]:
        """Finished SVG texts, by file name without ending."""
        return {row.file: row.drawing for row in self.rows}

    @property
    def note(self) -> str:
        """How to read the pictures."""
        shown = len(self.class_names)
        first = f" The first {shown} of {self.classes} classes." if shown < self.classes else ""
        return (
            "Each picture is a row of W, the input that its class answers to most: mid-grey is a "
            "weight of 0, brighter is for the class and darker against it, channel by channel. "
            f"Every picture has its own scale, symmetric around 0 and set anew at each {self.step}"
            f"; ‖W‖ gives the scale.{first}"
        )

    def data(self) -> dict[str, Any]:
        """What the page's script draws from."""
        return {
            "width": self.width,
            "height": self.height,
            "labels": self.labels,
            "start": self.start,
            "rows": [
                {"uri": row.uri, "frames": row.frames, "readings": row.readings}
                for row in self.rows
            ],
        }


def template_grid(
    result: Result, positions: Sequence[int], files: Sequence[str]
) -> TemplateGrid | None:
    """The templates of some runs at every epoch of their snapshots, or at the end without them."""
    shape = result.data.image_shape
    if shape is None or not positions:
        return None
    last = max((result.outcomes[i].epochs for i in positions if i in result.snapshots), default=0)
    epochs = sorted({int(e) for e in np.linspace(0, last, min(last + 1, MOST_FRAMES))})
    rows = []
    for i, file in zip(positions, files, strict=True):
        kept, shots = result.outcomes[i].epochs, result.snapshots.get(i)
        own = sorted({min(epoch, kept) for epoch in epochs}) if shots is not None else [kept]
        at = [min(epoch, kept) if shots is not None else kept for epoch in epochs]
        frames = [result.W[i]] if shots is None else [shots[epoch] for epoch in own]
        name = result.runs[i].name
        rows.append(
            make_row(
                name,
                frames,
                tuple(own.index(epoch) for epoch in at),
                tuple(_reading(result, i, epoch) for epoch in at),
                drawing=template_drawing(
                    result.W[i], result.data.class_names, shape, f"Templates of W, {name}"
                ),
                file=f"templates-{file}",
                image_shape=shape,
            )
        )
    labels = tuple(f"epoch {epoch}" for epoch in epochs)
    return make_grid("epoch", labels, len(labels) - 1, rows, result.data.class_names, shape)


def make_row(
    name: str,
    weights: Sequence[NDArray[np.floating]],
    frames: tuple[int, ...],
    readings: tuple[str, ...],
    *,
    drawing: str | None,
    file: str,
    image_shape: tuple[int, int, int],
) -> TemplateRow:
    """A row of templates from weights of shape (K, D) for each frame."""
    pictures = [
        np.concatenate(list(_shrunk(pictures_of(W[:MOST_CLASSES], image_shape))), axis=1)
        for W in weights
    ]
    uri = picture_uri(np.concatenate(pictures, axis=0))
    return TemplateRow(name, uri, frames, readings, drawing or "", file)


def make_grid(
    step: str,
    labels: tuple[str, ...],
    start: int,
    rows: Sequence[TemplateRow],
    class_names: tuple[str, ...],
    image_shape: tuple[int, int, int],
) -> TemplateGrid:
    """A grid of such rows."""
    _, height, width = image_shape
    shrink = -(-max(height, width) // MOST_PIXELS)
    return TemplateGrid(
        step,
        labels,
        start,
        class_names[:MOST_CLASSES],
        len(class_names),
        -(-width // shrink),
        -(-height // shrink),
        tuple(rows),
    )


def pictures_of(W: NDArray[np.floating], image_shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Turn rows of W into pictures by the rule at the head of this module.

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
    """Draw the templates of one W, for a paper."""
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
    which = f"seed {result.runs[position].seed}, epoch {epoch}"
    if not np.isfinite(norm):
        return f"{which}: nothing was measured"
    words = f"{which}: ‖W‖ = {norm:.3g}"
    return words + (f", validation accuracy {accuracy:.2f} %" if np.isfinite(accuracy) else "")


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
