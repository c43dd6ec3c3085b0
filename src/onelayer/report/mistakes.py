"""The mistakes that a model is most confident of: pictures, or lines of a table."""

from __future__ import annotations

from onelayer.data.dataset import DataCard
from onelayer.model.evaluation import Mistakes
from onelayer.report.render import Picture, Section
from onelayer.report.table import Column, make_table
from onelayer.report.weight_images import picture_uri, pictures_of


def mistakes_section(mistakes: Mistakes | None, card: DataCard, name: str) -> Section | None:
    """The test rows that the model of this name gets wrong with the most confidence; or None."""
    if mistakes is None or not len(mistakes.rows):
        return None
    lines = [
        (
            str(row) if mistakes.ids is None else mistakes.ids[i],
            card.class_names[mistakes.true[i]],
            card.class_names[mistakes.predicted[i]],
            # One that is not 1 is never called 100 %.
            f"{100 * p:.1f} %" if (p := float(mistakes.confidence[i])) < 0.9995 else "> 99.9 %",
        )
        for i, row in enumerate(mistakes.rows)
    ]
    text = f"The test rows that {name} gets wrong with the most confidence."
    note = "" if mistakes.ids is not None else "Test rows are numbered from 0."
    pictures, table = [], None
    if mistakes.images is not None and card.image_shape is not None:
        uris = map(picture_uri, pictures_of(mistakes.images, card.image_shape))
        pictures = [Picture(uri, *line) for uri, line in zip(uris, lines, strict=True)]
        note = f"Point at a picture to see which row it is. {note}"
    else:
        words = [Column(name, words=True) for name in ("true class", "predicted class")]
        table = make_table("Confident mistakes", ["row", *words, "probability"], lines[:12])
    return Section(
        anchor="mistakes",
        heading="Confident mistakes",
        text=(text,),
        pictures=tuple(pictures),
        table=table,
        note=note,
    )
