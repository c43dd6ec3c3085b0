"""Hosts on one machine: network namespaces on a bridge, each with a limit on what it sends.

Needs root and iproute2, as `ip netns` does. Everything is taken down again, whatever happens.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

BURST_BYTES = 64 * 1024
QUEUE = "50ms"


@dataclass(frozen=True)
class Host:
    """One namespace.

    Attributes:
        name: of the namespace.
        address: its IPv4 address.
        interface: its only interface beside loopback.
    """

    name: str
    address: str
    interface: str

    def command(self, words: Sequence[str]) -> list[str]:
        """The words as a command that runs on this host."""
        return ["ip", "netns", "exec", self.name, *words]


@contextmanager
def joined_hosts(count: int, megabits: float) -> Iterator[tuple[Host, ...]]:
    """Hosts that reach each other at a limited speed, for as long as the context lasts.

    Args:
        count: how many, 1 … 200.
        megabits: what each host may send, Mbit/s.

    Yields:
        The hosts.

    Raises:
        OSError: where namespaces cannot be made, with what the system said.
    """
    prefix = f"ol{os.getpid() % 10000}"
    hosts = tuple(Host(f"{prefix}-{i}", f"10.77.0.{i + 1}", f"{prefix}h{i}") for i in range(count))
    hub = f"{prefix}-hub"
    try:
        _ip("netns", "add", hub)
        _ip("-n", hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", hub, "link", "set", "bridge", "up")
        for i, host in enumerate(hosts):
            _join(host, hub, f"{prefix}b{i}", megabits)
        yield hosts
    finally:
        for name in (hub, *(host.name for host in hosts)):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _join(host: Host, hub: str, port: str, megabits: float) -> None:
    """Make the namespace and its cable to the bridge; the limit is on its own end."""
    _ip("netns", "add", host.name)
    _ip("-n", host.name, "link", "set", "lo", "up")
    _ip(
        "-n", host.name, "link", "add", host.interface, "type", "veth",
        "peer", "name", port, "netns", hub,
    )  # fmt: skip
    _ip("-n", hub, "link", "set", port, "master", "bridge", "up")
    _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", host.interface)
    _ip("-n", host.name, "link", "set", host.interface, "up")
    limit = f"rate {megabits:g}mbit burst {BURST_BYTES} latency {QUEUE}".split()
    _run(["tc", "-n", host.name, "qdisc", "add", "dev", host.interface, "root", "tbf", *limit])


def _ip(*words: str) -> None:
    _run(["ip", *words])


def _run(words: Sequence[str]) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise OSError(f"{words[0]} was not found; install iproute2.") from error
    if done.returncode:
        said = done.stderr.strip() or f"exit code {done.returncode}"
        raise OSError(f"`{' '.join(words)}` failed: {said}. It needs root.")
