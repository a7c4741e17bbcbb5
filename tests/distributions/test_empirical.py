"""The distribution of weighed draws."""

from __future__ import annotations

import pytest
import torch

import ember.distributions as dist


@pytest.mark.parametrize("batch_shape", [(), (2,), (2, 3)])
@pytest.mark.parametrize("event_shape", [(), (4,), (2, 2)])
def test_shapes_and_moments(batch_shape, event_shape):
    samples = torch.randn(*batch_shape, 50, *event_shape)
    log_weights = torch.randn(*batch_shape, 50)
    d = dist.Empirical(samples, log_weights)
    assert d.batch_shape == batch_shape and d.event_shape == event_shape
    assert d.sample_size == log_weights.numel() and d.log_weights is log_weights
    assert d.sample((3, 5)).shape == (3, 5, *batch_shape, *event_shape)
    weights = log_weights.softmax(-1).reshape(*batch_shape, 50, *(1 for _ in event_shape))
    mean = (samples * weights).sum(len(batch_shape))
    assert torch.allclose(d.mean, mean, atol=1e-6)
    variance = ((samples - mean.unsqueeze(len(batch_shape))) ** 2 * weights).sum(len(batch_shape))
    assert torch.allclose(d.variance, variance, atol=1e-6)
    assert d.enumerate_support() is samples


def test_draws_have_the_weights_as_frequencies():
    torch.manual_seed(0)
    weights = torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]])
    values = torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])
    drawn = dist.Empirical(values, weights.log()).sample((4000,))
    assert drawn.shape == (4000, 2)
    for row in range(2):
        for value, p in zip(values[row], weights[row], strict=True):
            share = (drawn[:, row] == value).float().mean()
            assert abs(share - p) <= 4 * (p * (1 - p) / 4000) ** 0.5


def test_log_prob_adds_up_equal_draws():
    d = dist.Empirical(
        torch.tensor([[1.0, 2.0], [1.0, 2.0], [3.0, 2.0]]), torch.tensor([0.2, 0.3, 0.5]).log()
    )
    assert d.log_prob(torch.tensor([1.0, 2.0])).exp().item() == pytest.approx(0.5)
    assert d.log_prob(torch.tensor([9.0, 2.0])).item() == -float("inf")
    batched = dist.Empirical(torch.tensor([[1.0, 1.0], [1.0, 2.0]]), torch.zeros(2, 2))
    assert batched.log_prob(torch.tensor([1.0, 1.0])).exp().tolist() == pytest.approx([1.0, 0.5])
    with pytest.raises(ValueError, match=r"``value.shape`` must be"):
        d.log_prob(torch.zeros(5, 2))


def test_refusals():
    with pytest.raises(ValueError, match="must match the leftmost shape of ``samples``"):
        dist.Empirical(torch.zeros(3), torch.zeros(2))
    for moment in ("mean", "variance"):
        with pytest.raises(ValueError, match="for discrete empirical distribution undefined"):
            getattr(dist.Empirical(torch.tensor([1, 2]), torch.zeros(2)), moment)
