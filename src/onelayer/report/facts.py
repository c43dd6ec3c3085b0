"""What the page says in words about the whole result: title, data, troubles, how it was made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from onelayer.gradcheck import GradientCheck
from onelayer.report.sections import Contents
from onelayer.report.summary import SettingSummary
from onelayer.report.wording import DATA_NAMES, SCALINGS, describe_rows, without_paths
from onelayer.result import Result

MOST_TROUBLES = 20


@dataclass(frozen=True)
class Facts:
    """Sentences and figures of the page that belong to no single setting.

    Attributes:
        title: the page's heading.
        lead: what this is, in a sentence.
        data: the data, in a sentence.
        source: where the data came from, without this machine's paths.
        scaling: what is done to features, in words.
        named: whether settings have names that λ and η do not tell.
        classes: K.
        chaotic: settings whose seeds disagree widely, the first MOST_TROUBLES.
        left_out: which settings are not drawn, or ''.
        troubles: messages of runs that did not finish, the first MOST_TROUBLES.
        more_troubles: how many there are besides.
        worst_of_weights: largest relative error of the gradient of W.
        worst_of_biases: largest relative error of the gradient of b.
        environment: what it ran on, name and value.
        seconds: wall time of each phase, name and text.
        command: the command line that made it, without this machine's paths, or ''.
    """

    title: str
    lead: str
    data: str
    source: str
    scaling: str
    named: bool
    classes: int
    chaotic: tuple[SettingSummary, ...]
    left_out: str
    troubles: tuple[str, ...]
    more_troubles: int
    worst_of_weights: str
    worst_of_biases: str
    environment: tuple[tuple[str, str], ...]
    seconds: tuple[tuple[str, str], ...]
    command: str
    infinity: float = math.inf


def gather_facts(contents: Contents) -> Facts:
    """Put a result's circumstances into words.

    Args:
        contents: of the page.

    Returns:
        The facts.
    """
    result = contents.result
    troubles = tuple(
        f"{setting.name}: {message}"
        for setting in contents.settings
        for message in dict.fromkeys(setting.troubles)
    )
    left_out = len(contents.settings) - len(contents.sections)
    name = DATA_NAMES.get(result.data.name, result.data.name)
    return Facts(
        title=f"One linear layer on {name}",
        lead=_lead(result, name),
        data=_data(result),
        source=without_paths(result.data.source),
        scaling=_scalings(result),
        named=any(_has_own_name(setting) for setting in contents.settings),
        classes=len(result.data.class_names),
        chaotic=tuple(s for s in contents.settings if s.chaotic)[:MOST_TROUBLES],
        left_out=_left_out(left_out, len(contents.sections)),
        troubles=troubles[:MOST_TROUBLES],
        more_troubles=max(0, len(troubles) - MOST_TROUBLES),
        worst_of_weights=_worst(result.gradient_checks, "W"),
        worst_of_biases=_worst(result.gradient_checks, "b"),
        environment=tuple((k, without_paths(v)) for k, v in result.environment.items()),
        seconds=tuple((name, f"{value:.2f}") for name, value in result.seconds.items()),
        command=without_paths(result.command.line) if result.command else "",
    )


def _scalings(result: Result) -> str:
    names = [result.scaling.name, *(one.name for one in result.other_scalings.values())]
    return "; or ".join(SCALINGS.get(name, name) for name in dict.fromkeys(names))


def _lead(result: Result, name: str) -> str:
    runs, settings = len(result.runs), len(result.settings)
    what = (
        "The four experiments of the report, run again"
        if result.reported
        else (f"{settings} setting{'s' * (settings != 1)} of mini-batch gradient descent")
    )
    return (
        f"{what}: a softmax classifier with a single linear layer, trained on {name}, "
        f"{runs} run{'s' * (runs != 1)} in all, with what they learned, how they learned it, "
        "and how far chance moves the figures."
    )


def _data(result: Result) -> str:
    epochs = sorted({run.epochs for run in result.runs})
    batches = sorted({run.batch_size for run in result.runs})
    return (
        f"{describe_rows(result.data, result.W.shape[2])}; "
        f"{_either(epochs)} epoch{'s' * (epochs[-1] != 1)}, batches of {_either(batches)}."
    )


def _either(numbers: list[int]) -> str:
    if len(numbers) <= 3:
        return " or ".join(map(str, numbers))
    return f"{numbers[0]} to {numbers[-1]}"


def _has_own_name(setting: SettingSummary) -> bool:
    return setting.name != f"λ={setting.l2:g}, η={setting.learning_rate:g}"


def _left_out(left_out: int, drawn: int) -> str:
    if not left_out:
        return ""
    return (
        f"Of {left_out + drawn} settings, the {drawn} with the best validation accuracy are drawn; "
        "the table above has all."
    )


def _worst(checks: Sequence[GradientCheck], parameter: str) -> str:
    errors = [check.max_error for check in checks if check.parameter == parameter]
    return f"{max(errors):.1e}" if errors else "not checked"
