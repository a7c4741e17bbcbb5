"""Parameters, optimizer and random state go on in a new process as in the old one: the guide's prototype draws nothing."""

import pytest
import torch
from tests.infer.autoguide.guide_table import BY_NAME, IAF

import ember
from ember import distributions as dist
from ember.infer import SVI, Trace_ELBO, autoguide
from ember.optim import Adam

STARTS = ["init_to_feasible", "init_to_median", "init_to_sample", "init_to_uniform"]


def model(x, y):
    w = ember.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    s = ember.sample("s", dist.LogNormal(0.0, 1.0))
    with ember.plate("rows", len(y)):
        ember.sample("obs", dist.Normal(x @ w, s), obs=y)


def data():
    generator = torch.Generator().manual_seed(7)
    return torch.randn(20, 3, generator=generator), torch.randn(20, generator=generator)


def svi_with(make):
    ember.clear_param_store()
    ember.set_rng_seed(0)
    return SVI(model, make(), Adam({"lr": 0.02}), Trace_ELBO())


def losses_straight_and_resumed(make, tmp_path):
    svi = svi_with(make)
    for _ in range(3):
        svi.step(*data())
    ember.get_param_store().save(str(tmp_path / "params"))
    svi.optim.save(str(tmp_path / "optim"))
    state = torch.get_rng_state()
    straight = [svi.step(*data()) for _ in range(4)]
    svi = svi_with(make)
    ember.get_param_store().load(str(tmp_path / "params"))
    svi.optim.load(str(tmp_path / "optim"))
    torch.set_rng_state(state)
    return straight, [svi.step(*data()) for _ in range(4)]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", BY_NAME)
def test_a_new_guide_goes_on_bit_for_bit(name, start, tmp_path):
    init = getattr(autoguide, start)
    straight, resumed = losses_straight_and_resumed(
        lambda: getattr(autoguide, name)(model, init_loc_fn=init), tmp_path
    )
    assert straight == resumed


@pytest.mark.parametrize("name", ["AutoNormal", "AutoMultivariateNormal", "AutoNormalMessenger"])
def test_counting_plates_draws_nothing_either(name, tmp_path):
    """Particles in a plate: guide and model run once to see how deep plates are nested."""

    def broadcasting(x, y):
        w = ember.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with ember.plate("rows", len(y)):
            ember.sample("obs", dist.Normal((x * w).sum(-1), 1.0), obs=y)

    def svi():
        ember.clear_param_store()
        ember.set_rng_seed(0)
        elbo = Trace_ELBO(num_particles=3, vectorize_particles=True)
        return SVI(broadcasting, getattr(autoguide, name)(broadcasting), Adam({"lr": 0.02}), elbo)

    first = svi()
    for _ in range(3):
        first.step(*data())
    ember.get_param_store().save(str(tmp_path / "params"))
    first.optim.save(str(tmp_path / "optim"))
    state = torch.get_rng_state()
    straight = [first.step(*data()) for _ in range(3)]
    second = svi()
    ember.get_param_store().load(str(tmp_path / "params"))
    second.optim.load(str(tmp_path / "optim"))
    torch.set_rng_state(state)
    assert [second.step(*data()) for _ in range(3)] == straight


def test_so_does_a_flow(tmp_path):
    straight, resumed = losses_straight_and_resumed(lambda: IAF(model), tmp_path)
    assert straight == resumed


def test_a_guide_takes_what_is_loaded_over_it(tmp_path):
    """Networks that are parts of it among the rest."""
    svi = svi_with(lambda: autoguide.AutoStructured(model))
    for _ in range(3):
        svi.step(*data())
    ember.get_param_store().save(str(tmp_path / "params"))
    state = torch.get_rng_state()
    before = svi.step(*data())
    ember.get_param_store().load(str(tmp_path / "params"))
    torch.set_rng_state(state)
    assert svi.evaluate_loss(*data()) == before


def test_so_does_a_guide_of_parts(tmp_path):
    def make():
        guide = autoguide.AutoGuideList(model)
        guide.append(autoguide.AutoNormal(ember.poutine.block(model, hide=["s"])))
        guide.append(autoguide.AutoDiagonalNormal(ember.poutine.block(model, expose=["s"])))
        return guide

    straight, resumed = losses_straight_and_resumed(make, tmp_path)
    assert straight == resumed


def test_a_first_guide_starts_where_its_random_numbers_say():
    starts = []
    for seed in (0, 0, 1):
        ember.clear_param_store()
        ember.set_rng_seed(seed)
        guide = autoguide.AutoNormal(model, init_loc_fn=autoguide.init_to_sample).prepare(*data())
        starts.append(guide.median()["w"])
    assert torch.equal(starts[0], starts[1]) and not torch.equal(starts[0], starts[2])
