"""Compiled programs go with what they belong to: memory stays flat over many."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest
import torch

import ember
from ember import distributions as dist
from ember.capture.native.build.store import cache_folder
from ember.capture.native.program import FLAGS, NativeProgram
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoNormal
from ember.optim import Adam

from .programs import flags, recorded

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="maps are read through /proc")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBER_CACHE_DIR", str(tmp_path))


def mapped() -> list[str]:
    """The files of the cache that this process has in memory."""
    gc.collect()
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if str(cache_folder()) in line]


def program(number: int) -> NativeProgram:
    return NativeProgram(
        recorded(lambda flat: [flat[0] * number + torch.rand(2)], [torch.ones(2)]), [torch.ones(2)]
    )


def test_a_hundred_programs_leave_nothing_in_memory() -> None:
    with flags("-O0", *FLAGS[1:]):
        for number in range(100):
            x = torch.ones(2)
            result = program(number)([x])[1]
            assert (result >= number).all() and (result <= number + 1).all()
            assert number % 25 or len({line.split()[-1] for line in mapped()}) <= 1
    assert mapped() == []
    assert len(list(cache_folder().glob("*.so"))) == 100


def test_two_programs_of_one_library_do_not_disturb_each_other() -> None:
    first, second = program(3), program(3)
    assert first.library.path == second.library.path
    del first
    assert mapped() and (second([torch.ones(2)])[1] >= 3).all()
    del second
    assert mapped() == []


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
    assert len({line.split()[-1] for line in mapped()}) >= 2
    del svi
    assert mapped() == []
