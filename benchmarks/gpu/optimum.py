"""A probe of ImageNet's size: the certified optimum beside what is used without onelayer.

Embeddings as they are met: class means of unit spread, noise around them, in a basis whose scales
fall as 1/√j. Every answer is judged alike, in float64 and not by onelayer: with b at its best,
gap = ‖∇_W J‖² / (4λ) bounds how far its cost is above the least there is (docs/formulations.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import torch

from benchmarks.gpu.clock import peak_megabytes, settle, timed
from benchmarks.gpu.loops import Weights, cuml_logistic, torch_lbfgs
from benchmarks.gpu.report import Figure
from onelayer.data.rows import Rows
from onelayer.engines import Engine, make_engine
from onelayer.solver.lbfgs import fit_preconditioner
from onelayer.solver.solver import Solver, Target

Say = Callable[[str], None]

TOLERANCE = 1e-3
ASKED = "≤ 30 s, gap ≤ 1e-3·J"
NEWTON_STEPS = 20
TILE_BYTES = {"cuda": 1 << 30, "cpu": 32 << 20}


@dataclass(frozen=True)
class Probe:
    """How large: N rows, D features, K classes, and λ."""

    rows: int = 1_280_000
    features: int = 1024
    classes: int = 1000
    l2: float = 1e-4
    iterations: int = 100


QUICK = Probe(rows=4000, features=48, classes=12, l2=1e-3)


def measure_optimum(device: Any, say: Say, probe: Probe) -> tuple[list[Figure], list[str]]:
    """Figures, and what could not be measured with the reason."""
    say(f"{probe.rows} × {probe.features} bfloat16: made on the device")
    X, y = make_embeddings(probe, device)
    work = f"optimum, {probe.rows} × {probe.features} bf16, K = {probe.classes}, λ = {probe.l2:g}"
    figures = [_ours(device, say, probe, work, X, y)]

    def peer(who: str, fit: Callable[[], Weights]) -> Figure:
        say(f"optimum: {who}")
        peak_megabytes(device)
        seconds, weights = timed(fit, device)
        peak = peak_megabytes(device)
        return Figure(
            work, who, (seconds,), None, _words(judge(*weights, X, y, probe.l2)), "", peak
        )

    figures.append(
        peer(
            f"torch.optim.LBFGS, {probe.iterations} iterations",
            lambda: torch_lbfgs(X, y, probe.classes, probe.l2, probe.iterations),
        )
    )
    cuml = cuml_logistic()
    if cuml is None:
        return figures, ["cuML is not installed here: pip install cuml-cu12, or conda, and again"]
    figures.append(peer("cuML LogisticRegression", lambda: cuml(X, y, probe.l2)))
    return figures, []


def make_embeddings(probe: Probe, device: Any) -> Weights:
    """X (N, D) bfloat16 and y (N,) int64 on the device."""
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
    W, b = W.double(), b.double()
    cost = _moments(W, b, X, y)[0] + l2 * float(W.square().sum())
    best = b
    for _ in range(NEWTON_STEPS):
        _, G, g, H = _moments(W, best, X, y)
        if float(g.abs().max()) < 1e-12:
            break
        # All biases alike change nothing: H is singular along 1, which g is orthogonal to.
        best = best - torch.linalg.solve(H + 1.0 / len(H), g)
    _, G, g, _ = _moments(W, best, X, y)
    if float(g.abs().max()) > 1e-9:
        raise ArithmeticError(
            f"no best bias: |∂J/∂b| is {float(g.abs().max()):.2g} after {NEWTON_STEPS} Newton steps"
        )
    return cost, float((G + 2.0 * l2 * W).square().sum()) / (4.0 * l2)


def _moments(W: Any, b: Any, X: Any, y: Any) -> tuple[float, Any, Any, Any]:
    """Mean cross-entropy, its gradients by W and b, and its Hessian by b."""
    K, D = W.shape
    loss, G = 0.0, torch.zeros_like(W)
    g, H = torch.zeros_like(b), torch.zeros(K, K, dtype=W.dtype, device=W.device)
    size = max(1, TILE_BYTES.get(X.device.type, 1 << 28) // (8 * (D + 3 * K)))
    for x, t in zip(torch.split(X, size), torch.split(y, size), strict=True):
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


def _ours(device: Any, say: Say, probe: Probe, work: str, X: Any, y: Any) -> Figure:
    """From rows in the host's memory to the proof: copy, metric, search and certificate."""
    host, labels = X.cpu().view(torch.int16).numpy().view(ml_dtypes.bfloat16), y.cpu().numpy()
    precision = "tf32" if device.type == "cuda" else "float32"
    engine = make_engine("torch", device=str(device), precision=precision)
    rows = Rows(host, labels, np.ones(probe.features), np.zeros(probe.features))
    say(f"optimum: onelayer, {precision}")
    _solve(engine, rows.part(0, min(probe.rows, 20_000)), probe)
    settle(device)
    peak_megabytes(device)
    seconds, optimum = timed(lambda: _solve(engine, rows, probe), device)
    W, b = (torch.from_numpy(np.asarray(a)).to(device) for a in (optimum.W, optimum.b))
    cost, gap = judge(W, b, X, y, probe.l2)
    if not gap <= 1.01 * TOLERANCE * cost:
        raise ArithmeticError(f"onelayer's answer is proven to {gap / cost:.2g}·J only: {optimum}")
    words = f"{_words((cost, gap))}; {optimum.passes} passes, {optimum.status}"
    who = f"onelayer, {precision}, rows from the host's memory"
    return Figure(work, who, (seconds,), None, words, ASKED, peak_megabytes(device))


def _solve(engine: Engine, rows: Rows, probe: Probe) -> Any:
    metric = fit_preconditioner(engine, rows, probe.classes)
    solver = Solver(engine, rows, probe.classes, metric)
    return solver.solve(Target(probe.l2, TOLERANCE))


def _words(judged: tuple[float, float]) -> str:
    cost, gap = judged
    return f"J {cost:.6g}, gap {gap / cost:.1g}·J"
