"""Plates that see a part of their rows: parameters of full size, the model's own rows, unbiased estimates."""

from __future__ import annotations

from functools import partial

import pytest
import torch

import ember
import ember.distributions as dist
from ember.capture import Interpreter
from ember.infer import SVI, Trace_ELBO, autoguide
from ember.optim import Adam
from ember.poutine import block, replay, trace

pytestmark = pytest.mark.usefixtures("float64")
N, BATCH = 12, 4
DATA = torch.linspace(-2, 2, N, dtype=torch.float64)


def drawn(data):
    """The plate draws its rows."""
    scale = ember.sample("scale", dist.Gamma(2.0, 1.0))
    with ember.plate("data", N, subsample_size=BATCH) as rows:
        z = ember.sample("z", dist.Normal(0.0, scale))
        w = ember.sample("w", dist.Dirichlet(torch.full((3,), 2.0)))
        ember.sample("x", dist.Normal(z, 1.0 + w[..., 0]), obs=data[rows])


def given(data, rows):
    """The plate is given its rows."""
    scale = ember.sample("scale", dist.Gamma(2.0, 1.0))
    with ember.plate("data", N, subsample=rows):
        z = ember.sample("z", dist.Normal(0.0, scale))
        w = ember.sample("w", dist.Dirichlet(torch.full((3,), 2.0)))
        ember.sample("x", dist.Normal(z, 1.0 + w[..., 0]), obs=data)


def guide_list(model):
    guide = autoguide.AutoGuideList(model)
    guide.append(autoguide.AutoNormal(block(model, expose=["scale", "w"])))
    guide.append(autoguide.AutoDiagonalNormal(block(model, expose=["z"])))
    return guide


structured = partial(autoguide.AutoStructured, conditionals="normal", dependencies={"z": {"scale": "linear"}})
GUIDES = {
    "AutoNormal": autoguide.AutoNormal,
    "AutoDelta": autoguide.AutoDelta,
    "AutoDiagonalNormal": autoguide.AutoDiagonalNormal,
    "AutoMultivariateNormal": autoguide.AutoMultivariateNormal,
    "AutoLowRankMultivariateNormal": autoguide.AutoLowRankMultivariateNormal,
    "AutoLaplaceApproximation": autoguide.AutoLaplaceApproximation,
    "AutoIAFNormal": autoguide.AutoIAFNormal,
    "AutoStructured": structured,
    "AutoGuideList": guide_list,
    "AutoGaussian": autoguide.AutoGaussian,
    "AutoNormalMessenger": autoguide.AutoNormalMessenger,
    "AutoHierarchicalNormalMessenger": autoguide.AutoHierarchicalNormalMessenger,
    "AutoRegressiveMessenger": autoguide.AutoRegressiveMessenger,
}
MESSENGERS = [name for name in GUIDES if name.endswith("Messenger")]
every_guide = pytest.mark.parametrize("name", GUIDES)
PACKED = ["AutoDiagonalNormal", "AutoMultivariateNormal", "AutoLowRankMultivariateNormal", "AutoIAFNormal"]


@every_guide
def test_parameters_are_of_full_size(name):
    guide = GUIDES[name](drawn).prepare(DATA)
    if name in PACKED or name == "AutoLaplaceApproximation":
        assert guide.latent_dim == 1 + N + 2 * N
    elif name == "AutoDelta":
        assert guide.z.shape == (N,) and guide.w.shape == (N, 3)
    elif name == "AutoStructured":
        assert guide.locs.z.shape == (N,) and guide.locs.w.shape == (2 * N,)
    elif name == "AutoGuideList":
        assert guide[0].locs.w.shape == (N, 2) and guide[1].latent_dim == N
    else:
        assert guide.locs.z.shape == guide.scales.z.shape == (N,) and guide.locs.w.shape == (N, 2)


@every_guide
def test_a_step_uses_the_rows_that_the_model_sees(name):
    guide = GUIDES[name](drawn)
    svi = SVI(drawn, guide, Adam({"lr": 0.01}), Trace_ELBO())
    for _ in range(3):
        assert torch.tensor(svi.step(DATA)).isfinite()
    if name in MESSENGERS:
        return
    guide_trace = trace(guide).get_trace(DATA)
    model_trace = trace(replay(drawn, trace=guide_trace)).get_trace(DATA)
    assert model_trace.nodes["data"]["value"] is guide_trace.nodes["data"]["value"]
    assert guide_trace.nodes["z"]["value"].shape == (BATCH,)
    assert guide_trace.nodes["w"]["value"].shape == (BATCH, 3)
    assert guide_trace.nodes["z"]["scale"] == N / BATCH


@every_guide
def test_rows_given_to_the_model_are_the_guides_rows(name):
    guide = GUIDES[name](given)
    svi = SVI(given, guide, Adam({"lr": 0.01}), Trace_ELBO())
    # The last batch is smaller.
    for rows in (torch.arange(0, 5), torch.arange(5, 10), torch.arange(10, 12)):
        svi.step(DATA[rows], rows)
    if name in MESSENGERS:
        return
    rows = torch.tensor([7, 2, 11])
    guide_trace = trace(guide).get_trace(DATA[rows], rows)
    assert guide_trace.nodes["data"]["value"].tolist() == [7, 2, 11]
    assert guide_trace.nodes["z"]["value"].shape == (3,)


def test_the_value_of_a_row_is_that_of_its_parameter():
    guide = autoguide.AutoDelta(given).prepare(DATA, torch.arange(N))
    guide.z = torch.arange(N, dtype=torch.float64)
    rows = torch.tensor([7, 2, 11])
    assert guide(DATA[rows], rows)["z"].tolist() == [7, 2, 11]
    packed = autoguide.AutoLaplaceApproximation(given).prepare(DATA, torch.arange(N))
    packed.loc.data[1 : N + 1] = torch.arange(N, dtype=torch.float64)
    assert packed(DATA[rows], rows)["z"].tolist() == [7, 2, 11]
    assert packed.median()["z"].tolist() == list(range(N))


def test_finding_the_rows_draws_nothing_and_hides_behind_no_block():
    def model(data, rows):
        ember.sample("hidden", dist.Categorical(torch.ones(3)))
        given(data, rows)

    rows = torch.tensor([3, 1])
    guide = autoguide.AutoDelta(block(model, expose=["scale", "z", "w"])).prepare(DATA[rows], rows)
    state = torch.get_rng_state()
    guide_trace = trace(guide).get_trace(DATA[rows], rows)
    assert torch.equal(torch.get_rng_state(), state)
    assert guide_trace.nodes["data"]["value"].tolist() == [3, 1]


@pytest.mark.parametrize("name", ["AutoNormal", "AutoDelta", "AutoDiagonalNormal", "AutoStructured"])
def test_create_plates_comes_first(name):
    def create_plates(data, rows):
        return ember.plate("data", N, subsample=rows.flip(0))

    guide = GUIDES[name](given, create_plates=create_plates)
    rows = torch.tensor([7, 2, 11])
    assert trace(guide).get_trace(DATA[rows], rows).nodes["data"]["value"].tolist() == [11, 2, 7]


@pytest.mark.parametrize(
    "name", ["AutoDelta", "AutoLaplaceApproximation", "AutoDiagonalNormal", "AutoMultivariateNormal"]
)
def test_batches_of_an_epoch_average_to_the_full_loss(name):
    """Exactly so, since the draw of all rows is the same for one seed."""
    guide = GUIDES[name](given).prepare(DATA, torch.arange(N))

    def loss(rows):
        ember.set_rng_seed(4)
        return Trace_ELBO().loss(given, guide, DATA[rows], rows)

    batches = [loss(rows) for rows in torch.arange(N).split(BATCH)]
    assert sum(batches) / len(batches) == pytest.approx(loss(torch.arange(N)), rel=1e-10)


@pytest.mark.parametrize("name", ["AutoNormal", "AutoDelta", "AutoNormalMessenger"])
def test_only_touched_rows_get_gradients(name):
    guide = GUIDES[name](given).prepare(DATA, torch.arange(N))
    rows = torch.tensor([7, 2, 11])
    Trace_ELBO().loss_and_grads(given, guide, DATA[rows], rows)
    leaf = dict(guide.named_parameters())[
        "z_unconstrained" if name == "AutoDelta" else "locs.z_unconstrained"
    ]
    assert sorted(leaf.grad.nonzero().flatten().tolist()) == [2, 7, 11]


@every_guide
def test_compiled_steps_choose_the_same_rows(name):
    results = []
    for compiled in (False, True):
        ember.clear_param_store()
        ember.set_rng_seed(1)
        svi = SVI(drawn, GUIDES[name](drawn), Adam({"lr": 0.02}), Trace_ELBO(), compile=compiled)
        svi.programs.backend = Interpreter()
        results.append([svi.step(DATA) for _ in range(5)])
    assert results[0] == pytest.approx(results[1], rel=1e-10)


def test_compiled_steps_take_the_given_rows():
    results = []
    for compiled in (False, True):
        ember.clear_param_store()
        ember.set_rng_seed(1)
        svi = SVI(given, autoguide.AutoNormal(given), Adam({"lr": 0.02}), Trace_ELBO(), compile=compiled)
        svi.programs.backend = Interpreter()
        batches = [torch.randperm(N, generator=torch.Generator().manual_seed(i))[:BATCH] for i in range(5)]
        results.append([svi.step(DATA[rows], rows) for rows in batches])
    assert results[0] == pytest.approx(results[1], rel=1e-10)


def test_discrete_parameters_are_of_full_size():
    def model():
        with ember.plate("data", N, subsample_size=BATCH):
            ember.sample("k", dist.Categorical(torch.ones(3) / 3))
            ember.sample("b", dist.Bernoulli(0.5))

    guide = autoguide.AutoDiscreteParallel(model).prepare()
    assert guide.k_probs.shape == (N, 3) and guide.b_probs.shape == (N,)
    assert guide()["k"].shape == (BATCH,)


def test_amortized_plates_share_parameters():
    def model(data, rows):
        with ember.plate("data", N, subsample=rows), ember.plate("inner", 2, dim=-2):
            ember.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))

    rows = torch.tensor([3, 1])
    for amortized, shape in (((), (2, N, 3)), (("data",), (2, 1, 3)), (("data", "inner"), (3,))):
        ember.clear_param_store()
        guide = autoguide.AutoNormalMessenger(model, amortized_plates=amortized).prepare(DATA, rows)
        assert guide.locs.z.shape == shape
        assert guide(DATA, rows)["z"].shape == (2, 2, 3)
