"""The four settings and 256 runs, after warm-up, each answer held against the float64 equations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from benchmarks.gpu.clock import matmul_limit, peak_megabytes, timed
from benchmarks.gpu.loops import train_in_turn
from benchmarks.gpu.report import Figure
from benchmarks.oracle import ALLOWED_ROUNDINGS, CHAOTIC_SHARE, Expected, compare, expect
from benchmarks.problem import Answer, Data, Problem, initial_weights, make_data
from benchmarks.sections import THE_FOUR
from onelayer.data.rows import Rows
from onelayer.engines import Engine, Method, State, Steps, Trainer, Weights, make_engine

Say = Callable[[str], None]

ROUNDS = 5
SEEDS = 64
# Factors of tf32 have 13 bits less than those of float32.
TF32_ROUNDINGS = 2.0**13
FOUR_ASKED, MANY_ASKED = "≤ 60 ms", "≥ 50 % of matmul"


@dataclass(frozen=True)
class Bench:
    """Where training is measured, on which data, and who is told."""

    device: Any
    source: str
    quick: bool
    say: Say

    @property
    def rounds(self) -> int:
        """How often each is timed."""
        return 1 if self.quick else ROUNDS

    def four(self) -> Problem:
        """The report's four settings, 40 epochs."""
        one = Problem("four", source=self.source, settings=THE_FOUR)
        return replace(one, epochs=2, rows=2000) if self.quick else one

    def many(self) -> Problem:
        """The four settings with 64 seeds each, 10 epochs."""
        settings = tuple(replace(s, seed=i) for s in THE_FOUR for i in range(SEEDS))
        few = settings[:: SEEDS // 2]
        four = self.four()
        epochs = 1 if self.quick else 10
        return replace(four, name="256", epochs=epochs, settings=few if self.quick else settings)


def measure_training(bench: Bench) -> list[Figure]:
    """Every contender on both problems; a wrong answer ends it all."""
    figures: list[Figure] = []
    for problem, asked in ((bench.four(), FOUR_ASKED), (bench.many(), MANY_ASKED)):
        data = make_data(problem)
        bench.say(f"{problem.runs} runs × {problem.epochs} epochs: the float64 equations")
        expected = expect(problem, data)
        for precision in ("float32", "tf32"):
            figures += _ours(bench, problem, data, expected, precision, asked)
        if problem.name == "four":
            figures.append(_loop(bench, problem, data, expected))
    return figures


def _ours(
    bench: Bench, problem: Problem, data: Data, expected: Expected, precision: str, asked: str
) -> list[Figure]:
    """From the initial weights to the trained ones; and the epochs of a trainer that is warm.

    A trainer captures its steps as a graph in its first epoch, which the second figure leaves out.
    """
    engine = make_engine("torch", device=str(bench.device), precision=precision)
    rows = Rows(
        data.X, data.y, np.full(problem.features, problem.scale), np.zeros(problem.features)
    )
    allowed = expected if precision == "float32" else _rounded(expected)
    limit = matmul_limit(bench.device, tf32=precision == "tf32")
    who = f"onelayer, {precision}"
    whole = _measured(bench, problem, who, lambda: _train(engine, rows, problem), allowed)
    warm = _epochs_of_warm_trainer(engine, rows, problem)
    seconds = tuple(timed(warm, bench.device)[0] for _ in range(bench.rounds))
    return [
        replace(whole, share=problem.flops / median(whole.seconds) / limit, asked=asked),
        replace(
            whole,
            who=f"{who}, a warm trainer",
            seconds=seconds,
            share=problem.flops / median(seconds) / limit,
            asked=asked,
            answer="as above",
        ),
    ]


def _loop(bench: Bench, problem: Problem, data: Data, expected: Expected) -> Figure:
    return _measured(
        bench,
        problem,
        "PyTorch loop, one setting after another",
        lambda: train_in_turn(problem, data, bench.device),
        expected,
    )


def _measured(
    bench: Bench, problem: Problem, who: str, train: Callable[[], Answer], expected: Expected
) -> Figure:
    """Check the answer of a first call, which warms up as well, then time the next ones."""
    work = f"{problem.runs} runs × {problem.epochs} epochs"
    bench.say(f"{work}: {who}")
    agreement = compare(train(), expected)
    if not agreement.agrees:
        raise ArithmeticError(
            f"{who}, {work}: a weight is {agreement.distance:.2g} from the float64 equations', but "
            f"rounding explains {agreement.allowed:.2g} only"
        )
    peak_megabytes(bench.device)
    return Figure(
        work,
        who,
        tuple(timed(train, bench.device)[0] for _ in range(bench.rounds)),
        answer=f"{agreement.distance:.1g} from float64's weights, {agreement.allowed:.1g} allowed, "
        f"{agreement.runs} runs held to it",
        device_megabytes=peak_megabytes(bench.device),
    )


def _train(engine: Engine, rows: Rows, problem: Problem) -> Answer:
    trainer, epoch = _begin(engine, rows, problem)
    for _ in range(problem.epochs):
        epoch()
    return Answer(*trainer.weights())


def _epochs_of_warm_trainer(engine: Engine, rows: Rows, problem: Problem) -> Callable[[], Answer]:
    trainer, epoch = _begin(engine, rows, problem)
    epoch()

    def train() -> Answer:
        for _ in range(problem.epochs):
            epoch()
        return Answer(*trainer.weights())

    return train


def _begin(engine: Engine, rows: Rows, problem: Problem) -> tuple[Trainer, Callable[[], None]]:
    start = initial_weights(problem)
    trainer = engine.begin(State(Weights(start.W, start.b)), Method.plain(problem.l2s))
    steps = Steps.constant(problem.learning_rates, rows.count, problem.batch_size)
    return trainer, partial(trainer.epoch, rows, steps)


def _rounded(expected: Expected) -> Expected:
    """The same for factors of 11 bits, not 24: CHAOTIC_SHARE of the largest weight is allowed.

    What float32 moves a run by, tf32 moves it by 2¹³ times as far; a run that this takes beyond the
    allowed is not compared.
    """
    allowed = CHAOTIC_SHARE * np.abs(expected.answer.W).max(axis=(1, 2))
    moved = TF32_ROUNDINGS * expected.tolerance / ALLOWED_ROUNDINGS
    return replace(
        expected,
        tolerance=np.maximum(expected.tolerance, allowed),
        chaotic=expected.chaotic | ~(moved <= allowed),
    )
