"""Densities that are kept from fit to fit: the same programs for the same model, others where anything else holds."""

from __future__ import annotations

import torch
from torch import Tensor

import ember
import ember.distributions as dist
from ember.fit.kept import kept_density

Y = torch.tensor([0.5, -1.0, 2.0])
PRIOR = {"scale": 1.0}


def model(y: Tensor) -> None:
    mean = ember.sample("mean", dist.Normal(0.0, PRIOR["scale"]))
    with ember.plate("data", len(y)):
        ember.sample("y", dist.Normal(mean, 1.0), obs=y)


def test_the_same_model_and_data_find_their_programs() -> None:
    first = kept_density(model, (Y,), {}, model)
    first(torch.zeros(2, 1))
    assert kept_density(model, (Y,), {}, model) is first


def test_other_data_do_not() -> None:
    first = kept_density(model, (Y,), {}, model)
    assert kept_density(model, (Y.clone(),), {}, model) is not first


def test_what_the_model_reads_may_change() -> None:
    row = torch.ones(1, 1, dtype=torch.double)
    before = kept_density(model, (Y,), {}, model)(row)[0]
    PRIOR["scale"] = 3.0
    try:
        after = kept_density(model, (Y,), {}, model)(row)[0]
        fresh = ember.density(model, Y, dtype=torch.float64)(row)[0]
    finally:
        PRIOR["scale"] = 1.0
    torch.testing.assert_close(after, fresh)
    assert not torch.allclose(before, after)


def test_data_may_change_in_place() -> None:
    y, row = Y.clone(), torch.ones(1, 1, dtype=torch.double)
    before = kept_density(model, (y,), {}, model)(row)[0]
    y *= 3
    after = kept_density(model, (y,), {}, model)(row)[0]
    torch.testing.assert_close(after, ember.density(model, y, dtype=torch.float64)(row)[0])
    assert not torch.allclose(before, after)
