"""The terminal's tables of a model: what it is, and its strongest features, within 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onelayer.model import Model
from onelayer.report.terminal import plain_table
from onelayer.report.wording import DATA_NAMES, SCALINGS

if TYPE_CHECKING:
    from rich.table import Table

STRONGEST = 5
MOST_CLASSES = 25


def model_table(model: Model, named: str) -> Table:
    """Tabulate what a model is and how it was made.

    Args:
        model: any.
        named: what the user calls it, for the title.

    Returns:
        One line a fact.

    Example:
        >>> from onelayer.scaling import Scaling
        >>> scaling = Scaling("none", np.ones(2), np.zeros(2))
        >>> model_table(Model(np.eye(2), np.zeros(2), scaling, ("a", "b")), "").row_count
        4
    """
    from rich.markup import escape

    table = plain_table(escape(named))
    table.add_column("fact", no_wrap=True)
    table.add_column("", overflow="fold")
    for name, words in _facts(model).items():
        table.add_row(name, escape(words))
    return table


def strongest_table(model: Model, most: int = STRONGEST) -> Table:
    """Tabulate the features that speak loudest for and against each class.

    Args:
        model: any.
        most: features of each sign.

    Returns:
        One line a class, of the first MOST_CLASSES: the features with the largest and with the
        smallest weights on the scaled features, by name.

    Example:
        >>> from onelayer.scaling import Scaling
        >>> scaling = Scaling("none", np.ones(2), np.zeros(2))
        >>> table = strongest_table(Model(np.eye(2), np.zeros(2), scaling, ("a", "b")))
        >>> list(table.columns[1].cells)
        ['feature 0 +1', 'feature 1 +1']
    """
    from rich.markup import escape

    shown = model.class_names[:MOST_CLASSES]
    left = model.classes - len(shown)
    more = f" (the first {len(shown)} of {model.classes})" if left else ""
    table = plain_table(f"Weights on the scaled features, strongest first{more}")
    table.add_column("class", overflow="fold", max_width=18)
    table.add_column("for it", overflow="fold")
    table.add_column("against it", overflow="fold")
    for name, weights in zip(shown, model.W, strict=False):
        order = np.argsort(-weights, kind="stable")
        best = [j for j in order[:most] if weights[j] > 0]
        worst = [j for j in order[::-1][:most] if weights[j] < 0]
        cells = ("\n".join(_weight(model, j, weights[j]) for j in js) for js in (best, worst))
        table.add_row(escape(name), *map(escape, cells))
    return table


def _facts(model: Model) -> dict[str, str]:
    settings = model.settings
    facts = {
        "classes": f"{model.classes}: {', '.join(model.class_names[:MOST_CLASSES])}"
        + (", …" if model.classes > MOST_CLASSES else ""),
        "features": f"{model.features:,}, {SCALINGS.get(model.scaling.name, model.scaling.name)}",
        "weights": f"{model.W.dtype}, ‖W‖ = {float(np.linalg.norm(model.W)):.4g}",
        "proof": "none" if model.certificate is None else model.certificate.sentence,
    }
    if model.image_shape is not None:
        channels, height, width = model.image_shape
        facts["features"] += f"; pictures of {height} × {width}, {channels} planes"
    if "data" in settings:
        data = DATA_NAMES.get(settings["data"], settings["data"])
        facts["trained on"] = f"{data}, {settings.get('train_rows', 0):,} rows"
    for name in _TOLD:
        if settings.get(name) is not None:
            facts[name.replace("_", " ")] = str(settings[name])
    return facts


# What a reader of the settings asks first; the file has all of them.
_TOLD = (
    *("name", "made_by", "l2", "learning_rate", "batch_size", "epochs_kept", "seed", "tol"),
    *("status", "validation_accuracy"),
)


def _weight(model: Model, feature: int, weight: float) -> str:
    name = f"feature {feature}"
    if model.feature_names is not None:
        name = model.feature_names[feature]
    return f"{name} {weight:+.3g}"
