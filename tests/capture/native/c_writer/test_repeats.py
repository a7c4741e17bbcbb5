"""The same loops again and again are one loop over a table."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ember.capture.native.c_writer import repeats
from tests.capture.native.programs import QUICK, Compiled, assert_same, flags


@pytest.fixture(autouse=True)
def quick():
    with flags(*QUICK):
        yield


def filtering(steps: int, bad_at: int = -1):
    """Forward through time, and a sum on the way."""

    def function(flat: list[Tensor]) -> list[Tensor]:
        transition, evidence = flat
        belief, total = torch.zeros(7, 30, dtype=transition.dtype), transition.new_zeros(30)
        for t in range(steps):
            belief = torch.logsumexp(belief[:, None, :] + transition[:, :, None], 0) + evidence[t][None]
            total = total + belief.amax(0)
            if t == bad_at:
                belief = belief[:, evidence[t].long()]
        return [torch.logsumexp(belief, 0), total]

    return function


def inputs(steps: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((7, 7), (steps, 30))
    return [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]


def test_a_loop_over_time():
    lengths = []
    for steps in (30, 60):
        compiled = Compiled(filtering(steps), inputs(steps))
        assert_same(compiled.outcome(inputs(steps)), compiled.expected(inputs(steps)))
        source = compiled.program.source
        assert " times */" in source
        lengths.append(source.count("\n"))
    assert lengths[1] < 1.2 * lengths[0]


def test_few_times_are_written_one_after_another(monkeypatch):
    monkeypatch.setattr(repeats, "FEWEST_TIMES", 10**6)
    compiled = Compiled(filtering(30), inputs(30))
    assert " times */" not in compiled.program.source
    assert_same(compiled.outcome(inputs(30)), compiled.expected(inputs(30)))


class TestPeriods:
    @pytest.mark.parametrize(
        ("names", "found"),
        [
            ("abababababababab", (2, 8)),
            ("aaaaaaaa", (1, 8)),
            ("abcabcabcabcabcabcab", (3, 6)),
            ("abab", (1, 0)),
            ("aaaaaab" * 7, (7, 7)),
            ("ababab.ababab", (1, 0)),
        ],
    )
    def test_the_best_from_the_first_on(self, names, found):
        assert repeats._best([None if name == "." else name for name in names], 0) == found
