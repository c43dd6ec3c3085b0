"""A model comes back bit for bit, or one sentence says why not and nothing has run."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import struct
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelayer import solve, split
from onelayer.errors import SaveError
from onelayer.files.atomic import staged_file
from onelayer.model.file import SETTINGS
from onelayer.model.model import Model
from tests.examples import few
from tests.model.datasets import PROOF, make_model, make_rows

BARE: dict[str, Any] = {"image_shape": None, "feature_names": None, "certificate": None}


def model_bytes(model: Model) -> bytes:
    """The bytes of a model's file."""
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "m")
        return (Path(folder) / "m").read_bytes()


def assert_same(one: Model, other: Model) -> None:
    for name in ("W", "b"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a.dtype, a.tobytes()) == (b.dtype, b.tobytes())
    for name in ("scale", "offset"):
        assert getattr(one.scaling, name).tobytes() == getattr(other.scaling, name).tobytes()
    assert one.scaling.name == other.scaling.name
    for name in ("class_names", "image_shape", "feature_names", "settings", "certificate"):
        assert getattr(one, name) == getattr(other, name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("parts", [{}, BARE, {"certificate": replace(PROOF, l2=0.0, gap=np.inf)}])
def test_a_model_comes_back_bit_for_bit(parts: Any, dtype: type, tmp_path: Path) -> None:
    model = make_model(dtype=dtype, **parts)
    model.save(tmp_path / "new" / "model.safetensors")
    back = Model.load(tmp_path / "new" / "model.safetensors")
    assert_same(back, model)
    np.testing.assert_array_equal(back.scores(make_rows()), model.scores(make_rows()))


# No surrogates: they are no characters, and Python's own files cannot hold them either.
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
plain = st.none() | st.booleans() | numbers | words


@given(
    names=st.lists(words, min_size=2, max_size=5, unique=True),
    settings=st.dictionaries(words.filter(lambda word: word not in SETTINGS), plain),
)
def test_any_names_and_settings_come_back(
    names: list[str], settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    K = len(names)
    model = make_model(K, class_names=tuple(names), settings=settings)
    path = tmp_path_factory.mktemp("any") / "model.safetensors"
    model.save(path)
    assert_same(Model.load(path), model)


def test_text_that_looks_like_the_sums_place_does_not_mislead_it(tmp_path: Path) -> None:
    zeros = '"sha256":"' + "0" * 64 + '"'
    model = make_model(class_names=(zeros, zeros[1:], "c"), settings={zeros: zeros, "sha256": "0"})
    model.save(tmp_path / "m")
    assert_same(Model.load(tmp_path / "m"), model)


def test_the_same_model_gives_the_same_bytes() -> None:
    assert model_bytes(make_model()) == model_bytes(make_model())


def test_the_file_is_what_its_page_says(tmp_path: Path) -> None:
    """docs/reference/model-file.md, followed without a line of onelayer."""
    model = make_model(dtype=np.float32)
    model.save(tmp_path / "m")
    whole = (tmp_path / "m").read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    assert length % 8 == 0
    header, data = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    texts = header.pop("__metadata__")
    assert list(header) == ["W", "b", "scale", "offset"]
    assert list(texts) == [
        *("format", "version", "sha256", "scaling"),
        *("class_names", "image_shape", "feature_names", "settings", "certificate", "split"),
    ]
    assert (texts["format"], texts["version"]) == ("onelayer.model", "1")
    place = whole.index(b'"sha256":"') + 10
    zeroed = whole[:place] + b"0" * 64 + whole[place + 64 :]
    assert hashlib.sha256(zeroed).hexdigest() == texts["sha256"]
    W = np.frombuffer(data[slice(*header["W"]["data_offsets"])], "<f4").reshape(3, 12)
    np.testing.assert_array_equal(W, model.W)
    offset = np.frombuffer(data[slice(*header["offset"]["data_offsets"])], "<f8")
    np.testing.assert_array_equal(offset, model.scaling.offset)
    assert json.loads(texts["class_names"]) == list(model.class_names)
    assert json.loads(texts["certificate"])["gap"] == PROOF.gap


def test_others_read_the_file_as_safetensors(tmp_path: Path) -> None:
    from safetensors import safe_open

    model = make_model()
    model.save(tmp_path / "m")
    with safe_open(tmp_path / "m", "np") as file:
        assert file.metadata()["scaling"] == "standardize"
        np.testing.assert_array_equal(file.get_tensor("W"), model.W)


@pytest.mark.parametrize("change", few(1, ["flip", "zero", "space"]))
def test_another_byte_anywhere_is_refused(change: str, tmp_path: Path) -> None:
    """Every byte of the header, and every seventh of the rest."""
    whole = model_bytes(make_model())
    end = 8 + int.from_bytes(whole[:8], "little")
    path = tmp_path / "m"
    for place in [*range(end), *range(end, len(whole), 7)]:
        other = {"flip": whole[place] ^ 1, "zero": 0, "space": 32}[change]
        if other == whole[place]:
            continue
        path.write_bytes(whole[:place] + bytes([other]) + whole[place + 1 :])
        with pytest.raises(SaveError, match="should be a model that onelayer saved, but"):
            Model.load(path)


@given(cut=st.integers(0, 2000), tail=st.binary(max_size=3))
def test_a_cut_or_lengthened_file_is_refused(
    cut: int, tail: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = model_bytes(make_model())
    changed = whole[: min(cut, len(whole))] + tail
    path = tmp_path_factory.mktemp("cut") / "m"
    path.write_bytes(changed)
    if changed != whole:
        with pytest.raises(SaveError):
            Model.load(path)


class _Trap:
    """A pickle of it would make a file when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (open, (str(self.target), "w"))


def _foreign(kind: str, place: Path) -> bytes:
    from safetensors.numpy import save

    tensors = {"weight": np.zeros((2, 2))}
    return {
        "empty": b"",
        "text": b"W,b\n1,2\n" * 100,
        "pickle": pickle.dumps(_Trap(place / "ran")),
        "zip": b"PK\x03\x04" + bytes(200),
        "npy": b"\x93NUMPY\x01\x00" + bytes(200),
        "huge length": b"\xff" * 8 + b"{}",
        "safetensors": save(tensors),
        "torch's safetensors": save(tensors, {"format": "pt"}),
        "list": (2).to_bytes(8, "little") + b"[]",
        "deep": (10**5).to_bytes(8, "little") + b'{"a":' * 20_000,
        "odd texts": (26).to_bytes(8, "little") + b'{"__metadata__":[1,2,3,4]}',
    }[kind]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("empty", "not a safetensors file"),
        ("text", "not a safetensors file"),
        ("pickle", "not a safetensors file"),
        ("zip", "not a safetensors file"),
        ("npy", "not a safetensors file"),
        ("huge length", "not a safetensors file"),
        ("safetensors", "a safetensors file of something else"),
        ("torch's safetensors", "a safetensors file of something else"),
        ("list", "not a safetensors file"),
        ("deep", "not valid JSON"),  # CPython before 3.14: nested too deeply
        ("odd texts", "its header should be an object"),
    ],
)
def test_a_foreign_file_is_one_sentence_and_runs_nothing(
    kind: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "m").write_bytes(_foreign(kind, tmp_path))
    with pytest.raises(SaveError, match=said) as refusal:
        Model.load(tmp_path / "m")
    assert str(refusal.value).startswith(str(tmp_path / "m"))
    assert "\n" not in str(refusal.value)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def _resealed(old: bytes, new: bytes) -> bytes:
    """A model's file with some bytes of its header replaced and the sum made anew."""
    whole = model_bytes(make_model())
    length = int.from_bytes(whole[:8], "little")
    header, data = whole[8 : 8 + length].rstrip(), whole[8 + length :]
    assert old in header
    place = header.index(b'"sha256":"') + 10
    header = (header[:place] + b"0" * 64 + header[place + 64 :]).replace(old, new)
    header += b" " * (-len(header) % 8)
    zeroed = len(header).to_bytes(8, "little") + header + data
    digest = hashlib.sha256(zeroed).hexdigest().encode()
    return zeroed.replace(b'"sha256":"' + b"0" * 64, b'"sha256":"' + digest)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b'"version":"1"', b'"version":"2"', "format is 2, and this onelayer reads 1"),
        (b"class 2", b"class 1", "different names"),
        (b"[1,3,4]", b"[1,3,5]", "needs image_shape"),
        (b"[3,12]", b"[12,3]", "needs b of size"),
        (b'"F32","shape":[3,12]', b'"F64","shape":[3,12]', "cannot be read"),
        (b'"scale":{', b'"escal":{', "cannot be read"),
        (b'\\"rows\\":', b'\\"rowz\\":', "its certificate"),
        (b'\\"gap\\":', b'\\"gap\\":[],\\"gab\\":', "its certificate"),
        (b'\\"l2\\":', b'\\"l2\\":\\"x\\",\\"l3\\":', "its settings.l2 should be a number"),
    ],
)
def test_a_well_summed_file_that_makes_no_sense_is_refused(
    old: bytes, new: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / "m").write_bytes(_resealed(old, new))
    with pytest.raises(SaveError, match=said):
        Model.load(tmp_path / "m")


def test_the_way_of_sealing_is_the_files_own(tmp_path: Path) -> None:
    assert _resealed(b"class 2", b"class 2") == model_bytes(make_model())


def test_a_missing_file_and_a_folder_are_said(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match="it is not there"):
        Model.load(tmp_path / "absent")
    with pytest.raises(SaveError, match="it is a folder"):
        Model.load(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, object(), {1, 2}, "\ud800"])
def test_settings_that_json_cannot_hold_are_refused(value: object, tmp_path: Path) -> None:
    with pytest.raises(SaveError, match="plain values, fit for JSON"):
        make_model(settings={"value": value}).save(tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model().save(tmp_path / "m")
    before = (tmp_path / "m").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("onelayer.model.file.write_sealed", full)
    with pytest.raises(SaveError, match="could not be written: No space left on device"):
        make_model(seed=5).save(tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_half_a_file_never_takes_the_place_of_a_whole_one(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"whole")
    with pytest.raises(ZeroDivisionError), staged_file(tmp_path / "m") as staging:
        staging.write_bytes(b"ha" * (1 // (staging.write_bytes(b"half") - 4)))
    assert (tmp_path / "m").read_bytes() == b"whole"
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_a_folder_is_never_replaced(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match="it is a folder"):
        make_model().save(tmp_path)


def test_a_model_loads_and_predicts_with_numpy_and_safetensors_alone(tmp_path: Path) -> None:
    make_model().save(tmp_path / "m")
    np.save(tmp_path / "rows.npy", make_rows())
    code = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {*sys.stdlib_module_names, "numpy", "safetensors",
                                          "onelayer", "sitecustomize", "_onelayer_editable",
                                          "packaging"}:
            raise ImportError(f"{name} is not installed here")

for name in [n for n in sys.modules if n.partition(".")[0] in ("rich", "sklearn", "pyarrow")]:
    del sys.modules[name]
sys.meta_path.insert(0, Absent())
import numpy as np
from onelayer import Model
print(Model.load("m").predict(np.load("rows.npy")).tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == make_model().predict(make_rows()).tolist()


def test_a_model_keeps_how_its_rows_were_split(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    splits = split(rng.normal(size=(60, 4)), np.arange(60) % 3, seed=5, groups="identical")
    model = solve(splits, l2=0.1)
    model.save(tmp_path / "m.safetensors")
    again = Model.load(tmp_path / "m.safetensors")
    assert again.split is not None
    assert model.split is not None
    np.testing.assert_array_equal(again.split.rows, model.split.rows)
    assert replace(again.split, rows=None).__dict__ == replace(model.split, rows=None).__dict__
    assert (again.split.by, again.split.seed) == ("identical", 5)
