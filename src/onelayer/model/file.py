"""A model as one file: safetensors, with the settings, scaling and class names in its header.

    8 bytes          n, the length of the header, unsigned, little-endian
    n bytes          the header: JSON; __metadata__ holds texts, the others are places of tensors
    the rest         W (K, D), b (K,), scale (D,), offset (D,), little-endian, in that order

docs/reference/model-file.md describes it byte for byte. The header holds the file's SHA-256, so a
file with a single other bit is refused. Nothing in a file can run code when it is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from io import BytesIO
from math import inf, isfinite
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from onelayer.data.scaling import Scaling
from onelayer.errors import OnelayerError, SaveError
from onelayer.files.atomic import staged_file
from onelayer.files.tensors import read_sealed, write_sealed
from onelayer.model.model import Certificate, Model

KIND = "onelayer.model"

VERSION = "1"

M = TypeVar("M", bound=Model)


def write_model(model: Model, path: Path) -> None:
    """Write a model's file, whole or not at all."""
    content = model_bytes(model)
    with staged_file(path) as staging:
        staging.write_bytes(content)


def model_bytes(model: Model) -> bytes:
    """The bytes of a model's file."""
    arrays = {
        "W": model.W,
        "b": model.b,
        "scale": np.asarray(model.scaling.scale, np.float64),
        "offset": np.asarray(model.scaling.offset, np.float64),
    }
    content = BytesIO()
    write_sealed(content, KIND, VERSION, _texts(model), arrays)
    return content.getvalue()


def read_model(kind: type[M], path: Path) -> M:
    """The model of a file; a damaged or foreign file gives a SaveError and runs nothing."""
    if not path.is_file():
        what = "it is a folder" if path.is_dir() else "it is not there"
        raise SaveError(f"{path} should be a model file, but {what}.")
    try:
        return _model(kind, *read_sealed(path, KIND, VERSION))
    except OSError as error:
        raise SaveError(f"{path} could not be read: {error.strerror or error}.") from error
    except OnelayerError as error:
        raise SaveError(f"{path} should be a model that onelayer saved, but {error}") from error
    except Exception as error:
        raise SaveError(
            f"{path} should be a model that onelayer saved, but it cannot be read ({error}); "
            "save it again or restore it from a backup."
        ) from error


def _texts(model: Model) -> dict[str, str]:
    proof = model.certificate and asdict(model.certificate)
    if proof and not isfinite(proof["gap"]):
        proof["gap"] = None  # JSON has no word for infinity, which is the gap where λ = 0
    values = {
        "class_names": model.class_names,
        "image_shape": model.image_shape,
        "feature_names": model.feature_names,
        "settings": dict(model.settings),
        "certificate": proof,
    }
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
    return {"scaling": model.scaling.name} | texts


def _model(kind: type[M], metadata: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> M:
    values = {
        name: json.loads(metadata[name])
        for name in ("class_names", "image_shape", "feature_names", "settings", "certificate")
    }
    proof = values["certificate"]
    if proof is not None and proof["gap"] is None:
        proof["gap"] = inf
    return kind(
        W=arrays["W"],
        b=arrays["b"],
        scaling=Scaling(metadata["scaling"], arrays["scale"], arrays["offset"]),  # type: ignore[arg-type]
        class_names=tuple(values["class_names"]),
        image_shape=values["image_shape"] and tuple(values["image_shape"]),
        feature_names=values["feature_names"] and tuple(values["feature_names"]),
        settings=values["settings"],
        certificate=None if proof is None else Certificate(**proof),
    )
