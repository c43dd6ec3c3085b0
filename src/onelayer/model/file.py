"""A model's file: one safetensors file, written and read bit for bit.

docs/reference/model-file.md describes it byte for byte.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from onelayer.data.classes import INDEX, LabelType
from onelayer.data.dataset import SplitCard
from onelayer.data.scaling import Scaling
from onelayer.errors import OnelayerError, SaveError, require_file
from onelayer.files.atomic import staged_file
from onelayer.files.records import from_plain, read_json, to_plain
from onelayer.files.tensors import read_sealed, write_sealed
from onelayer.model.certificate import Certificate

if TYPE_CHECKING:
    from onelayer.model.model import Model

M = TypeVar("M", bound="Model")

# The tensor of the training rows' fingerprints, which a model from elsewhere has none of.
TRAINING_ROWS = "split.rows"

# What a model's file says it is, and the JSON texts in its header.
FILE_KIND, FILE_VERSION = "onelayer.model", "1"

# What the file holds as JSON, and the types of the settings that a model's own words need.
FILE_TEXTS: dict[str, Any] = {
    "class_names": tuple[str, ...],
    "image_shape": tuple[int, int, int] | None,
    "feature_names": tuple[str, ...] | None,
    "label_type": LabelType,
    "settings": dict[str, Any],
    "certificate": dict[str, Any] | None,
}
OPTIONAL_TEXTS = ("label_type",)
SETTINGS: dict[str, Any] = {
    **dict.fromkeys(("l2", "validation_accuracy", "label_smoothing", "q", "moves"), float | None),
    "temperature": float | None,
    **dict.fromkeys(("passes", "seed", "train_rows", "epochs_kept", "first_index"), int | None),
    **dict.fromkeys(("name", "status", "data"), str | None),
    **dict.fromkeys(("intercept", "offsets"), bool | None),
    "penalty_factors": dict[str, float] | None,
}


def write_model(model: Model, path: Path) -> None:
    """Write a model, as of `Model.save`."""
    arrays: dict[str, NDArray[Any]] = {
        "W": model.W,
        "b": model.b,
        "scale": np.asarray(model.scaling.scale, np.float64),
        "offset": np.asarray(model.scaling.offset, np.float64),
    }
    if model.split is not None and model.split.rows is not None:
        arrays[TRAINING_ROWS] = model.split.rows
    if model.scaling.low is not None and model.scaling.high is not None:
        arrays |= {"low": model.scaling.low, "high": model.scaling.high}
    texts = {"scaling": model.scaling.name} | _texts(model)
    with staged_file(path) as staging, staging.open("wb") as stream:
        write_sealed(stream, FILE_KIND, FILE_VERSION, texts, arrays)


def read_model(kind: type[M], path: Path) -> M:
    """Read a model of this class, as of `Model.load`."""
    try:
        require_file(path)
        return kind(**_parts(*read_sealed(path, FILE_KIND, FILE_VERSION)))
    except FileNotFoundError as error:
        raise SaveError(f"{path} should be a model file, but it is not there.") from error
    except OSError as error:
        raise SaveError(f"{path} could not be read: {error.strerror or error}.") from error
    except MemoryError as error:
        raise SaveError(f"{path} takes more memory than there is ({error}).") from error
    except OnelayerError as error:
        raise SaveError(f"{path} should be a model that onelayer saved, but {error}") from error
    except Exception as error:
        raise SaveError(
            f"{path} should be a model that onelayer saved, but it cannot be read ({error}); "
            "save it again or restore it from a backup."
        ) from error


def _texts(model: Model) -> dict[str, str]:
    """The texts of a model's file."""
    values = {name: getattr(model, name) for name in FILE_TEXTS}
    if model.label_type == INDEX:
        del values["label_type"]
    proof = values["certificate"] = model.certificate and asdict(model.certificate)
    if proof and not math.isfinite(proof["gap"]):
        proof["gap"] = None  # JSON has no word for infinity, which is the gap where λ = 0
    values["split"] = to_plain(model.split, {}, "split")
    try:
        texts = {
            name: json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            for name, value in values.items()
        }
        "".join(texts.values()).encode()  # half a surrogate pair is no text that can be written
    except (TypeError, ValueError) as error:
        raise SaveError(
            f"a model's names and settings must be plain values, fit for JSON, but {error}."
        ) from error
    return texts


def _parts(texts: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """The attributes of a model, from the texts and arrays of its file."""
    values: dict[str, Any] = {
        name: from_plain(kind, read_json(texts[name]), place=name)
        for name, kind in FILE_TEXTS.items()
        if name in texts or name not in OPTIONAL_TEXTS
    }
    for name, kind in SETTINGS.items():
        from_plain(kind, values["settings"].get(name), place=f"settings.{name}")
    proof = values["certificate"]
    if proof is not None:
        gap = "inf" if proof.get("gap", "") is None else proof.get("gap")
        known = proof | {"gap": gap}
        values["certificate"] = from_plain(Certificate, known, place="certificate")
    split = read_json(texts.get("split", "null"))
    values["split"] = None if split is None else from_plain(SplitCard, split, arrays, "split")
    spans = arrays.get("low"), arrays.get("high")
    scaling = Scaling(texts["scaling"], arrays["scale"], arrays["offset"], *spans)  # type: ignore[arg-type]
    return values | {"W": arrays["W"], "b": arrays["b"], "scaling": scaling}
