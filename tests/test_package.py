"""What the package promises to those who import it."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

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


def test_exported_names_are_pinned() -> None:
    assert sorted(onelayer.__all__) == [
        "Checkpoint",
        "CheckpointWarning",
        "DataError",
        "Dataset",
        "LearningRateWarning",
        "Model",
        "OnelayerError",
        "Path",
        "Result",
        "Run",
        "SaveError",
        "SettingsError",
        "SoftmaxClassifier",
        "SoftmaxClassifierCV",
        "SourceError",
        "Splits",
        "__version__",
        "certify",
        "check_gradient",
        "estimate",
        "fit_best_linear",
        "grid",
        "load",
        "make_engine",
        "random_grid",
        "reproduce",
        "solve",
        "solve_path",
        "split",
        "suggest_learning_rate",
        "sweep",
        "train",
    ]
    assert all(hasattr(onelayer, name) for name in onelayer.__all__)


def test_import_loads_nothing_heavy() -> None:
    code = f"import sys, onelayer; print([m for m in {HEAVY!r} if m in sys.modules])"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "[]"


def _seconds(code: str) -> float:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def test_import_takes_little_more_than_numpy_alone() -> None:
    # The bound of 0.3 s belongs to an idle machine; a ratio to NumPy's own import holds on any.
    numpy_alone = _seconds("import numpy")
    assert _seconds("import onelayer") - _seconds("pass") < 3 * numpy_alone
