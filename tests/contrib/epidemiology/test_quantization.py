"""Random rounding, and operations on tensors of which one may be a number."""

from __future__ import annotations

import pytest
import torch

import ember
import ember.distributions as dist
from ember.contrib.epidemiology.quantization import W16, compute_bin_probs, quantize, quantize_enumerate
from ember.contrib.epidemiology.tensors import align_samples, cat2, clamp

BINS = (2, 4, 8, 12, 16)


@pytest.mark.parametrize("bins", BINS)
def test_rounding_is_unbiased_with_a_constant_variance(bins: int) -> None:
    s = torch.linspace(0.0, 1.0, 11, dtype=torch.float64)
    probs = compute_bin_probs(s, bins)
    integers = torch.arange(1.0 - bins // 2, 1.0 + bins // 2, dtype=torch.float64)
    assert torch.allclose(probs.sum(-1), torch.ones_like(s), atol=1e-12)
    assert (probs >= 0).all()
    assert torch.allclose(probs @ integers, s, atol=1e-12)
    if bins > 2:
        variance = (probs * (integers - s[:, None]) ** 2).sum(-1)
        assert torch.allclose(variance, variance[0].expand_as(s), atol=1e-12)


@pytest.mark.parametrize("bins", BINS)
def test_probabilities_are_continuous_from_one_integer_to_the_next(bins: int) -> None:
    ends = compute_bin_probs(torch.tensor([0.0, 1.0], dtype=torch.float64), bins)
    assert torch.allclose(ends[0, :-1], ends[1, 1:], atol=1e-15)
    assert ends[0, -1] == ends[1, 0] == 0


def test_cubic_splines_by_their_formula() -> None:
    s = torch.tensor([0.1, 0.5, 0.8], dtype=torch.float64)
    t = 1 - s
    known = torch.stack([t**3, 4 - 6 * s**2 + 3 * s**3, 4 - 6 * t**2 + 3 * t**3, s**3], -1) / 6
    assert torch.allclose(compute_bin_probs(s, 4), known, atol=1e-15)
    # Published coefficients, of the first and the last row.
    assert W16.shape == (8, 10) and W16[0, 9] == pytest.approx(1.1562511562511555e-07, rel=1e-14)
    assert W16[7, 2] == pytest.approx(-0.028320290820290833, rel=1e-14)


def test_integers_beyond_the_range_are_reflected() -> None:
    x, logits = quantize_enumerate(torch.tensor([0.3, 4.7, -0.2]), min=0, max=5, num_quant_bins=4)
    assert x.tolist() == [[0, 0, 1, 2], [3, 4, 5, 5], [1, 0, 0, 1]]
    assert torch.allclose(logits.exp().sum(-1), torch.ones(3))
    most = torch.tensor([5.0, 4.0, 9.0])
    assert quantize_enumerate(torch.tensor([4.9, 4.2, 0.0]), 0, most)[0].max(-1).values.tolist() == [5, 4, 2]


def test_quantize_draws_what_is_enumerated() -> None:
    ember.set_rng_seed(0)
    assert quantize("x", torch.tensor([1.4, 1.6]), 0, 5, num_quant_bins=1).tolist() == [1.0, 2.0]
    with ember.poutine.trace() as recorded:
        x = quantize("x", torch.full((4000,), 2.25), 0, 5, num_quant_bins=8)
    assert recorded.trace.nodes["Q_x"]["infer"] == {"enumerate": "parallel"}
    assert x.mean().item() == pytest.approx(2.25, abs=0.06) and x.min() >= 0 and x.max() <= 5


def test_cat2() -> None:
    x = torch.arange(6.0).reshape(2, 3)
    assert cat2(7, x).tolist() == [[7, 0, 1, 2], [7, 3, 4, 5]]
    assert cat2(x, 7.5, dim=-2)[2].tolist() == [7.5, 7.5, 7.5]
    assert cat2(torch.tensor(7.0), x).tolist() == cat2(7, x).tolist()
    assert cat2(torch.tensor([1.0, 2.0, 3.0]), x, dim=-2).shape == (3, 3)
    assert cat2(torch.tensor([[1.0], [2.0]]), torch.zeros(2, 0)).tolist() == [[1.0], [2.0]]
    with pytest.raises(AssertionError, match="counts from the right"):
        cat2(1, x, dim=0)
    with pytest.raises(AssertionError, match="one of both is a tensor"):
        cat2(1, 2)


def test_clamp() -> None:
    x = torch.tensor([-1.0, 0.5, 9.0])
    assert clamp(x, min=torch.tensor([0.0, 1.0, 2.0]), max=3).tolist() == [0.0, 1.0, 3.0]
    assert clamp(x).tolist() == x.tolist()


def test_align_samples() -> None:
    def model() -> None:
        ember.sample("x", dist.Normal(0.0, 1.0))
        with ember.plate("rows", 3, dim=-1):
            ember.sample("y", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    samples = {"x": torch.zeros(5), "y": torch.zeros(5, 3, 2)}
    aligned = align_samples(samples, model, particle_dim=-2)
    assert aligned["x"].shape == (5, 1) and aligned["y"].shape == (5, 3, 2)
    with pytest.raises(ValueError, match="try moving particle_dim left: site 'y'"):
        align_samples(samples, model, particle_dim=-1)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="Unsupported num_quant_bins: 3; it is one of 2, 4, 8, 12, 16"):
        compute_bin_probs(torch.tensor(0.5), 3)
    with pytest.raises(AssertionError, match="min is below max, and not 5 and 2"):
        quantize_enumerate(torch.tensor(0.5), 5, 2)
