"""The kernel as a guest of its process: signals, forks, threads, settings from the environment."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from onelayer import _native
from onelayer.data.rows import Rows
from onelayer.engines import Method, State, Steps, Weights
from onelayer.engines.native import NativeEngine

PROBLEM = """
import numpy as np
from onelayer import _native
rng = np.random.default_rng(0)
def arrays(N=2000, D=700, K=10, R=2):
    return dict(X=rng.integers(0, 256, (N, D), dtype=np.uint8), y=rng.integers(0, K, N), order=None,
                batch_size=20, W=np.zeros((R, K, D), np.float32), b=np.zeros((R, K), np.float32),
                scale=np.full(D, 1 / 255), offset=np.zeros(D), threads=2,
                settings=dict(learning_rate=np.full((-(-N // 20), R), .01)))
"""


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROBLEM + code], env=os.environ | environment, text=True,
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip


def test_ctrl_c_ends_an_epoch_and_keeps_what_was_trained() -> None:
    """That it ends after a whole step is kernel_test.cpp's to show."""
    done = run("""
import os, signal, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
a = arrays(N=20000)
a["order"], a["batch_size"] = np.tile(np.arange(20000), 200), 1
a["settings"]["learning_rate"] = np.full((4_000_000, 2), .01)
begin = []
def interrupt():
    time.sleep(.3); begin.append(time.perf_counter()); os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
try:
    _native.train_epoch(**a)
except KeyboardInterrupt:
    print(time.perf_counter() - begin[0], np.isfinite(a["W"]).all() and a["W"].any())
""")
    late, kept = done.stdout.split()
    assert float(late) < 10, done.stderr  # the epoch takes a minute and more
    assert kept == "True"


def test_training_survives_a_fork() -> None:
    done = run("""
import os
a = arrays()
_native.train_epoch(**a)
child = os.fork()
if child == 0:
    _native.train_epoch(**a)
    os._exit(0)
print(os.waitpid(child, 0)[1])
""")
    assert done.stdout.split() == ["0"], done.stderr


def test_two_python_threads_train_at_once() -> None:
    space: dict[str, object] = {}
    exec(PROBLEM, space)
    arrays = space["arrays"]()  # type: ignore[operator]
    results = []

    def work() -> None:
        mine = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in arrays.items()}
        for _ in range(5):
            _native.train_epoch(**mine)  # type: ignore[arg-type]
        results.append(mine["W"])

    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(timeout=60)
    assert len(results) == 3
    for W in results[1:]:
        np.testing.assert_array_equal(W, results[0])


@pytest.mark.parametrize("name", _native.supported_instruction_sets())
def test_every_instruction_set_trains(name: str) -> None:
    code = """
a = arrays(N=200)
_native.train_epoch(**a)
one = a["W"].copy()
F = a["X"] / 255
W, b = np.zeros((10, 700)), np.zeros(10)
for i in range(0, 200, 20):
    S = F[i:i+20] @ W.T + b
    P = np.exp(S - S.max(1, keepdims=True)); P /= P.sum(1, keepdims=True)
    P[np.arange(20), a["y"][i:i+20]] -= 1
    W -= .01 * P.T @ F[i:i+20] / 20; b -= .01 * P.mean(0)
print(_native.instruction_set(), np.abs(one[0] - W).max() / np.abs(W).max() < 1e-5)
"""
    done = run(code, ONELAYER_ISA=name)
    assert done.stdout.split() == [name, "True"], done.stderr


def test_settings_from_the_environment() -> None:
    assert run("print(_native.default_threads())", ONELAYER_THREADS="3").stdout.split() == ["3"]
    assert "ONELAYER_THREADS" in run("_native.default_threads()", ONELAYER_THREADS="x").stderr
    assert "ONELAYER_ISA" in run("_native.instruction_set()", ONELAYER_ISA="mmx").stderr
    affinity = run("import os; os.sched_setaffinity(0, {0}); print(_native.default_threads())")
    if "ONELAYER_THREADS" not in os.environ:
        assert affinity.stdout.split() == ["1"]


def test_memory_does_not_grow_with_the_rows() -> None:
    code = """
import resource
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
a = arrays(N=100, D=3072)
_native.train_epoch(**a)
X = np.ones((60000, 3072), np.uint8); y = np.zeros(60000, np.int64)
before = peak()
_native.train_epoch(**(a | dict(X=X, y=y, settings=dict(learning_rate=np.full((3000, 2), .01)))))
_native.evaluate(X, y, a["W"], a["b"], a["scale"], a["offset"], 2)
print((peak() - before) / 1024)
"""
    assert float(run(code).stdout) < 20


def test_the_engine_speaks_the_protocol() -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(-5, 5, (50, 7)).astype(np.int16)
    rows = Rows(X, rng.integers(0, 3, 50), np.ones(7), np.zeros(7))
    engine = NativeEngine(threads=2)
    assert engine.describe()["instruction_set"] in _native.supported_instruction_sets()
    start = Weights(np.zeros((2, 3, 7), np.float32), np.zeros((2, 3), np.float32))
    trainer = engine.begin(State(start), Method.plain(np.zeros(2)))
    rates = np.array([0.01, 0.02])
    with pytest.warns(UserWarning, match="copied once"):
        trainer.epoch(rows, Steps.constant(rates, 50, 10))
    trainer.epoch(rows, Steps.constant(rates, 50, 10, np.arange(50)))
    assert not start.W.any()
    measured = trainer.evaluate(rows)
    assert (measured.loss < np.log(3)).all()
    classes = engine.classify(rows, trainer.weights()).classes
    np.testing.assert_array_equal((classes == rows.y).sum(axis=1), measured.correct)


def test_a_team_larger_than_the_machine_ends() -> None:
    done = run("""
a = arrays(N=400, D=6000); a["threads"] = 16
_native.train_epoch(**a); print("done")
""")
    assert done.stdout.split() == ["done"], done.stderr


def test_a_mapped_file_that_becomes_shorter_ends_the_process_with_one_line() -> None:
    """The threads of the kernel meet it together; it is SIGBUS, and nobody can read on."""
    done = run("""
import os, tempfile
a = arrays()
with tempfile.NamedTemporaryFile(suffix=".npy") as file:
    np.save(file.name, a["X"])
    a["X"] = np.load(file.name, mmap_mode="r")
    os.truncate(file.name, 8192)
    _native.train_epoch(**a)
""")
    assert done.returncode == -signal.SIGBUS
    line = r"error: a file .* became shorter.* \(SIGBUS at 0x[0-9a-f]{16}\).*\.\n"
    assert re.fullmatch(line, done.stderr), done.stderr


def test_a_sigbus_of_somebody_else_and_a_handler_that_is_there_are_left_alone() -> None:
    killed = (
        "import os, signal; {} from onelayer import _native; os.kill(os.getpid(), signal.SIGBUS)"
    )
    ends = {
        "": (-signal.SIGBUS, ""),
        "signal.signal(signal.SIGBUS, lambda *_: print('own'));": (0, "own\n"),
    }
    for earlier, end in ends.items():
        done = subprocess.run(
            [sys.executable, "-c", killed.format(earlier)], text=True, capture_output=True,
            check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (*end, "")
