"""Steps of a process as one distribution: the sum of the log densities of the steps, whatever the family."""

from __future__ import annotations

import pytest
import torch

import ember.distributions as dist
from ember.distributions.over_time import along_time, apart, over_time, repeated
from tests.distributions.table import ROWS

STEPS = 4
SLOW = {"Stable", "StableWithLogProb"}
FAMILIES = [row for row in ROWS if row.name not in SLOW]


def made(row):
    return getattr(dist, row.name)(**row.params)


def values(steps):
    torch.manual_seed(0)
    return [step.sample() for step in steps]


def agree(steps):
    """Check the joint distribution of steps against the steps, and return it."""
    path, drawn = over_time(steps), values(steps)
    event_dim = len(steps[0].event_shape)
    assert path.event_shape == (len(steps), *steps[0].event_shape)
    wanted = sum(step.log_prob(value) for step, value in zip(steps, drawn, strict=True))
    found = path.log_prob(along_time(drawn, event_dim))
    assert found.shape == wanted.shape == path.batch_shape
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-5, equal_nan=True)
    assert path.has_rsample == steps[0].has_rsample
    return path


@pytest.mark.parametrize("row", FAMILIES, ids=lambda row: row.name)
def test_every_family(row):
    agree([made(row) for _ in range(STEPS)])
    agree([made(row).expand((2, 3)) for _ in range(STEPS)])
    agree([made(row).to_event(1) for _ in range(STEPS)])


@pytest.mark.parametrize("row", FAMILIES, ids=lambda row: row.name)
def test_repeated_is_the_same_step_again(row):
    step = made(row)
    again, path = repeated(step, STEPS), over_time([step] * STEPS)
    drawn = along_time(values([step] * STEPS), len(step.event_shape))
    assert again.batch_shape == path.batch_shape and again.event_shape == path.event_shape
    assert torch.allclose(again.log_prob(drawn), path.log_prob(drawn), rtol=1e-5, equal_nan=True)


LOCS = [torch.tensor([0.1 * k, 1.0, -float(k)]) for k in range(STEPS)]
WRAPPED = {
    "masks": [dist.Normal(loc, 1.0).mask(loc > 0) for loc in LOCS],
    "one mask": [dist.Normal(loc, 1.0).mask(False) for loc in LOCS],
    "masks of both kinds": [dist.Normal(loc, 1.0).mask(True if k else loc > 0) for k, loc in enumerate(LOCS)],
    "masked events": [dist.Normal(loc, 1.0).to_event(1).mask(loc.sum() > 0) for loc in LOCS],
    "transformed": [
        dist.TransformedDistribution(dist.Normal(loc, 1.0), [torch.distributions.ExpTransform()])
        for loc in LOCS
    ],
    "points": [dist.Delta(loc, log_density=loc, event_dim=0) for loc in LOCS],
    "factors": [dist.Unit(loc) for loc in LOCS],
    "two families": [dist.Normal(loc, 1.0) if k else dist.Laplace(loc, 1.0) for k, loc in enumerate(LOCS)],
    "zero inflated": [dist.ZeroInflatedPoisson(loc.exp(), gate=torch.tensor(0.3)) for loc in LOCS],
    "shapes that broadcast": [
        dist.Normal(loc if k else torch.tensor(0.0), 1.0) for k, loc in enumerate(LOCS)
    ],
    "logits and probs": [
        dist.Bernoulli(logits=loc) if k else dist.Bernoulli(probs=loc.sigmoid()) for k, loc in enumerate(LOCS)
    ],
}


@pytest.mark.parametrize("steps", WRAPPED.values(), ids=WRAPPED.keys())
def test_wrapped_and_mixed_steps(steps):
    drawn = values(steps)
    path, dims = over_time(steps), len(steps[0].event_shape)
    wanted = sum(step.log_prob(value) for step, value in zip(steps, drawn, strict=True))
    assert torch.allclose(path.log_prob(along_time(drawn, dims)), wanted, rtol=1e-4, atol=1e-5)
    assert path.sample().shape == path.shape()


def test_what_was_asked_of_a_step_does_not_matter():
    steps = [dist.Categorical(probs=torch.softmax(loc, -1)) for loc in LOCS]
    steps[0].logits  # noqa: B018  torch keeps it beside probs
    agree(steps)
    steps = [
        dist.MultivariateNormal(loc, covariance_matrix=torch.eye(3) * (1 + k)) for k, loc in enumerate(LOCS)
    ]
    steps[1].precision_matrix  # noqa: B018
    agree(steps)


def test_a_shared_parameter_is_not_copied():
    scale = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    path = over_time([dist.Normal(loc, scale) for loc in LOCS])
    base = path.base_dist
    assert base.scale.shape == (3, STEPS) and base.scale.stride() == (1, 0)
    torch.autograd.grad(path.log_prob(torch.zeros(3, STEPS)).sum(), scale)


def test_flags_of_a_step_stay():
    free = [dist.Normal(loc, 1.0).has_rsample_(False) for loc in LOCS]
    assert not over_time(free).has_rsample
    assert apart(dist.Normal(0.0, 1.0)).key != apart(free[0]).key
    unchecked = over_time([dist.Normal(loc, 1.0, validate_args=False) for loc in LOCS])
    assert unchecked.log_prob(torch.full((3, STEPS), float("nan"))).isnan().all()


def test_steps_that_do_not_fit():
    with pytest.raises(ValueError, match="event shape differs"):
        over_time([dist.Normal(LOCS[0], 1.0), dist.Normal(LOCS[0], 1.0).to_event(1)])
    with pytest.raises(ValueError, match="shape mismatch"):
        over_time([dist.Normal(torch.zeros(2), 1.0), dist.Normal(torch.zeros(3), 1.0)])


BY_PARAMETERS = {
    "Normal",
    "LogNormal",
    "Gamma",
    "Beta",
    "Bernoulli",
    "Categorical",
    "MultivariateNormal",
    "StudentT",
    "HalfNormal",
}


@pytest.mark.parametrize("row", [row for row in ROWS if row.name in BY_PARAMETERS], ids=lambda row: row.name)
def test_usual_families_are_put_side_by_side(row):
    assert type(over_time([made(row) for _ in range(STEPS)]).base_dist) is getattr(dist, row.name)
