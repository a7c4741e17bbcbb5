"""The benchmark runs, and what it compares is the same maths. No time is judged here."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

import ember

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def worker() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT))
    yield importlib.import_module("benchmarks.worker")
    sys.path.remove(str(ROOT))


@pytest.mark.parametrize(
    "model",
    [
        *("beta_bernoulli", "eight_schools", "logistic_regression", "logistic_batches", "linear_mixed"),
        *("scalar_sites", "many_parameters", "vae"),
    ],
)
def test_ember_and_the_training_loop_by_hand_have_the_same_losses(worker: ModuleType, model: str) -> None:
    runs = [
        worker._losses(worker.CONTENDERS[name](name)(model), seed=3, steps=3) for name in ("ember", "hand")
    ]
    assert runs[0] == pytest.approx(runs[1], rel=1e-4)
    assert len(set(runs[0])) == 3


@torch.no_grad()
def test_the_scalar_sites_as_a_vector_are_the_same_model(worker: ModuleType) -> None:
    by_hand = importlib.import_module("benchmarks.by_hand")
    one_by_one, vector = by_hand.scalar_sites(), by_hand.scalar_sites_as_a_vector()
    torch.manual_seed(0)
    losses = torch.tensor([[float(one_by_one.loss()), float(vector.loss())] for _ in range(200)])
    error = losses.std(0).norm() / len(losses) ** 0.5
    assert (losses[:, 0].mean() - losses[:, 1].mean()).abs() < 4 * error


def test_the_table_has_a_row_a_model_and_both_ratios(
    worker: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    eager = importlib.import_module("benchmarks.eager")
    measured = eager.Measured({"ember": 300.0, "hand": 200.0, "pyro": 900.0}, 1e-6)
    lines = eager.table({"eight_schools": measured}).splitlines()
    assert len(lines) == 3 and len({line.count("|") for line in lines}) == 1
    assert lines[2] == "| eight schools | 300 | 900 | 200 | - | 1.50 | 3.00 |"
    assert ember.__version__ not in lines[2] and "torch" in eager.machine()
