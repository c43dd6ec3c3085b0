"""Sealed files can be read back, and the environment is described."""

from __future__ import annotations

import gc
import weakref
from io import BytesIO
from typing import Any

import numpy as np

from onelayer.files.provenance import describe_environment
from onelayer.files.records import from_plain
from onelayer.files.tensors import safetensors_bytes, write_sealed


def test_a_sealed_file_names_its_kind_once() -> None:
    file = BytesIO()
    write_sealed(file, "onelayer.example", "1", {}, {"weight": np.eye(1)})
    assert file.getvalue().count(b"onelayer.example") == 1


def test_safetensors_reads_what_is_written() -> None:
    from safetensors.numpy import load

    read: dict[str, Any] = load(safetensors_bytes({"weight": np.eye(1)}, {}))
    assert list(read) == ["weight"]
    assert read["weight"].tolist() == [[1.0]]


def test_the_environment_has_these_entries() -> None:
    found = describe_environment()
    assert sorted(found) == ["cores", "onelayer", "processor", "python", "system"]


def test_what_reading_a_record_tries_first_keeps_nothing_of_the_caller_alive() -> None:
    kind: Any = int | str | None

    def caller() -> weakref.ref[np.ndarray[Any, Any]]:
        rows = np.zeros(3)
        assert from_plain(kind, "text") == "text"
        return weakref.ref(rows)

    gc.disable()
    try:
        assert caller()() is None
    finally:
        gc.enable()
