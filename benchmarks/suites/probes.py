"""A linear probe on embeddings as large as people have them: time, memory, and what it is beside.

A path of λ's, each proven to 1e-3 J, and a sweep, each in a process of its own whose whole memory
counts; and scikit-learn's LogisticRegression on a tenth of the rows. NumPy float64 judges them all.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import oracle, page
from benchmarks.harness.page import SECONDS, Columns, Target, fact
from benchmarks.harness.problem import Data, Problem, Setting, l2_path
from benchmarks.harness.processes import ask_once, timed
from benchmarks.harness.record import ORACLE, Measure, Part, Record, compared, find
from benchmarks.harness.rounds import Entrant, Sample, Session, Suite, time_in_turn
from benchmarks.peers import ours
from onelayer import load, solve, solve_path, sweep
from onelayer.data import Dataset, Splits
from onelayer.engines import make_engine
from onelayer.objective import loss as objective

TOLERANCE = 1e-3
# Directions in which the classes' means lie, how far apart they are beside noise of 1, and the
# power of (1 + i) that the noise's deviation along its i-th direction is.
SIGNAL_DIRECTIONS, SIGNAL, DECAY = 64, 0.9, -0.5
FIRST_STEPS = 10
# A certificate's cost and gap are sums in float64, in another order than the oracle's; a mean of
# float32 losses over all rows; and how near scikit-learn's excess is known.
COST_TOLERANCE, GAP_TOLERANCE, LOSS_TOLERANCE, OPTIMUM_TOLERANCE = 1e-9, 0.05, 1e-5, 1e-5
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Probe:
    """The sweep's runs on its rows, and what else is measured on them."""

    sweep: Problem
    l2s: tuple[float, ...]  # of the path
    peers: tuple[int, ...]  # positions of the λ's that scikit-learn is given
    held_out: int  # as many validation as test rows
    rounds: int  # of a tenth of the rows

    @property
    def peer_l2s(self) -> tuple[float, ...]:
        return tuple(self.l2s[i] for i in self.peers)


def grid(rates: int) -> tuple[Setting, ...]:
    """So many learning rates with four λ's each."""
    return tuple(Setting(rate, l2) for rate in np.geomspace(0.01, 1.0, rates).round(4).tolist()
                 for l2 in (0.0, 1e-5, 1e-4, 1e-3))  # fmt: skip


EMBEDDINGS = Problem("embeddings", 200_000, 768, 100, 256, 5, "float16", settings=grid(8))
FULL = Probe(EMBEDDINGS, l2_path(16, 0.1, 1e-4), (0, 5, 10, 15), held_out=10_000, rounds=2)
QUICK = Probe(replace(EMBEDDINGS, rows=20_000, epochs=2, settings=grid(2)),
              l2_path(4, 0.1, 1e-4), (0, 3), held_out=2000, rounds=1)  # fmt: skip


def write_files(probe: Probe, folder: Path) -> None:
    """Write features and labels of every part, a block at a time.

    A row is the mean of its class + noise with a falling spectrum in rotated directions.
    """
    rng, D, K = np.random.default_rng(0), probe.sweep.features, probe.sweep.classes
    rotation = np.linalg.qr(rng.standard_normal((D, D)))[0]
    deviations = (1.0 + np.arange(D)) ** DECAY
    deviations *= np.sqrt(D / np.sum(deviations**2))
    noise = (deviations[:, None] * rotation.T).astype(np.float32)
    leading = rotation[:, : min(SIGNAL_DIRECTIONS, D)]
    means = (SIGNAL * rng.standard_normal((K, leading.shape[1])) @ leading.T).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"train": probe.sweep.rows, "validation": probe.held_out, "test": probe.held_out}
    for part, rows in sizes.items():
        X = np.lib.format.open_memmap(folder / f"{part}.npy", "w+", np.dtype(np.float16), (rows, D))
        y = np.empty(rows, np.int64)
        for block in oracle.blocks(rows):
            count = block.stop - block.start
            y[block] = rng.integers(0, K, count)
            X[block] = rng.standard_normal((count, D), np.float32) @ noise + means[y[block]]
        X.flush()
        np.save(folder / f"{part}-labels.npy", y)


class Desk:
    """Does one step in a process of its own: trains, or judges what another one gave."""

    def __init__(self, probe: Probe, folder: Path, engine: str) -> None:
        self._probe, self._folder, self._engine = probe, folder, make_engine(engine)

    @cached_property
    def splits(self) -> Splits:
        """Each part of the rows from files of its own."""
        train, validation, test = (self._files(part) for part in ("train", "validation", "test"))
        return load(
            train[0], labels=train[1], validation=validation[0], validation_labels=validation[1],
            test=test[0], test_labels=test[1], progress=False,
        )  # fmt: skip

    def _files(self, part: str) -> tuple[Path, Path]:
        return self._folder / f"{part}.npy", self._folder / f"{part}-labels.npy"

    @cached_property
    def tenth(self) -> Splits:
        few = self.splits.train.take(slice(0, self._probe.sweep.rows // 10))
        return replace(self.splits, train=few)

    def path(self, rows: str, l2s: tuple[float, ...]) -> dict[str, Any]:
        """λ's on all rows, on a tenth, or with validation and test cut off the one file."""
        X, y = self._files("train")
        splits = load(X, labels=y, progress=False) if rows == "shares" else getattr(self, rows)
        work = partial(solve_path, splits, l2s, tol=TOLERANCE, scaling="unit", engine=self._engine)
        path, figures = timed(work)
        proofs = [model.require_certificate() for model in path.models]
        return {
            **figures,
            "rows": splits.train.rows,
            "passes": sum(model.passes for model in path.models),
            "gap": max(proof.gap / proof.cost for proof in proofs),
            "accuracy": max(scores[0].accuracy for scores in path.held_out),
            "l2s": np.array(path.l2),
            "W": np.array([model.W for model in path.models], np.float64),
            "b": np.array([model.b for model in path.models]),
            "costs": np.array([proof.cost for proof in proofs]),
            "gaps": np.array([proof.gap for proof in proofs]),
        }

    def sweep(self) -> dict[str, Any]:
        with warnings.catch_warnings():  # of learning rates above what is surely stable
            warnings.simplefilter("ignore")
            runs, engine = ours.runs_of(self._probe.sweep), self._engine
            result, figures = timed(lambda: sweep(self.splits, runs, scaling="unit", engine=engine))
        best = int(result.validation_accuracy.argmax())
        return {
            **figures,
            "rows": self.splits.train.rows,
            "passes": sum(outcome.epochs for outcome in result.outcomes),
            "accuracy": float(result.validation_accuracy[best]),
            "loss": float(result.history.train_loss[best, -1]),
            "W": result.W[best],
            "b": result.b[best],
        }

    def peer(self) -> dict[str, Any]:
        """LogisticRegression as it is by default, on float32, which it is faster with."""
        from sklearn.linear_model import LogisticRegression

        from benchmarks.peers.scikit_learn import fit

        l2s, rows = self._probe.peer_l2s, self.tenth.train
        X, y = rows.X.astype(np.float32), rows.y
        validation = self.tenth.validation
        models = [LogisticRegression(C=1 / (2 * l2 * rows.rows)) for l2 in l2s]
        _, figures = timed(lambda: [fit(model, X, y) for model in models])
        held_out = validation.X.astype(np.float32)
        return {
            "seconds": figures["seconds"],  # its memory is not compared
            "rows": rows.rows,
            "passes": sum(int(model.n_iter_[0]) for model in models),
            "accuracy": max(float(model.score(held_out, validation.y)) for model in models),
            "l2s": np.array(l2s),
            "W": np.array([model.coef_ for model in models], np.float64),
            "b": np.array([model.intercept_ for model in models], np.float64),
        }

    def judge_path(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """The certificates: costs of all models, and the gap of the last one."""
        rows, l2 = self.splits.train, float(answer["l2s"][-1])
        G = gradient_of(rows, answer["W"][-1], answer["b"][-1], l2)
        gap = float(np.sum(G * G)) / (4.0 * l2)
        costs = _apart(costs_of(rows, answer), answer["costs"])
        return {"compared": [
            compared("cost of every model of the path / certificate's", costs, COST_TOLERANCE),
            compared("‖∇J‖² / 4λ at the smallest λ / proven gap", _apart(gap, answer["gaps"][-1]),
                     GAP_TOLERANCE),
        ]}  # fmt: skip

    def judge_peer(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """The largest excess; no cost may be below what onelayer proves to be the least."""
        rows = self.tenth.train
        found = costs_of(rows, answer)
        models = [solve(rows, l2, tol=OPTIMUM_TOLERANCE, scaling="unit")
                  for l2 in answer["l2s"].tolist()]  # fmt: skip
        proofs = [model.require_certificate() for model in models]
        below = float((1.0 - found / np.array([proof.lower_bound for proof in proofs])).max())
        excess = float((found / np.array([proof.cost for proof in proofs]) - 1.0).max())
        words = "scikit-learn's cost below the proven least"
        return {"excess": excess, "compared": [compared(words, below, 0.0)]}

    def judge_sweep(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """The best model's figures, and the first steps of every run beside plain descent."""
        W, b, train, rows = answer["W"], answer["b"], self.splits.train, self.splits.validation
        loss = oracle.cost_of(train.X, train.y, W, b, 0.0)
        right = float(np.mean(objective.scores(rows.X, W, b).argmax(axis=1) == rows.y))
        apart = abs(right - answer["accuracy"])
        return {"compared": [
            compared("training loss of the best run / said", _apart(loss, answer["loss"]),
                     LOSS_TOLERANCE),
            compared("validation accuracy of the best run − said", apart, 1.0 / rows.rows),
            self.first_steps(),
        ]}  # fmt: skip

    def first_steps(self) -> Measure:
        """Weights of all runs after a few steps, against descent in NumPy float64."""
        problem = self._probe.sweep.first_steps(FIRST_STEPS)
        few = Data(self.splits.train.X[: problem.rows], self.splits.train.y[: problem.rows])
        found = ours.train_by_interface(problem, few, self._engine)
        agreement = oracle.compare(found, oracle.expect(problem, few, max_runs=problem.runs))
        what = f"weights of {agreement.runs} runs after {FIRST_STEPS} steps − float64's"
        distance = agreement.distance if agreement.runs == problem.runs else float("nan")
        return compared(what, distance, agreement.allowed)


def _apart(found: Any, said: Any) -> float:
    return float(np.max(np.abs(np.asarray(found) / np.asarray(said) - 1.0)))


def gradient_of(rows: Dataset, W: Float64, b: Float64, l2: float) -> Float64:
    """∂J/∂W over all rows in float64, shape (K, D)."""
    G = 2.0 * l2 * W
    for block in oracle.blocks(rows.rows):
        X, y = rows.X[block].astype(np.float64), rows.y[block]
        G += len(y) / rows.rows * objective.gradient(X, y, W, b).W
    return G


def costs_of(rows: Dataset, answer: Mapping[str, Any]) -> Float64:
    models = zip(answer["W"], answer["b"], answer["l2s"].tolist(), strict=True)
    return np.array([oracle.cost_of(rows.X, rows.y, *model) for model in models])


def steps_of(probe: Probe) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Key, label, method of the desk and its values; what judges a step has the step's key."""
    label, few, runs = "onelayer, {} λ's, each proven", len(probe.peers), probe.sweep.runs
    whole, tenth = ({"rows": rows, "l2s": probe.l2s} for rows in ("splits", "tenth"))
    return [
        ("path", label.format(len(probe.l2s)), "path", whole),
        ("sweep", f"onelayer, a sweep of {runs} runs × {probe.sweep.epochs} epochs", "sweep", {}),
        ("path_of_shares", "onelayer, 1 λ, validation and test cut off the file", "path",
         {"rows": "shares", "l2s": probe.peer_l2s[:1]}),
        ("path_of_tenth", label.format(len(probe.l2s)), "path", tenth),
        ("few_of_tenth", label.format(few), "path", {**tenth, "l2s": probe.peer_l2s}),
        ("peer", f"scikit-learn LogisticRegression, {few} λ's", "peer", {}),
    ]  # fmt: skip


def measure(session: Session, probe: Probe | None = None) -> Part:
    """Each step in a process of its own; one that fails is named and the others go on."""
    probe = probe or (QUICK if session.quick else FULL)
    folder = session.conditions.folder / "probes"
    write_files(probe, folder)
    X, c = probe.sweep, session.conditions
    ask = partial(ask_once, desk=Desk, job=(probe, folder, c.engine), conditions=c)
    title = f"{X.rows:,} × {X.features} {X.dtype}, {X.classes} classes"
    part = session.part(title=title, x_bytes=X.x_bytes)
    judged: dict[str, dict[str, Any]] = {}

    def with_judgement(found: Sequence[Measure]) -> Part:
        return part.with_(found).with_(m for told in judged.values() for m in told["compared"])

    def keep(found: Sequence[Measure]) -> None:
        session.keep(with_judgement(found))

    def once(key: str, do: str, values: dict[str, Any]) -> Sample:
        """A step, and the judgement of its first answer, each in a new process."""
        told = ask(do, values=values)
        kept = ("rows", "passes", "gap", "accuracy")
        facts = {name: told[name] for name in kept if name in told}
        if "peak_bytes" in told:
            facts["peak_bytes"] = told["peak_bytes"] - X.x_bytes
        if key not in judged and hasattr(Desk, f"judge_{key}"):
            judged[key] = ask(f"judge_{key}", values={"answer": told})
            facts |= {k: v for k, v in judged[key].items() if k != "compared"}
        return Sample(told["seconds"], facts=facts)

    entrants = [
        Entrant(Measure("probe", key, label), partial(once, key, do, values),
                max_rounds=probe.rounds if "tenth" in key or key == "peer" else 1)
        for key, label, do, values in steps_of(probe)
    ]  # fmt: skip
    return with_judgement(time_in_turn(entrants, probe.rounds, session.log, keep))


COLUMNS: Columns = {
    "what": lambda m: m.label,
    "training rows": fact("rows", "{:,}".format),
    **SECONDS,
    "passes": fact("passes", str),
    "largest proven gap / J": fact("gap", "{:.1e}".format),
    "excess over J*": fact("excess", "{:.1e}".format),
    "validation accuracy": fact("accuracy", partial(page.percent, digits=1)),
    "MB above X": fact("peak_bytes", page.megabytes),
}


COMPARED: Columns = {
    "held against NumPy float64": lambda m: m.label,
    "off by": fact("distance", "{:.1e}".format),
    "allowed": fact("allowed", "{:.1e}".format),
}


def render(part: Part, _: Path) -> list[str]:
    return [
        f"## A linear probe on embeddings: {part.facts['title']}",
        f"X takes {page.megabytes(part.facts['x_bytes'])} MB.",
        page.measure_table(COLUMNS, part.of("probe")),
        page.measure_table(COMPARED, part.of(ORACLE)),
    ]


def _fact(key: str, unit: float, do: str, record: Record) -> float | None:
    found = find(record, "probes", do, "probe")
    value = found.facts.get(key) if found else None
    return None if value is None else value / unit


def _memory(what: str, do: str) -> Target:
    return Target(f"embeddings, {what}: memory of the process above X", 500, "MB", False,
                  partial(_fact, "peak_bytes", page.MEGABYTE, do))  # fmt: skip


SUITE = Suite(
    "probes", "a linear probe on embeddings", measure, render,
    (Target("embeddings, path: largest proven gap", 1e-3, "J", False,
            partial(_fact, "gap", 1.0, "path")),
     _memory("path", "path"),
     _memory("sweep", "sweep"),
     _memory("one file with shares cut off", "path_of_shares")),
)  # fmt: skip
