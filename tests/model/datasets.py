"""Models that no training stands behind, for files, exports and tables to handle."""

from __future__ import annotations

from typing import Any

import numpy as np

from onelayer.data.scaling import Scaling
from onelayer.model.certificate import Certificate
from onelayer.model.model import Model

PROOF = Certificate(0.1, 1.5, 0.01, 0.05, 1e-17, 90)


def make_model(
    classes: int = 3, features: int = 12, dtype: type = np.float32, seed: int = 0, **parts: Any
) -> Model:
    """A model with every part set, its scaling one that standardizes bytes."""
    rng = np.random.default_rng(seed)
    made: dict[str, Any] = {
        "W": rng.normal(size=(classes, features)).astype(dtype),
        "b": rng.normal(size=classes).astype(dtype),
        "scaling": Scaling(
            "standardize", rng.uniform(0.01, 0.03, features), rng.normal(size=features)
        ),
        "class_names": tuple(f"class {k}" for k in range(classes)),
        "image_shape": (1, 3, features // 3) if features % 3 == 0 else None,
        "feature_names": tuple(f"pixel {j}" for j in range(features)),
        "settings": {"l2": 0.1, "train_rows": 90, "name": "λ=0.1", "data": "made"},
        "certificate": PROOF,
    }
    return Model(**made | parts)


def make_rows(count: int = 40, features: int = 12, seed: int = 1) -> np.ndarray[Any, Any]:
    """Rows of bytes."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, features), dtype=np.uint8)
