"""Templates: each row of W as the picture that its class answers to most; grey is a weight of 0."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.errors import printable
from onelayer.report.theme import LIGHT, PAPER_FONT
from onelayer.training.result import Result

# The share of |w| that is within a picture's own scale: the few largest would grey the rest.
RANK = 0.995

MOST_CLASSES = 20
MOST_FRAMES = 61


@dataclass(frozen=True, eq=False)
class TemplateRow:
    """The templates of one run or path: one picture a class, in each frame."""

    name: str
    weights: Sequence[NDArray[np.floating]]  # W of shape (K, D) in each frame
    frames: tuple[int, ...]  # which frame is shown at each step of the slider
    readings: tuple[str, ...]  # what to say beside the name at each step
    drawn: NDArray[np.floating]  # W in the drawing for a paper
    title: str  # of that drawing
    file: str  # its name, without ending


@dataclass(frozen=True, eq=False)
class TemplateGrid:
    """Rows of templates under one slider, of which the first MOST_CLASSES classes are shown."""

    step: str  # what the slider goes through, "epoch" or "λ"
    labels: tuple[str, ...]  # what each step is, "epoch 3" or "λ = 0.1"
    start: int  # step that is shown at first
    rows: tuple[TemplateRow, ...]  # one for each setting
    classes: tuple[str, ...]  # names of all
    image_shape: tuple[int, int, int]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes that are shown."""
        return self.classes[:MOST_CLASSES]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of one template, px."""
        _, height, width = self.image_shape
        step = _step(self.image_shape)
        return -(-width // step), -(-height // step)

    @property
    def drawings(self) -> dict[str, str]:
        """Finished SVG texts, by file name without ending."""
        return {
            row.file: template_drawing(row.drawn, self.classes, self.image_shape, row.title)
            for row in self.rows
        }

    @property
    def note(self) -> str:
        """How to read the pictures."""
        shown, count = len(self.class_names), len(self.classes)
        first = f" The first {shown} of {count} classes." if shown < count else ""
        return (
            "Each picture is a row of W, the input that its class answers to most: mid-grey is a "
            "weight of 0, brighter is for the class and darker against it, channel by channel. "
            f"Every picture has its own scale, symmetric around 0 and set anew at each {self.step}"
            f"; ‖W‖ gives the scale.{first}"
        )

    def data(self) -> dict[str, Any]:
        """What the page's script draws from: in each row's sheet a frame is a line of pictures."""
        rows = []
        for row in self.rows:
            frames = (templates_of(W, self.image_shape) for W in row.weights)
            sheet = np.concatenate([np.concatenate(list(frame), axis=1) for frame in frames])
            uri = picture_uri(sheet)
            rows.append({"uri": uri, "frames": row.frames, "readings": row.readings})
        return {"size": self.size, "labels": self.labels, "start": self.start, "rows": rows}


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
        kept, name = result.outcomes[i].epochs, result.runs[i].name
        at, own, weights = [kept] * len(epochs), [kept], [result.W[i]]
        if i in result.snapshots:
            at = [min(epoch, kept) for epoch in epochs]
            own = sorted(set(at))
            weights = [result.snapshots[i][epoch] for epoch in own]
        rows.append(
            TemplateRow(
                name,
                weights,
                tuple(own.index(epoch) for epoch in at),
                tuple(_reading(result, i, epoch) for epoch in at),
                drawn=result.W[i],
                title=f"Templates of W, {name}",
                file=f"templates-{file}",
            )
        )
    labels = tuple(f"epoch {epoch}" for epoch in epochs)
    names = result.data.class_names
    return TemplateGrid("epoch", labels, len(labels) - 1, tuple(rows), names, shape)


def _reading(result: Result, position: int, epoch: int) -> str:
    norm = result.history.weight_norm[position, epoch]
    accuracy = 100.0 * result.history.validation_accuracy[position, epoch]
    which = f"seed {result.runs[position].seed}, epoch {epoch}"
    if not np.isfinite(norm):
        return f"{which}: nothing was measured"
    words = f"{which}: ‖W‖ = {norm:.3g}"
    return words + (f", validation accuracy {accuracy:.2f} %" if np.isfinite(accuracy) else "")


def templates_of(W: NDArray[np.floating], image_shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The first rows of W as pictures; the RANK-th largest |w| of each is white or black."""
    weights = W[:MOST_CLASSES].astype(np.promote_types(W.dtype, np.float32))
    values = np.nan_to_num(weights, nan=0.0, posinf=0.0, neginf=0.0)
    scale = np.quantile(np.abs(values), RANK, axis=1, method="lower", keepdims=True)
    unit = np.clip(values / np.where(scale > 0, scale, 1.0), -1.0, 1.0)
    return pictures_of(np.floor(127.5 * (unit + 1.0) + 0.5).astype(np.uint8), image_shape)


def pictures_of(pixels: NDArray[np.uint8], image_shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Rows of pixels, (n, D), as pictures, (n, height, width, 3), large ones with fewer pixels."""
    channels = [0, 1, 2] if image_shape[0] >= 3 else [0, 0, 0]
    step = _step(image_shape)
    planes = pixels.reshape(-1, *image_shape)[:, channels, ::step, ::step]
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def _step(image_shape: tuple[int, int, int]) -> int:
    return -(-max(image_shape[1:]) // 64)


def template_drawing(
    W: NDArray[np.floating],
    class_names: tuple[str, ...],
    image_shape: tuple[int, int, int],
    title: str,
) -> str:
    """Draw the templates of one W, for a paper."""
    pictures = templates_of(W, image_shape)
    count, height, width, _ = pictures.shape
    # On paper each picture has at least this side, in CSS pixels, before it is doubled for PNG.
    zoom = max(1, -(-128 // max(width, height)))
    across, down = width * zoom, height * zoom
    columns = min(5, count)
    title = escape(printable(title))
    page_width = max(24 + columns * (across + 12) - 12, 480)
    page_height = 56 + -(-count // columns) * (down + 34)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{page_width}" height="{page_height}" '
        f'viewBox="0 0 {page_width} {page_height}" font-family="{PAPER_FONT}" role="img">',
        f"<title>{title}</title>",
        f'<rect width="100%" height="100%" fill="{LIGHT.panel}"/>',
        f'<text x="12" y="28" font-size="15" font-weight="600" fill="{LIGHT.ink}">{title}</text>',
    ]
    for k, (name, picture) in enumerate(zip(class_names, pictures, strict=False)):
        x, y = 12 + k % columns * (across + 12), 44 + k // columns * (down + 34)
        enlarged = picture.repeat(zoom, axis=0).repeat(zoom, axis=1)
        parts.append(
            f'<image x="{x}" y="{y}" width="{across}" height="{down}" '
            f'image-rendering="optimizeSpeed" href="{picture_uri(enlarged, "PNG")}"/>'
            f'<text x="{x + across / 2}" y="{y + down + 18}" font-size="13" '
            f'text-anchor="middle" fill="{LIGHT.ink}">{escape(printable(name[:24]))}</text>'
        )
    return "".join([*parts, "</svg>"])


def picture_uri(picture: NDArray[np.uint8], form: str = "WEBP") -> str:
    """A picture as a data URI."""
    from PIL import Image

    # WEBP has no larger pictures; PNG ignores the options.
    form = form if max(picture.shape[:2]) <= 16383 else "PNG"
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, form, quality=82, method=2, use_sharp_yuv=True)
    payload = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{form.lower()};base64,{payload}"
