"""All estimators x scale x mask x subsampling x particles, against closed forms: a scale counts once, also in gradients."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from tests.infer.gradient_samples import assert_means_agree, samples
from tests.infer.objectives import ROWS

import ember
import ember.distributions as dist
from ember import poutine
from ember.distributions import constraints
from ember.distributions.testing import fakes

pytestmark = pytest.mark.usefixtures("float64")

PERIOD = torch.tensor([0.9, -0.4, 1.6, 0.2])
MASK = torch.tensor([True, False, True, True])
SETTINGS = [
    pytest.param(*setting, id="-".join(map(str, setting)))
    for setting in (
        (1.0, False, False),
        (3.0, False, False),
        (1.0, True, False),
        (1.0, False, True),
        (0.5, True, True),
    )
]
PARTICLES = [pytest.param(False, id="one_by_one"), pytest.param(True, id="vectorized")]
BY_NAME = {row.name: row for row in ROWS}
OF_THE_ELBO = [
    "trace",
    "trace_sticking",
    "trace_analytic",
    "trace_leave_one_out",
    "trace_vargrad",
    "mean_field",
    "graph",
]
WITH_SCORES = ["trace", "trace_leave_one_out", "trace_vargrad", "graph"]
HAVE_VALUES = [
    *(name for name in OF_THE_ELBO if name not in ("trace_analytic", "mean_field")),
    "enumerated",
    "tensor_monte_carlo",
    "renyi",
    "weighted_leave_one_out",
    "weighted_doubly",
    "wake_sleep",
]


def programs(scale, masked, subsampled, repeats, normal=dist.Normal, guide_of=None):
    """z_i ~ N(shift, 1), x_i ~ N(z_i, 1), for rows that repeat one period of data."""
    data, mask = (
        PERIOD.double().repeat(repeats),
        MASK.repeat(repeats) if masked else torch.ones(4 * repeats, dtype=torch.bool),
    )
    size = len(data)

    def model():
        shift = ember.param("shift", torch.tensor(0.3))
        with (
            poutine.scale(scale=scale),
            ember.plate("rows", size, subsample_size=size // 2 if subsampled else None) as i,
            poutine.mask(mask=mask[i]),
        ):
            z = ember.sample("z", dist.Normal(shift, 1.0))
            ember.sample("x", dist.Normal(z, 1.0), obs=data[i])

    def guide():
        loc = ember.param("loc", torch.tensor(0.5))
        sd = ember.param("sd", torch.tensor(0.8), constraint=constraints.positive)
        with (
            poutine.scale(scale=scale),
            ember.plate("rows", size, subsample_size=size // 2 if subsampled else None) as i,
            poutine.mask(mask=mask[i]),
        ):
            q = normal(loc, sd) if guide_of is None else guide_of(data[i])
            ember.sample("z", q)

    return model, guide, data[mask]


def exact_gradient(data, scale):
    """Of the loss, by shift, loc and the log of sd, a row."""
    p = ember.get_param_store()
    shift, loc, sd = p["shift"], p["loc"], p["sd"]
    by_row = -0.5 * ((loc - shift) ** 2 + (data - loc) ** 2 + 2 * sd**2) + sd.log()
    leaves = [leaf for _, leaf in p.named_parameters()]
    return torch.stack([-g for g in torch.autograd.grad(scale * by_row.sum(), leaves)])


@pytest.mark.parametrize("vectorize", PARTICLES)
@pytest.mark.parametrize("scale, masked, subsampled", SETTINGS)
@pytest.mark.parametrize(
    "name, normal",
    [(name, dist.Normal) for name in OF_THE_ELBO]
    + [(name, fakes.NonreparameterizedNormal) for name in WITH_SCORES],
)
def test_gradients_are_those_of_the_elbo(name, normal, scale, masked, subsampled, vectorize):
    # VarGrad weighs all rows together: many would drown each other in noise.
    repeats, batches = (1, 200) if name == "trace_vargrad" else (60, 40)
    model, guide, data = programs(scale, masked, subsampled, repeats, normal)
    objective = BY_NAME[name].make(num_particles=2, vectorize_particles=vectorize, max_plate_nesting=1)
    rows = samples(objective, model, guide, batches=batches)
    assert_means_agree(rows / len(data), exact_gradient(data, scale) / len(data), errors=5.0, precision=0.3)


@pytest.mark.parametrize("vectorize", PARTICLES)
@pytest.mark.parametrize("scale, masked", [(1.0, False), (2.0, False), (1.0, True), (2.0, True)])
@pytest.mark.parametrize("name", HAVE_VALUES)
def test_the_loss_of_an_exact_guide_is_the_evidence(name, scale, masked, vectorize):
    def exact(data):
        return dist.Normal((0.3 + data) / 2, math.sqrt(0.5))

    model, guide, data = programs(scale, masked, False, 1, guide_of=exact)
    objective = BY_NAME[name].make(num_particles=4, vectorize_particles=vectorize, max_plate_nesting=1)
    evidence = dist.Normal(torch.tensor(0.3), math.sqrt(2.0)).log_prob(data).sum().item()
    loss = objective.loss(model, guide)
    first = loss[0] if isinstance(loss, tuple) else loss
    assert float(first) == pytest.approx(-scale * evidence, abs=1e-9)
    # All particles weigh the same, so that what compares them sees no difference.
    objective.loss_and_grads(model, guide)


@pytest.mark.parametrize("name", HAVE_VALUES)
def test_subsamples_stand_for_all_rows(name):
    def exact(data):
        return dist.Normal((0.3 + data) / 2, math.sqrt(0.5))

    model, guide, data = programs(1.0, False, True, 1, guide_of=exact)
    objective = BY_NAME[name].make(num_particles=2, vectorize_particles=True, max_plate_nesting=1)
    of_row = dist.Normal(torch.tensor(0.3), math.sqrt(2.0)).log_prob(data)
    possible = {round(-2 * float(of_row[i] + of_row[j]), 6) for i, j in itertools.combinations(range(4), 2)}
    for _ in range(10):
        loss = objective.loss(model, guide)
        assert round(float(loss[0] if isinstance(loss, tuple) else loss), 6) in possible


def test_vargrad_trains_a_masked_site_that_something_depends_on():
    """Its own terms are masked in model and guide, but the data are not."""

    def model():
        with poutine.mask(mask=False):
            z = ember.sample("z", dist.Normal(0.0, 1.0))
        ember.sample("x", dist.Normal(z, 1.0), obs=torch.tensor(1.0))

    def guide():
        with poutine.mask(mask=False):
            ember.sample("z", dist.Normal(ember.param("loc", torch.tensor(0.25)), 0.5))

    objective = BY_NAME["trace_vargrad"].make(num_particles=50, vectorize_particles=True)
    # E (x - z)^2 / 2 by the mean of z.
    assert_means_agree(samples(objective, model, guide, batches=100), torch.tensor([-0.75]))
