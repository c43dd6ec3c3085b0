"""A linear probe on embeddings as large as people have them: time, memory, and what it is beside.

200 000 × 768 float16 with 100 classes, in .npy files: a path of 16 λ's, each proven to 1e-3 J, and
a sweep of 32 runs over 5 epochs, each in a process of its own whose whole memory counts; and
scikit-learn's LogisticRegression on a tenth of the rows. NumPy float64 judges every answer.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import oracle, page
from benchmarks.harness.page import SECONDS, Columns, Target, fact
from benchmarks.harness.problem import Answer, Data, Problem, Setting, l2_path
from benchmarks.harness.processes import Process
from benchmarks.harness.record import Check, Measure, Part, Record, find
from benchmarks.harness.rounds import Entrant, Sample, Session, Suite, time_in_turn
from benchmarks.harness.worker import timed
from onelayer import Run, load, solve, solve_path, sweep, train
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
    """What is trained on what: N rows, as many validation as test rows, D features, K classes."""

    rows: int = 200_000
    held_out: int = 10_000
    features: int = 768
    classes: int = 100
    points: int = 16  # λ's of the path
    rates: int = 8  # learning rates of the sweep, with four λ's each
    batch_size: int = 256
    epochs: int = 5
    peers: tuple[int, ...] = (0, 5, 10, 15)  # positions of the λ's that scikit-learn is given
    rounds: int = 2  # of a tenth of the rows

    @property
    def x_bytes(self) -> int:
        return 2 * self.rows * self.features

    @property
    def l2s(self) -> tuple[float, ...]:
        return l2_path(self.points, 0.1, 1e-4)

    @property
    def peer_l2s(self) -> tuple[float, ...]:
        return tuple(self.l2s[i] for i in self.peers)

    @property
    def settings(self) -> tuple[Setting, ...]:
        rates = np.geomspace(0.01, 1.0, self.rates).round(4).tolist()
        return tuple(Setting(rate, l2) for rate in rates for l2 in (0.0, 1e-5, 1e-4, 1e-3))

    def runs(self) -> list[Run]:
        """The same as onelayer takes them, rows in file order."""
        return [Run(s.learning_rate, s.l2, s.seed, self.batch_size, self.epochs, shuffle=False)
                for s in self.settings]  # fmt: skip


FULL = Probe()
QUICK = Probe(rows=20_000, held_out=2000, points=4, rates=2, epochs=2, peers=(0, 3), rounds=1)


def write_files(probe: Probe, folder: Path) -> None:
    """Write features and labels of every part, a block at a time.

    A row is the mean of its class + noise with a falling spectrum in rotated directions.
    """
    rng, D, K = np.random.default_rng(0), probe.features, probe.classes
    rotation = np.linalg.qr(rng.standard_normal((D, D)))[0]
    deviations = (1.0 + np.arange(D)) ** DECAY
    deviations *= np.sqrt(D / np.sum(deviations**2))
    noise = (deviations[:, None] * rotation.T).astype(np.float32)
    leading = rotation[:, : min(SIGNAL_DIRECTIONS, D)]
    means = (SIGNAL * rng.standard_normal((K, leading.shape[1])) @ leading.T).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"train": probe.rows, "validation": probe.held_out, "test": probe.held_out}
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
    """Does one part in a process of its own: trains by it, or judges what another one gave.

    The clock runs from rows that are loaded to the answer. What counts of memory is the most that
    the process ever had, interpreter, libraries and the mapped files included.
    """

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
        whole = self.splits
        few = whole.train.take(slice(0, self._probe.rows // 10))
        return Splits(few, whole.validation, whole.test, name=whole.name, source=whole.source)

    def path(self, rows: str, l2s: tuple[float, ...]) -> dict[str, Any]:
        """λ's on all rows, on a tenth, or with validation and test cut off the one file."""
        X, y = self._files("train")
        splits = load(X, labels=y, progress=False) if rows == "shares" else getattr(self, rows)
        work = partial(solve_path, splits, l2s, tol=TOLERANCE, scaling="unit", engine=self._engine)
        path, figures = timed(work)
        proofs = [model.require_certificate() for model in path.models]
        return {
            **figures,
            "models": len(proofs),
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
            result, figures = timed(lambda: sweep(
                self.splits, self._probe.runs(), scaling="unit", engine=self._engine
            ))  # fmt: skip
        best = int(result.validation_accuracy.argmax())
        return {
            **figures,
            "models": len(result.runs),
            "passes": sum(outcome.epochs for outcome in result.outcomes),
            "accuracy": float(result.validation_accuracy[best]),
            "loss": float(result.history.train_loss[best, -1]),
            "W": result.W[best],
            "b": result.b[best],
        }

    def peer(self) -> dict[str, Any]:
        """LogisticRegression as it is by default, on float32, which it is faster with."""
        from sklearn.linear_model import LogisticRegression

        l2s, rows = self._probe.peer_l2s, self.tenth.train
        X, y = rows.X.astype(np.float32), rows.y
        validation = self.tenth.validation
        models = [LogisticRegression(C=1 / (2 * l2 * rows.rows)) for l2 in l2s]
        with warnings.catch_warnings():  # of a search that did not converge
            warnings.simplefilter("ignore")
            _, figures = timed(lambda: [model.fit(X, y) for model in models])
        held_out = validation.X.astype(np.float32)
        return {
            **figures,
            "models": len(models),
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
        return {"checks": [
            ("cost of every model of the path / certificate's", costs, COST_TOLERANCE),
            ("‖∇J‖² / 4λ at the smallest λ / proven gap", _apart(gap, answer["gaps"][-1]),
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
        return {"excess": excess,
                "checks": [("scikit-learn's cost below the proven least", below, 0.0)]}  # fmt: skip

    def judge_sweep(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """The best model's figures, and the first steps of every run beside plain descent."""
        W, b, train, rows = answer["W"], answer["b"], self.splits.train, self.splits.validation
        loss = oracle.cost_of(train.X, train.y, W, b, 0.0)
        right = float(np.mean(objective.scores(rows.X, W, b).argmax(axis=1) == rows.y))
        return {"checks": [
            ("training loss of the best run / said", _apart(loss, answer["loss"]), LOSS_TOLERANCE),
            ("validation accuracy of the best run − said", abs(right - answer["accuracy"]),
             1.0 / rows.rows),
            self.first_steps(),
        ]}  # fmt: skip

    def first_steps(self) -> tuple[str, float, float]:
        """Weights of all runs after a few steps, against descent in NumPy float64."""
        probe = replace(self._probe, epochs=1)
        few = self.splits.train.take(slice(0, FIRST_STEPS * probe.batch_size))
        problem = Problem("first steps", few.rows, few.features, few.classes, probe.batch_size, 1,
                          few.X.dtype.name, settings=probe.settings)  # fmt: skip
        splits = Splits(few, few, few, name="first steps", source="")
        found = train(splits, probe.runs(), engine=self._engine, scaling="unit",
                      certify=False)  # fmt: skip
        expected = oracle.expect(problem, Data(few.X, few.y), max_runs=problem.runs)
        agreement = oracle.compare(Answer(found.W, found.b), expected)
        what = f"weights of {agreement.runs} runs after {FIRST_STEPS} steps − float64's"
        distance = agreement.distance if agreement.runs == problem.runs else float("nan")
        return what, distance, agreement.allowed


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
    """J of every model, shape (P,)."""
    models = zip(answer["W"], answer["b"], answer["l2s"].tolist(), strict=True)
    return np.array([oracle.cost_of(rows.X, rows.y, *model) for model in models])


@dataclass(frozen=True)
class Step:
    """A part to be measured: what of the desk does it and judges it, and on which rows."""

    key: str
    label: str
    do: str
    values: Mapping[str, Any] = field(default_factory=dict)
    judge: str = ""
    fraction: float = 1.0
    weighed: bool = True  # whether its memory is shown


def steps_of(probe: Probe) -> tuple[Step, ...]:
    """All that is measured, in the page's order; the last three in rounds."""
    label, few, runs = "onelayer, {} λ's, each proven", len(probe.peers), len(probe.settings)
    whole, tenth = ({"rows": rows, "l2s": probe.l2s} for rows in ("splits", "tenth"))
    one = {"rows": "shares", "l2s": probe.peer_l2s[:1]}
    return (
        Step("path", label.format(probe.points), "path", whole, "judge_path"),
        Step("sweep", f"onelayer, a sweep of {runs} runs × {probe.epochs} epochs", "sweep",
             judge="judge_sweep"),
        Step("path_of_shares", "onelayer, 1 λ, validation and test cut off the file", "path", one,
             fraction=0.64),
        Step("path_of_tenth", label.format(probe.points), "path", tenth, fraction=0.1),
        Step("few_of_tenth", label.format(few), "path", {**tenth, "l2s": probe.peer_l2s},
             fraction=0.1),
        Step("peer", f"scikit-learn LogisticRegression, {few} λ's", "peer", {}, "judge_peer", 0.1,
             weighed=False),
    )  # fmt: skip


def measure(session: Session, probe: Probe | None = None) -> Part:
    """Each part in a process of its own; one that fails is named and the others go on."""
    probe = probe or (QUICK if session.quick else FULL)
    folder = session.conditions.folder / "probes"
    write_files(probe, folder)
    title = f"{probe.rows:,} × {probe.features} float16".replace(",", " ")
    part = session.part(title=f"{title}, {probe.classes} classes", x_bytes=probe.x_bytes)
    judged: dict[str, dict[str, Any]] = {}

    def checked(found: Sequence[Measure]) -> Part:
        checks = (Check(*check) for told in judged.values() for check in told["checks"])
        return part.with_(found, checks=tuple(checks))

    def once(step: Step) -> Sample:
        """A part, and the judgement of its first answer, each in a new process."""
        told = _ask(session, probe, folder, step.do, **step.values)
        kept = ("models", "passes", "gap", "accuracy")
        facts = {key: told[key] for key in kept if key in told}
        if step.weighed:
            facts["peak_bytes"] = told["peak_bytes"] - probe.x_bytes
        if step.judge and step.key not in judged:
            judged[step.key] = _ask(session, probe, folder, step.judge, answer=told)
            facts |= {k: v for k, v in judged[step.key].items() if k != "checks"}
        return Sample(told["seconds"], facts=facts)

    entrants = []
    for step in steps_of(probe):
        facts = {"rows": round(step.fraction * probe.rows)}
        entrants.append(Entrant(Measure("probe", step.key, step.label, facts=facts),
                                partial(once, step)))  # fmt: skip
    for some, rounds in ((entrants[:3], 1), (entrants[3:], probe.rounds)):
        found = time_in_turn(some, rounds, session.log, lambda found: session.keep(checked(found)))
        part = checked(found)
    return part


def _ask(session: Session, probe: Probe, folder: Path, do: str, **values: Any) -> dict[str, Any]:
    c = session.conditions
    with Process(do, Desk, probe, folder, c.engine, conditions=c) as process:
        told: dict[str, Any] = process.ask(do, **values)
    return told


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


def render(part: Part, _: Path) -> list[str]:
    checks = [[c.what, f"{c.distance:.1e}", f"{c.allowed:.1e}", "yes" if c.agrees else "**no**"]
              for c in part.checks]  # fmt: skip
    return [
        f"## A linear probe on embeddings: {part.facts['title']}",
        f"X takes {page.megabytes(part.facts['x_bytes'])} MB.",
        page.measure_table(COLUMNS, part.measures),
        page.method("probes"),
        page.table(("held against NumPy float64", "off by", "allowed", "agrees"), checks),
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
