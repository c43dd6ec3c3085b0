"""The templates of one model as one picture on disk."""

from __future__ import annotations

from pathlib import Path

from onelayer.errors import SettingsError
from onelayer.model import Model
from onelayer.report.painter import PNG_SCALE
from onelayer.report.pictures import template_drawing
from onelayer.whole_file import staged_file


def write_templates(model: Model, path: Path, title: str) -> None:
    """Draw each class's row of W as a picture, by the rule of `report.pictures`.

    Args:
        model: whose features are an image.
        path: ends in .png or .svg; a file that is there is replaced.
        title: printed above.

    Raises:
        SettingsError: when the features are no image, or for another ending.
        SaveError: when the file cannot be written.
    """
    import vl_convert

    ending = path.suffix.lower()
    if ending not in (".png", ".svg"):
        raise SettingsError(f"pictures are written as .png or .svg, but {path.name} was given.")
    drawing = template_drawing(model.W, model.class_names, model.image_shape, title)
    if drawing is None:
        raise SettingsError(
            "this model's features are no image, so there is no picture to write; leave --out out."
        )
    content = drawing.encode()
    if ending == ".png":
        content = vl_convert.svg_to_png(drawing, scale=PNG_SCALE)
    with staged_file(path) as staging:
        staging.write_bytes(content)
