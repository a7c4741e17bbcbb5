"""The scenarios of ``make soak``: each runs, has a promise, and a failure of any kind is told."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.soak import __main__ as command
from tools.soak.__main__ import SCENARIOS, in_a_process, main, promise, table
from tools.soak.scenario import Outcome, Usage, soak

# The others are run by the tests of what they are about, beside the promise that they hold.
HERE = ["loader_threads", "many_fits", "threads_with_fits", "forks"]


@pytest.mark.parametrize("name", HERE)
def test_a_round_of(name: str, tmp_path: Path) -> None:
    assert len(list(itertools.islice(SCENARIOS[name](random.Random(0), tmp_path), 3))) == 3


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_says_what_it_promises(name: str) -> None:
    assert promise(SCENARIOS[name]).endswith(".") and SCENARIOS[name].__name__ == name


def breaks(dice: random.Random, folder: Path) -> Iterator[None]:
    """It does not hold."""
    while True:
        yield
        holds = dice.random() < 0.5
        assert holds, "broken"


def test_a_promise_that_does_not_hold_is_counted_and_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = soak("breaks", breaks, 0.05, 0)
    assert outcome.rounds and "broken" in outcome.failures[0] and "seed 0" in outcome.failures[0]
    assert (
        outcome.failures == soak("breaks", breaks, 0.05, 0).failures[: len(outcome.failures)]
        or len(outcome.failures) < 20
    )
    assert Outcome.of(outcome.plain()) == outcome
    monkeypatch.setitem(SCENARIOS, "breaks", breaks)
    monkeypatch.setattr(
        command, "in_a_process", lambda name, seconds, seed: soak(name, breaks, seconds, seed)
    )
    assert main(["breaks", "--seconds", "0.05"]) == 1
    said = capsys.readouterr().out
    assert "| `breaks` |" in said and "It does not hold." in said and "AssertionError: broken" in said


def test_memory_that_grows_is_a_failure() -> None:
    outcome = Outcome("grows", 10, [], Usage(100.0, 400), Usage(200.0, 500))
    outcome.check_growth()
    assert outcome.failures == [
        "memory has grown by 100 MiB in 10 rounds",
        "100 areas of memory more, after 10 rounds",
    ]
    assert table([outcome])[-1] == "| `grows` | 10 | 2 | 100 - 200 | 400 - 500 |"


def test_a_process_that_goes_down_is_a_failure() -> None:
    outcome = in_a_process("no_such_scenario", 0.1, 0)
    assert "its process ended with 2" in outcome.failures[0] and "no such scenario" in outcome.failures[0]
