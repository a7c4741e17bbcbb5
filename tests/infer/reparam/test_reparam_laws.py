"""A reparameterised model is the same model: densities under the change of variables, moments, initial values, plates."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

import ember
import ember.distributions as dist
from ember import poutine
from ember.infer.autoguide.base.initialization import InitMessenger, init_to_value
from ember.infer.reparam import LocScaleReparam, StableReparam, StudentTReparam, SymmetricStableReparam

from .reparam_table import BIJECTIVE, NOISY, SPLIT, latent_names, normal

ALL = [*BIJECTIVE, *NOISY]
by_name = pytest.mark.parametrize("row", BIJECTIVE, ids=lambda row: row.name)


def parameters():
    torch.manual_seed(3)
    return torch.randn(3, 4), torch.rand(3, 4) + 0.5


def model_of(row, loc, scale):
    def model():
        with ember.plate("rows", 3):
            return ember.sample("x", row.fn(loc, scale))

    return model


def sites(row):
    return tuple(f"x_{name}" if name else "x" for name in row.auxiliary)


@pytest.mark.parametrize("row", ALL, ids=lambda row: row.name)
def test_sites_and_shapes(row):
    loc, scale = parameters()
    model = model_of(row, loc, scale)
    reparam_model = poutine.reparam(model, config={"x": row.reparam()})
    trace = poutine.trace(reparam_model).get_trace()
    assert latent_names(trace) == sites(row)
    site = trace.nodes["x"]
    assert site["value"] is trace.nodes["_RETURN"]["value"]
    assert site["value"].shape == (3, 4)
    assert site["fn"].batch_shape == (3,) and site["fn"].event_shape == (4,)
    assert (site["value"] == site["value"]).all()
    for name in sites(row):
        assert trace.nodes[name]["fn"].batch_shape == (3,)
        assert [frame.name for frame in trace.nodes[name]["cond_indep_stack"]] == ["rows"]
    trace.compute_log_prob()
    assert all(trace.nodes[name]["log_prob"].shape == (3,) for name in (*sites(row), "x"))


@by_name
def test_density_is_that_of_the_change_of_variables(row, float64):
    loc, scale = parameters()
    model = model_of(row, loc, scale)
    reparam_model = poutine.reparam(model, config={"x": row.reparam()})
    (name,) = sites(row)
    noise = poutine.trace(reparam_model).get_trace().nodes[name]["value"].detach()

    def value_at(noise):
        return poutine.condition(reparam_model, data={name: noise})()

    x = value_at(noise).detach()
    jacobian = torch.autograd.functional.jacobian(value_at, noise).reshape(12, 12)
    trace = poutine.trace(poutine.condition(reparam_model, data={name: noise})).get_trace()
    original = poutine.trace(poutine.condition(model, data={"x": x})).get_trace()
    expected = original.log_prob_sum() + jacobian.slogdet().logabsdet
    assert_close(trace.log_prob_sum(), expected)


@pytest.mark.parametrize("row", [r for r in BIJECTIVE if r.observable], ids=lambda row: row.name)
def test_density_of_data_is_that_of_the_original(row, float64):
    loc, scale = parameters()
    model = poutine.condition(model_of(row, loc, scale), data={"x": row.fn(loc, scale).sample()})
    expected = poutine.trace(model).get_trace()
    trace = poutine.trace(poutine.reparam(model, config={"x": row.reparam()})).get_trace()
    assert latent_names(trace) == ()
    assert trace.nodes["x"]["value"] is expected.nodes["x"]["value"]
    expected.compute_log_prob()
    trace.compute_log_prob()
    parts = sum(trace.nodes[name]["log_prob"] for name in (*sites(row), "x"))
    assert_close(parts, expected.nodes["x"]["log_prob"])


def gradients(expression, parameters):
    return torch.autograd.grad(expression, parameters)


@pytest.mark.parametrize("row", ALL, ids=lambda row: row.name)
def test_moments_and_their_gradients(row):
    loc, scale = (p.requires_grad_() for p in parameters())
    n = 40_000
    if row.name == "Conjugate":
        pytest.skip("draws come from another distribution; the weight is checked below")

    def model():
        with ember.plate("draws", n, dim=-2), ember.plate("rows", 3, dim=-1):
            return ember.sample("x", row.fn(loc, scale))

    with torch.no_grad():
        expected = model()
    drawn = poutine.reparam(model, config={"x": row.reparam()})()
    # A bounded function has moments for all families; its mean is compared within 5 standard errors of the difference.
    for f in (torch.tanh, lambda x: torch.cos(2 * x)):
        a, b = f(drawn), f(expected)
        error = ((a.var(0) + b.var(0)) / n).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() < 5 * error + 1e-6).all()
    grads = gradients(drawn.tanh().mean(0).sum(), [loc, scale])
    assert all(g is not None and g.isfinite().all() and (g != 0).all() for g in grads)


@pytest.mark.parametrize("row", [r for r in ALL if r.name != "LatentStable"], ids=lambda row: row.name)
def test_initial_values_map_through(row):
    loc, scale = parameters()
    model = model_of(row, loc, scale)
    start = row.fn(loc, scale).sample()
    reparam_model = poutine.reparam(model, config={"x": row.reparam()})
    with InitMessenger(init_to_value(values={"x": start})):
        trace = poutine.trace(reparam_model).get_trace()
    assert_close(trace.nodes["x"]["value"], start)
    assert latent_names(trace) == sites(row)  # a start is no observation
    if row.name in {"Conjugate"}:
        return
    values = {name: trace.nodes[name]["value"] for name in sites(row)}
    again = poutine.condition(reparam_model, data=values)()
    assert_close(again, start, rtol=1e-4, atol=1e-4)


def test_latent_stable_does_not_map_initial_values():
    loc, scale = parameters()
    row = next(r for r in NOISY if r.name == "LatentStable")
    model = poutine.reparam(model_of(row, loc, scale), config={"x": row.reparam()})
    with pytest.warns(RuntimeWarning, match="does not commute with initialization"):
        with InitMessenger(init_to_value(values={"x": torch.zeros(3, 4)})):
            model()


def test_split_has_the_density_of_the_whole():
    loc, scale = (p.requires_grad_() for p in parameters())
    model = model_of(SPLIT, loc, scale)
    x = torch.randn(3, 4)
    parts = dict(zip(sites(SPLIT), x.split([1, 3], -1), strict=True))
    reparam_model = poutine.condition(poutine.reparam(model, config={"x": SPLIT.reparam()}), data=parts)
    trace = poutine.trace(reparam_model).get_trace()
    expected = poutine.trace(poutine.condition(model, data={"x": x})).get_trace().log_prob_sum()
    assert_close(trace.nodes["x"]["value"], x)
    assert_close(trace.log_prob_sum(), expected)
    assert_close(gradients(trace.log_prob_sum(), [loc, scale]), gradients(expected, [loc, scale]))
    assert isinstance(trace.nodes["x_split_0"]["fn"], dist.ImproperUniform)
    with poutine.mask(mask=False):
        assert poutine.trace(reparam_model).get_trace().log_prob_sum() == 0


@pytest.mark.parametrize("family", ["Beta", "Gamma", "Dirichlet"])
def test_conjugate_weights_make_up_for_the_draw(family):
    """With the exact likelihood as guide, the density does not depend on the draw: it is the evidence."""
    n, k = torch.tensor(10.0), torch.tensor(2.0)
    counts = torch.tensor([2.0, 1.0, 4.0])
    prior, likelihood, observe = {
        "Beta": (dist.Beta(0.5, 1.5), dist.Beta(1 + k, 1 + n - k), lambda z: dist.Binomial(n, z).log_prob(k)),
        "Gamma": (dist.Gamma(0.5, 1.5), dist.Gamma(1 + k, 1.0), lambda z: dist.Poisson(z).log_prob(k)),
        "Dirichlet": (
            dist.Dirichlet(torch.ones(3) * 0.7),
            dist.Dirichlet(1 + counts),
            lambda z: dist.Multinomial(7, probs=z).log_prob(counts),
        ),
    }[family]

    def model(how):
        z = ember.sample("z", prior)
        ember.factor("data", observe(z))
        return z

    from ember.infer.reparam import ConjugateReparam

    for guide in (likelihood, lambda how: likelihood):
        reparam_model = poutine.reparam(model, config={"z": ConjugateReparam(guide)})
        densities, draws = [], []
        for _ in range(5):
            trace = poutine.trace(reparam_model).get_trace("call")
            assert latent_names(trace) == () and "z_updated" not in trace.nodes
            densities.append(trace.log_prob_sum())
            draws.append(trace.nodes["z"]["value"])
        assert len({float(z.sum() if family != "Dirichlet" else z[0]) for z in draws}) == 5
        assert_close(torch.stack(densities), densities[0].expand(5), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("reparam", "fn"),
    [
        (StudentTReparam(), dist.StudentT(4.0, 0.3, 0.8)),
        (SymmetricStableReparam(), dist.StableWithLogProb(1.5, 0.0, 0.8, 0.3)),
        (StableReparam(), dist.StableWithLogProb(1.5, 0.6, 0.8, 0.3)),
        (StableReparam(), dist.StableWithLogProb(0.7, -0.6, 0.8, 0.3)),
    ],
    ids=["StudentT", "SymmetricStable", "Stable", "Stable-heavy"],
)
def test_likelihoods_average_to_the_density(reparam, fn):
    """The mean over auxiliary variables of the conditional density is the density."""
    n = 200_000
    if isinstance(fn, dist.Stable):
        plain = dist.Stable(fn.stability, fn.skew, fn.scale, fn.loc)
    else:
        plain = fn
    for x in (-0.8, 0.2, 1.9):
        with poutine.trace() as tr, ember.plate("draws", n), poutine.reparam(config={"x": reparam}):
            ember.sample("x", plain, obs=torch.tensor(x).expand(n))
        site = tr.trace.nodes["x"]
        assert site["is_observed"] and isinstance(site["fn"], dist.Normal)
        density = site["fn"].log_prob(site["value"]).exp()
        error = density.std() / n**0.5
        assert abs(density.mean() - fn.log_prob(torch.tensor(x)).exp()) < 5 * error


@by_name
def test_replay_gives_the_same_value(row):
    loc, scale = parameters()
    model = poutine.reparam(model_of(row, loc, scale), config={"x": row.reparam()})
    trace = poutine.trace(model).get_trace()
    torch.manual_seed(9)
    assert_close(poutine.replay(model, trace=trace)(), trace.nodes["x"]["value"])


@by_name
def test_subsampled_plates_scale_the_auxiliary_sites(row):
    loc, scale = parameters()

    def model():
        with ember.plate("rows", 12, subsample_size=3):
            return ember.sample("x", row.fn(loc, scale))

    trace = poutine.trace(poutine.reparam(model, config={"x": row.reparam()})).get_trace()
    (name,) = sites(row)
    assert trace.nodes[name]["scale"] == 4.0
    site = trace.nodes[name]
    assert_close(trace.log_prob_sum(), 4 * site["fn"].log_prob(site["value"]).sum())


def test_a_mask_inside_stays():
    fn = dist.Normal(torch.ones(4), 2.0).mask(torch.tensor([True, False, True, False])).to_event(1)
    with poutine.trace() as tr, poutine.reparam(config={"x": LocScaleReparam(0.0)}):
        ember.sample("x", fn)
    z = tr.trace.nodes["x_decentered"]["value"]
    assert_close(tr.trace.log_prob_sum(), dist.Normal(0.0, 1.0).log_prob(z)[[0, 2]].sum())
    assert_close(tr.trace.nodes["x"]["value"], 1 + 2 * z)


def test_centered_one_leaves_the_site_alone():
    for centered in (1.0, torch.tensor(1)):
        with poutine.trace() as tr, poutine.reparam(config={"x": LocScaleReparam(centered)}):
            ember.sample("x", normal(*parameters()))
        assert "x_decentered" not in tr.trace.nodes


def test_learned_centering_is_a_parameter_in_the_unit_interval():
    loc, scale = parameters()
    model = poutine.reparam(model_of(BIJECTIVE[3], loc, scale), config={"x": LocScaleReparam()})
    model()
    parameter = ember.param("x_centered")
    assert_close(parameter, torch.full((4,), 0.5))
    poutine.trace(model).get_trace().log_prob_sum().backward()
    assert parameter.unconstrained().grad is not None
    ember.get_param_store()["x_centered"] = torch.tensor([0.1, 0.2, 0.8, 0.9])
    trace = poutine.trace(model).get_trace()
    assert_close(trace.nodes["x_decentered"]["fn"].base_dist.scale, scale ** ember.param("x_centered"))
