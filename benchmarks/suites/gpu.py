"""The engine torch on a GPU: joint training, its share of the device's products, a large optimum.

All in this process, since a device is not shared in turns as cores are; nothing else should run on
it. The optimum is that of a probe of ImageNet's size: class means of unit spread, noise around
them, in a basis whose scales fall as 1/√j. Its answers are judged in float64 and not by onelayer:
with b at its best, gap = ‖∇_W J‖² / (4λ) bounds how far the cost is above the least there is.

    pip install --editable '.[torch]' --group bench && python -m benchmarks --only gpu

About five minutes; `--device cpu --quick` tries every line of it without a GPU, in seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.harness.oracle import ALLOWED_ROUNDINGS, CHAOTIC_SHARE, Expected, compare, expect
from benchmarks.harness.page import SECONDS, Columns, fact, measure_table, percent
from benchmarks.harness.problem import Answer, Problem, Setting, make_data
from benchmarks.harness.record import DISAGREES, ONELAYER, Measure, Part
from benchmarks.harness.rounds import Entrant, Sample, Session, Suite, time_in_turn
from benchmarks.peers import ours
from benchmarks.suites.training import THE_FOUR
from onelayer.data.rows import Rows
from onelayer.engines import make_engine

SIDES, PRODUCTS = {"cuda": 8192, "mps": 4096, "cpu": 1024}, 10
ROUNDS, SEEDS = 5, 64
# Factors of tf32 have 13 bits less than those of float32.
TF32_ROUNDINGS = 2.0**13
FOUR_ASKED, MANY_ASKED = "≤ 60 ms", "≥ 50 % of matmul"
OPTIMUM_ASKED, TOLERANCE = "≤ 30 s, gap ≤ 1e-3·J", 1e-3
NEWTON_STEPS, QUICK_ROWS = 20, 2000
TILE_ROWS = 32_768  # that are float64 at once: 1 GB of features and scores


@dataclass(frozen=True)
class Device:
    """A device, its clock and its memory."""

    device: Any

    def timed(self, work: Callable[[], Any]) -> tuple[float, Any]:
        """Wall seconds of one call, the device's part included, and what it returned."""
        import torch

        settle = getattr(torch, self.device.type).synchronize
        settle()
        started = time.perf_counter()
        answer = work()
        settle()
        return time.perf_counter() - started, answer

    def matmul_limit(self, *, tf32: bool) -> float:
        """FLOP/s of square float32 products, median of ten: 2·side³ operations each."""
        import torch

        side = SIDES[self.device.type]
        A, B, C = (torch.randn(side, side, device=self.device) for _ in range(3))
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        try:
            work = partial(torch.mm, A, B, out=C)
            work()
            seconds = [self.timed(work)[0] for _ in range(PRODUCTS)]
        finally:
            torch.set_float32_matmul_precision(before)
        return 2.0 * side**3 / median(seconds)

    def sample(self, work: Callable[[], Any]) -> tuple[Sample, Any]:
        """One timed call with the most megabytes that tensors had, where the device tells."""
        import torch

        cuda, facts = self.device.type == "cuda", {}
        if cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
        seconds, answer = self.timed(work)
        if cuda:
            facts["device_megabytes"] = torch.cuda.max_memory_allocated(self.device) / 2**20
        return Sample(seconds, facts=facts), answer

    def engine(self, precision: str) -> Any:
        return make_engine("torch", device=str(self.device), precision=precision)


def measure(session: Session) -> Part:
    """Training, then the optimum; OnelayerError where there is no such device."""
    from onelayer.engines.torch.device import describe_device, find_device

    device = Device(find_device(session.options.device))
    part = session.part(device=describe_device(device.device))
    for problem, asked in problems(session):
        part = part.with_(_training(session, device, problem, asked))
    return part.with_(_optimum(session, device, QUICK if session.quick else PROBE))


def problems(session: Session) -> list[tuple[Problem, str]]:
    """The report's four settings, 40 epochs; and with 64 seeds each, 10 epochs."""
    source = "random" if session.options.noise else "cifar10"
    settings = tuple(replace(s, seed=i) for s in THE_FOUR for i in range(SEEDS))
    four = Problem("4 runs × 40 epochs", source=source, settings=THE_FOUR)
    many = replace(four, name="256 runs × 10 epochs", epochs=10, settings=settings)
    if session.quick:
        four = replace(four, name="4 runs × 2 epochs", epochs=2, rows=QUICK_ROWS)
        few = settings[:: SEEDS // 2]
        many = replace(four, name="8 runs × 1 epochs", epochs=1, settings=few)
    return [(four, FOUR_ASKED), (many, MANY_ASKED)]


def _training(session: Session, device: Device, problem: Problem, asked: str) -> list[Measure]:
    """Every contender on one problem, held against the float64 equations, timed in turn.

    A trainer captures its steps as a graph in its first epoch, which a warm trainer leaves out.
    """
    from benchmarks.peers.pytorch import train_in_turn

    data = make_data(problem)
    session.log(f"{problem.name}: the float64 equations")
    expected, rows, entrants = expect(problem, data), ours.rows_of(problem, data), list[Entrant]()

    def add(label: str, train: Callable[[], Any], refused: str, **facts: Any) -> None:
        who = ONELAYER if label.startswith(ONELAYER) else "torch"
        found = Measure(problem.name, who, label, refused=refused, facts=facts)
        entrants.append(Entrant(found, lambda: device.sample(train)[0]))

    for precision in ("float32", "tf32"):
        engine, tf32 = device.engine(precision), precision == "tf32"
        fresh = partial(ours.train, problem, rows, engine)
        refused, answer = _compared(fresh, rounded(expected) if tf32 else expected)
        facts = {"flops": problem.flops, "asked": asked, "matmul": device.matmul_limit(tf32=tf32)}
        add(f"onelayer, {precision}", fresh, refused, answer=answer, **facts)
        warm = ours.begin(problem, engine)
        ours.train(replace(problem, epochs=1), rows, engine, warm)
        again = partial(ours.train, problem, rows, engine, warm)
        add(f"onelayer, {precision}, a warm trainer", again, refused, **facts)
    if problem.runs == len(THE_FOUR):
        loop = partial(train_in_turn, problem, data, device.device)
        refused, answer = _compared(loop, expected)
        add("PyTorch loop, one setting after another", loop, refused, answer=answer)
    return time_in_turn(entrants, 1 if session.quick else ROUNDS, session.log, settle=0.0)


def _compared(train: Callable[[], Answer], expected: Expected) -> tuple[str, str]:
    """Check the answer of a first call, which warms up as well: why it is refused, in words."""
    found = compare(train(), expected)
    answer = (f"{found.distance:.1g} from float64's weights, {found.allowed:.1g} allowed, "
              f"{found.runs} runs held to it")  # fmt: skip
    if not found.runs:
        answer = "not compared: rounding moves every run further than is allowed"
    return "" if found.agrees else f"{DISAGREES}: {answer}", answer


def rounded(expected: Expected) -> Expected:
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


PROBE = Problem("optimum", 1_280_000, 1024, 1000, settings=(Setting(l2=1e-4),))
QUICK = Problem("optimum", 4000, 48, 12, settings=(Setting(l2=1e-3),))
LBFGS_ITERATIONS = 100


def _optimum(session: Session, device: Device, probe: Problem) -> list[Measure]:
    """From rows in the host's memory to the proof, beside what is used without it."""
    import ml_dtypes
    import torch

    from benchmarks.peers.pytorch import lbfgs
    from onelayer.solver.lbfgs import fit_preconditioner
    from onelayer.solver.solver import Solver, Target

    session.log(f"{probe.rows} × {probe.features} bfloat16: made on the device")
    X, y = make_embeddings(probe, device.device)
    host, labels = X.cpu().view(torch.int16).numpy().view(ml_dtypes.bfloat16), y.cpu().numpy()
    rows = Rows(host, labels, np.ones(probe.features), np.zeros(probe.features))
    precision = "tf32" if device.device.type == "cuda" else "float32"
    engine, (l2,) = device.engine(precision), probe.l2s.tolist()

    def solve(rows: Rows) -> tuple[Any, ...]:
        preconditioner = fit_preconditioner(engine, rows, probe.classes)
        solver = Solver(engine, rows, probe.classes, preconditioner)
        found = solver.solve(Target(l2, TOLERANCE))
        W, b = (torch.from_numpy(np.asarray(a)).to(device.device) for a in (found.W, found.b))
        return W, b, f"{found.passes} passes", found.status

    def once(who: str, work: Callable[[], tuple[Any, ...]]) -> Sample:
        sample, (W, b, *notes) = device.sample(work)
        cost, gap = judge(W, b, X, y, l2)
        words = ", ".join([f"J {cost:.6g}", f"gap {gap / cost:.1g}·J", *map(str, notes)])
        off = who == ONELAYER and not gap <= 1.01 * TOLERANCE * cost
        refused = f"{DISAGREES}: {words}" if off else ""
        return replace(sample, refused=refused, facts={"answer": words, **sample.facts})

    solve(rows.part(0, min(probe.rows, 20_000)))
    work = f"optimum, {probe.rows} × {probe.features} bf16, K = {probe.classes}, λ = {l2:g}"
    name, iterations = f"onelayer, {precision}, rows from the host's memory", LBFGS_ITERATIONS
    peer = partial(lbfgs, X, y, probe.classes, l2, iterations, tiles=64)
    contenders: tuple[tuple[str, str, Any], ...] = (
        (ONELAYER, name, partial(solve, rows)),
        ("torch", f"torch.optim.LBFGS, {iterations} iterations", lambda: peer()[:2]),
    )
    entrants = []
    for who, label, run in contenders:
        asked = {"asked": OPTIMUM_ASKED} if who == ONELAYER else {}
        found = Measure(work, who, label, facts=asked)
        entrants.append(Entrant(found, partial(once, who, run)))
    return time_in_turn(entrants, 1, session.log, settle=0.0)


def make_embeddings(probe: Problem, device: Any) -> tuple[Any, Any]:
    """X (N, D) bfloat16 and y (N,) int64 on the device."""
    import torch

    generator = torch.Generator(device).manual_seed(0)
    means = torch.randn(probe.classes, probe.features, generator=generator, device=device)
    y = torch.randint(probe.classes, (probe.rows,), generator=generator, device=device)
    scales = torch.arange(1, probe.features + 1, device=device) ** -0.5
    X = torch.empty(probe.rows, probe.features, dtype=torch.bfloat16, device=device)
    for part, labels in zip(torch.tensor_split(X, 64), torch.tensor_split(y, 64), strict=True):
        noise = torch.randn(part.shape, generator=generator, device=device)
        part.copy_((means[labels] + 3.0 * noise) * scales)
    return X, y


def judge(W: Any, b: Any, X: Any, y: Any, l2: float) -> tuple[float, float]:
    """J(W, b) of weights as they are, and the proven gap of W at its best bias; all in float64."""
    import torch

    W, best = W.double(), b.double()
    cost = _moments(W, best, X, y)[0] + l2 * float(W.square().sum())
    for _ in range(NEWTON_STEPS):
        _, G, g, H = _moments(W, best, X, y)
        left = float(g.abs().max())
        if left < 1e-12:
            break
        # All biases alike change nothing: H is singular along 1, which g is orthogonal to.
        best = best - torch.linalg.solve(H + 1.0 / len(H), g)
    if left > 1e-9:
        raise ArithmeticError(f"no best bias in {NEWTON_STEPS} Newton steps: |∂J/∂b| is {left:.2g}")
    return cost, float((G + 2.0 * l2 * W).square().sum()) / (4.0 * l2)


def _moments(W: Any, b: Any, X: Any, y: Any) -> tuple[float, Any, Any, Any]:
    """Mean cross-entropy, its gradients by W and b, and its Hessian by b."""
    import torch

    K = len(b)
    loss, G = 0.0, torch.zeros_like(W)
    g, H = torch.zeros_like(b), torch.zeros(K, K, dtype=W.dtype, device=W.device)
    for x, t in zip(torch.split(X, TILE_ROWS), torch.split(y, TILE_ROWS), strict=True):
        wide = x.double()
        S = wide @ W.T + b
        loss += float(torch.nn.functional.cross_entropy(S, t, reduction="sum"))
        P = torch.softmax(S, 1)
        H += torch.diag(P.sum(0)) - P.T @ P
        P[torch.arange(len(t), device=P.device), t] -= 1.0
        g += P.sum(0)
        G += P.T @ wide
    N = len(y)
    return loss / N, G / N, g / N, H / N


def _of_matmul(found: Measure) -> str:
    flops, limit = found.facts.get("flops"), found.facts.get("matmul")
    return percent(flops / found.median / limit) if flops and found.median else ""


COLUMNS: Columns = {
    "work": lambda m: m.work,
    "by": lambda m: m.label,
    **SECONDS,
    "of matmul": _of_matmul,
    "MB on the device": fact("device_megabytes", "{:.0f}".format),
    "asked": fact("asked", str),
    "answer": fact("answer", str),
}


def render(part: Part, _: Path) -> list[str]:
    shown = measure_table(COLUMNS, part.measures, names=2)
    return ["## On a GPU", part.facts["device"], shown]


OPTIONS: dict[str, dict[str, Any]] = {
    "--device": {"default": "cuda", "help": "cuda, cuda:N, mps or cpu; default cuda"},
    "--noise": {"action": "store_true", "help": "seeded bytes in place of CIFAR-10"},
}
SUITE = Suite("gpu", "the engine torch on a GPU", measure, render, in_whole=False, options=OPTIONS)
