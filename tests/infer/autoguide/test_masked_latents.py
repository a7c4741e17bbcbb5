"""Latent values that are masked out have no term in the model, and must have none in the guide: the loss is that of the rest."""

import functools

import pytest
import torch

import ember
from ember import distributions as dist
from ember.infer import Trace_ELBO, TraceMeanField_ELBO, autoguide
from ember.poutine import mask

N, KEPT = 6, 4
DATA = torch.tensor([0.3, -0.5, 1.2, 0.4, 50.0, -70.0])
HELD = torch.arange(N) < KEPT
GUIDES = {
    "AutoNormal": autoguide.AutoNormal,
    "AutoDelta": autoguide.AutoDelta,
    "AutoDiagonalNormal": autoguide.AutoDiagonalNormal,
    "AutoMultivariateNormal": autoguide.AutoMultivariateNormal,
    "AutoLowRankMultivariateNormal": functools.partial(autoguide.AutoLowRankMultivariateNormal, rank=2),
    "AutoLaplaceApproximation": autoguide.AutoLaplaceApproximation,
    "AutoStructured": autoguide.AutoStructured,
    "AutoGaussian": autoguide.AutoGaussian,
    "AutoNormalMessenger": autoguide.AutoNormalMessenger,
    "AutoHierarchicalNormalMessenger": functools.partial(
        autoguide.AutoHierarchicalNormalMessenger, hierarchical_sites=["local"]
    ),
}


def by_handler(data, held):
    z = ember.sample("z", dist.Normal(0.0, 2.0))
    with ember.plate("rows", len(data)), mask(mask=held):
        local = ember.sample("local", dist.Normal(z, 0.6))
        pair = ember.sample("pair", dist.Gamma(2.0, torch.ones(2)).to_event(1))
        ember.sample("y", dist.Normal(local, pair.sum(-1)), obs=data)


def by_distribution(data, held):
    z = ember.sample("z", dist.Normal(0.0, 2.0))
    with ember.plate("rows", len(data)):
        local = ember.sample("local", dist.Normal(z, 0.6).mask(held))
        pair = ember.sample("pair", dist.Gamma(2.0, torch.ones(2)).to_event(1).mask(held))
        ember.sample("y", dist.Normal(local, pair.sum(-1)).mask(held), obs=data)


def partly_observed(data, held):
    z = ember.sample("z", dist.Normal(0.0, 2.0))
    with ember.plate("rows", len(data)):
        ember.sample("y", dist.Normal(z, 1.0), obs=data, obs_mask=held)


MODELS = {"handler": by_handler, "distribution": by_distribution}


def loss(make, model, *args, elbo=Trace_ELBO):
    ember.clear_param_store()
    ember.set_rng_seed(0)
    guide = make(model, init_loc_fn=autoguide.init_to_feasible)
    objective = elbo(num_particles=4000, vectorize_particles=True, max_plate_nesting=1)
    return objective.loss(model, guide, *args), guide


@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceMeanField_ELBO])
@pytest.mark.parametrize("how", MODELS)
@pytest.mark.parametrize("name", GUIDES)
def test_the_loss_is_that_of_the_rows_that_count(name, how, elbo):
    masked, _ = loss(GUIDES[name], MODELS[how], DATA, HELD, elbo=elbo)
    alone, _ = loss(GUIDES[name], by_handler, DATA[:KEPT], torch.ones(KEPT, dtype=torch.bool), elbo=elbo)
    # A random factor, random matrices: the guides of more rows and of fewer do not start alike.
    loose = name in ("AutoLowRankMultivariateNormal", "AutoGaussian")
    assert masked == pytest.approx(alone, abs=0.6 if loose else 0.12)


@pytest.mark.parametrize("name", GUIDES)
def test_a_whole_site_may_be_masked(name):
    def model():
        ember.sample("x", dist.Normal(0.0, 1.0))
        with mask(mask=False):
            ember.sample("off", dist.Gamma(2.0, torch.ones(3)).to_event(1))

    def alone():
        ember.sample("x", dist.Normal(0.0, 1.0))

    make = GUIDES[name]
    if name == "AutoHierarchicalNormalMessenger":
        make = autoguide.AutoNormalMessenger
    if name == "AutoLowRankMultivariateNormal":
        pytest.skip("its random factor has other numbers for more entries")
    assert loss(make, model)[0] == pytest.approx(loss(make, alone)[0], abs=0.1)


@pytest.mark.parametrize(
    "name", ["AutoNormal", "AutoDiagonalNormal", "AutoMultivariateNormal", "AutoStructured"]
)
def test_the_loss_stays_above_the_evidence(name):
    """By the analytic evidence of the rows that are observed; Pyro's goes on falling."""
    covariance = torch.eye(KEPT) + 4.0
    evidence = torch.distributions.MultivariateNormal(torch.zeros(KEPT), covariance).log_prob(DATA[:KEPT])
    guide = GUIDES[name](partly_observed, init_scale=0.5)
    elbo = Trace_ELBO(num_particles=20, vectorize_particles=True, max_plate_nesting=1)
    svi = ember.infer.SVI(partly_observed, guide, ember.optim.Adam({"lr": 0.1}), elbo)
    result = svi.run(300, DATA, HELD, progress=False)
    assert result.losses[-100:].mean() > -evidence - 0.1


def test_parameters_of_masked_values_are_left_alone():
    _, guide = loss(autoguide.AutoNormal, by_handler, DATA, HELD)
    Trace_ELBO().loss_and_grads(by_handler, guide, DATA, HELD)
    for name in ("locs.local", "scales.pair"):
        leaf = guide.get_parameter(f"{name}_unconstrained")
        assert leaf.grad[:KEPT].abs().min() > 0 and leaf.grad[KEPT:].abs().max() == 0


@pytest.mark.parametrize("name", ["AutoNormal", "AutoMultivariateNormal"])
def test_samples_that_are_held_fixed_are_masked_too(name):
    """Sticking the landing: a second run of the guide, whose gradient must not see the masked rows either."""
    _, guide = loss(GUIDES[name], by_handler, DATA, HELD)
    Trace_ELBO(entropy=ember.infer.StickingTheLanding()).loss_and_grads(by_handler, guide, DATA, HELD)
    leaves = dict(guide.named_parameters())
    loc = leaves.get("locs.local_unconstrained", leaves.get("loc"))
    rows = slice(None) if name == "AutoNormal" else slice(1, 1 + N)
    assert loc.grad[rows][:KEPT].abs().min() > 0 and loc.grad[rows][KEPT:].abs().max() == 0


def subsampled(rows, held):
    z = ember.sample("z", dist.Normal(0.0, 2.0))
    with ember.plate("rows", N, subsample=rows), mask(mask=held):
        ember.sample("local", dist.Gamma(2.0, 1.0 + z**2))


@pytest.mark.parametrize(
    "name", ["AutoNormal", "AutoDiagonalNormal", "AutoMultivariateNormal", "AutoStructured"]
)
def test_rows_of_a_subsampled_plate(name):
    """A row that is masked, and one that is not chosen: the first has no term, the second what it has without a mask."""
    rows, everywhere = torch.tensor([5, 0, 2]), torch.ones(3, dtype=torch.bool)
    guide = GUIDES[name](subsampled).prepare(rows, everywhere)
    grads = {}
    for held in (everywhere, torch.tensor([True, False, True])):
        ember.set_rng_seed(0)
        for leaf in guide.parameters():
            leaf.grad = None
        Trace_ELBO(max_plate_nesting=1).loss_and_grads(subsampled, guide, rows, held)
        leaves = dict(guide.named_parameters())
        loc = leaves["locs.local_unconstrained"] if "locs.local_unconstrained" in leaves else leaves["loc"]
        grads[bool(held.all())] = loc.grad[-N:]
    assert grads[False][0] == 0 and grads[True][0] != 0
    for row in (1, 2, 3, 4, 5):
        assert torch.allclose(grads[False][row], grads[True][row])


def test_parts_of_a_list():
    def make(model, init_loc_fn):
        guide = autoguide.AutoGuideList(model)
        guide.append(
            autoguide.AutoNormal(ember.poutine.block(model, hide=["local"]), init_loc_fn=init_loc_fn)
        )
        rest = ember.poutine.block(model, expose=["local"])
        guide.append(autoguide.AutoMultivariateNormal(rest, init_loc_fn=init_loc_fn))
        return guide

    masked, _ = loss(make, by_handler, DATA, HELD)
    alone, _ = loss(make, by_handler, DATA[:KEPT], torch.ones(KEPT, dtype=torch.bool))
    assert masked == pytest.approx(alone, abs=0.12)


def test_a_flow_stays_above_the_evidence():
    """Its density is not known entry by entry: masked entries are drawn from a standard normal in the model's stead."""
    make = functools.partial(
        autoguide.AutoNormalizingFlow,
        init_transform_fn=lambda dim: dist.transforms.AffineTransform(
            torch.zeros(dim), 0.5 * torch.ones(dim), event_dim=1
        ),
    )
    guide = make(partly_observed)
    elbo = Trace_ELBO(num_particles=4000, vectorize_particles=True, max_plate_nesting=1)
    covariance = torch.eye(KEPT) + 4.0
    evidence = torch.distributions.MultivariateNormal(torch.zeros(KEPT), covariance).log_prob(DATA[:KEPT])
    assert elbo.loss(partly_observed, guide, DATA, HELD) > -evidence
