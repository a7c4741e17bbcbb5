"""What every automatic guide must do; a new guide adds a row to the table."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from tests.infer.autoguide import guide_table
from tests.infer.autoguide.guide_table import GUIDES, SHAPES, data, kitchen

import ember
import ember.distributions as dist
from ember.capture import Interpreter
from ember.infer import SVI, Trace_ELBO
from ember.optim import Adam
from ember.poutine import replay, trace

pytestmark = pytest.mark.usefixtures("float64")
every_guide = pytest.mark.parametrize("row", GUIDES, ids=lambda row: row.name)


def latents(recorded):
    return {
        name: site
        for name, site in recorded.iter_stochastic_nodes()
        if not site["infer"].get("is_auxiliary") and type(site["fn"]).__name__ != "_Subsample"
    }


def leave_the_start(guide):
    """Away from points of symmetry, at which some gradients vanish."""
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))


def svi_for(guide, **kwargs):
    return SVI(kitchen, guide, Adam({"lr": 0.02}), Trace_ELBO(), **kwargs)


@every_guide
def test_draws_have_the_models_shapes_and_lie_in_the_supports(row):
    guide = row.make(kitchen)
    model_sites = latents(trace(kitchen).get_trace(data()))
    for _ in range(3):
        values = guide(data())
        assert set(SHAPES) <= set(values)
        for name, shape in SHAPES.items():
            assert values[name].shape == shape
            assert model_sites[name]["fn"].support.check(values[name]).all(), name
            assert type(values[name]) is torch.Tensor


@every_guide
def test_model_and_guide_match(row):
    """No warnings (they are errors here), and finite log densities of batch shape."""
    guide = row.make(kitchen)
    assert torch.tensor(Trace_ELBO().loss(kitchen, guide, data())).isfinite()


@every_guide
def test_the_log_density_does_not_depend_on_how_it_is_computed(row):
    """What is computed together with the draw is what the distributions say about the values."""
    guide = row.make(kitchen).prepare(data())
    recorded = trace(guide).get_trace(data())
    fast = recorded.log_prob_sum(lambda name, site: not site["is_observed"])
    copied = {name: site["value"].clone() for name, site in recorded.iter_stochastic_nodes()}
    total = 0.0
    for name, site in recorded.iter_stochastic_nodes():
        if "Subsample" not in type(site["fn"]).__name__:
            total = total + site["fn"].log_prob(copied[name]).sum()
    torch.testing.assert_close(fast, total)


@every_guide
def test_a_second_run_at_the_same_values_has_the_same_density(row):
    if row.is_messenger:
        pytest.skip("its distributions live in the run of the model")
    guide = row.make(kitchen).prepare(data())
    first = trace(guide).get_trace(data())
    first.detach_()
    state = torch.get_rng_state()
    second = trace(replay(guide, trace=first)).get_trace(data())
    if row.name != "AutoGuideList":  # its first part draws together, when asked
        assert torch.equal(torch.get_rng_state(), state), "replaying draws nothing"
    torch.testing.assert_close(first.log_prob_sum(), second.log_prob_sum())


@every_guide
def test_gradients_reach_every_parameter(row):
    guide = row.make(kitchen).prepare(data())
    leave_the_start(guide)
    Trace_ELBO(num_particles=2).loss_and_grads(kitchen, guide, data())
    for name, parameter in guide.named_parameters():
        if row.name == "AutoDelta" and name.startswith("bounded"):
            continue  # a uniform density has no slope
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
        assert parameter.grad.isfinite().all(), name


@every_guide
def test_prepare_makes_all_parameters(row):
    guide = row.make(kitchen).prepare(data())
    before = {name: id(parameter) for name, parameter in guide.named_parameters()}
    names = set(ember.get_param_store())
    svi = svi_for(guide)
    svi.step(data())
    assert {name: id(parameter) for name, parameter in guide.named_parameters()} == before
    assert set(ember.get_param_store()) == names
    # The orders of autoregressive networks are kept with the parameters, and are none.
    assert len([name for name in names if not name.endswith(".permutation")]) == len(before)


@every_guide
def test_a_plain_torch_optimizer_trains_it(row):
    guide = row.make(kitchen).prepare(data())
    leave_the_start(guide)
    loss_fn = Trace_ELBO(num_particles=2)(kitchen, guide)
    optimizer = torch.optim.Adam(loss_fn.parameters(), lr=0.02)
    before = {name: parameter.detach().clone() for name, parameter in guide.named_parameters()}
    for _ in range(2):
        optimizer.zero_grad()
        loss_fn(data()).backward()
        optimizer.step()
    same = [name for name, parameter in guide.named_parameters() if torch.equal(before[name], parameter)]
    assert same in ([], ["bounded_unconstrained"])  # a uniform density has no slope


@every_guide
def test_median_and_quantiles(row):
    guide = row.make(kitchen).prepare(data())
    if not row.median:
        if hasattr(guide, "median"):
            with pytest.raises(NotImplementedError):
                guide.median(data())
        return
    median = guide.median(data())
    for name, shape in SHAPES.items():
        assert median[name].shape == shape and not median[name].requires_grad
    if not row.quantiles:
        return
    for probabilities in ([0.1, 0.5, 0.9], torch.tensor([0.1, 0.5, 0.9])):
        quantiles = guide.quantiles(probabilities, data())
        for name, shape in SHAPES.items():
            low, middle, high = quantiles[name]
            assert quantiles[name].shape == (3, *shape) and not quantiles[name].requires_grad
            torch.testing.assert_close(middle, median[name])
            if name not in ("simplex", "corr"):
                assert (low < middle).all() and (middle < high).all()


def test_quantiles_are_those_of_the_draws():
    guide = guide_table.autoguide.AutoNormal(kitchen, init_scale=0.7).prepare(data())
    draws = torch.stack([guide(data())["half"] for _ in range(2000)]).detach()
    for p in (0.1, 0.5, 0.9):
        below = (draws < guide.quantiles([p])["half"]).double().mean().item()
        assert abs(below - p) < 5 * (p * (1 - p) / 2000) ** 0.5


@every_guide
def test_pickled_guides_draw_the_same_numbers(row):
    guide = row.make(kitchen).prepare(data())
    if row.name == "AutoNormal":
        guide.prepare(data())
        pickle.dumps(guide)
        assert guide.model is not None, "pickling leaves the guide as it was"
    loaded = pickle.loads(pickle.dumps(guide))
    draws = []
    for one in (guide, loaded):
        ember.set_rng_seed(3)
        draws.append(one(data()))
    for name, value in draws[0].items():
        assert torch.equal(value, draws[1][name]), name


@every_guide
def test_copies_train_on(row):
    guide = row.make(kitchen).prepare(data())
    twin = copy.deepcopy(guide)
    losses = []
    for one in (guide, twin):
        ember.clear_param_store()
        ember.set_rng_seed(3)
        svi = svi_for(one)
        losses.append([svi.step(data()) for _ in range(3)])
    assert losses[0] == losses[1]


@every_guide
def test_vectorized_particles(row):
    guide = row.make(kitchen)
    elbo = Trace_ELBO(num_particles=7, vectorize_particles=True, max_plate_nesting=2)
    svi = SVI(kitchen, guide, Adam({"lr": 0.02}), elbo)
    assert all(torch.tensor(svi.step(data())).isfinite() for _ in range(2))
    # The parameters are those of one particle.
    plain = row.make(kitchen)
    ember.clear_param_store()
    plain.prepare(data())
    shapes = [{n: p.shape for n, p in one.named_parameters()} for one in (guide, plain)]
    assert shapes[0] == shapes[1]


@every_guide
def test_vectorized_particles_estimate_the_same(row):
    guide = row.make(kitchen).prepare(data())
    n = 100
    losses = [Trace_ELBO().loss(kitchen, guide, data()) for _ in range(n)]
    sequential = torch.tensor(losses)
    vectorized = Trace_ELBO(num_particles=n, vectorize_particles=True, max_plate_nesting=2)
    loss = vectorized.loss(kitchen, guide, data())
    error = 5 * (2 * sequential.var() / n).sqrt() + 1e-8
    assert abs(loss - sequential.mean()) < error


@every_guide
def test_the_first_call_may_be_inside_plates(row):
    guide = row.make(kitchen)
    with ember.plate_stack("particles", (2, 6), rightmost_dim=-3):
        values = guide(data())
    for name, value in values.items():
        if name in SHAPES:
            event_dim = {"vector": 1, "simplex": 1, "corr": 2}.get(name, 0)
            batch = SHAPES[name][: len(SHAPES[name]) - event_dim]
            event = SHAPES[name][len(SHAPES[name]) - event_dim :]
            expected = (2, 6, *(1,) * (2 - len(batch)), *batch, *event)
            assert value.shape == expected, name
    assert guide(data())["grid"].shape == (4, 3)


@every_guide
def test_compiled_steps_have_the_numbers_of_eager_steps(row):
    results = []
    for compiled in (False, True):
        ember.clear_param_store()
        ember.set_rng_seed(1)
        svi = svi_for(row.make(kitchen), compile=compiled)
        svi.programs.backend = Interpreter()
        losses = [svi.step(data()) for _ in range(5)]
        params = [value.detach().clone() for value in ember.get_param_store()._params.values()]
        results.append((losses, params))
        if compiled:
            assert svi.capture_report.captures[-1].failure is None
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-10)
    for eager, captured in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(eager, captured, rtol=1e-9, atol=1e-10)


def test_one_guide_through_inductor():
    def small():
        for name in "abc":
            ember.sample(name, dist.Gamma(2.0, 1.0))

    losses = []
    for compiled in (False, True):
        ember.clear_param_store()
        ember.set_rng_seed(1)
        svi = SVI(
            small, guide_table.autoguide.AutoNormal(small), Adam({"lr": 0.02}), Trace_ELBO(), compile=compiled
        )
        losses.append([svi.step() for _ in range(4)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-10)


@every_guide
def test_masks_and_scales_around_guides(row):
    """A scaled guide has a scaled density; a masked one has none."""
    guide = row.make(kitchen).prepare(data())
    if row.is_messenger:
        pytest.skip("handlers around the guide are around its model")
    ember.set_rng_seed(0)
    plain = trace(guide).get_trace(data()).log_prob_sum()
    ember.set_rng_seed(0)
    with ember.poutine.scale(scale=0.5):
        scaled = trace(guide).get_trace(data()).log_prob_sum()
    torch.testing.assert_close(scaled, plain / 2)
    with ember.poutine.mask(mask=False):
        masked = trace(guide).get_trace(data()).log_prob_sum()
    assert float(masked) == 0.0


@every_guide
def test_a_new_guide_takes_the_values_in_the_store(row, tmp_path):
    """Loaded from a file, too: then another process has trained them."""
    store = ember.get_param_store()
    leave_the_start(row.make(kitchen).prepare(data()))
    ember.set_rng_seed(3)
    expected = Trace_ELBO().loss(kitchen, row.make(kitchen).prepare(data()), data())
    store.save(str(tmp_path / "store"))
    store.clear()
    store.load(str(tmp_path / "store"))
    for name in list(store):
        store[name] = store[name].detach().clone()
    ember.set_rng_seed(3)
    guide = row.make(kitchen).prepare(data())
    assert Trace_ELBO().loss(kitchen, guide, data()) == pytest.approx(expected, rel=1e-6)
    svi_for(guide).step(data())


@every_guide
@pytest.mark.parametrize("parallel", [False, True])
def test_predictive(row, parallel):
    guide = row.make(kitchen).prepare(data())
    samples = ember.infer.Predictive(kitchen, guide=guide, num_samples=4, parallel=parallel)(data())
    assert samples["half"].shape[0] == 4 and samples["local"].shape[-1] == 5


@every_guide
def test_module_local_parameters(row):
    with ember.settings.context(module_local_params=True):
        guide = row.make(kitchen).prepare(data())
        leave_the_start(guide)
        Trace_ELBO()(kitchen, guide)(data()).backward()
        without = [name for name, parameter in guide.named_parameters() if parameter.grad is None]
        assert without in ([], ["bounded_unconstrained"]) and not list(ember.get_param_store())
