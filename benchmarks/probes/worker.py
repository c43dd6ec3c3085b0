"""The process in which one part is done, alone in its memory; its answer goes to a file.

Run as `python -m benchmarks.probes.worker JOB`, by `measure` alone. The clock runs from rows that
are loaded to the answer; what counts of memory is the most that the process ever had, interpreter,
libraries and the mapped files included.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory import peak_bytes
from benchmarks.probes.judge import judge_path, judge_peer, judge_sweep
from benchmarks.probes.problem import TOLERANCE, Probe, files_of
from benchmarks.worker import serve
from onelayer import load
from onelayer.data import Splits
from onelayer.engines import make_engine
from onelayer.solver import solve_path
from onelayer.training.sweep import sweep


class Desk:
    """Does one part; see `measure.PARTS` for what they are called."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._probe, self._folder = Probe.from_dict(job["probe"]), Path(job["folder"])
        self._engine = str(job["engine"])
        self.greeting: dict[str, Any] = {}

    def run(self, part: str, to: str) -> dict[str, Any]:
        """Do a part; what it is told of goes back, the answer to a file."""
        told = self._parts[part](Path(to))
        return {**told, "peak_bytes": float(peak_bytes())}

    @property
    def _parts(self) -> dict[str, Callable[[Path], dict[str, Any]]]:
        probe = self._probe
        return {
            "path": lambda to: self._path(self._splits(), probe.l2s, to),
            "path-of-shares": lambda to: self._path(self._shares(), probe.peer_l2s[:1], to),
            "sweep": lambda to: self._sweep(self._splits(), to),
            "path-of-tenth": lambda to: self._path(self._tenth(), probe.l2s, to),
            "few-of-tenth": lambda to: self._path(self._tenth(), probe.peer_l2s, to),
            "peer": lambda to: self._peer(self._tenth(), to),
            "judge-path": lambda to: judge_path(self._splits().train, to),
            "judge-sweep": lambda to: judge_sweep(self._splits(), probe, self._engine, to),
            "judge-peer": lambda to: judge_peer(self._tenth().train, to),
        }

    def _splits(self) -> Splits:
        """Each part of the rows from files of its own."""
        train, validation, test = (
            files_of(self._folder, part) for part in ("train", "validation", "test")
        )
        return load(
            train.X, labels=train.y, validation=validation.X, validation_labels=validation.y,
            test=test.X, test_labels=test.y, progress=False,
        )  # fmt: skip

    def _shares(self) -> Splits:
        """Validation and test rows cut off the one file."""
        files = files_of(self._folder, "train")
        return load(files.X, labels=files.y, progress=False)

    def _tenth(self) -> Splits:
        whole = self._splits()
        tenth = whole.train.take(slice(0, self._probe.tenth))
        return Splits(tenth, whole.validation, whole.test, name=whole.name, source=whole.source)

    def _path(self, splits: Splits, l2s: tuple[float, ...], to: Path) -> dict[str, Any]:
        engine = make_engine(self._engine)
        started = time.perf_counter()
        path = solve_path(splits, l2s, tol=TOLERANCE, scaling="unit", engine=engine)
        seconds = time.perf_counter() - started
        proofs = [optimum.require_certificate() for optimum in path.models]
        np.savez(
            to,
            l2s=path.l2,
            W=np.array([optimum.W for optimum in path.models], np.float64),
            b=np.array([optimum.b for optimum in path.models]),
            cost=np.array([proof.cost for proof in proofs]),
            gap=np.array([proof.gap for proof in proofs]),
        )
        return {
            "seconds": seconds,
            "models": len(path.models),
            "passes": sum(optimum.passes for optimum in path.models),
            "gap": max(proof.gap / proof.cost for proof in proofs),
            "accuracy": max(scores[0].accuracy for scores in path.held_out),
        }

    def _sweep(self, splits: Splits, to: Path) -> dict[str, Any]:
        engine, runs = make_engine(self._engine), self._probe.runs
        started = time.perf_counter()
        with warnings.catch_warnings():  # of learning rates above what is surely stable
            warnings.simplefilter("ignore")
            result = sweep(splits, runs, engine=engine)
        seconds = time.perf_counter() - started
        best = int(result.validation_accuracy.argmax())
        np.savez(
            to,
            W=result.W[best],
            b=result.b[best],
            loss=result.history.train_loss[best, -1],
            accuracy=result.validation_accuracy[best],
        )
        return {
            "seconds": seconds,
            "models": len(result.runs),
            "passes": sum(outcome.epochs for outcome in result.outcomes),
            "accuracy": float(result.validation_accuracy[best]),
        }

    def _peer(self, splits: Splits, to: Path) -> dict[str, Any]:
        """LogisticRegression as it is by default, on float32, which it is faster with."""
        from sklearn.linear_model import LogisticRegression

        l2s, train = self._probe.peer_l2s, splits.train
        X = train.X.astype(np.float32)
        held_out = splits.validation.X.astype(np.float32)
        seconds, models = 0.0, []
        for l2 in l2s:
            model = LogisticRegression(C=1 / (2 * l2 * train.rows))
            started = time.perf_counter()
            with warnings.catch_warnings():  # of a search that did not converge
                warnings.simplefilter("ignore")
                models.append(model.fit(X, train.y))
            seconds += time.perf_counter() - started
        np.savez(
            to,
            l2s=np.array(l2s),
            W=np.array([model.coef_ for model in models], np.float64),
            b=np.array([model.intercept_ for model in models], np.float64),
        )
        return {
            "seconds": seconds,
            "models": len(models),
            "passes": sum(int(model.n_iter_[0]) for model in models),
            "accuracy": max(float(m.score(held_out, splits.validation.y)) for m in models),
        }


if __name__ == "__main__":
    serve(Desk)
