"""Compiled programs go with what they belong to: memory stays flat over many."""

from __future__ import annotations

import gc
import itertools
import random
import sys
from pathlib import Path

import pytest
import torch

import ember
from ember import distributions as dist
from ember.capture.native.build.store import cache_folder
from ember.capture.native.program import NativeProgram
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoNormal
from ember.optim import Adam
from tools.soak.processes import many_programs, mapped

from .programs import recorded

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="maps are read through /proc")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBER_CACHE_DIR", str(tmp_path))


def collected() -> set[str]:
    gc.collect()
    return mapped()


def program(number: int) -> NativeProgram:
    return NativeProgram(
        recorded(lambda flat: [flat[0] * number + torch.rand(2)], [torch.ones(2)]), [torch.ones(2)]
    )


def test_a_hundred_programs_leave_nothing_in_memory(tmp_path: Path) -> None:
    made = itertools.islice(many_programs(random.Random(0), tmp_path), 100)
    assert len(list(made)) == 100
    assert 3 < len(list(cache_folder().glob("*.so"))) < 10


def test_two_programs_of_one_library_do_not_disturb_each_other() -> None:
    first, second = program(3), program(3)
    assert first.library.path == second.library.path
    del first
    assert mapped() and (second([torch.ones(2)])[1] >= 3).all()
    del second
    assert collected() == set()


def test_programs_go_with_their_svi() -> None:
    ember.clear_param_store()

    def model(y: torch.Tensor) -> None:
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        with ember.plate("rows", len(y)):
            ember.sample("y", dist.Normal(z, 1.0), obs=y)

    svi = SVI(model, AutoNormal(model), Adam({"lr": 0.1}), Trace_ELBO(), compile=True, backend="native")
    for length in (3, 3, 3, 4, 4, 4):
        svi.step(torch.ones(length))
    svi.evaluate_loss(torch.ones(3))
    svi.run(5, torch.ones(3), progress=False)
    assert len(mapped()) >= 2
    del svi
    assert collected() == set()
