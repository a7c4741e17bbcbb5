"""Random subsets: uniform, without repetition, and the same when compiled."""

from __future__ import annotations

import math

import pytest
import torch

import ember
import ember.distributions as dist
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoNormal
from ember.ops import subsets
from ember.ops.subsets import random_subset
from ember.optim import Adam


@pytest.mark.parametrize(("size", "count"), [(10, 3), (20_000, 1_000), (30_000, 2_000), (5, 5)])
def test_small_ranges_are_shuffled_as_in_pyro(size, count):
    torch.manual_seed(3)
    expected = torch.randperm(size)[:count]
    torch.manual_seed(3)
    assert torch.equal(random_subset(size, count), expected)


@pytest.mark.parametrize(("size", "count"), [(20_001, 1), (100_000, 6_250), (10**9, 1_000), (2**40, 10)])
def test_no_repetition_and_in_range(size, count):
    drawn = random_subset(size, count)
    assert drawn.dtype == torch.int64 and drawn.shape == (count,)
    assert drawn.unique().numel() == count and drawn.min() >= 0 and drawn.max() < size


def test_a_whole_range_by_exchanges_is_a_permutation():
    bits = torch.randint(0, 2**63 - 1, (50,))
    assert sorted(subsets._subset(bits, 50).tolist()) == list(range(50))


@pytest.mark.parametrize("draw", ["python", "compiled"])
def test_all_subsets_are_equally_likely(draw):
    """Ordered pairs out of 5, 20 of them: chi-square with 19 degrees of freedom, above 50 once in 10,000 seeds."""
    torch.manual_seed(0)
    rounds = 20_000
    bits = torch.randint(0, 2**63 - 1, (rounds, 2))
    drawn = (
        compiled_subsets(bits, 5)
        if draw == "compiled"
        else torch.stack([subsets._subset(b, 5) for b in bits])
    )
    counts = torch.bincount(drawn[:, 0] * 5 + drawn[:, 1], minlength=25)
    assert counts[::6].sum() == 0
    expected = rounds / 20
    assert ((counts[counts > 0] - expected) ** 2 / expected).sum() < 50


def compiled_subsets(bits: torch.Tensor, size: int) -> torch.Tensor:
    from tests.capture.native.programs import Compiled

    operator = subsets.operator()
    program = Compiled(lambda flat: [operator(flat[0], size)], [bits[0]]).program
    return torch.stack([program([row])[1] for row in bits])


@pytest.mark.parametrize("count", [1, 7, 500])
def test_compiled_as_python_does(count):
    for seed in range(5):
        torch.manual_seed(seed)
        bits = torch.randint(0, 2**63 - 1, (count,))
        for size in (count, count + 1, 10 * count, 10**12):
            expected = subsets._subset(bits, size)
            assert torch.equal(compiled_subsets(bits[None], size)[0], expected)


def model(y: torch.Tensor) -> None:
    mu = ember.sample("mu", dist.Normal(0.0, 10.0))
    with ember.plate("rows", len(y), subsample_size=100) as rows:
        ember.sample("y", dist.Normal(mu, 1.0), obs=y[rows])


@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_steps_draw_the_same_eager_and_compiled(backend):
    y = torch.arange(50_000.0, dtype=torch.float64) / 50_000
    losses = []
    for compile in (False, True):
        ember.clear_param_store()
        torch.manual_seed(0)
        svi = SVI(
            model, AutoNormal(model), Adam({"lr": 0.01}), Trace_ELBO(), compile=compile, backend=backend
        )
        losses.append([svi.step(y) for _ in range(8)])
    assert all(math.isclose(a, b, rel_tol=1e-8) for a, b in zip(*losses, strict=True))
