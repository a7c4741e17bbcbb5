"""Threads share large passes over rows: the same bits for any number of them."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor

import ember
import ember.distributions as dist
from ember import settings
from ember.capture.native import pipeline
from ember.capture.native.loops import sweep
from ember.capture.threads import num_threads
from ember.contrib import gp
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoNormal
from ember.optim import Adam
from tests.capture.native.loops.test_sweep import LOOSE, PROGRAMS, indexing, inputs, regression
from tests.capture.native.programs import QUICK, Compiled, assert_same, flags


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Passes that are small are cut into chunks, too."""
    monkeypatch.setattr(sweep, "FEWEST_ROWS", 16)
    monkeypatch.setattr(sweep, "FEWEST_CHUNKED_NS", 0)
    monkeypatch.setattr(pipeline, "VERIFY", True)
    with flags(*QUICK):
        yield


def bits(compiled: Compiled, given: list[Tensor], steps: int) -> list[list[Tensor]]:
    found = []
    for threads in (1, 2, 5, 100):
        with settings.context(threads=threads):
            found.append(compiled.outcome(given, steps))
    return found


@pytest.mark.parametrize("rows", [16, 250, 4_000, 4_097])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_regression(rows, dtype):
    given = inputs(rows, 5, dtype)
    compiled = Compiled(regression, given)
    assert "ember_team_run(team" in compiled.program.source
    first, *others = bits(compiled, given, 4)
    assert_same(first, compiled.expected(given, 4), tolerance=LOOSE[dtype])
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_programs(program, dtype):
    given = inputs(600, 6, dtype)
    compiled = Compiled(program, given)
    first, *others = bits(compiled, given, 2)
    assert_same(first, compiled.expected(given, 2), tolerance=LOOSE[dtype])
    for other in others:
        assert all(
            torch.equal(
                a,
                b,
            )
            for a, b in zip(first, other, strict=True)
        )


def test_an_index_out_of_range_in_a_thread():
    given = [*inputs(600, 4), torch.arange(600)]
    compiled = Compiled(indexing, given)
    given[3][599] = 600
    before = given[1].clone()
    with settings.context(threads=3):
        for _ in range(3):
            with pytest.raises(IndexError):
                compiled.program(given)
            assert torch.equal(given[1], before)


def model(x: Tensor, y: Tensor) -> None:
    slopes = ember.sample("slopes", dist.Normal(torch.zeros(4), 1.0).to_event(1))
    with ember.plate("rows", len(y)):
        ember.sample("y", dist.Bernoulli(logits=x @ slopes), obs=y)


def losses(threads: int, x: Tensor, y: Tensor) -> list[float]:
    torch.manual_seed(0)
    store = ember.params.ParamStoreDict()
    svi = SVI(model, AutoNormal(model), Adam({"lr": 0.05}), Trace_ELBO(), compile=True, param_store=store)
    with settings.context(threads=threads):
        first = [svi.step(x, y) for _ in range(4)]
        return [*first, *svi.run(50, x, y, progress=False).losses.tolist()]


def test_a_fit_is_the_same():
    x = torch.randn(3_000, 4)
    y = (torch.rand(3_000) < torch.sigmoid(x.sum(1))).float()
    assert losses(1, x, y) == losses(2, x, y) == losses(7, x, y)


def test_several_fits_at_once():
    x = torch.randn(2_000, 4)
    y = (torch.rand(2_000) < 0.5).float()
    compiled = Compiled(regression, [x, torch.zeros(4), y])
    expected = compiled.outcome([x, torch.zeros(4), y], 3)
    results: list[list[Tensor]] = []

    def work() -> None:
        program = Compiled(regression, [x, torch.zeros(4), y])
        results.append([program.program([x, torch.zeros(4), y])[1] for _ in range(1)])

    with settings.context(threads=3):
        workers = [threading.Thread(target=work) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert len(results) == 2 and torch.equal(results[0][0], results[1][0])
    assert all(torch.isfinite(value).all() for value in expected[:2])


def test_the_setting():
    assert num_threads() >= 1
    with settings.context(threads=3):
        assert num_threads() == 3
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "all"])
def test_a_setting_that_is_none(value):
    with pytest.raises(ValueError, match="threads must be None or a whole number from 1 on"):
        settings.set(threads=value)


def test_a_long_sum_inside_of_a_pass_over_rows_keeps_to_its_block() -> None:
    """A sum over more columns than are added at once goes over them in parts, while the pass goes over blocks of rows.

    Both loops had one name: what was kept of a block was written far behind its memory.
    """
    x = torch.randn(600, 4, generator=torch.Generator().manual_seed(0))
    kernel = gp.kernels.RBF(input_dim=4, lengthscale=torch.tensor(0.5))
    model = gp.models.SparseGPRegression(
        x, x[:, 0].sin(), kernel, Xu=x[:300].clone(), noise=torch.tensor(0.1), jitter=1e-3
    )
    with settings.context(backend="native"):
        svi = SVI(model.model, model.guide, Adam({"lr": 1e-3}), Trace_ELBO(), compile=True)
        losses = [svi.step() for _ in range(3)]
    assert losses[0] > losses[1] > losses[2]
