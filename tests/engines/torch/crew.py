"""Processes that work on the same problems as ranks of gloo groups, started once for many tests."""

from __future__ import annotations

import os
import pickle
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOST = 4
PATIENCE = 5.0


class Crew:
    """MOST processes; work is done by the first few of them."""

    def __init__(self, folder: Path) -> None:
        self._members = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.engines.torch.crew", str(rank), f"{folder}/store"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            for rank in range(MOST)
        ]  # fmt: skip

    def do(self, size: int, work: str, *about: Any) -> list[Any]:
        """What each of `size` ranks answers."""
        return self.do_each(work, [about] * size)

    def do_each(self, work: str, about: list[tuple[Any, ...]]) -> list[Any]:
        """What each rank answers to a question of its own; an answer may be an error."""
        assert self._members, "a process of the crew has failed before"
        for member, own in zip(self._members, about, strict=False):
            assert member.stdin is not None
            pickle.dump((len(about), work, own), member.stdin)
            member.stdin.flush()
        streams: dict[Any, int] = {
            member.stdout: rank for rank, member in enumerate(self._members[: len(about)])
        }
        answers: dict[int, Any] = {}
        while len(answers) < len(about):
            # Where one has failed the others may wait for it for ever.
            failed = next((a for a in answers.values() if isinstance(a, Failure)), None)
            left = [stream for stream, rank in streams.items() if rank not in answers]
            ready, _, _ = select.select(left, [], [], PATIENCE if failed else None)
            if not ready:
                self._end(kill=True)
                raise AssertionError(f"one process failed and the others wait: {failed}")
            for stream in ready:
                answers[streams[stream]] = pickle.load(stream)
        return [answers[rank] for rank in range(len(about))]

    def _end(self, *, kill: bool) -> None:
        for member in self._members:
            if kill:
                member.kill()
            assert member.stdin is not None
            member.stdin.close()
        for member in self._members:
            assert member.wait(30) == 0 or kill
            assert member.stdout is not None
            member.stdout.close()
        self._members.clear()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *ending: object) -> None:
        self._end(kill=False)


@dataclass(frozen=True)
class Failure:
    """What a rank raised."""

    kind: str
    words: str


def _work(rank: int, store: str) -> None:
    import torch
    import torch.distributed as dist

    from onelayer.engines.torch import TorchEngine
    from onelayer.engines.torch.distributed import Cluster
    from tests.engines.torch import tasks

    answers = os.fdopen(os.dup(1), "wb")
    sys.stdout = sys.stderr
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=MOST)
    groups = [dist.new_group(list(range(size))) for size in range(1, MOST + 1)]
    cpu = torch.device("cpu")
    try:
        while True:
            size, work, about = pickle.load(sys.stdin.buffer)
            engine = TorchEngine(cpu, ranks=Cluster(cpu, groups[size - 1]))
            try:
                answer = getattr(tasks, work)(engine, *about)
            except BaseException as error:
                answer = Failure(type(error).__name__, str(error))
            pickle.dump(answer, answers)
            answers.flush()
    except EOFError:
        pass
    finally:
        # Gloo's threads let go of the last tensors when they come to it. Where the interpreter has
        # ended, the lock that they take ends them: "terminate called without an active exception".
        dist.destroy_process_group()


if __name__ == "__main__":
    # Pickled classes are looked for under the name that the tests know them by.
    from tests.engines.torch.crew import _work as work

    work(int(sys.argv[1]), sys.argv[2])
