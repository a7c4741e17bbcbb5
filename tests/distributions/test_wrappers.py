"""Delta, Unit, masked, expanded and independent distributions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, tensor
from torch.testing import assert_close

import ember.distributions as dist
from ember.distributions import constraints
from ember.distributions.score_parts import ScoreParts
from ember.distributions.testing.fakes import NonreparameterizedNormal


class Loud(dist.TorchDistribution):
    """Counts its evaluations; partially reparameterised."""

    has_rsample = True
    arg_constraints: dict[str, Any] = {}
    support = constraints.real

    def __init__(self) -> None:
        self.calls = 0
        super().__init__(torch.Size((3,)))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return torch.randn(self.shape(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        self.calls += 1
        return -value.abs()

    def score_parts(self, value: Tensor) -> ScoreParts:
        log_prob = self.log_prob(value)
        return ScoreParts(log_prob, 0.25 * log_prob, 0.75 * log_prob)


# ---- Delta


def test_delta_log_prob() -> None:
    v = tensor([[1.0, 2.0], [3.0, 4.0]])
    d = dist.Delta(v, log_density=tensor([0.5, 1.5]), event_dim=1)
    assert d.batch_shape == (2,) and d.event_shape == (2,)
    assert_close(d.log_prob(v), tensor([0.5, 1.5]))
    assert_close(d.log_prob(v + tensor([[0.0, 1.0], [0.0, 0.0]])), tensor([-torch.inf, 1.5]))
    assert_close(d.log_prob(v.expand(5, 2, 2)), tensor([0.5, 1.5]).expand(5, 2))
    assert_close(d.mean, v)
    assert_close(d.variance, torch.zeros(2, 2))
    assert d.support.event_dim == 1


def test_delta_draws_its_point_with_gradients() -> None:
    v = torch.ones(3, requires_grad=True)
    x = dist.Delta(v)(torch.Size((2,)))
    assert x.shape == (2, 3) and x.requires_grad
    x.sum().backward()
    assert_close(v.grad, torch.full((3,), 2.0))


def test_delta_of_integers() -> None:
    d = dist.Delta(torch.arange(3), event_dim=1)
    assert_close(d.log_prob(torch.arange(3)), torch.tensor(0.0))


def test_delta_refuses() -> None:
    with pytest.raises(ValueError, match=r"Expected event_dim <= v.dim\(\), actual 2 vs 1"):
        dist.Delta(torch.zeros(3), event_dim=2)
    with pytest.raises(ValueError, match=r"Expected log_density.shape"):
        dist.Delta(torch.zeros(3), log_density=torch.zeros(2), validate_args=True)
    with pytest.raises(ValueError, match="log_density"):
        dist.Delta(torch.zeros(3), log_density=tensor([torch.nan, 0.0, 0.0]))


# ---- Unit


def test_unit() -> None:
    d = dist.Unit(tensor([1.0, 2.0]))
    assert d().shape == (2, 0) and d.sample(torch.Size((3,))).shape == (3, 2, 0)
    assert_close(d.log_prob(torch.empty(3, 2, 0)), tensor([1.0, 2.0]).expand(3, 2))
    assert "has_rsample" not in d.__dict__ and "has_rsample" not in d.expand((4, 2)).__dict__
    for value in (True, False):
        e = dist.Unit(tensor([1.0, 2.0]), has_rsample=value).expand([4, 2])
        assert e.__dict__["has_rsample"] is value
        assert_close(e.log_prob(e()), tensor([1.0, 2.0]).expand(4, 2))
    assert dist.Unit(0.5).batch_shape == ()
    with pytest.raises(ValueError, match="log_factor"):
        dist.Unit(tensor(torch.nan))


def test_unit_tells_who_said_so() -> None:
    # Objectives ask whether has_rsample was given, by the type's name and the instance's dict.
    assert type(dist.Unit(0.0)).__name__ == "Unit"


# ---- masks


def test_mask_false_never_evaluates_the_base() -> None:
    base = Loud()
    d = base.mask(False)
    x = d()
    assert_close(d.log_prob(x), torch.zeros(3))
    parts = d.score_parts(x)
    assert_close(parts.log_prob, torch.zeros(3))
    assert d.log_prob(torch.zeros(5, 3)).shape == (5, 3)
    assert_close(d.to_event(1).log_prob(x), tensor(0.0))
    assert dist.kl.kl_divergence(d, Loud().mask(True)) == 0.0
    assert base.calls == 0


def test_mask_hides_nan() -> None:
    d = dist.Normal(tensor([0.0, 0.0]), 1.0, validate_args=False).mask(tensor([True, False]))
    assert_close(d.log_prob(tensor([0.0, torch.nan])), tensor([-0.9189, 0.0]), atol=1e-4, rtol=0)


def test_mask_broadcasts_the_distribution_up() -> None:
    d = dist.Normal(tensor([0.0, 1.0]), 1.0).mask(torch.ones(4, 1, dtype=torch.bool))
    assert d.batch_shape == (4, 2) and d.base_dist.batch_shape == (4, 2)
    assert d().shape == (4, 2)
    assert d.mean.shape == d.variance.shape == (4, 2)
    assert d.support is constraints.real
    with pytest.raises(ValueError, match="shape mismatch"):
        dist.Normal(torch.zeros(2), 1.0).mask(torch.ones(3, dtype=torch.bool))


def test_mask_takes_other_dtypes() -> None:
    d = dist.Normal(torch.zeros(2), 1.0).mask(tensor([1.0, 0.0]))
    assert d._mask.dtype is torch.bool


def test_masked_score_function_stays_whole() -> None:
    d = NonreparameterizedNormal(torch.zeros(2), 1.0)
    x = torch.ones(2)
    mask = tensor([True, False])
    parts = d.mask(mask).score_parts(x)
    assert_close(parts.log_prob, d.log_prob(x) * mask)
    assert_close(parts.score_function, d.log_prob(x))
    assert parts.entropy_term == 0


@pytest.mark.parametrize("mask", [True, tensor([True, False, True])])
def test_partial_reparameterisation_passes_through_wrappers(mask: Any) -> None:
    x = torch.ones(3)
    whole = Loud().score_parts(x)
    masked = Loud().mask(mask).score_parts(x)
    assert_close(masked.score_function, whole.score_function)
    assert_close(masked.entropy_term, whole.entropy_term * torch.as_tensor(mask))
    summed = Loud().to_event(1).score_parts(x)
    assert_close(summed.score_function, whole.score_function.sum())
    assert_close(summed.entropy_term, whole.entropy_term.sum())
    expanded = Loud().expand((2, 3)).score_parts(torch.ones(2, 3))
    assert_close(expanded.score_function, whole.score_function.expand(2, 3))
    detached = Loud().mask(mask).has_rsample_(False).score_parts(x)
    assert_close(detached.score_function, -torch.ones(3))
    assert detached.entropy_term == 0
    assert Loud().expand((2, 3)).has_rsample_(False).score_parts(torch.ones(2, 3)).entropy_term == 0
    assert Loud().to_event(1).has_rsample_(False).score_parts(x).entropy_term == 0


# ---- expansion


def test_user_distributions_expand_in_place() -> None:
    d = Loud()
    e = d.expand((4, 3))
    assert type(e) is dist.ExpandedDistribution and e.batch_shape == (4, 3) and d.batch_shape == (3,)
    assert e.expand((5, 4, 3)) is e and e.batch_shape == (5, 4, 3)
    assert isinstance(d.expand_by((2,)), dist.ExpandedDistribution)


@pytest.mark.parametrize("bad", [(3,), (4, 2), (2, 1), (1,), ()])
def test_unexpanding_is_refused(bad: tuple[int, ...]) -> None:
    d = dist.ExpandedDistribution(dist.Normal(torch.zeros(2, 3), 1.0), (2, 3))
    with pytest.raises(ValueError, match="Cannot broadcast distribution of shape"):
        d.expand(bad)
    e = dist.ExpandedDistribution(dist.Normal(torch.zeros(1), 1.0), (4,))
    with pytest.raises(ValueError, match="Cannot broadcast distribution of shape"):
        e.expand((1,))


@pytest.mark.parametrize("base", [(), (1,), (3,), (1, 3), (2, 1), (1, 1)])
@pytest.mark.parametrize("shape", [(2, 3), (5, 2, 3), (4, 5, 2, 3)])
def test_expanded_samples_keep_their_places(base: tuple[int, ...], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    loc = 100.0 * torch.arange(6.0, dtype=torch.double).reshape(2, 3)
    for i, size in enumerate(reversed(base)):
        if size == 1:
            loc = loc.narrow(-1 - i, 0, 1)
    loc = loc[(0,) * (2 - len(base))]
    loc = torch.stack([loc, -loc], dim=-1)
    d = dist.ExpandedDistribution(dist.Normal(loc, 1.0).to_event(1), shape)
    x = d.rsample(torch.Size((7,)))
    assert x.shape == (7, *shape, 2)
    assert (x - loc).abs().max() < 6
    assert x.flatten().unique().numel() == x.numel()
    assert_close(d.log_prob(x), dist.Normal(loc, 1.0).to_event(1).log_prob(x))
    assert d.mean.shape == d.variance.shape == (*shape, 2)


def test_expanded_enumerates_events() -> None:
    d = dist.ExpandedDistribution(dist.OneHotCategorical(torch.ones(2)), (3,))
    assert d.enumerate_support().shape == (2, 3, 2)
    assert d.enumerate_support(expand=False).shape == (2, 1, 2)


# ---- independent


def test_to_event_collapses() -> None:
    d = dist.Normal(torch.zeros(2, 3, 4), 1.0)
    e = d.to_event(1).to_event(1)
    assert e.base_dist is d and e.reinterpreted_batch_ndims == 2
    assert e.to_event(0) is not e and e.to_event(0).reinterpreted_batch_ndims == 2
    assert d.to_event(0) is d
    assert d.to_event().event_shape == (2, 3, 4)
    assert e.to_event(-2) is d
    assert e.to_event(-1).event_shape == (4,)
    with pytest.raises(ValueError, match="Cannot remove event dimensions from"):
        d.to_event(-1)
    with pytest.raises(ValueError, match="reinterpreted_batch_ndims"):
        d.to_event(4)


def test_independent_validates_as_its_base() -> None:
    base = dist.Normal(torch.zeros(3), 1.0, validate_args=False)
    d = base.to_event(1)
    assert d._validate_args is False
    d._validate_args = True
    assert base._validate_args is True
    with pytest.raises(ValueError, match="within the support"):
        d.log_prob(torch.full((3,), torch.nan))


def test_independent_flag_is_its_own() -> None:
    base = dist.Normal(torch.zeros(3, requires_grad=True), 1.0)
    d = base.to_event(1).has_rsample_(False)
    assert not d().requires_grad and d.has_rsample is False
    assert base.has_rsample is True and base().requires_grad
    assert d.to_event(-1).has_rsample is False and base.has_rsample is True
    with pytest.raises(ValueError, match=r"Expected value in \[False,True\], actual 1"):
        base.has_rsample_(1)  # type: ignore[arg-type]


def test_independent_conjugate_update() -> None:
    p = dist.Gamma(torch.ones(3), torch.ones(3)).to_event(1)
    q = dist.Gamma(torch.full((3,), 2.0), torch.ones(3)).to_event(1)
    updated, log_normalizer = p.conjugate_update(q)
    x = tensor([0.5, 1.0, 2.0])
    assert_close(p.log_prob(x) + q.log_prob(x), updated.log_prob(x) + log_normalizer)


# ---- the rest of the mixin


def test_old_names() -> None:
    d = dist.Normal(torch.zeros(3), 1.0)
    with pytest.warns(DeprecationWarning, match="use to_event instead"):
        assert d.independent(1).event_shape == (3,)
    with pytest.raises(Exception, match=r"\.expand_by\(sample_shape=s\)"):
        d.reshape(sample_shape=(2,), extra_event_dims=1)
    with pytest.raises(NotImplementedError, match="conjugate_update"):
        d.conjugate_update(d)


def test_call_is_rsample_or_sample() -> None:
    loc = torch.zeros(2, requires_grad=True)
    assert dist.Normal(loc, 1.0)().requires_grad
    assert not dist.Normal(loc, 1.0).has_rsample_(False)().requires_grad
    assert not NonreparameterizedNormal(loc, tensor(1.0))().requires_grad


def test_expand_by_falls_back() -> None:
    class Stubborn(dist.Normal):
        def __init__(self, loc: Tensor, scale: Tensor, extra: int) -> None:
            super().__init__(loc, scale)
            self.extra = extra

    d = Stubborn(torch.zeros(3), torch.ones(3), 1)
    with pytest.raises(NotImplementedError, match="must also define a custom"):
        d.expand((2, 3))
    assert isinstance(d.expand_by((2,)), dist.ExpandedDistribution)
    assert d.expand_by((2,))().shape == (2, 3)
