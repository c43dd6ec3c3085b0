"""Devices and precisions: which are taken, what they cost, and what is refused in which words."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from onelayer.data.rows import Rows
from onelayer.engines import ENGINE_NAMES, Method, State, Steps, Weights, make_engine
from onelayer.engines.torch import device as devices
from onelayer.engines.torch.device import Products
from onelayer.errors import SettingsError

CPU = torch.device("cpu")
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


@no_gpu
def test_auto_is_the_native_engine_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert make_engine("torch", device="auto").name == "native"
    monkeypatch.setenv("ONELAYER_DEVICE", "auto")
    assert make_engine("torch").name == "native"
    assert make_engine("torch", threads=1, device="auto").describe()["threads"] == "1"


def test_auto_takes_the_gpu_of_the_process_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert devices.find_device("auto", local_rank=2) == torch.device("cuda", 2)
    assert devices.find_device("cuda", local_rank=3) == torch.device("cuda", 3)
    assert devices.find_device("cuda:1", local_rank=3) == torch.device("cuda", 1)
    with pytest.raises(SettingsError, match="GPU 4, but PyTorch sees 4, numbered from 0; name one"):
        devices.find_device("cuda:4")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert devices.find_device("auto") == torch.device("mps")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cpu:0", "mps:1"])
def test_an_unknown_device_is_refused_with_the_choices(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="device must be auto, cpu, cuda, cuda:N or mps, but"):
        make_engine("torch", device=name)
    monkeypatch.setenv("ONELAYER_DEVICE", name)
    for engine in ENGINE_NAMES:  # also of engines that know the CPU alone: it was mistyped
        with pytest.raises(SettingsError, match=f"^ONELAYER_DEVICE must be auto.*{name}"):
            make_engine(engine)
    monkeypatch.setenv("ONELAYER_DEVICE", "cuda:0")
    assert make_engine().name == "native"


@no_gpu
@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_a_gpu_that_is_not_there_is_refused_with_the_remedy(name: str) -> None:
    with pytest.raises(SettingsError, match=r"calls for an NVIDIA GPU, but PyTorch.*--device cpu"):
        make_engine("torch", device=name)


def test_apples_gpu_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(SettingsError, match=r"device mps needs a Mac.*--device auto"):
        make_engine("torch", device="mps")


def test_device_and_precision_mean_nothing_to_other_engines() -> None:
    for name in ("native", "reference"):
        with pytest.raises(SettingsError, match=f"device cpu has no effect with the engine {name}"):
            make_engine(name, device="cpu")
        with pytest.raises(SettingsError, match="precision tf32 has no effect with the engine"):
            make_engine(name, precision="tf32")


@no_gpu
def test_a_precision_is_refused_where_it_is_unknown_or_brings_nothing() -> None:
    with pytest.raises(SettingsError, match="precision must be one of float32, tf32, bf16, but"):
        make_engine("torch", device="cpu", precision="fp8")
    with pytest.raises(SettingsError, match=r"precision tf32 is for a GPU.*--device cpu"):
        make_engine("torch", device="auto", precision="tf32")
    with pytest.raises(SettingsError, match=r"precision bf16 needs an NVIDIA GPU.*mps"):
        Products("bf16", torch.device("mps"))


@pytest.mark.parametrize(("precision", "bits"), [("float32", 24), ("tf32", 11), ("bf16", 8)])
def test_a_factor_keeps_the_bits_of_its_precision(precision: str, bits: int) -> None:
    products = Products(precision, CPU)
    A = torch.from_numpy(np.random.default_rng(0).normal(size=1000).astype(np.float32) * 1e10)
    error = ((products.factor(A) - A) / A).abs().max().item()
    assert error <= 2.0**-bits * 1.0001
    assert precision == "float32" or error > 2.0**-bits * 0.9
    exact = torch.tensor([0.0, -1.0, 1.0 + 2.0 ** (1 - bits), torch.inf, -torch.inf, torch.nan])
    torch.testing.assert_close(products.factor(exact), exact, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(("precision", "unit"), [("tf32", 2.0**-11), ("bf16", 2.0**-8)])
def test_rounded_factors_cost_what_is_documented_and_float64_nothing(
    precision: str, unit: float
) -> None:
    rng = np.random.default_rng(2)
    X, y = rng.uniform(size=(200, 30)), rng.integers(0, 3, 200)
    rows = Rows(X, y, np.ones(30), np.zeros(30))
    steps = Steps.constant(np.array([0.1]), 200, 20)
    for dtype in (np.float32, np.float64):
        start = State(Weights(np.zeros((1, 3, 30), dtype), np.zeros((1, 3), dtype)))
        ends = []
        for chosen in (None, precision):
            engine = make_engine("torch", device="cpu", precision=chosen)
            trainer = engine.begin(start, Method.plain(np.array([0.01])))
            for _ in range(3):
                trainer.epoch(rows, steps)
            ends.append(trainer.weights().W)
        far = np.abs(ends[1] - ends[0]).max() / np.abs(ends[0]).max()
        if dtype == np.float64:
            assert far == 0.0
        else:
            # 30 steps of gradients whose factors are off by a unit each, most of it at random.
            assert unit / 30 < far < 3 * unit


def test_without_pytorch_the_pip_command_is_told() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from onelayer.engines import make_engine\n"
        "from onelayer.errors import SettingsError\n"
        "try: make_engine('torch')\n"
        "except SettingsError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "the engine torch needs PyTorch, which is not installed: pip install 'onelayer[torch]'.\n"
    )


def test_the_engine_says_what_its_bits_depend_on() -> None:
    told = make_engine("torch", device="cpu", precision="bf16").describe()
    assert told == {
        "engine": "torch",
        "torch": torch.__version__,
        "device": "cpu",
        "precision": "bf16",
        "processes": "1",
    }
