"""Maximum mean discrepancy between the guide's samples and the prior's."""

from __future__ import annotations

import pickle

import pytest
import torch
from tests.infer.objectives import gaussian_kernel

import ember
import ember.distributions as dist
from ember.distributions import constraints
from ember.infer import SVI, Trace_MMD
from ember.optim import Adam

pytestmark = pytest.mark.usefixtures("float64")


def model():
    z = ember.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with ember.plate("rows", 3):
        w = ember.sample("w", dist.Normal(0.0, 1.0))
        ember.sample("x", dist.Normal(z.sum(-1) + w, 1.0), obs=torch.tensor([0.4, 1.7, -0.6]))


def guide():
    loc = ember.param("loc", torch.tensor([1.0, -1.0]))
    scale = ember.param("scale", torch.tensor(0.5), constraint=constraints.positive)
    ember.sample("z", dist.Normal(loc, scale).to_event(1))
    with ember.plate("rows", 3):
        ember.sample("w", dist.Normal(0.0, 1.0))


def gaussian_mmd(loc, scale):
    """Between N(loc, scale^2) and N(0, 1), in two dims, for the kernel exp(-|x - y|^2 / 2)."""

    def expected(gap, variance):
        return torch.exp(-0.5 * (gap**2).sum() / (1 + variance)) / (1 + variance)

    zero = torch.zeros(2)
    return expected(zero, 2.0) + expected(zero, 2 * scale**2) - 2 * expected(loc, 1 + scale**2)


@pytest.mark.parametrize("vectorize", [False, True])
def test_loss_is_likelihood_and_scaled_discrepancies(vectorize):
    objective = Trace_MMD(gaussian_kernel, {"z": 100.0, "w": 0.0}, 600, vectorize_particles=vectorize)
    likelihood, penalty = objective._differentiable_loss_parts(model, guide, (), {})
    exact = gaussian_mmd(ember.param("loc"), ember.param("scale")).item()
    # The mean of kernel(X) counts each particle beside itself: 1/n of (1 - its mean off the diagonal), for both.
    bias = (2 - 1 / 3 - 1 / (1 + 2 * 0.25)) / 600
    assert penalty.item() / 100 == pytest.approx(exact + bias, abs=0.03)
    ember.set_rng_seed(0)
    loss = objective.differentiable_loss(model, guide)
    ember.set_rng_seed(0)
    parts = objective._differentiable_loss_parts(model, guide, (), {})
    assert loss.item() == pytest.approx((parts[1] - parts[0]).item())
    assert likelihood.item() < 0


def test_each_latent_may_have_its_own_kernel_and_scale():
    seen = []

    def kernel_for(name):
        def kernel(X, Z=None):
            seen.append((name, tuple(X.shape)))
            return gaussian_kernel(X, Z)

        return kernel

    Trace_MMD({name: kernel_for(name) for name in "zw"}, {"z": 1.0, "w": 2.0}, num_particles=7).loss(
        model, guide
    )
    assert set(seen) == {("z", (7, 2)), ("w", (7, 3))}


def test_the_discrepancy_draws_the_guide_to_the_prior():
    prior = ember.poutine.block(model, hide=["x"])
    svi = SVI(prior, guide, Adam({"lr": 0.03}), Trace_MMD(gaussian_kernel, num_particles=60))
    for _ in range(250):
        svi.step()
    assert ember.param("loc").abs().max() < 0.25 and 0.7 < ember.param("scale").item() < 1.3


def test_modules_as_kernels_are_frozen():
    class Kernel(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(1.0))

        def forward(self, X, Z=None, diag=False):
            return gaussian_kernel(X / self.scale, None if Z is None else Z / self.scale)

    kernel = Kernel()
    objective = Trace_MMD(kernel)
    assert not kernel.scale.requires_grad and objective.kernel["anything"] is kernel
    assert objective.mmd_scale["z"] == 1.0
    copied = pickle.loads(pickle.dumps(Trace_MMD(gaussian_kernel, 2)))
    assert copied.mmd_scale["z"] == 2.0 and copied.kernel["z"] is gaussian_kernel


def test_what_is_refused():
    with pytest.raises(TypeError, match="`kernel` should be a callable"):
        Trace_MMD(1.0)
    with pytest.raises(TypeError, match="`kernel` should be a callable"):
        Trace_MMD({"z": "rbf"})
    with pytest.raises(TypeError, match="`mmd_scale` should be either float, or a dict of floats"):
        Trace_MMD(gaussian_kernel, mmd_scale="1")
    discrete = lambda: ember.sample("z", dist.Bernoulli(0.5))
    normal = lambda: ember.sample("z", dist.Normal(0.0, 1.0))
    with pytest.raises(ValueError, match="Model site z is not reparameterizable"):
        Trace_MMD(gaussian_kernel).loss(discrete, discrete)
    fixed = lambda: ember.sample("z", dist.Normal(0.0, 1.0).has_rsample_(False))
    with pytest.raises(ValueError, match="Guide site z is not reparameterizable"):
        Trace_MMD(gaussian_kernel).loss(normal, fixed)
