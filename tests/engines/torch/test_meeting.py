"""Variables that a launcher has left over, or that are none, end in a sentence before the work."""

from __future__ import annotations

import socket

import pytest

from onelayer.engines import make_engine
from onelayer.engines.processes import attempt, local_rank, meeting_place, processes
from onelayer.engines.torch import distributed
from onelayer.errors import OnelayerError, SettingsError


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    left_over = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    for name, value in left_over.items():
        monkeypatch.setenv(name, str(value))
    return monkeypatch


@pytest.mark.parametrize(
    ("rank", "elastic", "said"),
    [
        ("0", "False", "not all of 2 processes have come to localhost:"),
        ("1", "False", "nobody answers at localhost:"),
        ("0", "True", "nobody answers at localhost:"),
    ],
)
def test_a_process_that_nobody_joins_says_so_and_ends(
    launched: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    rank: str,
    elastic: str,
    said: str,
) -> None:
    launched.setenv("RANK", rank)
    launched.setenv("TORCHELASTIC_USE_AGENT_STORE", elastic)
    launched.setattr(distributed, "MEETING_SECONDS", 0.2)
    launched.setattr(distributed, "AGENT_SECONDS", 0.2)
    launched.setattr(distributed, "NOTICE_SECONDS", 0.05)
    with pytest.raises(OnelayerError, match=f"{said}.* within 0.2 s, but RANK and WORLD_SIZE"):
        make_engine("torch", device="cpu", distributed=True)
    assert capfd.readouterr().err.startswith(f"waiting: {said}")
    assert distributed.is_first_to_fail()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RANK", "x"), ("RANK", "2"), ("RANK", "-1"), ("WORLD_SIZE", "two"), ("WORLD_SIZE", "0"),
        ("MASTER_PORT", ""), ("MASTER_PORT", "70000"), ("LOCAL_RANK", "2"), ("LOCAL_RANK", ""),
        ("TORCHELASTIC_RESTART_COUNT", "x"),
    ],
)  # fmt: skip
def test_variables_of_a_launcher_that_is_none_are_refused(
    launched: pytest.MonkeyPatch, name: str, value: str
) -> None:
    launched.setenv(name, value)
    reads = attempt if name.startswith("TORCHELASTIC") else local_rank
    with pytest.raises(SettingsError, match=f"variable {name} should be a whole number from"):
        reads() if name != "MASTER_PORT" else meeting_place()


def test_a_restart_counts_only_where_a_launcher_started_this_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "3")
    monkeypatch.setenv("WORLD_SIZE", "x")
    assert (attempt(), processes()) == (0, 1)
