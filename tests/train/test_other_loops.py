"""Lightning and Accelerate take the compiled loss as any module, where they are installed: their examples find the truth."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import pytest
import torch

import ember
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoNormal
from ember.optim import Adam


@pytest.fixture(autouse=True)
def fresh() -> None:
    ember.clear_param_store()


def main_of(example: str, library: str) -> Callable[[int], float]:
    pytest.importorskip(library, reason=f"{library} is not installed")
    found: Callable[[int], float] = importlib.import_module(f"examples.{example}").main
    return found


@pytest.mark.parametrize("library", ["lightning", "accelerate"])
def test_its_example(library: str) -> None:
    assert main_of(f"{library}_loop", library)(20) < 0.1


def test_the_same_model_by_svi() -> None:
    """What the examples should find is found by Ember's own loop."""
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    example = importlib.import_module("examples.accelerate_loop")
    ember.set_rng_seed(0)
    x = torch.randn(example.ROWS, 3)
    y = x @ example.TRUTH + 0.3 * torch.randn(example.ROWS)
    guide = AutoNormal(example.model)
    svi = SVI(example.model, guide, Adam({"lr": 0.02}), Trace_ELBO())
    svi.fit((x, y), epochs=20, batch_size=64, progress=False)
    torch.testing.assert_close(guide.median()["weights"].detach(), example.TRUTH, atol=0.1, rtol=0.0)
