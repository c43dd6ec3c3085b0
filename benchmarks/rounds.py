"""Agreement first, then interleaved rounds of timing.

All contenders of a section are started, each trains once and its weights are held against the
oracle. Those that agree are timed in turn, round by round; the order moves on by one each round,
so that nobody always follows the same neighbour. Every timed answer is compared as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from benchmarks.contenders import Contender
from benchmarks.crew import SETTLE_SECONDS, Conditions, Worker, data_folder, first_steps
from benchmarks.limits import last_level_cache_bytes
from benchmarks.oracle import Agreement, Expected, compare, expect
from benchmarks.problem import Answer, Problem, read_data
from benchmarks.record import Absent, Measured

Say = Callable[[str], None]


@dataclass(frozen=True)
class Entry:
    """One contender on one problem; with_limits measures the machine before and after each run."""

    contender: Contender
    problem: Problem
    with_limits: bool = False


class Oracle:
    """Remembers what is expected of each problem, so that it is computed once."""

    def __init__(self, conditions: Conditions, most_runs: int = 4) -> None:
        self._conditions, self._most_runs = conditions, most_runs
        self._known: dict[tuple[Problem, bool], Expected] = {}

    def expected(self, problem: Problem) -> Expected:
        """The oracle's weights of the whole training."""
        if (problem, False) not in self._known:
            data = read_data(data_folder(problem, self._conditions))
            self._known[problem, False] = expect(problem, data, self._most_runs)
        return self._known[problem, False]

    def expected_opening(self, problem: Problem) -> Expected:
        """The oracle's weights after the first few steps."""
        if (problem, True) not in self._known:
            data = read_data(data_folder(problem, self._conditions))
            self._known[problem, True] = expect(*first_steps(problem, data), self._most_runs)
        return self._known[problem, True]


def measure(
    entries: Sequence[Entry], rounds: int, conditions: Conditions, oracle: Oracle, say: Say
) -> tuple[list[Measured], list[Absent]]:
    """Check and time the entries; what is not installed is returned as absent.

    Args:
        entries: contenders on problems.
        rounds: how often each is timed.
        conditions: threads, cores and engine of every process.
        oracle: what is expected of the problems.
        say: told what is being done.

    Returns:
        What was measured, in the order of the entries (a contender that disagrees is in it, with
        no times), and who is not installed.
    """
    absent = [Absent(e.contender.key, e.contender.label, e.contender.pip)
              for e in entries if not e.contender.installed]  # fmt: skip
    present = [e for e in entries if e.contender.installed]
    with ExitStack() as stack:
        started = [_start(entry, conditions, oracle, stack, say) for entry in present]
        fit = [position for position, (_, found) in enumerate(started) if found.agrees]
        times: dict[int, _Times] = {position: _Times() for position in fit}
        for number in range(rounds):
            say(f"  round {number + 1} of {rounds}")
            for turn in range(len(fit)):
                position = fit[(turn + number) % len(fit)]
                entry, (worker, _) = present[position], started[position]
                if number < entry.contender.most_rounds and times[position].agrees:
                    times[position] = _time(entry, worker, times[position], oracle)
        return [
            _finish(found, times.get(position, _Times()))
            for position, (_, found) in enumerate(started)
        ], absent


@dataclass(frozen=True)
class _Times:
    """What the rounds gave so far."""

    seconds: tuple[float, ...] = ()
    sgemm: tuple[float, ...] = ()
    copy: tuple[float, ...] = ()
    agrees: bool = True


def _start(
    entry: Entry, conditions: Conditions, oracle: Oracle, stack: ExitStack, say: Say
) -> tuple[Worker, Measured]:
    """Start a worker, train once and compare; the first training also gives the peak memory."""
    contender, problem = entry.contender, entry.problem
    say(f"  {contender.label} on {problem.name}: does its answer agree?")
    worker = stack.enter_context(Worker(contender, problem, conditions))
    _, peak, answer = worker.train()
    agreement = _agreement(contender, problem, answer, conditions, oracle)
    if agreement is not None:
        say(f"    |w - oracle| {agreement.distance:.1e}, allowed {agreement.allowed:.1e}")
    found = Measured(
        contender=contender.key,
        label=contender.label,
        problem=problem.name,
        runs=problem.runs,
        flops=problem.flops,
        bytes_touched=problem.bytes_touched(last_level_cache_bytes()),
        peak_bytes=peak,
        about=worker.about,
        compile_seconds=worker.compile_seconds,
        agrees=agreement is None or agreement.agrees,
        compared_runs=agreement.runs if agreement else 0,
        distance=agreement.distance if agreement else None,
        allowed=agreement.allowed if agreement else None,
    )
    return worker, found


def _agreement(
    contender: Contender, problem: Problem, answer: Answer, conditions: Conditions, oracle: Oracle
) -> Agreement | None:
    """Compare at the end, and a problem with chaotic runs over its first steps as well.

    Returns:
        None for another algorithm. The worse of the two comparisons otherwise; a comparison that
        could compare no run is a disagreement.
    """
    if not contender.same_algorithm:
        return None
    expected = oracle.expected(problem)
    at_end = compare(answer, expected)
    if not expected.chaotic.any():
        return at_end
    opening = oracle.expected_opening(problem)
    short = replace(problem, rows=min(problem.rows, 5 * problem.batch_size), epochs=1)
    with Worker(contender, short, conditions) as worker:
        early = compare(worker.train()[2], opening)
    agrees = at_end.agrees and early.agrees and not opening.chaotic.any()
    shown = at_end if at_end.runs and early.agrees else early
    return replace(shown, runs=at_end.runs, agrees=agrees)


def _time(entry: Entry, worker: Worker, so_far: _Times, oracle: Oracle) -> _Times:
    """Train once more; measure the limits right before and right after where that is asked for."""
    before = _limits(worker) if entry.with_limits else None
    time.sleep(SETTLE_SECONDS)
    seconds, _, answer = worker.train()
    after = _limits(worker) if entry.with_limits else None
    limits = [pair for pair in (before, after) if pair]
    same = entry.contender.same_algorithm
    return _Times(
        (*so_far.seconds, seconds),
        (*so_far.sgemm, *(sgemm for sgemm, _ in limits)),
        (*so_far.copy, *(copy for _, copy in limits)),
        agrees=not same or compare(answer, oracle.expected(entry.problem)).agrees,
    )


def _limits(worker: Worker) -> tuple[float, float]:
    return worker.limit("sgemm"), worker.limit("copy")


def _finish(found: Measured, times: _Times) -> Measured:
    """A contender whose answers disagree even once has no times."""
    if not (found.agrees and times.agrees):
        return replace(found, agrees=False)
    return replace(
        found,
        seconds=times.seconds,
        sgemm_gflops=times.sgemm,
        copy_gbytes=times.copy,
    )
