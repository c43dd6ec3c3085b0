"""Arrays and tensors of other libraries: views of the same memory wherever they can be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas
import pyarrow as pa
import pytest
import torch

from onelayer import DataError, SettingsError, SoftmaxClassifier, load, solve, split
from onelayer.data.formats.base import to_array

from .file_writers import small_rows

X, LABELS = small_rows(rows=20)
Y = (LABELS == "dog").astype(int)
WHOLE = split(X, LABELS)


def silent(line: str) -> None:
    """Nothing is read of what is said."""


class OfDlpack:
    """What shares memory by DLPack alone."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __dlpack__(self, **how: Any) -> Any:
        return self.values.__dlpack__(**how)

    def __dlpack_device__(self) -> Any:
        return self.values.__dlpack_device__()


class OfProtocol:
    """What is an array by NumPy's protocol alone, as JAX's and TensorFlow's are."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return X


class OnGpu(OfDlpack):
    """As CuPy's arrays: no array by itself, and copied by DLPack when the host is asked for."""

    def __array__(self) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __dlpack_device__(self) -> Any:
        return 2, 0

    def __dlpack__(self, *, dl_device: Any = None, **_: Any) -> Any:
        assert dl_device == (1, 0)
        return self.values.copy().__dlpack__()


@pytest.mark.parametrize(
    "made",
    [
        torch.from_numpy(X),
        torch.from_numpy(X).requires_grad_(),
        torch.from_numpy(X[::2].T),
        OfDlpack(X),
        OfProtocol(),
        pandas.DataFrame(X, copy=False),
    ],
    ids=["tensor", "requires grad", "transposed", "DLPack", "array protocol", "frame"],
)
def test_what_can_be_a_view_is_one(made: Any) -> None:
    assert np.shares_memory(to_array(made, "X"), X)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.uint8, torch.bool])
def test_tensors_keep_their_type_and_memory(dtype: torch.dtype) -> None:
    tensor = torch.from_numpy(X).to(dtype)
    found = to_array(tensor, "X")
    assert found.ctypes.data == tensor.data_ptr()
    assert found.tolist() == tensor.tolist()


def test_arrays_of_a_gpu_and_lazy_signs_are_copied_to_the_host() -> None:
    np.testing.assert_array_equal(to_array(OnGpu(X), "X"), X)
    turned = torch.complex(torch.zeros(3), torch.arange(3.0)).conj().imag
    assert turned.is_neg()
    assert to_array(turned, "X").tolist() == [0.0, -1.0, -2.0]


@pytest.mark.parametrize(
    ("source", "labels"),
    [
        (X, LABELS),
        (torch.from_numpy(X), LABELS.tolist()),
        (OfDlpack(X), LABELS),
        ({"X": torch.from_numpy(X), "y": LABELS}, None),
        ({"embeddings": X, "names": LABELS}, "names"),
        ({"X": X, "y": Y, "z": Y}, LABELS),
        (pa.table({"e": pa.FixedShapeTensorArray.from_numpy_ndarray(X), "label": LABELS}), None),
    ],
    ids=["array", "tensor", "DLPack", "dict", "named", "beside", "tensor column"],
)
def test_load_reads_what_is_in_memory_as_split_does(source: Any, labels: Any) -> None:
    found = load(source, labels=labels, log=silent)
    for role in ("train", "validation", "test"):
        of, expected = getattr(found, role), getattr(WHOLE, role)
        assert of.X.tobytes() == expected.X.tobytes()
        assert of.labels.tolist() == expected.labels.tolist()


def test_parts_that_are_given_are_not_copied() -> None:
    tensor, other = torch.from_numpy(X), torch.from_numpy(X.copy())
    given = {"validation": other, "validation_labels": Y, "test": other.clone(), "test_labels": Y}
    data = load(tensor, labels=Y, log=silent, **given)
    assert np.shares_memory(data.train.X, X)
    assert data.validation.X.ctypes.data == other.data_ptr()


@pytest.mark.parametrize(
    "names",
    [
        ("X_{}", "y_{}"),
        ("x_{}", "y_{}"),
        ("{}_features", "{}_labels"),
        ("{}/data", "{}/target"),
        ("embeddings.{}", "label.{}"),
    ],
)
@pytest.mark.parametrize("validation", ["val", "validation", None])
def test_arrays_named_by_parts_are_the_split(names: tuple[str, str], validation: Any) -> None:
    parts = {"train": WHOLE.train, "test": WHOLE.test}
    parts |= {validation: WHOLE.validation} if validation else {}
    held: dict[str, Any] = {"epoch": np.array(3)}
    for name, part in parts.items():
        held |= {names[0].format(name): part.X, names[1].format(name): part.labels}
    found = load(held, log=silent)
    assert found.test.X.tobytes() == WHOLE.test.X.tobytes()
    if validation:
        assert found.train.X.tobytes() == WHOLE.train.X.tobytes()
        assert found.validation.labels.tolist() == WHOLE.validation.labels.tolist()
    else:
        assert found.train.rows + found.validation.rows == WHOLE.train.rows


def test_data_frames_of_parts_are_the_split() -> None:
    frames = {
        name: pandas.DataFrame(part.X).assign(label=part.labels)
        for name, part in (("train", WHOLE.train), ("Test", WHOLE.test))
    }
    assert load(frames, log=silent).test.X.tobytes() == WHOLE.test.X.tobytes()
    with pytest.raises(DataError, match=r"must have train, .* but it has Test, dev"):
        load({"Test": frames["Test"], "dev": frames["train"]})


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3), (3, 5, 4), (5, 4, 1)])
def test_images_of_bytes_are_rows_of_planes(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 255, (20, *shape), np.uint8)
    data = load({"x_train": images, "y_train": Y, "x_test": images, "y_test": Y}, log=silent)
    planes = images if len(shape) == 2 or shape[0] == 3 else images.transpose(0, 3, 1, 2)
    assert data.test.image_shape == (3 if 3 in shape else 1, 5, 4)
    np.testing.assert_array_equal(data.test.X, planes.reshape(20, -1))


@pytest.mark.parametrize(
    ("source", "options", "sentence"),
    [
        (X, {}, "has no labels; pass"),
        (X[:, 0], {"labels": Y}, "must be an array of rows and columns"),
        (X, {"labels": Y, "drop": "x"}, "features, drop and id have no effect on array,"),
        (X, {"labels": Y, "stream": True}, "stream .* has no effect on data in memory"),
        ({"a": X, "b": X, "y": Y}, {}, "must hold one array of features"),
        ({"X": X, "y": Y}, {"labels": "z"}, "has no array 'z'"),
        ({}, {}, "holds no array"),
        ({"X": torch.ones(3, 2).to_sparse(), "y": Y}, {}, "cannot be read as an array"),
        (3.5, {}, "must be a name, path, data frame, array or dict of arrays, but it is a float"),
        (iter([]), {}, "but it is a list_iterator"),
    ],
)
def test_what_is_no_data_gets_one_sentence(source: Any, options: Any, sentence: str) -> None:
    with pytest.raises((DataError, SettingsError), match=sentence) as caught:
        load(source, **options)
    assert "\n" not in str(caught.value)


def test_models_and_estimators_take_tensors_of_half_the_bits() -> None:
    half = torch.from_numpy(X).bfloat16()
    model = solve(WHOLE, l2=0.1)
    expected = model.predict(half.float().numpy())
    assert model.predict(half).tolist() == expected.tolist()
    assert model.predict(OfDlpack(X)).tolist() == model.predict(X).tolist()
    fitted = SoftmaxClassifier().fit(half, LABELS)
    assert fitted.score(half, LABELS) == fitted.score(half.float().numpy(), LABELS)


class OfHuggingFace:
    """The part of a Dataset of Hugging Face's datasets that is read: rows as an Arrow table."""

    column_names = ("emb", "label")

    def __init__(self, table: Any, form: str | None = None) -> None:
        self.table, self.form = table, form

    def map(self) -> None:
        """What a data frame does not have."""

    def with_format(self, form: str) -> OfHuggingFace:
        return OfHuggingFace(self.table, form)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, rows: slice) -> Any:
        assert self.form == "arrow"
        return self.table[rows]


class Streamed:
    """As an IterableDataset, which has no length."""

    column_names = ("emb",)

    def map(self) -> None: ...
    def with_format(self, form: str) -> None: ...


def test_data_sets_of_hugging_face_have_their_rows_and_class_names() -> None:
    about = b'{"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}'
    table = pa.table({"emb": X.tolist(), "label": Y}, metadata={"huggingface": about})
    table = table.set_column(0, "emb", table["emb"].cast(pa.list_(pa.float32(), 3)))
    found = load(OfHuggingFace(table), log=silent)
    assert found.test.labels.tolist() == WHOLE.test.labels.tolist()
    both = {"train": OfHuggingFace(table), "test": OfHuggingFace(table)}
    assert load(both, log=silent).test.X.tobytes() == X.tobytes()
    model = solve(WHOLE, l2=0.1)
    assert model.predict(OfHuggingFace(table), log=silent).tolist() == model.predict(X).tolist()
    with pytest.raises(DataError, match="is a stream of rows, Streamed; give a Dataset"):
        load(Streamed())
