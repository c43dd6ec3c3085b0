"""The benchmark of GPUs, on the CPU: every line runs, and a wrong answer is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

torch = pytest.importorskip("torch")

from benchmarks.__main__ import main  # noqa: E402
from benchmarks.harness.problem import Answer, Problem, Setting  # noqa: E402
from benchmarks.harness.record import read_record  # noqa: E402
from benchmarks.peers import ours  # noqa: E402
from benchmarks.suites import gpu  # noqa: E402
from benchmarks.suites.gpu import judge, make_embeddings  # noqa: E402

CPU = torch.device("cpu")
SMALL = Problem("optimum", 400, 6, 4, settings=(Setting(l2=0.01),))
L2 = 0.01


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where results go; problems are smaller than those of --quick: these tests are fast."""
    monkeypatch.setattr("benchmarks.__main__.RUNS", tmp_path)
    monkeypatch.setattr(gpu, "QUICK", SMALL)
    monkeypatch.setattr(gpu, "QUICK_ROWS", 200)
    monkeypatch.setattr(gpu, "SIDES", {"cpu": 64})
    return tmp_path


QUICK = ["--only", "gpu", "--device", "cpu", "--quick", "--noise"]


def test_the_quick_form_measures_every_contender_on_the_cpu(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(QUICK) == 0
    part = read_record(folder / "latest.json")["gpu"]
    assert part.quick
    works = {m.work.partition(" × ")[0] for m in part.measures}
    assert works == {"4 runs", "8 runs", "optimum, 400"}
    assert all(min(m.seconds) > 0 for m in part.measures if not m.refused)
    page = (folder / "benchmarks.md").read_text("utf-8")
    assert page in capsys.readouterr().out
    for who in ("onelayer, tf32", "PyTorch loop", "torch.optim.LBFGS"):
        assert who in page


def test_without_a_gpu_the_default_says_so_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        return
    assert main(["--only", "gpu", "--quick"]) == 1
    assert "--device cpu" in capsys.readouterr().err


def test_training_that_is_off_by_a_percent_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = ours.train

    def off(*arguments: Any) -> Answer:
        answer = honest(*arguments)
        return answer._replace(W=1.02 * answer.W)

    monkeypatch.setattr(ours, "train", off)
    assert main(QUICK) == 1
    assert "DISAGREES: onelayer, float32 on 4 runs" in capsys.readouterr().err
    measures = read_record(folder / "latest.json")["gpu"].measures
    assert not any(m.seconds for m in measures if m.label.startswith("onelayer, float32, a warm"))


def test_the_judge_bounds_the_excess_over_an_independent_optimum_and_is_tight_there() -> None:
    X, y = make_embeddings(SMALL, CPU)
    wide, labels = X.double().numpy(), y.numpy()
    K, D = SMALL.classes, SMALL.features

    def cost(flat: np.ndarray) -> tuple[float, np.ndarray]:
        W, b = flat[: K * D].reshape(K, D), flat[K * D :]
        S = wide @ W.T + b
        S -= S.max(1, keepdims=True)
        P = np.exp(S)
        P /= P.sum(1, keepdims=True)
        loss = -np.log(P[np.arange(len(labels)), labels]).mean()
        P[np.arange(len(labels)), labels] -= 1
        P /= len(labels)
        gradient = np.concatenate([(P.T @ wide + 2 * L2 * W).ravel(), P.sum(0)])
        return loss + L2 * (W**2).sum(), gradient

    best = minimize(cost, np.zeros(K * D + K), jac=True, method="L-BFGS-B",
                    options={"gtol": 1e-12, "ftol": 0, "maxiter": 5000})  # fmt: skip
    start = np.random.default_rng(0).normal(size=K * D + K)
    for far in (1.0, 0.1, 0.0):
        at = best.x + far * start
        W, b = torch.from_numpy(at[: K * D].reshape(K, D)), torch.from_numpy(at[K * D :])
        judged, gap = judge(W, b, X, y, L2)
        assert judged == pytest.approx(cost(at)[0], rel=1e-12)
        if far:
            free = minimize(lambda c, at=at: cost(np.concatenate([at[: K * D], c]))[0], at[K * D :])
            assert free.fun - best.fun <= gap * (1 + 1e-6)
        else:
            assert gap < 1e-9
