"""Linear probes of many feature sets: a certified head for each, on one split of their rows."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from onelayer.data.dataset import Splits, data_card
from onelayer.data.feature_sets import FeatureSets, read_feature_sets
from onelayer.data.progress import Log, print_line
from onelayer.data.rows import class_weight_setting, intercept_setting
from onelayer.data.scaling import check_scaling
from onelayer.data.split import TEST_SIZE, VALIDATION_SIZE, fold_setting, folds_among, folds_of
from onelayer.data.weights import ClassWeight
from onelayer.engines import Engine, streaming
from onelayer.errors import is_number, known_options, plain, require_whole
from onelayer.experiments.baselines import measure_baselines
from onelayer.experiments.few_shots import Draws, ShotsState, learn_from_few
from onelayer.files.atomic import check_replaceable, writing
from onelayer.files.lock import lent_lock
from onelayer.files.manifest import read_manifest
from onelayer.files.provenance import describe_environment
from onelayer.files.records import write_json
from onelayer.solver.linalg import one_blas_thread
from onelayer.solver.path import PathProgress, l2_values
from onelayer.solver.selection import Choice, Rule
from onelayer.solver.solve import solve_path
from onelayer.solver.solver import Target
from onelayer.training.checkpoint import (
    HASHED,
    Checkpoint,
    Fingerprint,
    as_read,
    data_fingerprint,
    fingerprint_of,
    unfinished,
)
from onelayer.training.run_folder import kind_of
from onelayer.training.suite import FewShots, Head, HeadKeeper, Suite

# Features of sets that are solved side by side: of fewer bytes a set is done in no time, and
# of more the threads of one pass wait little for each other, and memory is better spared.
LEAST_BYTES, MOST_BYTES = 1 << 20, 64 << 20


@known_options
def probe(
    features: Any,
    labels: Any = None,
    *,
    names: Sequence[str] | None = None,
    test: Any = None,
    test_labels: Any = None,
    test_size: float = TEST_SIZE,
    validation: Any = None,
    validation_labels: Any = None,
    validation_size: float = VALIDATION_SIZE,
    split_seed: int = 0,
    split: Any = None,
    groups: Any = None,
    weights: Any = None,
    l2: int | ArrayLike = 20,
    shots: int | ArrayLike = (),
    fractions: float | ArrayLike = (),
    repeats: int = 5,
    folds: Any = 0,
    scoring: str = "accuracy",
    rule: Rule = "best",
    refit: bool = False,
    tol: float = 1e-6,
    max_passes: int = 1000,
    scaling: str = "auto",
    intercept: bool = True,
    class_weight: ClassWeight = None,
    baselines: bool = False,
    engine: Engine | str | None = None,
    on_progress: Callable[[PathProgress], None] | None = None,
    checkpoint: Checkpoint | None = None,
    log: Log | None = None,
) -> Suite:
    """Solve a λ path for every feature set of the same rows, and rank the chosen heads.

    Each head has the bits of `solve_path` on that set alone; all have one split, stratified and
    drawn from the labels. Sets are copied into memory as stored: one at a time, or, up to 64 MB,
    one for each thread of the native engine, which then solves them side by side.

    Args:
        features: the feature sets, all of the same N rows in the same order:

            - a mapping of names to arrays (N, D), D of each set its own;
            - one array (N, L, D) of L sets;
            - a file: .npz, .safetensors, .pt, .h5 or .zarr, each of whose arrays is a set, or which
              has an array (N, L, D), as .npy; or a folder of .npy and .pt files. Arrays are mapped;
            - a mapping of names to `Splits` that have the same labels.

            Names such as "layer3/mean" have two parts: a layer and a pooling.
        labels: as for `load`: an array or list (N,), a file with one label a row, or the name of
            an array beside the features. Default: the one called label, labels, y, target or class.
        names: of the L sets of an array (N, L, D). Default: layer0, layer1, …
        test: the same sets of the test rows. Default: `test_size` of the rows is held out.
        test_labels: their labels. Default: the array of the same name.
        test_size: fraction of the rows that is held out for testing without `test`.
        validation: as `test`. Default: `validation_size` of the rows that are left is held out.
        validation_labels: as `test_labels`.
        validation_size: fraction of the rows left after the test rows are held out.
        split_seed: random seed of the split.
        split: what says train, validation or test of each row, an array (N,) or a file.
        groups: a group of each row, an array (N,) or a file. No group is in two parts or folds, and
            the bootstrap draws whole groups.
        weights: weight ≥ 0 of each row, an array (N,) or a file; rows of weight 0 are left out.
        l2: values of λ, or how many the data of each set give; see `solve_path`.
        shots: training rows of each class or label, as in [1, 2, 4, 8, 16]: what heads of so few
            rows do, `Head.few_shots`. λ is chosen by as few validation rows. With groups they are
            of as many groups as there are; see docs/guide/probes.md.
        fractions: the same of fractions of the training rows of each class, as in [0.01, 0.1, 1];
            with groups, of whole groups.
        repeats: how often shots or fractions are drawn, ≥ 1, nested and by `split_seed`.
        folds: stratified folds of the training rows to choose λ by; 0 takes the validation rows. Or
            folds of your own, of which those of the training rows count: the fold that holds each
            of the N rows out, or pairs of row numbers; see `solve_path`.
        scoring: the metric that λ is chosen and heads are ranked by; see `solve_path`.
        rule: "best" or "one-standard-error".
        refit: whether each head of its chosen λ is then fitted to the training and validation rows
            together; see `solve_path`.
        tol: relative gap to prove for each λ, > 0.
        max_passes: passes over the rows for each λ, ≥ 1.
        scaling: "auto", "none", "unit" or "standardize", fitted to the training rows of each set.
        intercept: whether there is a bias, as of `solve`.
        class_weight: of the training rows, as of `solve`.
        baselines: whether to measure as well what is known without a probe: 5 and 20 nearest
            neighbours by cosine, the nearest class mean (of two classes the difference of means)
            and the majority class, all on the features as stored (`Head.baselines`).
        engine: an engine or its name; None is the native engine.
        on_progress: called with `PathProgress` after every λ: those done of those of all sets.
        checkpoint: a `Checkpoint`: where heads are kept as they come. With resume, heads that are
            there, also of a finished suite, are not solved again: sets can be added later.
        log: callback for one-line messages; None prints them on the standard error stream.

    Returns:
        The suite. Ctrl-C ends it; the heads that are finished are kept.

    Raises:
        DataError: where there is no set, rows of sets or labels do not fit together, or a number is
            not finite.
        SettingsError: for an option outside its range.
        SaveError: when the folder of the checkpoint cannot be used, or heads in it are of other
            data or settings.

    Source:
        Alain & Bengio (2016), Understanding intermediate layers using linear classifier probes.

    Example:
        >>> import numpy as np, onelayer as ol
        >>> pixels = ol.load("digits").train
        >>> sets = {"top": pixels.X[:, :32], "all": pixels.X, "bottom": pixels.X[:, 32:]}
        >>> suite = ol.probe(sets, pixels.y, l2=[0.1, 0.001])
        >>> [head.name for head in suite.ranking], suite.best.l2
        (['all', 'bottom', 'top'], 0.001)
    """
    choice, folds, l2s = Choice(scoring, rule), plain(folds), l2_values(l2)
    if is_number(folds):
        require_whole("folds", folds, 0)
    target, draws = Target(0.0, tol, max_passes), Draws.of(shots, fractions, repeats)
    draws = replace(draws, seed=split_seed)
    check_scaling(scaling)
    engine = streaming(engine)
    sets = features if isinstance(features, FeatureSets) else read_feature_sets(
        features, labels, print_line if log is None else log, names=names, groups=groups,
        test=test, test_labels=test_labels, test_size=test_size, validation=validation,
        validation_labels=validation_labels, validation_size=validation_size,
        split_seed=split_seed, split=split, weights=weights,
    )  # fmt: skip
    folds = folds_among(folds, sets.rows.train.X[:, 0].astype(np.int64), sets.count)
    indices = folds_of(sets.rows, folds)
    draws.check(sets.rows.train.y, sets.rows.train.class_names)
    how: dict[str, Any] = {"scoring": choice.by, "rule": rule, "tol": tol}
    how |= {"max_passes": max_passes, "scaling": scaling}
    how |= intercept_setting(intercept)
    how |= class_weight_setting(class_weight, sets.rows.train)
    beside: dict[str, Any] = {"baselines": True} if baselines else {}
    beside |= {"refit": refit or None}
    shared = {"labels and their split": _hash(sets.rows)}
    began, planned = time.perf_counter(), l2s if isinstance(l2s, int) else len(l2s)

    def made_from(data: Splits) -> Fingerprint:
        own = {"folds": fold_setting(folds, indices), "l2": l2s} | draws.settings()
        return as_read(fingerprint_of(data, engine, how | own | shared | beside))

    with _keeping(checkpoint, sets.names) as keeper:
        heads = _heads_there(keeper, sets, made_from)
        left = [name for name in sets.names if name not in heads]
        of_few = planned * len(draws.sizes) * draws.repeats
        count = _Count(
            {name: PathProgress(head.solved, head.solved) for name, head in heads.items()}
            | {name: PathProgress(0, planned + of_few) for name in left},
            on_progress,
        )

        def solve(name: str, engine: Engine) -> Head | None:
            """The head of a set; None where Ctrl-C ended its path."""

            def show(now: PathProgress) -> None:
                count.show(name, PathProgress(now.done, now.total + of_few))

            data = sets.splits(name)
            kept = None if keeper is None else keeper.checkpoint_of(name)
            path = solve_path(
                data,
                l2s,
                folds=folds,
                engine=engine,
                on_progress=show,
                checkpoint=kept,
                refit=refit,
                **how,
            )
            if path.interrupted:
                return None
            made = made_from(data)
            head = Head.of_path(name, path, data.train.X.dtype.name, made)
            if baselines:
                head = replace(head, baselines=measure_baselines(data, choice.by, engine))
            if draws.sizes:
                kept = None if keeper is None else keeper.checkpoint_of_shots(name)
                found = _few_shots(
                    data, draws, l2s, kept, made,
                    choice=choice, target=target, scaling=scaling, engine=engine,
                    intercept=intercept, class_weight=class_weight,
                    on_solution=lambda: count.add(name),
                )  # fmt: skip
                seconds = head.seconds + sum(one.seconds for one in found)
                head = replace(head, few_shots=found, seconds=seconds)
            return head

        engines, interrupted = _engines_for(engine, sets, left), False
        folder = None if checkpoint is None else Path(checkpoint.folder)
        with closing(_each(left, engines, solve, count, folder)) as found:
            try:
                for head in found:
                    if head is None:
                        interrupted = True
                        break
                    heads[head.name] = head
                    if keeper is not None:
                        keeper.keep(head)
            except KeyboardInterrupt:
                interrupted = True
    if not heads:
        raise KeyboardInterrupt
    card = data_card(sets.rows)
    others = [name for name in heads if name not in sets.names]
    return Suite(
        heads=tuple(heads[name] for name in (*others, *sets.names) if name in heads),
        choice=choice,
        data=replace(card, split=card.split and replace(card.split, rows=None)),
        sets=len({*heads, *sets.names}),
        folds=len(indices),
        seconds={"probe": time.perf_counter() - began},
        environment=describe_environment() | engine.describe(),
        interrupted=interrupted,
    )


@dataclass
class _Count:
    """Counts the solutions of all sets, those done and those to come, from several threads."""

    of: dict[str, PathProgress]
    on_progress: Callable[[PathProgress], None] | None
    is_ended: bool = False  # then whatever is still solved ends as by Ctrl-C
    _lock: Any = field(default_factory=threading.Lock)

    def show(self, name: str, now: PathProgress) -> None:
        with self._lock:
            if self.is_ended:
                raise KeyboardInterrupt
            self.of[name] = now
            if self.on_progress is not None:
                done, total = (sum(getattr(of, part) for of in self.of.values())
                               for part in ("done", "total"))  # fmt: skip
                self.on_progress(PathProgress(done, total))

    def add(self, name: str) -> None:
        """Count one more of a set."""
        self.show(name, replace(self.of[name], done=self.of[name].done + 1))


def _engines_for(engine: Engine, sets: FeatureSets, names: Sequence[str]) -> Sequence[Engine]:
    """Engines that solve sets side by side, where threads of one would wait for each other."""
    if len(names) < 2 or not LEAST_BYTES <= sets.bytes_of(names[0]) <= MOST_BYTES:
        return (engine,)
    return engine.side_by_side()[: len(names)]


def _each(
    names: Sequence[str],
    engines: Sequence[Engine],
    solve: Callable[[str, Engine], Head | None],
    count: _Count,
    folder: Path | None,
) -> Generator[Head | None, None, None]:
    """The heads of sets as they come, each solved by one engine, which may write to the folder."""
    if len(engines) == 1:
        for name in names:
            yield solve(name, engines[0])
        return
    free: SimpleQueue[Engine] = SimpleQueue()
    for engine in engines:
        free.put(engine)

    def solve_next(name: str) -> Head | None:
        engine = free.get()
        try:
            with nullcontext() if folder is None else lent_lock(folder):
                return None if count.is_ended else solve(name, engine)
        except KeyboardInterrupt:  # of what is solved after the path
            return None
        finally:
            free.put(engine)

    # BLAS's threads belong to the whole process.
    with one_blas_thread(), ThreadPoolExecutor(len(engines)) as pool:
        try:
            for done in as_completed([pool.submit(solve_next, name) for name in names]):
                yield done.result()
        finally:
            count.is_ended = True


def _few_shots(
    data: Splits,
    draws: Draws,
    l2: tuple[float, ...] | int,
    checkpoint: Checkpoint | None,
    made_from: Fingerprint,
    **how: Any,
) -> tuple[FewShots, ...]:
    """What heads of few rows do, kept size by size."""
    if checkpoint is None:
        return learn_from_few(data, draws, l2, **how)
    with checkpoint.managing(lambda: dict(made_from), ShotsState) as manager:
        start = manager.latest(lambda state: None)
        found = learn_from_few(data, draws, l2, start=start, keep=manager.hold, **how)
        manager.flush()
        return found


def _hash(rows: Splits) -> str:
    """A hash of labels, and of which rows are in which part."""
    return HASHED + hashlib.sha256(write_json(data_fingerprint(rows)).encode()).hexdigest()


def _heads_there(
    keeper: HeadKeeper | None,
    sets: FeatureSets,
    made_from: Callable[[Splits], Fingerprint],
) -> dict[str, Head]:
    """Heads that need not be solved again, by name: of these sets, and of sets not given now."""
    if keeper is None:
        return {}
    all_alike = {key: one for key, one in made_from(sets.rows).items() if key != "data"}
    for name, head in keeper.heads.items():
        given = name in sets.names
        keeper.require(head, made_from(sets.splits(name)) if given else all_alike)
    return dict(keeper.heads)


@contextmanager
def _keeping(checkpoint: Checkpoint | None, names: Sequence[str]) -> Iterator[HeadKeeper | None]:
    """Hold the folder's lock while heads are kept in it."""
    if checkpoint is None:
        yield None
        return
    folder, before = Path(checkpoint.folder), list[Head]()
    with writing(folder):
        goes_on = checkpoint.resume and unfinished(folder) is not None
        saved = checkpoint.resume and read_manifest(folder) is not None
        if saved and kind_of(folder) == "suite":
            before, goes_on = [*Suite.load(folder).heads], True
        check_replaceable(folder, overwrite=checkpoint.overwrite or goes_on)
        yield HeadKeeper(checkpoint, before, names)
