"""The density of a model at rows: against closed forms, plain traces and finite differences."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from tests import zoo
from tests.capture.native.programs import QUICK, flags
from torch import Tensor

import ember
import ember.distributions as dist
from ember import poutine
from ember.errors import ModelError

pytestmark = pytest.mark.usefixtures("float64", "quick")
Y = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
X = torch.tensor([[1.0, 0.2], [1.0, -0.7], [1.0, 1.5]], dtype=torch.float64)


@pytest.fixture
def quick() -> Iterator[None]:
    with flags(*QUICK):
        yield


def by_traces(model: Callable[..., Any], args: tuple[Any, ...], density: Any, u: Tensor) -> Tensor:
    """Log densities by the handlers that users have: values in, log_prob_sum out, and Jacobians by autograd."""
    result = []
    for row in u:
        values, log_jacobian = {}, 0.0
        for block in density.layout:
            part = row[block.slice].reshape(block.unconstrained_shape)
            values[block.name] = block.transform(part)
            log_jacobian = log_jacobian + block.transform.log_abs_det_jacobian(part, values[block.name]).sum()
        trace = poutine.trace(ember.condition(model, data=values)).get_trace(*args)
        result.append(trace.log_prob_sum() + log_jacobian)
    return torch.stack(result)


def finite_differences(density: Any, u: Tensor, h: float = 1e-5) -> Tensor:
    columns = []
    for step in h * torch.eye(density.dim):
        columns.append((density(u + step, grad=False) - density(u - step, grad=False)) / (2 * h))
    return torch.stack(columns, -1)


def regression(x: Tensor, y: Tensor) -> None:
    with ember.plate("weights", x.shape[-1]):
        b = ember.sample("b", dist.Normal(0.0, 2.0))
    scale = ember.sample("scale", dist.HalfCauchy(1.0))
    mean = ember.deterministic("mean", x @ b)  # does not broadcast
    with ember.plate("data", len(y)):
        ember.sample("y", dist.Normal(mean, scale), obs=y)


def hierarchical(y: Tensor) -> None:
    mu = ember.sample("mu", dist.Normal(0.0, 5.0))
    tau = ember.sample("tau", dist.Gamma(2.0, 1.0))
    weights = ember.sample("weights", dist.Dirichlet(torch.ones(3)))
    with ember.plate("groups", 3):
        theta = ember.sample("theta", dist.Normal(mu, tau))
        with poutine.scale(scale=2.0), poutine.mask(mask=torch.tensor([True, False, True])):
            ember.sample("y", dist.StudentT(4.0, theta, 1.0), obs=y)
    ember.factor("soft", -(weights[0] ** 2))


def matrices() -> None:
    ember.sample("corr", dist.LKJCholesky(3, 2.0))
    with ember.plate("outer", 2):
        ember.sample("vector", dist.MultivariateNormal(torch.zeros(2), torch.eye(2)))
        ember.sample("unit", dist.Beta(2.0, 3.0).expand([1]).to_event(1))


def reparameterised(y: Tensor) -> Any:
    model = poutine.reparam(hierarchical, config={"theta": ember.infer.reparam.LocScaleReparam(0.0)})
    return model(y)


PLAIN = {
    "regression": (regression, (X, Y)),
    "hierarchical": (hierarchical, (Y,)),
    "matrices": (matrices, ()),
    "reparameterised": (reparameterised, (Y,)),
    "conditioned": (ember.condition(regression, data={"scale": torch.tensor(1.5)}), (X, Y)),
}
for make in zoo.CONJUGATE:
    PLAIN[make.__name__] = (make().model, make().args)


@pytest.mark.parametrize("name", PLAIN)
def test_is_that_of_a_trace_and_its_score_the_slope(name: str) -> None:
    model, args = PLAIN[name]
    args = tuple(a.double() if isinstance(a, Tensor) else a for a in args)
    density = ember.density(model, *args)
    u = torch.randn(4, density.dim)
    log_p, score = density(u)
    torch.testing.assert_close(log_p, by_traces(model, args, density, u))
    torch.testing.assert_close(score, finite_differences(density, u), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(density(u, grad=False), log_p)


def test_integrates_to_the_evidence() -> None:
    """Quadrature over the one coordinate of each conjugate model gives the evidence known in closed form."""
    grid = torch.linspace(-12, 12, 2001)
    for make in zoo.CONJUGATE[:3]:
        known = make()
        density = ember.density(known.model, *[a.double() for a in known.args])
        values = density(grid[:, None], grad=False).exp()
        torch.testing.assert_close(
            torch.trapezoid(values, grid).log(), torch.tensor(known.log_evidence), rtol=1e-5, atol=1e-5
        )


def mixture(y: Tensor) -> None:
    weights = ember.sample("weights", dist.Dirichlet(torch.ones(2)))
    with ember.plate("components", 2):
        locs = ember.sample("locs", dist.Normal(0.0, 3.0))
    shared = ember.sample("shared", dist.Bernoulli(0.3))
    with ember.plate("rows", len(y)):
        k = ember.sample("k", dist.Categorical(weights))
        ember.sample("y", dist.Normal(locs[k] + shared, 1.0), obs=y)


def test_sums_discrete_sites_out() -> None:
    density = ember.density(mixture, Y)
    u = torch.randn(3, density.dim)
    terms = []
    for shared, *k in itertools.product((0.0, 1.0), (0, 1), (0, 1), (0, 1)):
        data = {"shared": torch.tensor(shared), "k": torch.tensor(k)}
        terms.append(by_traces(ember.condition(mixture, data=data), (Y,), density, u))
    log_p, score = density(u)
    torch.testing.assert_close(log_p, torch.stack(terms).logsumexp(0))
    torch.testing.assert_close(score, finite_differences(density, u), rtol=1e-6, atol=1e-6)


def test_what_is_marked_already_is_summed_out_too() -> None:
    for mark in ("parallel", "sequential"):
        marked = ember.infer.config_enumerate(mixture, default=mark)
        u = torch.randn(2, 3)
        torch.testing.assert_close(
            ember.density(marked, Y)(u, grad=False), ember.density(mixture, Y)(u, grad=False)
        )


def hmm(y: Tensor) -> None:
    stay = ember.sample("stay", dist.Beta(5.0, 2.0))
    z: Any = torch.tensor(0)
    for t in ember.markov(range(len(y))):
        probs = torch.where(z == 1, stay, 1 - stay)
        z = ember.sample(f"z{t}", dist.Categorical(torch.stack([1 - probs, probs], -1)))
        ember.sample(f"y{t}", dist.Normal(2.0 * z, 1.0), obs=y[t])


def test_sums_a_chain_out() -> None:
    density = ember.density(hmm, Y)
    u = torch.randn(3, 1)
    terms = []
    for path in itertools.product((0, 1), repeat=3):
        data = {f"z{t}": torch.tensor(z) for t, z in enumerate(path)}
        terms.append(by_traces(ember.condition(hmm, data=data), (Y,), density, u))
    torch.testing.assert_close(density(u, grad=False), torch.stack(terms).logsumexp(0))


def test_a_support_may_depend_on_another_site() -> None:
    def model() -> None:
        upper = ember.sample("upper", dist.Exponential(1.0))
        ember.sample("x", dist.Uniform(0.0, upper))

    density = ember.density(model)
    u = torch.randn(5, 2)
    values = density.constrain(u)
    assert (values["x"] < values["upper"]).all() and (values["x"] > 0).all()
    # p(upper, x) = exp(-upper) / upper; dx/du = upper s (1 - s), with s the sigmoid.
    upper, s = values["upper"], torch.sigmoid(u[:, 1])
    expected = -upper - upper.log() + u[:, 0] + (upper * s * (1 - s)).log()
    torch.testing.assert_close(density(u, grad=False), expected)
    torch.testing.assert_close(density.unconstrain(values), u)


@pytest.mark.parametrize("name", PLAIN)
def test_constrains_and_unconstrains(name: str) -> None:
    model, args = PLAIN[name]
    density = ember.density(model, *[a.double() if isinstance(a, Tensor) else a for a in args])
    u = torch.randn(4, density.dim)
    values = density.constrain(u)
    torch.testing.assert_close(density.unconstrain(values), u)
    for block in density.layout:
        assert values[block.name].shape == (4, *block.shape)
    if name == "regression":
        torch.testing.assert_close(values["mean"], values["b"] @ X.T)


def test_names_its_coordinates() -> None:
    assert ember.density(matrices).names == (
        "corr[0]", "corr[1]", "corr[2]", "vector[0,0]", "vector[0,1]", "vector[1,0]", "vector[1,1]", "unit[0,0]", "unit[1,0]",
    )  # fmt: skip
    assert ember.density(regression, X, Y).names == ("b[0]", "b[1]", "scale")


def test_layout_has_an_entry_for_each_site() -> None:
    density = ember.density(matrices)
    found = [(b.name, tuple(b.shape), tuple(b.unconstrained_shape), b.slice) for b in density.layout]
    assert found == [
        ("corr", (3, 3), (3,), slice(0, 3)),
        ("vector", (2, 2), (2, 2), slice(3, 7)),
        ("unit", (2, 1), (2, 1), slice(7, 9)),
    ]
    u = torch.randn(2, density.dim)
    for block in density.layout:
        part = u[:, block.slice].reshape(2, *block.unconstrained_shape)
        torch.testing.assert_close(block.transform(part), density.constrain(u)[block.name])


def test_starts_near_the_medians_of_the_priors() -> None:
    def model() -> None:
        ember.sample("x", dist.Normal(30.0, 1.0))
        ember.sample("y", dist.LogNormal(-4.0, 0.5))

    torch.testing.assert_close(ember.density(model).start, torch.tensor([30.0, -4.0]), atol=1.0, rtol=0)


def test_what_follows_from_a_site_that_is_summed_out_has_no_value() -> None:
    def model() -> None:
        k = ember.sample("k", dist.Bernoulli(0.3))
        x = ember.sample("x", dist.Normal(0.0, 1.0))
        ember.deterministic("twice", 2 * x)
        ember.deterministic("moved", x + k)
        ember.sample("y", dist.Normal(x + k, 1.0), obs=torch.tensor(0.5))

    values = ember.density(model).constrain(torch.ones(2, 1))
    assert values.keys() == {"x", "twice"} and values["twice"].tolist() == [2.0, 2.0]


def test_has_the_coordinates_of_guides() -> None:
    guide = ember.infer.autoguide.AutoDiagonalNormal(hierarchical).prepare(Y)
    density = ember.density(hierarchical, Y)
    u = torch.randn(1, density.dim)
    values = density.constrain(u)
    for site, value in guide.unpack_latent(u[0]):
        torch.testing.assert_close(values[site.name][0], _to(site, value))


def _to(site: Any, value: Tensor) -> Tensor:
    constrained: Tensor = dist.transforms.biject_to(site.fn.support)(value)
    return constrained


def test_log_likelihood_of_each_event() -> None:
    density = ember.density(hierarchical, Y)
    u = torch.randn(3, density.dim)
    found = density.log_likelihood(u)
    assert list(found) == ["y"]
    expected = dist.StudentT(4.0, density.constrain(u)["theta"], 1.0).log_prob(Y)
    torch.testing.assert_close(found["y"], expected * torch.tensor([1.0, 0.0, 1.0]))
    with pytest.raises(NotImplementedError, match="'y' depends on a site that is summed out"):
        ember.density(mixture, Y).log_likelihood(torch.zeros(1, 3))


def test_values_beside_observed_ones_are_standard_normal() -> None:
    """With half of the data, the density is that of a model with missing data as latent sites, and two normals more."""
    seen = torch.tensor([True, False, True])

    def partly(y: Tensor) -> None:
        mu = ember.sample("mu", dist.Normal(0.0, 1.0))
        with ember.plate("data", 3):
            ember.sample("y", dist.LogNormal(mu, 1.0), obs=y, obs_mask=seen)

    density = ember.density(partly, Y.abs())
    assert density.names == ("mu", "y_unobserved[0]", "y_unobserved[1]", "y_unobserved[2]")
    u = torch.randn(4, 4)
    normal = torch.distributions.Normal
    expected = normal(0.0, 1.0).log_prob(u[:, [0, 1, 3]]).sum(-1)
    expected += torch.distributions.LogNormal(u[:, :1], 1.0).log_prob(Y.abs()[seen]).sum(-1)
    expected += normal(u[:, 0], 1.0).log_prob(u[:, 2])  # of the log of the missing one
    log_p, score = density(u)
    torch.testing.assert_close(log_p, expected)
    torch.testing.assert_close(score, finite_differences(density, u), rtol=1e-6, atol=1e-6)
    values = density.constrain(u)
    torch.testing.assert_close(values["y"][:, seen], Y.abs()[seen].expand(4, 2))
    torch.testing.assert_close(values["y"][:, 1], u[:, 2].exp())


def test_a_prior_that_is_masked_is_flat() -> None:
    def flat(y: Tensor) -> None:
        with poutine.mask(mask=False):
            scale = ember.sample("scale", dist.Exponential(1.0))
        with ember.plate("data", 3):
            ember.sample("y", dist.Normal(0.0, scale), obs=y)

    u = torch.randn(4, 1)
    expected = torch.distributions.Normal(0.0, u.exp()).log_prob(Y).sum(-1) + u[:, 0]
    torch.testing.assert_close(ember.density(flat, Y)(u, grad=False), expected)


# ---- parameters ---------------------------------------------------------------------------------------------------


def with_parameters(y: Tensor) -> None:
    scale = ember.param("noise", torch.tensor(2.0), constraint=dist.constraints.positive)
    mu = ember.sample("mu", dist.Normal(0.0, 1.0))
    with ember.plate("data", len(y)):
        ember.sample("y", dist.Normal(mu, scale), obs=y)


def closed_form(mu: Tensor, scale: Tensor) -> Tensor:
    normal = torch.distributions.Normal
    return normal(0.0, 1.0).log_prob(mu) + normal(mu[:, None], scale[:, None]).log_prob(Y).sum(-1)


def test_parameters_are_held() -> None:
    density = ember.density(with_parameters, Y)
    u = torch.randn(4, 1)
    torch.testing.assert_close(density(u, grad=False), closed_form(u[:, 0], torch.full((4,), 2.0)))
    assert "noise" not in ember.get_param_store()
    assert density.param_names == () and density.param_slice == slice(1, 1)
    ember.param("noise", torch.tensor(0.5), constraint=dist.constraints.positive)
    held = ember.density(with_parameters, Y)
    torch.testing.assert_close(held(u, grad=False), closed_form(u[:, 0], torch.full((4,), 0.5)))


def test_parameters_are_coordinates() -> None:
    density = ember.density(with_parameters, Y, params="coordinates")
    assert density.names == ("mu", "noise") and density.param_names == ("noise",)
    assert density.param_slice == slice(1, 2) and len(ember.get_param_store()) == 0
    u = torch.randn(4, 2)
    log_p, score = density(u)
    torch.testing.assert_close(log_p, closed_form(u[:, 0], u[:, 1].exp()))
    torch.testing.assert_close(score, finite_differences(density, u), rtol=1e-6, atol=1e-6)
    values = density.constrain(u)
    torch.testing.assert_close(values["noise"], u[:, 1].exp())
    torch.testing.assert_close(density.unconstrain(values), u)


# ---- rows that are out of range -----------------------------------------------------------------------------------


def fragile(y: Tensor) -> None:
    a = ember.sample("a", dist.Normal(1.0, 1.0))
    with ember.plate("data", len(y)):
        ember.sample("y", dist.Gamma(a, 1.0), obs=y.abs())


def test_a_bad_row_changes_no_other() -> None:
    density = ember.density(fragile, Y)
    u = torch.tensor([[1.0], [-1.0], [float("nan")], [float("inf")], [1e300], [2.0]])
    log_p, score = density(u)
    good = torch.tensor([True, False, False, False, False, True])
    assert torch.equal(log_p.isfinite(), good) and bool((log_p[~good] == -torch.inf).all())
    assert bool((score[~good] == 0).all()) and bool((score[good] != 0).all())
    alone_p, alone = density(u[good])
    assert torch.equal(log_p[good], alone_p) and torch.equal(score[good], alone)


def test_a_matrix_that_cannot_be_factored_is_out_of_range() -> None:
    def model() -> None:
        rho = ember.sample("rho", dist.Normal(0.0, 1.0))
        cov = torch.eye(2) + rho * torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        ember.sample("y", dist.MultivariateNormal(torch.zeros(2), cov), obs=torch.ones(2))

    log_p, score = ember.density(model)(torch.tensor([[0.5], [2.0]]))
    assert log_p[0].isfinite() and log_p[1] == -torch.inf and score[1] == 0


# ---- what is left alone, and what is refused --------------------------------------------------------------------------


def test_leaves_streams_and_store_alone() -> None:
    import random

    import numpy

    before = torch.get_rng_state(), random.getstate(), numpy.random.get_state()[1].tolist()
    density = ember.density(with_parameters, Y)
    density(torch.randn(2, 1, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(before[0], torch.get_rng_state()) and before[1] == random.getstate()
    assert before[2] == numpy.random.get_state()[1].tolist() and len(ember.get_param_store()) == 0


def test_handlers_around_the_call_do_not_see_it() -> None:
    with poutine.trace() as seen, poutine.condition(data={"mu": torch.tensor(0.0)}):
        density = ember.density(with_parameters, Y)
        log_p = density(torch.ones(1, 1), grad=False)
    assert len(seen.trace) == 0
    torch.testing.assert_close(log_p, closed_form(torch.ones(1), torch.full((1,), 2.0)))


def subsampled(y: Tensor) -> None:
    mu = ember.sample("mu", dist.Normal(0.0, 1.0))
    with ember.plate("data", len(y), subsample_size=2) as rows:
        ember.sample("y", dist.Normal(mu, 1.0), obs=y[rows])


def counting() -> None:
    n = ember.sample("n", dist.Poisson(3.0))
    ember.sample("x", dist.Normal(n, 1.0))


def many_coins() -> None:
    coins = ember.sample("coins", dist.Bernoulli(0.5).expand([3]).to_event(1))
    ember.sample("x", dist.Normal(coins.sum(), 1.0))


def on_a_sphere() -> None:
    ember.sample("direction", dist.ProjectedNormal(torch.ones(2)))


def hidden() -> None:
    x = poutine.block(lambda: ember.sample("x", dist.Normal(0.0, 1.0)))()
    ember.sample("y", dist.Normal(x, 1.0))


def all_observed() -> None:
    ember.sample("y", dist.Normal(0.0, 1.0), obs=torch.tensor(0.0))


@pytest.mark.parametrize(
    ("model", "args", "message"),
    [
        (subsampled, (Y,), "plate 'data' takes 2 of 3 rows"),
        (counting, (), "site 'n' cannot be summed out: Poisson"),
        (many_coins, (), "site 'coins' cannot be summed out"),
        (on_a_sphere, (), "spherical sample site 'direction'"),
        (hidden, (), "draws random numbers"),
        (all_observed, (), "no latent sites with coordinates"),
    ],
)
def test_says_what_has_no_density(model: Any, args: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        ember.density(model, *args)


def test_other_sites_at_a_row_are_an_error() -> None:
    def model() -> None:
        x = ember.sample("x", dist.Normal(0.0, 1.0))
        if x > 3:
            ember.sample("more", dist.Normal(0.0, 1.0))

    density = ember.density(model)
    assert density(torch.zeros(1, 1))[0].isfinite()
    with pytest.raises(ModelError, match="latent site 'more' was not there"):
        density(torch.full((1, 1), 4.0))


def test_branches_on_values() -> None:
    def model() -> None:
        x = ember.sample("x", dist.Normal(0.0, 1.0))
        ember.sample("y", dist.Normal(x if x > 0 else -2 * x, 1.0), obs=torch.tensor(0.5))

    u = torch.tensor([[1.0], [-1.0]])
    normal = torch.distributions.Normal(0.0, 1.0)
    expected = normal.log_prob(u[:, 0]) + normal.log_prob(torch.tensor([0.5 - 1.0, 0.5 - 2.0]))
    torch.testing.assert_close(ember.density(model)(u, grad=False), expected)


def test_wrong_rows_and_values_are_named() -> None:
    density = ember.density(regression, X, Y)
    for wrong in (torch.zeros(3), torch.zeros(2, 4)):
        with pytest.raises(ValueError, match=r"must have the shape \(S, 3\)"):
            density(wrong)
    good = {"b": torch.zeros(2, 2), "scale": torch.ones(2)}
    with pytest.raises(ModelError, match="values of site 'scale' are missing"):
        density.unconstrain({"b": good["b"]})
    with pytest.raises(ModelError, match=r"site .scale. are outside of its support.*1 of 2"):
        density.unconstrain(good | {"scale": torch.tensor([1.0, -1.0])})
    with pytest.raises(ModelError, match=r"site 'b' must have the shape \(S, 2\), got \(2,\)"):
        density.unconstrain(good | {"b": torch.zeros(2)})
    with pytest.raises(ModelError, match="no sites \\['typo'\\]"):
        density.unconstrain(good | {"typo": torch.zeros(2)})
    with pytest.raises(ModelError, match="the same number of rows"):
        density.unconstrain(good | {"b": torch.zeros(3, 2)})


def test_a_start_at_which_a_matrix_has_no_factor_is_left_for_another() -> None:
    starts = []

    def model() -> None:
        scale = ember.sample("scale", dist.LogNormal(0.0, 1.0))
        starts.append(float(scale))
        sign = -1.0 if len(starts) == 1 else 1.0
        root = torch.linalg.cholesky(sign * scale * torch.eye(2))
        ember.sample("x", dist.MultivariateNormal(torch.zeros(2), scale_tril=root), obs=torch.ones(2))

    assert ember.density(model).dim == 1
    assert len(starts) > 1


def test_a_model_without_a_factor_anywhere_is_refused() -> None:
    def model() -> None:
        scale = ember.sample("scale", dist.LogNormal(0.0, 1.0))
        torch.linalg.cholesky(-scale * torch.eye(2))

    with pytest.raises(torch.linalg.LinAlgError):
        ember.density(model)
