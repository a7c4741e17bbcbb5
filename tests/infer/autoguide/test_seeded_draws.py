"""From one seed, a guide draws what one draw for each of its sites would give, whatever is drawn together."""

import pytest
import torch

import ember
from ember import distributions as dist
from ember.infer import autoguide
from ember.infer.autoguide.sitewise.noise import runs_of

SIZES = [
    [1, 1],
    [15, 1],
    [12, 4, 16, 4],
    [64, 10, 10, 1],
    [15, 15],
    [16, 16, 17],
    [5, 16, 16, 5],
    [1] * 40,
    [3, 20, 7, 3, 1, 20],
    [2, 0, 2],
]


def model_of(sizes):
    def model():
        for position, size in enumerate(sizes):
            ember.sample(f"s{position}", dist.Normal(torch.zeros(size), 1.0).to_event(1))

    return model


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("outer", [None, 3, 8, 16])
def test_numbers_are_those_of_one_draw_a_site(sizes, outer):
    guide = autoguide.AutoNormal(model_of(sizes)).prepare()
    ember.set_rng_seed(1)
    if outer is None:
        drawn = guide()
    else:
        with ember.plate("outer", outer):
            drawn = guide()
    after = torch.rand(())
    ember.set_rng_seed(1)
    for position, size in enumerate(sizes):
        noise = torch.randn(size) if outer is None else torch.randn(outer, size)
        assert torch.allclose(drawn[f"s{position}"], 0.1 * noise, atol=1e-6)
    assert torch.rand(()) == after


def test_sites_between_those_of_a_group_keep_their_turn():
    def model():
        ember.sample("a", dist.Normal(0.0, 1.0))
        ember.sample("b", dist.Gamma(torch.ones(3), 1.0).to_event(1))
        ember.sample("c", dist.Normal(0.0, 1.0))
        ember.sample("d", dist.Normal(0.0, 1.0).expand([2]).to_event(1))

    guide = autoguide.AutoNormal(model, init_loc_fn=autoguide.init_to_feasible).prepare()
    ember.set_rng_seed(3)
    drawn = guide()
    ember.set_rng_seed(3)
    for name, shape in (("a", ()), ("b", (3,)), ("c", ()), ("d", (2,))):
        unconstrained = 0.1 * torch.randn(shape)
        expected = unconstrained.exp() if name == "b" else unconstrained
        assert torch.allclose(drawn[name], expected, atol=1e-6)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_runs_cover_all_sites_in_order(sizes):
    assert [position for run in runs_of(sizes) for position in run] == list(range(len(sizes)))


def test_a_thousand_scalars_take_few_draws():
    assert len(runs_of([1] * 1000)) == 67


def test_a_site_that_the_guide_lacks_draws_once_a_step():
    def model():
        ember.sample("x", dist.Normal(0.0, 1.0))
        ember.sample("y", dist.Normal(0.0, 1.0))

    guide = autoguide.AutoNormal(ember.poutine.block(model, hide=["y"])).prepare()
    elbo = ember.infer.Trace_ELBO()
    ember.set_rng_seed(0)
    with pytest.warns(UserWarning, match="Found vars in model but not guide"):
        elbo.loss(model, guide)
    after = torch.rand(())
    ember.set_rng_seed(0)
    torch.randn(()), torch.randn(())  # "x" by the guide, "y" by the model
    assert torch.rand(()) == after


def test_parts_of_a_list_draw_as_they_do_alone():
    def model():
        for name in "abc":
            ember.sample(name, dist.Normal(0.0, 1.0))

    def parts():
        blocked = ember.poutine.block
        yield autoguide.AutoNormal(blocked(model, expose=["a"]), init_loc_fn=autoguide.init_to_sample)
        yield autoguide.AutoDiagonalNormal(blocked(model, hide=["a"]), init_loc_fn=autoguide.init_to_sample)

    together = autoguide.AutoGuideList(model)
    for part in parts():
        together.append(part)
    ember.set_rng_seed(5)
    drawn = together()
    ember.set_rng_seed(5)
    model()  # the list's own prototype
    alone = {}
    for part in parts():
        alone.update(part())
    assert all(torch.equal(drawn[name], alone[name]) for name in "abc")
