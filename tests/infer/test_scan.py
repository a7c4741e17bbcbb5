"""Inference in loops over time: guides, objectives, predictions, captured steps."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from tests.poutine.time.models import LEVEL, NOISE, ROWS, STEPS, data, local_level, second_order
from torch.utils._python_dispatch import TorchDispatchMode

import ember
import ember.distributions as dist
from ember import poutine
from ember.capture import explain
from ember.infer import SVI, Predictive, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from ember.infer.autoguide import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoGuideList,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
)
from ember.optim import Adam

GUIDES = [AutoNormal, AutoDelta, AutoDiagonalNormal, AutoMultivariateNormal, AutoLowRankMultivariateNormal]


@pytest.fixture(autouse=True)
def _fresh():
    ember.set_rng_seed(0)
    ember.clear_param_store()


def learnt(x):
    """A local level whose scales are latent."""
    scale = ember.sample("scale", dist.LogNormal(-1.0, 0.3))

    def step(level, x):
        level = ember.sample("z", dist.Normal(level, scale))
        ember.sample("x", dist.Normal(level, NOISE), obs=x)
        return level, level

    return ember.scan(step, torch.tensor(0.0), x)


def by_hand(x):
    """A guide with a loop of its own."""

    def step(level, x):
        weight = ember.param("weight", torch.tensor(0.5))
        width = ember.param("width", torch.tensor(0.4), constraint=dist.constraints.positive)
        level = ember.sample("z", dist.Normal(level + weight * (x - level), width))
        return level, None

    ember.scan(step, torch.tensor(0.0), x)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.__name__)
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_automatic_guides_see_one_site(guide, row):
    made = guide(row.model)
    svi = SVI(row.model, made, Adam({"lr": 0.02}), Trace_ELBO())
    losses = [svi.step(data()) for _ in range(20)]
    assert all(map(torch.isfinite, torch.tensor(losses)))
    assert made.median()["z"].shape == (STEPS, *row.event_shape)


def smoothed(x):
    """Mean and standard deviation of the levels given the data."""
    times = torch.arange(1.0, STEPS + 1)
    prior = LEVEL**2 * torch.minimum(times[:, None], times)
    gain = torch.linalg.solve(prior + NOISE**2 * torch.eye(STEPS), prior).T
    return gain @ x, (prior - gain @ prior).diagonal().sqrt()


def test_a_full_rank_guide_finds_the_smoothed_levels():
    x = data()
    guide = AutoMultivariateNormal(local_level)
    objective = Trace_ELBO(num_particles=4, vectorize_particles=True)
    SVI(local_level, guide, Adam({"lr": 0.02}), objective).run(600, x, progress=False)
    mean, sd = smoothed(x)
    low, high = guide.quantiles([0.1587, 0.8413])["z"]
    assert (guide.median()["z"] - mean).abs().max() < 0.15
    assert ((high - low) / 2 - sd).abs().max() < 0.15


COMPILED = {
    "level": (local_level, AutoNormal),
    "level, guide by hand": (local_level, lambda model: by_hand),
    "scales too": (learnt, AutoMultivariateNormal),
    "second order": (second_order, AutoNormal),
    "vectors": (ROWS["vector_state"].model, AutoNormal),
    "one by one": (ROWS["innovations"].model, AutoNormal),
}


@pytest.mark.parametrize("model, guide", COMPILED.values(), ids=COMPILED.keys())
def test_compiled_steps_give_the_numbers_of_eager_ones(model, guide):
    x, losses = data(), []
    for compile in (False, True):
        ember.clear_param_store()
        ember.set_rng_seed(1)
        svi = SVI(model, guide(model), Adam({"lr": 0.02}), Trace_ELBO(), compile=compile)
        losses.append([svi.step(x) for _ in range(6)])
    assert torch.allclose(*map(torch.tensor, losses), rtol=1e-4)


@pytest.mark.parametrize("objective", [Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO])
def test_objectives_agree_with_single_sites(objective):
    x = data()

    def plain(x):
        level = torch.tensor(0.0)
        for k in range(STEPS):
            level = ember.sample(f"z_{k}", dist.Normal(level, LEVEL))
            ember.sample(f"x_{k}", dist.Normal(level, NOISE), obs=x[k])

    def guide(x, single=False):
        loc = ember.param("loc", torch.zeros(STEPS))
        if single:
            for k in range(STEPS):
                ember.sample(f"z_{k}", dist.Normal(loc[k], 0.3))
        else:
            ember.sample("z", dist.Normal(loc, 0.3).to_event(1))

    found = []
    for model, single in ((local_level, False), (plain, True)):
        ember.clear_param_store()
        ember.set_rng_seed(3)
        run = lambda x, single=single: guide(x, single)
        losses = [SVI(model, run, Adam({"lr": 0.1}), objective()).step(x) for _ in range(4)]
        found.append((torch.tensor(losses), ember.param("loc").detach().clone()))
    # torch draws 12 normal numbers at once as it draws them one by one.
    assert torch.allclose(found[0][0], found[1][0], rtol=1e-4)
    assert torch.allclose(found[0][1], found[1][1], rtol=1e-3, atol=1e-4)


def test_particles_side_by_side_are_particles_one_by_one():
    x = data()
    guide = AutoDelta(learnt)  # without noise both are the same
    losses = [
        Trace_ELBO(num_particles=3, vectorize_particles=side, max_plate_nesting=0).loss(learnt, guide, x)
        for side in (True, False)
    ]
    assert abs(losses[0] - losses[1]) < 1e-3


@pytest.mark.parametrize("parallel", [False, True])
def test_predictions_have_a_dim_of_time(parallel):
    x = data()
    guide = AutoNormal(local_level)
    SVI(local_level, guide, Adam({"lr": 0.03}), Trace_ELBO()).run(500, x, progress=False)
    sites = ["z", "x"]
    samples = Predictive(local_level, guide=guide, num_samples=200, parallel=parallel, return_sites=sites)(x)
    assert samples["z"].shape == (200, STEPS)
    assert (samples["z"].mean(0) - smoothed(x)[0]).abs().max() < 0.25
    prior = Predictive(poutine.uncondition(local_level), num_samples=300, return_sites=sites)(x)
    assert prior["x"].shape == prior["z"].shape == (300, STEPS)
    assert prior["z"][:, -1].std() > 2 * prior["z"][:, 0].std()  # a random walk


@pytest.mark.parametrize("model", [local_level, second_order])
def test_what_is_recorded_does_not_grow_with_the_steps(model):
    counts = []
    for steps in (20, 2000):
        ember.clear_param_store()
        svi = SVI(
            model, AutoNormal(model), Adam({"lr": 0.01}), Trace_ELBO(), compile=True, backend="interpreter"
        )
        for _ in range(3):
            svi.step(torch.zeros(steps))
        counts.append(explain(svi).captures[0].num_nodes)
    assert counts[1] < counts[0] + 40  # a loop would add some 10,000


def test_only_the_carry_is_recorded_step_by_step(monkeypatch):
    def model(x):
        def step(level, x):
            z = ember.sample("z", dist.Normal(0.0, 1.0))
            level = 0.9 * level + LEVEL * z
            loc = level
            for _ in range(20):
                loc = torch.tanh(loc) + 0.1
            ember.sample("x", dist.Normal(loc, NOISE), obs=x)
            return level, loc

        return ember.scan(step, torch.tensor(0.0), x)

    counts, losses = [], []
    for fewest in (8, STEPS + 1):
        monkeypatch.setattr("ember.poutine.time.at_once.FEWEST_STEPS", fewest)
        ember.clear_param_store()
        ember.set_rng_seed(2)
        svi = SVI(
            model, AutoNormal(model), Adam({"lr": 0.01}), Trace_ELBO(), compile=True, backend="interpreter"
        )
        losses.append(torch.tensor([svi.step(data()) for _ in range(4)]))
        counts.append(explain(svi).captures[0].num_nodes)
    assert counts[0] < 500 and counts[1] > 20 * STEPS * 4
    assert torch.allclose(losses[0], losses[1], rtol=1e-4)


@pytest.mark.parametrize("cell", [torch.nn.GRUCell, torch.nn.LSTMCell])
def test_a_cell_that_torch_cannot_batch_runs_step_by_step(cell):
    torch.manual_seed(0)
    h = (torch.zeros(1, 4),) * 2 if cell is torch.nn.LSTMCell else torch.zeros(1, 4)
    net = cell(1, 4)

    def model(x):
        def step(h, x):
            z = ember.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            h = net(z.unsqueeze(0), h)
            ember.sample("x", dist.Normal((h[0] if isinstance(h, tuple) else h).sum(), NOISE), obs=x)
            return h, None

        ember.scan(step, h, x)

    losses = []
    for compile in (False, True):
        ember.clear_param_store()
        ember.set_rng_seed(2)
        svi = SVI(model, AutoNormal(model), Adam({"lr": 0.01}), Trace_ELBO(), compile=compile)
        losses.append(torch.tensor([svi.step(data()) for _ in range(3)]))
    assert torch.allclose(*losses, rtol=1e-4)


@pytest.mark.parametrize("row", ["handed on", "computed"])
def test_an_invalid_argument_of_a_late_step_is_noticed_in_programs(row):
    def model(x, scales):
        def step(level, inputs):
            x, scale = inputs
            level = ember.sample("z", dist.Normal(level, scale))
            ember.sample("x", dist.Normal(level, NOISE), obs=x)
            return level if row == "handed on" else 0.9 * level, None

        ember.scan(step, torch.tensor(0.0), (x, scales))

    svi = SVI(model, AutoNormal(model), Adam({"lr": 0.01}), Trace_ELBO(), compile=True)
    scales = torch.ones(STEPS)
    for _ in range(3):
        svi.step(data(), scales)
    scales[-2] = -1.0
    with pytest.raises(ValueError, match="Expected parameter scale"):
        svi.step(data(), scales)


@pytest.mark.parametrize("guide", [AutoNormal, AutoMultivariateNormal])
def test_automatic_guides_refuse_a_latent_path_that_is_masked_in_some_steps(guide):
    def model(latent):
        def step(level, inputs):
            x, counts = inputs
            with poutine.mask(mask=counts if latent else True):
                level = ember.sample("z", dist.Normal(level, 1.0))
            with poutine.mask(mask=counts):
                ember.sample("x", dist.Normal(level, NOISE), obs=x)
            return level, None

        ember.scan(step, torch.tensor(0.0), (data(), torch.arange(STEPS) < 5))

    assert SVI(model, guide(model), Adam({"lr": 0.01}), Trace_ELBO()).step(False) < 1e3
    with pytest.raises(ember.errors.ModelError, match="site 'z' is latent and masked in a part of its event"):
        SVI(model, guide(model), Adam({"lr": 0.01}), Trace_ELBO()).step(True)


def test_a_step_that_counts_its_calls_is_not_captured_unnoticed():
    def model(x):
        times = iter(range(10_000))

        def step(level, x):
            level = ember.sample("z", dist.Normal(level, 1.0 + next(times)))
            ember.sample("x", dist.Normal(level, NOISE), obs=x)
            return level, None

        ember.scan(step, torch.tensor(0.0), x)

    svi = SVI(model, AutoNormal(model), Adam({"lr": 0.01}), Trace_ELBO(), compile=True)
    with pytest.raises(ember.errors.ModelError, match="depend on these alone"):
        svi.step(data())


def test_groups_of_sites_in_a_list_of_guides():
    guide = AutoGuideList(learnt)
    guide.append(AutoDelta(poutine.block(learnt, expose=["scale"])))
    guide.append(AutoNormal(poutine.block(learnt, hide=["scale"])))
    svi = SVI(learnt, guide, Adam({"lr": 0.05}), Trace_ELBO())
    assert torch.isfinite(torch.tensor([svi.step(data()) for _ in range(5)])).all()


def test_a_linear_model_without_a_loop_takes_operators_by_the_logarithm_of_its_length():
    class Count(TorchDispatchMode):
        number = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.number += 1
            return func(*args, **(kwargs or {}))

    unit = dist.Normal(torch.zeros(1), 1.0).to_event(1)
    linear = dist.GaussianHMM(unit, torch.eye(1), unit, torch.eye(1), unit)
    stay, looks = torch.zeros(1, 2, 2), dist.Normal(torch.tensor([-1.0, 1.0]), 1.0)
    for log_prob in (
        lambda n: linear.log_prob(torch.zeros(n, 1)),
        lambda n: dist.DiscreteHMM(torch.zeros(2), stay, looks, duration=n).log_prob(torch.zeros(n)),
    ):
        counts = []
        for steps in (16, 64, 256, 1024):
            with Count() as count:
                log_prob(steps)
            counts.append(count.number)
        more = [b - a for a, b in pairwise(counts)]
        assert more[0] == more[1] == more[2] > 0
