"""Two processes give what one gives on whole batches; they stay together, save once, and fail together."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed as group

from ember.errors import ModelError
from ember.train import DataParallel
from tests.train.regression import data, final, new_svi
from tests.train.two_processes import OPTIONS

pytestmark = pytest.mark.skipif(not group.is_available(), reason="torch without torch.distributed")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "tests.train.two_processes", str(folder)]
    root = Path(__file__).parent.parent.parent
    processes = [
        subprocess.Popen([*command, str(rank)], cwd=root, stderr=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("mode", [False, True], ids=["eager", "compiled"])
def test_two_give_what_one_gives_on_whole_batches(mode: bool, both: list[dict[str, Any]]) -> None:
    """Batches of 15 are divided into 8 and 7, a last one of 5 into 3 and 2."""
    svi = new_svi(compile=mode)
    expected = svi.fit(data(), **OPTIONS)
    found = both[0][f"same {mode}"]
    torch.testing.assert_close(found["losses"], expected.losses.tolist(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(found["params"], final(svi), rtol=1e-4, atol=1e-5)


def test_they_stay_together(both: list[dict[str, Any]]) -> None:
    for case in ("same False", "same True", "different"):
        for part in ("losses", "params", "validation"):
            assert both[0][case][part] == both[1][case][part], (case, part)


def test_their_noise_differs(both: list[dict[str, Any]]) -> None:
    assert both[0]["different"]["next"] != both[1]["different"]["next"]


def test_a_fit_by_two_goes_on_bit_for_bit(both: list[dict[str, Any]]) -> None:
    assert both[0]["resumed"] and both[1]["resumed"]


def test_they_fail_together(both: list[dict[str, Any]]) -> None:
    assert all("the loss is nan" in found["bad"] for found in both)
    assert all(
        "7 rows" not in found["small"] and "1 rows cannot be divided" in found["small"] for found in both
    )


def test_it_needs_a_process_group() -> None:
    with pytest.raises(ModelError, match="no process group"):
        DataParallel()
    with pytest.raises(ModelError, match="noise must be"):
        DataParallel(noise="none")


def test_the_loss_that_others_are_told_is_the_one_that_counts() -> None:
    """That of the program, also in the step whose eager loss it is compared with: a resumed fit compares another step."""
    told: list[float] = []

    def exchange(loss: float, grads: list[Any]) -> float:
        told.append(loss)
        return loss

    svi = new_svi(compile=True)
    svi.optim.exchange_by(exchange)
    assert [svi.step(*data(50_000)) for _ in range(4)] == told
