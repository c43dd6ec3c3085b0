"""Where a format carries checksums, one changed bit of a value is noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from .file_writers import small
from .test_damage import refused, written


@pytest.mark.parametrize("kind", ["npz", "npz compressed", "parquet lists"])
def test_a_changed_bit_of_a_value_is_noticed(kind: str, tmp_path: Path) -> None:
    X, mark = small(rows=12)[0], b""
    if kind == "npz compressed":  # random bytes, which are kept nearly as they are
        X = np.random.default_rng(0).integers(1, 251, (12, 300)).astype(np.uint8)
        mark = b"anything.npy"
    said = written(kind, tmp_path, X=X)
    raw = bytearray(said["source"].read_bytes())
    raw[raw.index(mark) + 400 if mark else raw.index(X[:2].tobytes()[:8])] ^= 1
    said["source"].write_bytes(raw)
    refused(said, r"a\.(npz|parquet) is not a valid (\.npz|Parquet) file \(")
