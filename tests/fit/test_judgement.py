"""Answers are compared with the truth, and verdicts with the answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.fit.known_answers import variance
from tools.trust import targets
from tools.trust.judgement import Judgement, judge
from tools.trust.references import Outcome, disagreement, main, promises
from tools.trust.truth import Errors, Moment, errors, moments

RIGHT, SHIFTED, STRETCHED = (
    Errors(0.05, "a", 0.05, "a"),
    Errors(0.2, "a", 0.05, "a"),
    Errors(0.05, "a", 0.2, "a"),
)


@pytest.mark.parametrize(
    ("status", "found", "judgement"),
    [
        ("ok", RIGHT, Judgement.RIGHT),
        ("ok", SHIFTED, Judgement.FALSE_OK),
        ("ok", STRETCHED, Judgement.FALSE_OK),
        ("means only", STRETCHED, Judgement.RIGHT),
        ("means only", RIGHT, Judgement.RIGHT),
        ("means only", SHIFTED, Judgement.FALSE_OK),
        ("poor", RIGHT, Judgement.FALSE_ALARM),
        ("poor", STRETCHED, Judgement.RIGHT),
        ("not converged", SHIFTED, Judgement.RIGHT),
        ("unverified", RIGHT, Judgement.FALSE_ALARM),
    ],
)
def test_a_verdict_is_judged_by_what_it_vouches_for(status: str, found: Errors, judgement: Judgement) -> None:
    assert judge(status, found) is judgement


def test_errors_name_the_worst_scalars() -> None:
    truth = {"a": Moment(1.0, 2.0), "b": Moment(0.0, 1.0)}
    answer = {"a": Moment(2.0, 2.2), "b": Moment(0.1, 0.5), "more": Moment(9.0, 9.0)}
    found = errors(truth, answer)
    assert found == Errors(0.5, "a", 0.5, "b")
    assert not found.means_hold and not found.all_hold


@pytest.mark.parametrize("moment", [Moment(math.nan, 1.0), Moment(0.0, math.nan), Moment(0.0, math.inf)])
def test_a_number_that_is_none_is_never_within_the_limits(moment: Moment) -> None:
    truth = {"a": Moment(0.0, 1.0), "b": Moment(0.0, 1.0)}
    found = errors(truth, {"a": Moment(0.0, 1.0), "b": moment})
    assert not found.all_hold and math.inf in (found.shift, found.stretch)


def test_a_scalar_left_out_is_an_error() -> None:
    with pytest.raises(KeyError, match="b"):
        errors({"a": Moment(0.0, 1.0), "b": Moment(0.0, 1.0)}, {"a": Moment(0.0, 1.0)})


@pytest.mark.parametrize(("word", "false"), [("ok", 1), ("means only", 1), ("poor", 0)])
def test_a_word_on_one_quantity_that_vouches_for_a_wrong_number_is_counted(word: str, false: int) -> None:
    known = variance(20)
    shifted = known.mean + torch.tensor([0.0, 0.2]) * known.sd
    found: Any = SimpleNamespace(
        weighed=SimpleNamespace(moments=SimpleNamespace(mean=shifted, sd=known.sd)), by_column=("ok", word)
    )
    assert targets.Errors.of(found, known).vouched == false


def outcome(status: str, judgement: str, shift: float) -> Outcome:
    truth = moments("eight_schools_centred")
    answer = {label: Moment(mean + shift * sd, sd) for label, (mean, sd) in truth.items()}
    return Outcome("eight_schools_centred", 0, status, judgement, 0.1, 0.1, errors(truth, answer), "", answer)


def test_promises_are_broken_by_one_false_ok_in_twenty() -> None:
    good = [outcome("ok", "right", 0.0)] * 19
    assert all(kept for _, kept in promises([*good, outcome("ok", "right", 0.05)]))
    kept = [kept for _, kept in promises([*good, outcome("ok", "false ok", 0.3)])]
    assert kept == [True, False, True, False]


def test_seeds_that_are_not_ok_may_differ() -> None:
    fits = [outcome("ok", "right", 0.04), outcome("ok", "right", -0.04), outcome("poor", "right", 3.0)]
    assert disagreement(fits) == pytest.approx(0.08)


def pretended(shift: float, status: str) -> Callable[..., Any]:
    """A ``fit`` that knows the truth about eight schools, and says what it is told to."""

    def fit(model: Any, *, seed: int, progress: bool, **data: Any) -> Any:
        truth = moments("eight_schools_centred")
        table = {label: {"mean": mean + shift * sd, "sd": sd} for label, (mean, sd) in truth.items()}
        return SimpleNamespace(
            summary=lambda: table, verdict=SimpleNamespace(status=status, reasons=["told to"])
        )

    return fit


@pytest.mark.parametrize(("shift", "ends"), [(0.0, 0), (0.3, 1)])
def test_the_command_ends_with_one_for_a_broken_promise(
    shift: float, ends: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ember.fit", pretended(shift, "ok"), raising=False)
    assert main(["eight_schools_centred", "--seeds", "2"]) == ends
    printed = capsys.readouterr().out
    assert f"| 2 ok | 2 {'false ok' if shift else 'right'} |" in printed
    assert ("BROKEN" in printed) == bool(ends)


def test_a_fit_that_raises_is_neither_right_nor_within(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fit(model: Any, **options: Any) -> Any:
        raise ValueError("no such thing\nand more")

    monkeypatch.setattr("ember.fit", fit, raising=False)
    assert main(["eight_schools_centred", "--seeds", "1"]) == 1
    printed = capsys.readouterr().out
    assert "ValueError: no such thing" in printed and "verdict right: 0 of 1" in printed
