"""What the page of a λ path says in words: the headline, how λ was chosen, what was proven."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onelayer.path_record import PathRecord
from onelayer.report.path_summary import PathLine, Scores, best_line, scores_of
from onelayer.report.wording import DATA_NAMES, SCALINGS, describe_rows, unbroken, without_paths


@dataclass(frozen=True)
class PathFacts:
    """Sentences and figures of the page.

    Attributes:
        title: the page's heading.
        lead: the chosen λ, what it scores, what was proven.
        data: the data, in a sentence.
        held_out: what the rows are called that λ is chosen by.
        choosing: how λ was chosen, in a sentence or two.
        proving: what was proven of all λ, in a sentence.
        edge: advice where the chosen λ is at the end of those tried, or ''.
        test: accuracy and loss of the chosen model on the test rows; None without them.
        classes: K.
        source: where the data came from, without this machine's paths.
        scaling: what is done to features, in words.
        environment: what it ran on, name and value.
        seconds: wall time of each phase, name and text.
        command: the command line that made it, without this machine's paths, or ''.
    """

    title: str
    lead: str
    data: str
    held_out: str
    choosing: str
    proving: str
    edge: str
    test: Scores | None
    classes: int
    source: str
    scaling: str
    environment: tuple[tuple[str, str], ...]
    seconds: tuple[tuple[str, str], ...]
    command: str


def gather_path_facts(record: PathRecord, lines: Sequence[PathLine]) -> PathFacts:
    """Put a path into words.

    Args:
        record: of the path.
        lines: its figures.

    Returns:
        The facts.
    """
    path, card = record.path, record.data
    name = DATA_NAMES.get(card.name, card.name)
    test = scores_of((path.test,)) if path.test else None
    chosen = lines[path.chosen]
    features = path.best.W.shape[1]
    return PathFacts(
        title=f"How much to shrink: the λ path on {name}",
        lead=unbroken(_lead(record, chosen, test)),
        data=f"{describe_rows(card, features)}; {len(lines)} value{'s' * (len(lines) != 1)} of λ.",
        held_out=held_out_name(record),
        choosing=unbroken(_choosing(record, lines)),
        proving=unbroken(_proving(lines)),
        edge=_edge(lines, chosen),
        test=test,
        classes=len(card.class_names),
        source=without_paths(card.source),
        scaling=SCALINGS.get(path.scaling.name, path.scaling.name),
        environment=tuple((k, without_paths(v)) for k, v in record.environment.items()),
        seconds=tuple((name, f"{value:.2f}") for name, value in path.seconds.items()),
        command=without_paths(record.command.line) if record.command else "",
    )


def held_out_name(record: PathRecord) -> str:
    """What the rows are called that λ is chosen by.

    Args:
        record: of a path.

    Returns:
        "validation", or how many folds.
    """
    folds = record.path.folds
    return f"held out, {folds} folds" if folds else "validation"


def _lead(record: PathRecord, chosen: PathLine, test: Scores | None) -> str:
    rows = record.path.test.rows if record.path.test else 0
    share = (
        f"With it the classifier gets {_percent(test)} of the {rows:,} test rows right"
        if test
        else "There are no test rows to score it on"
    )
    if not chosen.bounded:
        proof = "without a penalty no bound on its cost exists"
    else:
        proof = (
            f"its cost is proven to be at most {100.0 * chosen.relative_gap:.2g} % above the best "
            "that any weights can have"
        )
    return f"λ = {chosen.l2:.3g} is chosen. {share}, and {proof}."


def _percent(scores: Scores) -> str:
    return f"{scores.accuracy.mean:.2f} ± {scores.accuracy.error:.2f} %"


def _choosing(record: PathRecord, lines: Sequence[PathLine]) -> str:
    path, by = record.path, record.path.choice.by
    best, chosen = best_line(lines, by), lines[path.chosen]
    rows = (
        f"rows held out in {path.folds} folds of the training rows"
        if path.folds
        else f"{path.held_out[0][0].rows:,} validation rows"
    )
    what = "highest accuracy" if by == "accuracy" else "lowest loss"
    top = f"{_score(best, by)} at λ = {best.l2:.3g}"
    if path.choice.rule == "best":
        return f"λ is chosen for the {what} on the {rows}: {top}."
    further = (
        "which is that very λ"
        if best.l2 == chosen.l2
        else f"which is λ = {chosen.l2:.3g} with {_score(chosen, by)}"
    )
    return (
        f"The {what} on the {rows} is {top}. Models within one standard error of it are hardly to "
        f"be told apart, so the one that shrinks W most among them is taken, {further}."
    )


def _score(line: PathLine, by: str) -> str:
    if by == "accuracy":
        return _percent(line.held_out)
    return f"{line.held_out.loss.mean:.4f} ± {line.held_out.loss.error:.4f} nats"


def _proving(lines: Sequence[PathLine]) -> str:
    bounded = [line for line in lines if line.bounded]
    tol = lines[0].tol
    if not bounded:
        return "Without a penalty, λ = 0, no bound on the distance from the best cost exists."
    near = sum(line.relative_gap <= tol for line in bounded)
    which = "all" if near == len(bounded) else f"{near} of"
    passes = sum(line.passes for line in lines)
    worst = max(line.relative_gap for line in bounded)
    without = "" if len(bounded) == len(lines) else " For λ = 0 no bound exists."
    return (
        f"{which[0].upper()}{which[1:]} {len(bounded)} λ > 0 have a cost proven to be within "
        f"{100.0 * tol:.2g} % of the best possible, as was asked for (the largest bound is "
        f"{100.0 * worst:.2g} %), after {passes} passes over the training rows in all.{without}"
    )


def _edge(lines: Sequence[PathLine], chosen: PathLine) -> str:
    l2s = [line.l2 for line in lines]
    if len(lines) < 2 or chosen.l2 == 0.0:
        return ""
    if chosen.l2 == min(l2s):
        return "The chosen λ is the smallest that was tried: a still smaller one may do better."
    if chosen.l2 == max(l2s):
        return "The chosen λ is the largest that was tried: a still larger one may do better."
    return ""
