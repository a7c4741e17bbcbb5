"""Groups of sites, some of which the model masks: the loss is that of the rows that count."""

import pytest
import torch

import ember
from ember import distributions as dist
from ember.contrib.easyguide import EasyGuide
from ember.infer import Trace_ELBO
from ember.poutine import mask

DATA = torch.tensor([0.3, -0.5, 1.2, 50.0])


def model(data, held):
    z = ember.sample("z", dist.Normal(0.0, 2.0))
    with ember.plate("rows", len(data)), mask(mask=held):
        local = ember.sample("local", dist.Normal(z, 0.6))
        pair = ember.sample("pair", dist.Gamma(2.0, torch.ones(2)).to_event(1))
        ember.sample("y", dist.Normal(local, pair.sum(-1)), obs=data)


class AllInOne(EasyGuide):
    def init(self, site):
        return torch.ones(site["fn"].shape())

    def guide(self, data, held):
        group = self.group()
        group.sample("all", dist.Normal(torch.zeros(group.event_shape), 0.5).to_event(1))


class ByPlate(AllInOne):
    def guide(self, data, held):
        self.map_estimate("z")
        group = self.group("local|pair")
        with self.plate("rows", len(data)):
            group.sample("both", dist.Normal(torch.zeros(group.event_shape), 0.5).to_event(1))


@pytest.mark.parametrize("make", [AllInOne, ByPlate])
def test_the_loss_is_that_of_the_rows_that_count(make):
    losses = []
    for rows in (4, 3):
        ember.clear_param_store()
        ember.set_rng_seed(0)
        held = torch.arange(rows) < 3
        elbo = Trace_ELBO(num_particles=4000, vectorize_particles=True, max_plate_nesting=1)
        losses.append(elbo.loss(model, make(model), DATA[:rows], held))
    assert losses[0] == pytest.approx(losses[1], abs=0.12)
