"""A linear probe on embeddings as large as people have them: time, memory, and what it is beside.

A path of λ's and one of 1000 classes, each proven to 1e-3 J, and a sweep, each in a process of its
own whose memory above that of the libraries counts. NumPy float64 judges them. And few shots, each
proven to 1e-4 J, beside the loops of scikit-learn over the same rows, whose heads may not do
better. And a suite of many layers, beside scikit-learn's default fit of half of them at one λ.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from benchmarks.harness import oracle, page
from benchmarks.harness.page import SECONDS, Columns, Target, fact
from benchmarks.harness.problem import Problem, Setting, l2_path, make_data
from benchmarks.harness.processes import Process, ask_once, forget_peak, peak_bytes, timed
from benchmarks.harness.record import (
    ORACLE,
    Measure,
    Part,
    Record,
    compared,
    find,
    median_ratio,
)
from benchmarks.harness.rounds import Entrant, Sample, Session, Suite, time_in_turn
from benchmarks.peers import ours
from onelayer import load, solve, solve_path, sweep
from onelayer import probe as probe_sets
from onelayer.data import Dataset, Splits
from onelayer.data.split import TEST_SIZE, VALIDATION_SIZE, nested_subsets
from onelayer.engines import make_engine

TOLERANCE = 1e-3
# Directions in which the classes' means lie, how far apart they are beside noise of 1, and the
# power of (1 + i) that the noise's deviation along its i-th direction is.
SIGNAL_DIRECTIONS, SIGNAL, DECAY = 64, 0.9, -0.5
# A certificate's cost is a sum in float64, in another order than the oracle's.
COST_TOLERANCE = 1e-9
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Few:
    """Rows of each class that are learned from, and how often they are drawn."""

    problem: Problem
    l2s: tuple[float, ...]
    shots: tuple[int, ...]
    repeats: int


@dataclass(frozen=True)
class Layers:
    """So many feature sets so wide, random ReLU features of the pixels of these rows."""

    problem: Problem
    l2s: tuple[float, ...]
    sets: int
    width: int

    def made(self) -> tuple[dict[str, NDArray[np.float16]], NDArray[np.int64]]:
        X, y = make_data(self.problem)
        X = X.astype(np.float32)
        X -= X.mean(axis=0)
        X /= X.std() * np.sqrt(X.shape[1])
        return {f"layer{seed}": self._relu(X, seed) for seed in range(self.sets)}, y

    def _relu(self, X: NDArray[np.float32], seed: int) -> NDArray[np.float16]:
        mix = np.random.default_rng(seed).standard_normal((X.shape[1] + 1, self.width), np.float32)
        return np.asarray(np.maximum(X @ mix[1:] + 0.5 * mix[0], 0.0), np.float16)


@dataclass(frozen=True)
class Probe:
    """The sweep's runs on its rows, and what else is measured on them."""

    sweep: Problem
    l2s: tuple[float, ...]  # of the path
    held_out: int  # as many validation as test rows
    many: Problem  # rows of many classes, of which the smallest λ is solved
    few: Few
    layers: Layers


def grid(rates: int) -> tuple[Setting, ...]:
    """So many learning rates with four λ's each."""
    return tuple(Setting(rate, l2) for rate in np.geomspace(0.01, 1.0, rates).round(4).tolist()
                 for l2 in (0.0, 1e-5, 1e-4, 1e-3))  # fmt: skip


EMBEDDINGS = Problem("embeddings", 200_000, 768, 100, 256, 5, "float16", settings=grid(8))
MANY = replace(EMBEDDINGS, rows=100_000, classes=1000)
FEW = Few(replace(EMBEDDINGS, rows=20_000, features=512, classes=50), l2_path(12, 1.0, 1e-4),
          (1, 2, 4, 8, 16), 5)  # fmt: skip
LAYERS = Layers(Problem("layers", source="cifar10"), l2_path(12, 1.0, 1e-4), 48, 768)
FULL = Probe(EMBEDDINGS, l2_path(16, 0.1, 1e-4), 10_000, MANY, FEW, LAYERS)
QUICK = Probe(replace(EMBEDDINGS, rows=20_000, epochs=2, settings=grid(2)), l2_path(4, 0.1, 1e-4),
              2000, replace(MANY, rows=10_000, classes=100),
              Few(replace(FEW.problem, rows=2000, features=64, classes=10), FEW.l2s[::4],
                  (1, 4), 2),
              Layers(replace(LAYERS.problem, rows=2000), LAYERS.l2s[::4], 4, 128))  # fmt: skip


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
        forget_peak()
        self._resident = peak_bytes()  # of the interpreter and the libraries

    def _timed(self, work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
        answer, figures = timed(work)
        return answer, figures | {"peak_bytes": figures["peak_bytes"] - self._resident}

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

    def path(self, rows: str, l2s: tuple[float, ...]) -> dict[str, Any]:
        """λ's on all rows, or with validation and test cut off the one file."""
        X, y = self._files("train")
        splits = load(X, labels=y, progress=False) if rows == "shares" else self.splits
        work = partial(solve_path, splits, l2s, tol=TOLERANCE, scaling="unit", engine=self._engine)
        path, figures = self._timed(work)
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
            "roundings": np.array([proof.rounding for proof in proofs]),
        }

    def sweep(self) -> dict[str, Any]:
        with warnings.catch_warnings():  # of learning rates above what is surely stable
            warnings.simplefilter("ignore")
            runs, engine = ours.runs_of(self._probe.sweep), self._engine
            work = partial(sweep, self.splits, runs, scaling="unit", engine=engine)
            result, figures = self._timed(work)
        best = int(result.validation_accuracy.argmax())
        return {
            **figures,
            "rows": self.splits.train.rows,
            "passes": sum(outcome.epochs for outcome in result.outcomes),
            "accuracy": float(result.validation_accuracy[best]),
        }

    def few_shots(self) -> dict[str, Any]:
        """The whole suite of one feature set: its path on all rows as well."""
        few, sets = self._probe.few, {"all": self.splits}
        found, figures = self._timed(lambda: probe_sets(
            sets, l2=few.l2s, shots=few.shots, repeats=few.repeats, tol=TOLERANCE / 10,
            scaling="none", engine=self._engine,
        ))  # fmt: skip
        sizes = found.best.few_shots
        means = [one.mean()[0] for one in sizes]
        return {
            **figures,
            "rows": sizes[-1].rows,
            "gap": max(one.gap for one in sizes),
            "accuracy": means[-1],
            "means": means,
        }

    def few_shots_of_scikit_learn(self) -> dict[str, Any]:
        """The same by loops over `LogisticRegression`, λ by the same rule, without the path."""
        few, data = self._probe.few, self.splits
        X, held_out, test = (part.X.astype(np.float32) for part in
                             (data.train, data.validation, data.test))  # fmt: skip

        def work() -> list[float]:
            means = []
            for size in few.shots:
                scores, heads = np.zeros((len(few.l2s), few.repeats)), {}
                for repeat in range(few.repeats):
                    (fit,) = nested_subsets(data.train.y, (size,), (0, repeat))
                    (judged,) = nested_subsets(data.validation.y, (size,), (0, repeat, 1))
                    for i, l2 in enumerate(few.l2s):
                        model = LogisticRegression(C=1.0 / (2.0 * l2 * len(fit)), max_iter=1000)
                        heads[i, repeat] = model.fit(X[fit], data.train.y[fit])
                        scores[i, repeat] = model.score(held_out[judged], data.validation.y[judged])
                best = int(scores.mean(axis=1).argmax())
                of_best = (heads[best, repeat] for repeat in range(few.repeats))
                means.append(float(np.mean([one.score(test, data.test.y) for one in of_best])))
            return means

        means, figures = self._timed(work)
        rows = few.shots[-1] * few.problem.classes
        return {**figures, "rows": rows, "accuracy": means[-1], "means": means}

    def layers(self) -> dict[str, Any]:
        """The suite, whose memory counts above that of its layers."""
        layers = self._probe.layers
        sets, y = layers.made()
        forget_peak()
        work = partial(probe_sets, sets, y, l2=layers.l2s, tol=TOLERANCE / 10, engine=self._engine)
        found, figures = timed(work, peak_bytes())
        solved = [one for head in found.heads for one in head.solutions]
        proofs = [one.certificate for one in solved]
        return {
            **figures,
            "x_bytes": 0,
            "rows": found.best.model.require_certificate().rows,
            "passes": sum(one.passes for one in solved),
            "gap": max(proof.gap / proof.cost for proof in proofs),
            "accuracy": found.best.best.held_out[0].accuracy,
        }

    def layers_of_scikit_learn(self) -> dict[str, Any]:
        """Seconds of default fits of half of the layers, by those of a few."""
        layers = replace(self._probe.layers, sets=FITS)
        sets, y = layers.made()
        rows = round(len(y) * (1.0 - TEST_SIZE) * (1.0 - VALIDATION_SIZE))

        def work() -> None:
            for X in sets.values():
                with warnings.catch_warnings():  # of fits that end after 100 iterations
                    warnings.simplefilter("ignore")
                    LogisticRegression().fit(X[:rows].astype(np.float32), y[:rows])

        _, figures = timed(work)
        seconds = figures["seconds"] * self._probe.layers.sets / 2.0 / FITS
        return {"seconds": seconds, "peak_bytes": figures["peak_bytes"], "rows": rows}

    def judge_path(self, answer: Mapping[str, Any]) -> list[Measure]:
        """The certificates: costs of all models, and a cost that may not be below the bound."""
        rows, l2 = self.splits.train, float(answer["l2s"][-1])
        near = solve(rows, l2, tol=TOLERANCE / 100, scaling="unit", engine=self._engine)
        least = oracle.cost_of(rows.X, rows.y, near.W, near.b, l2)
        below = (answer["costs"][-1] - answer["gaps"][-1]) / least - 1.0
        said = answer["costs"]
        beyond = np.abs(costs_of(rows, answer) - said) - answer["roundings"]
        costs = float(np.max(np.maximum(beyond, 0.0) / said))
        return [
            compared("cost of every model of the path / certificate's, beyond its rounding", costs,
                     COST_TOLERANCE),
            compared("bound at the smallest λ above the least cost that is known", below,
                     COST_TOLERANCE),
        ]  # fmt: skip


def costs_of(rows: Dataset, answer: Mapping[str, Any]) -> Float64:
    models = zip(answer["W"], answer["b"], answer["l2s"].tolist(), strict=True)
    return np.array([oracle.cost_of(rows.X, rows.y, *model) for model in models])


FEW_OURS, FEW_THEIRS = "few_shots", "few_shots_of_scikit_learn"
LAYERS_OURS, LAYERS_THEIRS = "layers", "layers_of_scikit_learn"
# Of scikit-learn's, which are measured.
FITS = 2
# What the mean accuracy of a size may differ by where λ's tie.
NO_WORSE = 0.01


def steps_of(probe: Probe) -> list[tuple[str, Probe, str, str, dict[str, Any]]]:
    """Key, probe, label, method of the desk and its values."""
    label, runs = "onelayer, {} λ's, each proven", probe.sweep.runs
    many = replace(probe, sweep=probe.many)
    smallest = {"rows": "splits", "l2s": probe.l2s[-1:]}
    few = replace(probe, sweep=probe.few.problem)
    pixels, sets = replace(probe, sweep=probe.layers.problem), probe.layers.sets
    count = f"{sets} layers × {len(probe.layers.l2s)} λ's"
    draws = f"{len(probe.few.shots)} sizes × {probe.few.repeats} draws × {len(probe.few.l2s)} λ's"
    return [
        ("path", probe, label.format(len(probe.l2s)), "path", {"rows": "splits", "l2s": probe.l2s}),
        ("sweep", probe, f"onelayer, a sweep of {runs} runs × {probe.sweep.epochs} epochs", "sweep",
         {}),
        ("path_of_shares", probe, "onelayer, 1 λ, validation and test cut off the file", "path",
         {"rows": "shares", "l2s": probe.l2s[:1]}),
        ("path_of_many", many, f"onelayer, 1 λ, {many.sweep.classes} classes", "path", smallest),
        (FEW_OURS, few, f"onelayer, few shots: {draws}, each proven, and the path", "few_shots",
         {}),
        (FEW_THEIRS, few, f"scikit-learn's loops, few shots: {draws}", "few_shots_of_scikit_learn",
         {}),
        (LAYERS_OURS, pixels, f"onelayer, {count}, each proven", LAYERS_OURS, {}),
        (LAYERS_THEIRS, pixels, f"scikit-learn's default fit of {sets // 2} layers, by {FITS}",
         LAYERS_THEIRS, {}),
    ]  # fmt: skip


def measure(session: Session, probe: Probe | None = None) -> Part:
    """Each step in a process of its own; one that fails is named and the others go on."""
    probe = probe or (QUICK if session.quick else FULL)
    X, c = probe.sweep, session.conditions
    title = f"{X.rows:,} × {X.features} {X.dtype}, {X.classes} classes"
    part = session.part(title=title, x_bytes=X.x_bytes)
    judged: list[Measure] = []
    means: dict[str, list[float]] = {}

    def once(key: str, of: Probe, do: str, values: dict[str, Any]) -> Sample:
        """A step with sgemm after it, and the judgement of its answer, each in a new process."""
        rows = of.sweep
        folder = c.folder / f"probes-{rows.rows}-{rows.classes}"
        if of.sweep is not of.layers.problem and not folder.exists():
            write_files(of, folder)
        job = (of, folder, c.engine)
        with Process(key, Desk, *job, conditions=c) as process:
            told = process.ask(do, **values)
            limits = tuple(process.limit("sgemm") for _ in range(3))
        kept = ("rows", "passes", "gap", "accuracy")
        facts = {name: told[name] for name in kept if name in told}
        facts["peak_bytes"] = told["peak_bytes"] - told.get("x_bytes", rows.x_bytes)
        if do == "path":
            flops = 4.0 * told["rows"] * rows.features * rows.classes * told["passes"]
            facts["of_sgemm"] = told["seconds"] * median(limits) * 1e9 / flops
        if "means" in told:
            means[key] = told["means"]
        if len(means) == 2 and key in means:
            pairs = zip(means[FEW_THEIRS], means[FEW_OURS], strict=True)
            worse = max(theirs - ours for theirs, ours in pairs)
            judged.append(compared("few shots: test accuracy of scikit-learn's heads above ours, "
                                   "at most of all sizes", worse, NO_WORSE))  # fmt: skip
        if key == "path":
            judged.extend(ask_once("judge_path", Desk, job, {"answer": told}, conditions=c))
        return Sample(told["seconds"], series={"sgemm": limits}, facts=facts)

    entrants = [
        Entrant(Measure("probe", key, label), partial(once, key, of, do, values))
        for key, of, label, do, values in steps_of(probe)
    ]
    found = time_in_turn(entrants, 1, session.log, lambda m: session.keep(part.with_(m + judged)))
    return part.with_(found + judged)


COLUMNS: Columns = {
    "what": lambda m: m.label,
    "training rows": fact("rows", "{:,}".format),
    **SECONDS,
    "passes": fact("passes", str),
    "largest proven gap / J": fact("gap", "{:.1e}".format),
    "time / passes at sgemm's speed": fact("of_sgemm", "{:.2f}".format),
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


FIGURES = {"memory of the process above X": ("peak_bytes", "MB", page.MEGABYTE),
           "time / passes at sgemm's speed": ("of_sgemm", "×", 1.0),
           "largest proven gap": ("gap", "J", 1.0)}  # fmt: skip


def _times_as_fast(theirs: str, ours: str, record: Record) -> float | None:
    return median_ratio(*(find(record, "probes", who, "probe") for who in (theirs, ours)))


def _target(what: str, do: str, figure: str, asked: float) -> Target:
    key, unit, size = FIGURES[figure]
    return Target(f"embeddings, {what}: {figure}", asked, unit, False,
                  partial(_fact, key, size, do))  # fmt: skip


MEMORY, SPEED, GAP = FIGURES
SUITE = Suite(
    "probes", "a linear probe on embeddings", measure, render,
    (_target("path", "path", GAP, 1e-3), _target("path", "path", SPEED, 1.5),
     _target("1000 classes", "path_of_many", SPEED, 1.4), _target("path", "path", MEMORY, 300),
     _target("1000 classes", "path_of_many", MEMORY, 400), _target("sweep", "sweep", MEMORY, 500),
     _target("one file with shares cut off", "path_of_shares", MEMORY, 500),
     Target("few shots: time of scikit-learn's loops / ours", 10, "×", True,
            partial(_times_as_fast, FEW_THEIRS, FEW_OURS)),
     Target("48 layers × 12 λ's: time of scikit-learn's default fit of 24 / ours", 1, "×", True,
            partial(_times_as_fast, LAYERS_THEIRS, LAYERS_OURS))),
)  # fmt: skip
