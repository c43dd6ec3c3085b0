"""What the package promises to those who import it."""

from __future__ import annotations

import doctest
import inspect
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest

import onelayer

HEAVY = (
    "torch",
    "sklearn",
    "altair",
    "pyarrow",
    "vl_convert",
    "PIL",
    "jinja2",
    "pooch",
    "onnx",
    "onnxruntime",
)

# Packages of extras and of the tests, with what these bring.
EXTRAS = ("sklearn", "scipy", "joblib", "torch", "onnx", "h5py", "zarr", "altair")

# Linux ends a process that opens a socket of the network, AF_INET or AF_INET6, from here on: also
# one of a library in C or Rust, in any thread. A filter is steps (code, if true, if false, value).
NO_NETWORK = """
import ctypes, platform, struct
number = {"x86_64": 41, "aarch64": 198}[platform.machine()]
steps = [(0x20, 0, 0, 0), (0x15, 0, 4, number), (0x20, 0, 0, 16), (0x15, 1, 0, 2),
         (0x15, 0, 1, 10), (0x06, 0, 0, 0x80000000), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
filter = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(code)))
assert ctypes.CDLL(None).prctl(38, 1, 0, 0, 0) == 0
assert ctypes.CDLL(None).prctl(22, 2, filter, 0, 0) == 0
"""

PUBLIC = sorted(set(onelayer.__all__) - {"__version__"})


def test_the_public_interface_is_small_and_each_name_is_reachable() -> None:
    assert len(onelayer.__all__) <= 36
    assert len(set(onelayer.__all__)) == len(onelayer.__all__)
    assert all(hasattr(onelayer, name) for name in onelayer.__all__)


def test_nothing_else_is_public() -> None:
    assert dir(onelayer) == sorted(onelayer.__all__)
    others = {name for name in vars(onelayer) if not name.startswith("_")} - {*onelayer.__all__}
    # Importing onelayer.cli, say, puts that module there.
    assert [name for name in others if not inspect.ismodule(getattr(onelayer, name))] == []


@pytest.mark.parametrize("name", PUBLIC)
def test_the_docstring_of_every_public_name_has_an_example(name: str) -> None:
    """pytest runs the examples themselves, as it does all doctests of src."""
    found = doctest.DocTestFinder(recurse=False).find(getattr(onelayer, name), name)
    assert any(test.examples for test in found)


def test_import_loads_nothing_heavy() -> None:
    code = f"import sys, onelayer; print([m for m in {HEAVY!r} if m in sys.modules])"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "[]"


def _seconds(*codes: str) -> list[float]:
    """The shortest of several times of each, taken in turn, without what measures coverage."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    times: list[list[float]] = [[] for _ in codes]
    for _ in range(7):
        for code, of_code in zip(codes, times, strict=True):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, env=environment)
            of_code.append(time.perf_counter() - started)
    return [min(of_code) for of_code in times]


def _without(blocked: tuple[str, ...], code: str) -> subprocess.CompletedProcess[str]:
    """What code does where these packages are not installed."""
    code = f"import sys; sys.modules |= dict.fromkeys({blocked!r}); {code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_the_job_needs_no_package_that_the_installation_does_not_bring(tmp_path: Path) -> None:
    command = ["onelayer", "reproduce", "--data=digits", "--seeds=1", f"--out={tmp_path / 'run'}"]
    done = _without(EXTRAS, f"sys.argv = {command!r}; from onelayer.cli import main; main()")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").is_file()


JOB = """
import onelayer as ol
data = ol.load("digits")
result = ol.train(data, ol.grid(learning_rate=[0.3, 0.1], epochs=1))
result.save("run")
result.best.save("model.safetensors")
print(ol.certify(ol.Model.load("model.safetensors"), data.train))
ol.solve_path(data, l2=[1.0, 0.1]).save("path")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the filter of system calls is Linux's")
@pytest.mark.slow
def test_import_training_proofs_and_pages_open_no_socket_of_the_network(tmp_path: Path) -> None:
    def run(code: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-c", NO_NETWORK + code]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)

    opened = run("import socket; socket.socket(socket.AF_INET)")
    assert opened.returncode == -signal.SIGSYS
    done = run(JOB)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "path" / "report.html").is_file()
    suffixes = {file.suffix for file in tmp_path.rglob("*") if file.is_file()}
    assert suffixes <= {".safetensors", ".parquet", ".json", ".html", ".png", ".svg"}


def test_estimators_say_how_to_install_the_scikit_learn_that_is_missing() -> None:
    done = _without(("sklearn",), "from onelayer import SoftmaxClassifier")
    assert "pip install 'onelayer[sklearn]'" in done.stderr.splitlines()[-1]


def test_files_of_the_working_folder_pass_for_no_module(tmp_path: Path) -> None:
    for name in ("numpy", "json", "signal", "random", "pyarrow", "vl_convert"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'a').close()\nraise SystemExit('ran')")
    done = subprocess.run(
        [sys.executable, "-m", "onelayer", "train", "--data=digits", "--epochs=1", "--out=run"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, (tmp_path / "ran").exists()) == (0, False), done.stderr
    assert (tmp_path / "run" / "report.html").is_file()


def test_import_takes_little_more_than_numpy_alone() -> None:
    # The bound of 0.3 s belongs to an idle machine; a ratio to NumPy's own import holds on any.
    nothing, numpy_alone, ours = _seconds("pass", "import numpy", "import onelayer")
    assert ours - nothing < 3 * numpy_alone


@pytest.mark.parametrize(
    "error",
    [onelayer.OnelayerError, onelayer.DataError, onelayer.SettingsError, onelayer.SaveError],
)
def test_the_message_of_an_error_is_one_line_whatever_names_it_quotes(error: type) -> None:
    assert str(error("the class cat\n\x1b[2J is missing")) == r"the class cat\n\x1b[2J is missing"


def test_the_newest_version_of_the_changelog_and_of_the_citation_is_the_package_s() -> None:
    root = Path(__file__).parents[1]
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "version"
    ]
    newest = re.search(
        r"^## (\S+) - (?:unreleased|\d{4}-\d\d-\d\d)$",
        (root / "CHANGELOG.md").read_text(encoding="utf-8"),
        re.M,
    )
    assert newest is not None
    assert newest[1] == version
    assert f"\nversion: {version}\n" in (root / "CITATION.cff").read_text(encoding="utf-8")


def modules_with_one_importer() -> set[str]:
    """Modules of the package, as paths without an ending, that only one other imports."""
    root = Path(onelayer.__file__).parent
    texts = {
        file.relative_to(root).with_suffix(""): file.read_text() for file in root.rglob("*.py")
    }
    dotted = {".".join(("onelayer", *path.parts)): path for path in texts if path.stem[:2] != "__"}
    users: dict[str, set[Path]] = {name: set() for name in dotted}
    statement = re.compile(r'from (onelayer[\w.]*) import (\([^)]*\)|.*)|module\("(onelayer.*)"\)')
    for path, text in texts.items():
        for package, names, by_name in statement.findall(text):
            inner = {f"{package}.{name}" for name in re.findall(r"\w+", names)}
            for module in (inner | {package, by_name}) & users.keys():
                users[module].add(path)
    return {str(dotted[name]) for name, of in users.items() if len(of) == 1}


def test_each_module_that_only_one_other_imports_has_its_reason_in_the_architecture() -> None:
    page = Path(__file__).parents[1] / "docs" / "explanation" / "architecture.md"
    told = page.read_text("utf-8").partition("A module that only one other imports")[2]
    named = re.findall(r"`([\w/]+)\.py`", told.partition("A method of")[0])
    alone = modules_with_one_importer()
    assert sorted(path for path in alone if not path.endswith(tuple(named))) == []
    assert [name for name in named if not any(path.endswith(name) for path in alone)] == []


def _takers_of_rows() -> dict[str, tuple[object, str]]:
    """Every public function and method that takes rows with labels, and how it calls them."""
    found: dict[str, tuple[object, str]] = {}
    for name in PUBLIC:
        public = getattr(onelayer, name)
        if inspect.isclass(public):
            of_class = {f"{name}.{m}": f for m, f in inspect.getmembers(public, inspect.isfunction)}
        else:
            of_class = {name: public}
        for called, function in of_class.items():
            if called.rpartition(".")[2].startswith("_") or called == "Checkpoint.managing_path":
                continue
            for parameter in inspect.signature(function).parameters.values():
                if re.search(r"\b(Dataset|Splits)\b", str(parameter.annotation)):
                    found[called] = function, parameter.name
    return found


@pytest.mark.parametrize("called", _takers_of_rows())
@pytest.mark.parametrize("rows", [np.eye(4), (np.eye(4), [0, 1, 0, 1]), "digits"], ids=type)
def test_what_takes_rows_with_labels_says_how_to_make_them_of_anything_else(
    called: str, rows: object
) -> None:
    function, parameter = _takers_of_rows()[called]
    model = onelayer.Model(np.eye(2, 4), np.zeros(2))
    given: dict[str, object] = {parameter: rows}
    for name, own in inspect.signature(function).parameters.items():  # type: ignore[arg-type]
        if own.default is own.empty and name not in (parameter, "args", "kwargs"):
            given[name] = onelayer.Run(0.1) if name == "runs" else model
    hint = r"load\(path\) reads them" if isinstance(rows, str) else r"split\(X, y\) makes them"
    with pytest.raises(onelayer.SettingsError, match=f" needs splits.* onelayer.{hint}"):
        function(**given)  # type: ignore[operator]


def test_arrays_given_as_to_scikit_learn_are_not_taken_for_a_setting() -> None:
    X, y = np.eye(4), np.array([0, 1, 0, 1])
    with pytest.raises(onelayer.SettingsError, match=r"solve needs splits or a Dataset.*ndarray"):
        onelayer.solve(X, y)  # type: ignore[arg-type]
    with pytest.raises(onelayer.SettingsError, match="Splits needs splits or a Dataset"):
        onelayer.Splits(X, X, X, "rows", "memory")  # type: ignore[arg-type]


def test_what_takes_a_model_names_what_it_was_given_in_its_place() -> None:
    splits = onelayer.split(np.eye(20), [0, 1] * 10)
    with pytest.raises(onelayer.SettingsError, match=r"certify needs a Model.*Splits was given"):
        onelayer.certify(splits, splits)  # type: ignore[arg-type]
    with pytest.raises(onelayer.SettingsError, match=r"compare needs a Model.*Splits was given"):
        onelayer.compare(splits, splits, splits)  # type: ignore[arg-type]
