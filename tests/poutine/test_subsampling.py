"""Parameters and data inside subsampled plates: which rows are used, and where gradients go."""

from __future__ import annotations

import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.distributions import constraints

ROWS = torch.tensor([4, 1, 5])


def leaf(name):
    return ember.get_param_store()._params[name]


def test_rows_of_parameters():
    full = torch.arange(12.0).reshape(6, 2)
    with ember.plate("p", 6, subsample=ROWS):
        assert torch.equal(ember.param("vector", torch.arange(6.0), event_dim=0), torch.arange(6.0)[ROWS])
        assert torch.equal(ember.param("matrix", full.clone(), event_dim=1), full[ROWS])
        assert ember.param("shared", torch.ones(1), event_dim=0).shape == (1,)
        assert ember.param("scalar", torch.ones(()), event_dim=0).shape == ()
        assert ember.param("whole", torch.arange(6.0)).shape == (6,)
    assert ember.param("vector").shape == (6,)


def test_rows_under_two_plates():
    columns = torch.tensor([2, 0])
    data = torch.arange(24.0).reshape(4, 6)
    with ember.plate("p", 6, subsample=ROWS), ember.plate("q", 4, subsample=columns):
        part = ember.param("w", data.clone(), event_dim=0)
        assert torch.equal(part, data[columns][:, ROWS])
        assert torch.equal(ember.subsample(data, event_dim=0), data[columns][:, ROWS])
        assert torch.equal(
            ember.subsample(data.unsqueeze(-1), event_dim=1), data[columns][:, ROWS].unsqueeze(-1)
        )
        assert torch.equal(ember.subsample(data, 0), data[columns][:, ROWS])
    touched = leaf("w")._pyro_subsample
    assert {dim: rows.tolist() for dim, rows in touched.items()} == {-1: ROWS.tolist(), -2: columns.tolist()}


@pytest.mark.parametrize("rows", [ROWS, ROWS.tolist()], ids=["tensor", "list"])
def test_optimizers_find_the_leaf_and_its_rows(rows):
    with ember.plate("p", 6, subsample=rows):
        part = ember.param("a", torch.ones(6), constraint=constraints.positive, event_dim=0)
    assert part._pyro_unconstrained_param is leaf("a")
    assert leaf("a")._pyro_subsample[-1].tolist() == ROWS.tolist()


def test_gradients_reach_the_drawn_rows_only():
    with ember.plate("p", 6, subsample=ROWS):
        part = ember.param("a", torch.arange(6.0) + 1, constraint=constraints.positive, event_dim=0)
    (part**2).sum().backward()
    expected = torch.zeros(6)
    expected[ROWS] = 2 * (torch.arange(6.0) + 1)[ROWS] ** 2  # d exp(u)^2 / du
    torch.testing.assert_close(leaf("a").grad, expected)


def test_gradients_of_repeated_rows_add_up():
    with ember.plate("p", 6, subsample=[2, 2, 0]):
        ember.param("a", torch.ones(6), event_dim=0).sum().backward()
    assert leaf("a").grad.tolist() == [1.0, 0.0, 2.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("subsample_size", [None, 3])
def test_wrong_sizes(subsample_size):
    with ember.plate("p", 6, subsample_size):
        with pytest.raises(
            ValueError, match=r"plate\(p, 6, dim=-1\) invalid shape of pyro.param\(a, .*event_dim=0\)"
        ):
            ember.param("a", torch.ones(5), event_dim=0)
        with pytest.raises(ValueError, match=r"invalid shape of pyro.subsample\(\.\.\., event_dim=0\)"):
            ember.subsample(torch.ones(5), event_dim=0)
        with pytest.raises(AssertionError):
            ember.subsample(torch.ones(6), event_dim=-1)


def test_sequential_plates_leave_data_whole():
    for _ in ember.plate("p", 6, 3):
        assert ember.subsample(torch.arange(6.0), event_dim=0).shape == (6,)
        assert ember.param("a", torch.ones(6), event_dim=0).shape == (6,)


def test_subsample_outside_of_plates_is_the_identity():
    data = torch.ones(3)
    assert ember.subsample(data, event_dim=0) is data


def test_initial_values_are_full_size_even_if_lazy():
    calls = []

    def init():
        calls.append(1)
        return torch.zeros(6)

    for _ in range(3):
        with ember.plate("p", 6, 2):
            assert ember.param("a", init, event_dim=0).shape == (2,)
    assert calls == [1] and leaf("a").shape == (6,)


def test_the_subsampled_log_density_is_unbiased():
    data = torch.arange(8.0) / 4

    def model(size):
        with ember.plate("p", 8, size) as i:
            ember.sample("x", dist.Normal(0.5, 1.0), obs=data[i])

    exact = poutine.trace(model).get_trace(8).log_prob_sum()
    estimates = torch.stack([poutine.trace(model).get_trace(2).log_prob_sum() for _ in range(2000)])
    error = estimates.std() / 2000**0.5
    assert (estimates.mean() - exact).abs() < 4 * error
