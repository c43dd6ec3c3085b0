"""The check of ratios beside kept ones: what is a loss, on which processor, after which tries."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.harness.oracle import compare, expect
from benchmarks.harness.problem import Setting, make_data
from benchmarks.harness.record import ONELAYER, Measure, Part, kind_of_processor, read_record
from benchmarks.harness.rounds import Session
from benchmarks.suites import check as checking
from benchmarks.suites.check import SGEMM, bound_of, check, ratios

NAME = "one run: NumPy / onelayer"
HERE = kind_of_processor(1)


def _kept(session: Session, **ratios: float) -> dict[str, Part]:
    return {
        kind: session.part().with_([Measure(NAME, ONELAYER, NAME, series={"ratio": (ratio,)})])
        for kind, ratio in ratios.items()
    }


def _measures(*ratios: float) -> list[Measure]:
    ours = Measure("one", ONELAYER, "onelayer", (1.0,) * len(ratios))
    return [ours, Measure("one", "numpy", "NumPy", ratios)]


def _group(rounds_of: list[int], *tries: list[Measure]) -> checking.Group:
    def measure(session: Session, rounds: int) -> list[Measure]:
        assert session.conditions.processor_time
        rounds_of.append(rounds)
        return tries[min(len(rounds_of), len(tries)) - 1]

    return measure, {NAME: "numpy"}


def test_the_bound_is_85_percent_here_and_half_of_the_lowest_on_an_unknown_processor(
    session: Session,
) -> None:
    kept = _kept(session, one=4.0, two=3.0)
    assert bound_of(NAME, "one", kept) == pytest.approx(3.4)
    assert bound_of(NAME, "another", kept) == pytest.approx(1.5)
    assert bound_of("a new ratio", "one", kept) is None
    assert bound_of(NAME, "one", {}) is None


def test_a_loss_is_one_only_if_more_rounds_show_it_too(session: Session) -> None:
    kept, rounds = _kept(session, **{HERE: 4.0}), list[int]()
    once = _group(rounds, _measures(3.0, 3.1, 9.0), _measures(3.5))
    part, losses = check(session, kept, [once])
    assert losses == []
    assert rounds == [checking.ROUNDS, checking.MORE_ROUNDS]
    assert part.measures[0].series["ratio"] == (3.5,)
    _, losses = check(session, kept, [_group([], _measures(3.3, 3.2, 3.4))])
    assert losses == [f"{NAME}: 3.30 (3.20–3.40), n = 3, where at least 3.40 is asked for"]


def test_a_wrong_answer_is_a_loss_whatever_its_speed(session: Session) -> None:
    wrong = [replace(m, seconds=(), refused="refused: it is off") for m in _measures(9.0)]
    _, (line,) = check(session, {}, [_group([], wrong)])
    assert "refused: it is off" in line


def test_an_unknown_processor_is_named_in_a_sentence(session: Session) -> None:
    said: list[str] = []
    kept = _kept(session, other=4.0)
    _, losses = check(replace(session, log=said.append), kept, [_group([], _measures(2.1))])
    assert losses == []
    assert said[0].startswith(f"No record of {HERE}: half of the lowest ratio")


def test_a_share_of_sgemm_is_beside_the_limits_of_its_own_round() -> None:
    ours = Measure("64", ONELAYER, "onelayer", (1.0, 2.0), facts={"flops": 100e9},
                   series={SGEMM: (190.0, 210.0, 90.0, 110.0)})  # fmt: skip
    assert ratios([ours], SGEMM) == pytest.approx((0.5, 0.5))


def test_every_ratio_has_a_name_of_its_own_and_is_kept() -> None:
    names = [name for _, peers in checking.GROUPS for name in peers]
    assert len(set(names)) == len(names) == 10
    for part in read_record(command.CHECKED).values():
        assert sorted(m.work for m in part.measures) == sorted(names)


def test_the_command_fails_with_a_line_for_each_loss_and_keeps_only_when_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "CHECKED", tmp_path / "check.json")
    for ratio, arguments, code in ((4.0, ["--keep"], 0), (3.9, [], 0), (3.0, [], 1)):
        group = _group([], _measures(ratio))
        monkeypatch.setattr(command, "check", partial(check, groups=[group]))
        assert command.main(["--check", *arguments]) == code
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("LOSS")] == [
        f"LOSS {NAME}: 3.00 (3.00–3.00), n = 1, where at least 3.40 is asked for"
    ]
    assert list(read_record(tmp_path / "check.json")) == [HERE]


def test_the_public_interface_and_its_peers_give_one_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ONELAYER_BENCHMARK_ENGINE", "native")
    few = replace(checking.EIGHT, rows=600, epochs=1)
    train = checking.TRAIN.prepare(few, make_data(few), 1)
    assert compare(train.run(), expect(few, make_data(few))).agrees
    digits = replace(checking.DIGITS, rows=300, settings=(Setting(l2=1 / 600),))
    answers = {who.key: who.prepare(digits, make_data(digits), 1).run()
               for who in checking.ESTIMATORS}  # fmt: skip
    assert checking._probabilities(answers) == ""
    answers["peer"] = answers["peer"][:, ::-1]
    assert "refused: probabilities differ" in checking._probabilities(answers)
