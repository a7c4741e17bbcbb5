"""Orders are those of ``torch.randperm``, and leave the generator as that leaves it."""

from __future__ import annotations

import pytest
import torch

from ember.capture.native.torch_side import permutation
from ember.capture.native.torch_side.permutation import FEWEST, permute
from ember.errors import NoCompilerError


@pytest.fixture
def anew():
    permutation._function.cache_clear()
    yield
    permutation._function.cache_clear()


@pytest.mark.parametrize("rows", [0, 1, 5, FEWEST - 1, FEWEST, FEWEST + 63, 100_000])
def test_the_numbers_of_torch(rows: int) -> None:
    torch.manual_seed(rows)
    torch.randn(rows % 7)  # which may leave the second value of a pair behind
    state = torch.get_rng_state()
    expected, after = torch.randperm(rows), torch.get_rng_state()
    torch.set_rng_state(state)
    found = torch.empty(rows, dtype=torch.int64)
    permute(found)
    assert torch.equal(found, expected) and torch.equal(torch.get_rng_state(), after)


def test_by_c_where_it_can_be() -> None:
    assert permutation._function() is not None


def test_by_torch_where_there_is_no_compiler(anew: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(source: str) -> None:
        raise NoCompilerError("there is none")

    monkeypatch.setattr(permutation, "compile_library", none)
    torch.manual_seed(1)
    expected = torch.randperm(FEWEST)
    torch.manual_seed(1)
    found = torch.empty(FEWEST, dtype=torch.int64)
    permute(found)
    assert torch.equal(found, expected)


def test_not_where_torch_draws_in_another_way(anew: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permutation, "pack", lambda engine: torch.zeros(3))
    assert permutation._function() is None


def test_elsewhere_in_memory() -> None:
    torch.manual_seed(2)
    expected = torch.randperm(FEWEST)
    torch.manual_seed(2)
    apart = torch.empty(2 * FEWEST, dtype=torch.int64)[::2]
    permute(apart)
    assert torch.equal(apart, expected)
