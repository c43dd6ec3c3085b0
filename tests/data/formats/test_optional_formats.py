"""PyTorch's files, HDF5 and zarr: rows as stored, no code run, one sentence without a package."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from onelayer import DataError, load, probe, solve, split
from onelayer.data.formats.registry import FORMATS
from onelayer.model.predictions import read_rows

from .file_writers import Array, installed, small_rows

X, LABELS = small_rows(rows=60)
Y = (LABELS == "dog").astype(int)
WHOLE = split(X, LABELS)
Write = Callable[[Path, Mapping[str, Any]], Path]
"""Writes arrays by name, or the only one, which is called "", under a path without suffix."""


def silent(line: str) -> None:
    """Nothing is read of what is said."""


def _pytorch(path: Path, arrays: Mapping[str, Any], suffix: str = ".pt", new: bool = True) -> Path:
    made = {
        n: torch.from_numpy(a) if a.dtype.kind in "fi" else a.tolist() for n, a in arrays.items()
    }
    path = path.with_suffix(suffix)
    torch.save(made.get("", made), path, _use_new_zipfile_serialization=new)
    return path


def _hdf5(path: Path, arrays: Mapping[str, Any], **how: Any) -> Path:
    import h5py

    with h5py.File(path.with_suffix(".h5"), "w") as file:
        for name, values in arrays.items():
            shaped = how if values.ndim > 1 else {}
            values = values if values.dtype.kind in "fi" else values.tolist()
            file.create_dataset(name or "rows", data=values, **shaped)
    return path.with_suffix(".h5")


def _zarr(path: Path, arrays: Mapping[str, Any], version: int = 3) -> Path:
    import zarr

    path = path.with_suffix(".zarr")
    for name, values in arrays.items():
        text = values.dtype.kind not in "fi"
        shape = {"shape": values.shape, "chunks": (7, *values.shape[1:])}
        dtype = str if text else values.dtype
        made = zarr.create_array(path / name, dtype=dtype, zarr_format=version, **shape)
        made[...] = values.astype(object) if text else values
    return path


WRITERS: dict[str, Write] = {
    "pt": _pytorch,
    "pth": lambda path, arrays: _pytorch(path, arrays, ".pth"),
    "pt of old": lambda path, arrays: _pytorch(path, arrays, new=False),
}
if installed("h5py"):
    WRITERS |= {
        "h5": _hdf5,
        "h5 chunks": lambda path, arrays: _hdf5(path, arrays, chunks=True, compression="gzip"),
    }
if installed("zarr"):
    WRITERS |= {
        "zarr": _zarr,
        "zarr 2": lambda path, arrays: _zarr(path, arrays, 2),
    }
STREAMED = [kind for kind in WRITERS if not kind.startswith("pt")]


@pytest.mark.parametrize("kind", WRITERS)
def test_rows_and_labels_are_read_as_stored(kind: str, tmp_path: Path) -> None:
    for dtype in ("float16", "float32", "float64"):
        path = WRITERS[kind](tmp_path / f"a{dtype}", {"X": X.astype(dtype), "y": LABELS})
        data = load(path, log=silent)
        assert data.train.X.dtype == dtype
        np.testing.assert_array_equal(data.test.X, WHOLE.test.X)
        assert data.test.labels.tolist() == WHOLE.test.labels.tolist()


@pytest.mark.parametrize("kind", WRITERS)
def test_an_only_array_takes_its_labels_from_elsewhere(kind: str, tmp_path: Path) -> None:
    rows = WRITERS[kind](tmp_path / "rows", {"": X})
    labels = WRITERS[kind](tmp_path / "labels", {"": Y})
    data = load(rows, labels=labels, log=silent)
    np.testing.assert_array_equal(data.test.y, WHOLE.test.y)
    found, _ = read_rows(str(rows))
    np.testing.assert_array_equal(found[:], X)


def test_streamed_rows_are_the_same_rows(tmp_path: Path) -> None:
    for kind in STREAMED:
        path = WRITERS[kind](tmp_path / kind, {"X": X, "y": LABELS})
        streamed, loaded = load(path, stream=True, log=silent), load(path, log=silent)
        assert type(streamed.train.X) is not type(loaded.train.X)
        np.testing.assert_array_equal(streamed.test.X[:], loaded.test.X)
        np.testing.assert_allclose(solve(streamed, l2=0.1).W, solve(loaded, l2=0.1).W, atol=1e-9)


@pytest.mark.parametrize("kind", WRITERS)
def test_arrays_of_parts_in_a_file_are_the_split(kind: str, tmp_path: Path) -> None:
    separator = "/" if kind in STREAMED else "_"
    held: dict[str, Any] = {}
    for name, part in (("train", WHOLE.train), ("val", WHOLE.validation), ("test", WHOLE.test)):
        held |= {f"{name}{separator}X": part.X, f"{name}{separator}labels": part.labels}
    found = load(WRITERS[kind](tmp_path / "a", held), log=silent)
    for role in ("train", "validation", "test"):
        assert getattr(found, role).X.tobytes() == getattr(WHOLE, role).X.tobytes()
    with pytest.raises(Exception, match="already has test rows"):
        load(tmp_path / f"a{Path(found.train.source).suffix}", test=tmp_path)


@pytest.mark.parametrize("kind", WRITERS)
def test_each_array_is_a_feature_set_of_a_probe(kind: str, tmp_path: Path) -> None:
    sets = {"layer1": X, "layer10": -X, "layer2": X * X}
    path = WRITERS[kind](tmp_path / "sets", {**sets, "label": LABELS})
    suite = probe(path, l2=[0.1], log=silent)
    assert [head.name for head in suite.heads] == ["layer1", "layer2", "layer10"]
    assert (
        suite["layer2"].model.W == probe(sets, LABELS, l2=[0.1], log=silent)["layer2"].model.W
    ).all()
    stacked = WRITERS[kind](tmp_path / "stacked", {"acts": np.stack([X, -X], 1), "label": LABELS})
    assert len(probe(stacked, l2=[0.1], log=silent).heads) == 2


def test_a_folder_of_tensors_is_one_set_a_file(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for i in range(3):
        torch.save(torch.from_numpy(X), tmp_path / "deep" / f"layer{i}.pt")
    np.save(tmp_path / "first.npy", X)
    suite = probe(tmp_path, LABELS, l2=[0.1], log=silent)
    assert [head.name for head in suite.heads] == [
        "deep/layer0",
        "deep/layer1",
        "deep/layer2",
        "first",
    ]
    torch.save({"a": torch.ones(3), "b": torch.ones(3)}, tmp_path / "two.pt")
    with pytest.raises(DataError, match=r"two\.pt must hold one array"):
        probe(tmp_path, LABELS, l2=[0.1], log=silent)


def test_bfloat16_in_a_file_of_tensors_becomes_float32_and_says_so(tmp_path: Path) -> None:
    torch.save({"X": torch.from_numpy(X).bfloat16(), "y": torch.tensor(Y)}, tmp_path / "a.pt")
    said: list[str] = []
    data = load(tmp_path / "a.pt", log=said.append)
    assert data.train.X.dtype == np.float32
    assert any("is bfloat16 and is converted to float32 once" in line for line in said)


class RunsCode:
    """What runs a command when it is unpickled."""

    def __reduce__(self) -> Any:
        return sys.exit, (3,)


@pytest.mark.parametrize("new", [True, False])
def test_a_file_of_tensors_runs_no_code(new: bool, tmp_path: Path) -> None:
    held = {"X": torch.from_numpy(X), "y": RunsCode()}
    torch.save(held, tmp_path / "a.pt", _use_new_zipfile_serialization=new)
    with pytest.raises(
        DataError, match=r"other than tensors \(sys.exit\).* refused; nothing was run"
    ):
        load(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("held", "sentence"),
    [
        ({"epoch": 3}, "holds no tensors, but int"),
        ({}, "holds no tensors, but nothing"),
        (3, "holds int; save a tensor, or a dict of tensors"),
        (torch.ones(3, 2), "has no labels; pass"),
        ({"X": torch.ones(4, 3, 2), "y": torch.ones(4)}, "must be an array of rows and columns"),
    ],
)
def test_a_file_of_other_objects_gets_one_sentence(
    held: Any, sentence: str, tmp_path: Path
) -> None:
    torch.save(held, tmp_path / "a.pt")
    with pytest.raises(DataError, match=sentence):
        load(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("a.pt", "torch", "torch"), ("a.h5", "h5py", "hdf5"), ("a.zarr", "zarr", "zarr")],
)
def test_without_its_package_a_format_is_refused_in_one_sentence(
    name: str, package: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    if name.endswith(".zarr"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".zarray").write_text("{}")
    else:
        (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(DataError, match=rf"for which {package} is needed, .*onelayer\[{extra}\]'"):
        load(tmp_path / name)


@pytest.mark.parametrize("suffix", [".pt", ".h5", ".zarr"])
def test_what_is_not_there_is_called_so(suffix: str, tmp_path: Path) -> None:
    assert suffix in FORMATS
    with pytest.raises(DataError, match="no such file"):
        load(tmp_path / f"a{suffix}")


if installed("h5py"):

    def test_numbers_that_lie_in_other_files_are_refused(tmp_path: Path) -> None:
        import h5py

        np.save(tmp_path / "raw.npy", X)
        with h5py.File(tmp_path / "a.h5", "w") as file:
            outside = [(tmp_path / "raw.npy", 128, X.nbytes)]
            file.create_dataset("X", X.shape, X.dtype, external=outside)
            file["y"] = Y
        with pytest.raises(DataError, match="'X' lies in other files; copy it into this one"):
            load(tmp_path / "a.h5")

    @pytest.mark.parametrize("chunks", [None, True])
    def test_a_file_of_hdf5_cut_anywhere_is_refused_and_named(chunks: Any, tmp_path: Path) -> None:
        whole = _hdf5(tmp_path / "a", {"X": X, "y": LABELS}, chunks=chunks).read_bytes()
        for length in range(0, len(whole), 97):
            (tmp_path / "a.h5").write_bytes(whole[:length])
            with pytest.raises(DataError, match=r"a\.h5") as caught:
                load(tmp_path / "a.h5", log=silent)
            assert "\n" not in str(caught.value)

    def test_a_contiguous_data_set_is_mapped_behind_a_user_block(tmp_path: Path) -> None:
        import h5py

        with h5py.File(tmp_path / "a.h5", "w", userblock_size=1024) as file:
            file["X"], file["y"] = X, Y
        other = tmp_path / "b.h5"
        other.write_bytes((tmp_path / "a.h5").read_bytes())
        data = load(tmp_path / "a.h5", test=other, validation=other, log=silent)
        mapped: Any = data.train.X
        while isinstance(mapped, np.ndarray) and not isinstance(mapped, np.memmap):
            mapped = mapped.base
        assert isinstance(mapped, np.memmap)


if installed("zarr"):

    @pytest.mark.parametrize(
        ("codec", "sentence"),
        [
            ({"id": "pickle"}, "is not a valid zarr folder"),  # so says zarr itself
            ({"id": "quantize", "digits": 2, "dtype": "<f4"}, "is stored with 'quantize', which"),
        ],
    )
    def test_codecs_that_are_not_known_to_be_harmless_are_refused_unread(
        codec: dict[str, Any], sentence: str, tmp_path: Path
    ) -> None:
        for name, values in (("X", X), ("y", Y)):
            _zarr(tmp_path / "a", {name: values}, 2)
        about = tmp_path / "a.zarr" / "X" / ".zarray"
        changed = json.loads(about.read_text()) | {"filters": [codec]}
        about.write_text(json.dumps(changed))
        with pytest.raises(DataError, match=sentence):
            load(tmp_path / "a.zarr")

    def test_a_folder_of_zarr_runs_no_code(tmp_path: Path) -> None:
        _zarr(tmp_path / "a", {"X": X, "y": Y}, 2)
        about, chunk = (tmp_path / "a.zarr" / "X" / name for name in (".zarray", "0.0"))
        pickled = {"dtype": "|O", "filters": [{"id": "pickle"}], "compressor": None}
        about.write_text(json.dumps(json.loads(about.read_text()) | pickled))
        chunk.write_bytes(pickle.dumps(RunsCode()))
        with pytest.raises(DataError, match="is not a valid zarr folder"):
            load(tmp_path / "a.zarr")


if installed("h5py") and installed("zarr"):

    @pytest.mark.parametrize("shape", [(1 << 62, 3), (1000, 1 << 40)])
    @pytest.mark.parametrize("suffix", [".h5", ".zarr"])
    def test_a_shape_of_chunks_that_nobody_wrote_is_not_believed(
        suffix: str, shape: tuple[int, int], tmp_path: Path
    ) -> None:
        path = tmp_path / f"a{suffix}"
        if suffix == ".h5":
            import h5py

            with h5py.File(path, "w") as file:
                file.create_dataset("X", shape, "f4", chunks=(5, 3))
                file["y"] = Y
        else:
            _zarr(tmp_path / "a", {"X": X, "y": Y}, 2)
            about = path / "X" / ".zarray"
            about.write_text(json.dumps(json.loads(about.read_text()) | {"shape": shape}))
        with pytest.raises(DataError, match=r"(rows|columns), for .* of memory are left; [^;]*\.$"):
            load(path, stream=True)


if installed("zarr"):

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize(
        ("key", "sizes"),
        [("shape", (10**400, 3)), ("shape", (1000, 10**400)), ("shape", (60, 1 << 63)),
         ("shape", (60, 10**400, 3)), ("chunks", (10**400, 3)), ("chunks", (5, 10**400))],
    )  # fmt: skip
    def test_a_shape_that_no_machine_counts_is_refused(
        key: str, sizes: tuple[int, ...], stream: bool, tmp_path: Path
    ) -> None:
        path = _zarr(tmp_path / "a", {"X": X, "y": Y}, 2)
        about = path / "X" / ".zarray"
        found = json.loads(about.read_text())
        chunks = found["chunks"] + [1] * (len(sizes) - 2)
        about.write_text(json.dumps(found | {"chunks": chunks, key: sizes}))
        with pytest.raises(DataError, match=r" of more than 2⁶³, .*; write it again\.$"):
            load(path, stream=stream)


def test_images_of_a_file_as_keras_writes_them_are_rows(tmp_path: Path) -> None:
    images: Array = np.random.default_rng(0).integers(0, 255, (40, 5, 4), np.uint8)
    np.savez(tmp_path / "mnist.npz", x_train=images, y_train=Y[:40], x_test=images, y_test=Y[:40])
    data = load(tmp_path / "mnist.npz", log=silent)
    with pytest.raises(DataError, match=r"name one of its parts, as in .*mnist\.npz:test\."):
        read_rows(str(tmp_path / "mnist.npz"))
    assert len(read_rows(f"{tmp_path}/mnist.npz:test")[0]) == 40
    with pytest.raises(DataError, match="leave the labels out, and its parts are the split"):
        load(tmp_path / "mnist.npz", labels="y_train")
    assert data.test.image_shape == (1, 5, 4)
    assert data.test.X.tobytes() == images.tobytes()
