"""Every guide, objective and reparameterisation: eager, compiled and looped steps have the same numbers and draws."""

from __future__ import annotations

import pytest
import torch
from tests import zoo
from tests.infer import everywhere, objectives, test_enumeration_compiled
from tests.infer.autoguide import guide_table
from tests.infer.everywhere import GUIDES, MODELS, Program, assert_everywhere, fit
from tests.infer.reparam.reparam_table import BIJECTIVE, NOISY, SPLIT

import ember
import ember.distributions as dist
from ember import poutine
from ember.contrib.easyguide import easy_guide
from ember.distributions import constraints
from ember.infer import ReweightedWakeSleep, TraceEnum_ELBO, TraceGraph_ELBO, autoguide
from ember.optim import Adam

pytestmark = [
    pytest.mark.usefixtures("float64"),
    # Sites summed out of a model, and guides that know nothing of them.
    pytest.mark.filterwarnings("ignore:Found vars in model but not guide"),
    pytest.mark.filterwarnings("ignore:TraceEnum_ELBO found no sample sites"),
]
DATA = test_enumeration_compiled.DATA


@pytest.mark.parametrize("guide", GUIDES)
@pytest.mark.parametrize("model", MODELS)
def test_guides(model, guide):
    make_model, args, site = MODELS[model]
    if model == "over_time" and guide.endswith("Messenger"):
        pytest.skip("refused: it draws a path before all of its distribution is known")

    def make():
        model = make_model()
        return model, GUIDES[guide](model, site), args

    assert_everywhere(Program(make))


# The others share their handling of constraints with AutoDiagonalNormal.
@pytest.mark.parametrize(
    "row",
    [
        row
        for row in guide_table.GUIDES
        if row.name
        not in (
            "AutoMultivariateNormal",
            "AutoLowRankMultivariateNormal",
            "AutoLaplaceApproximation",
            "AutoIAFNormal",
            "AutoHierarchicalNormalMessenger",
        )
    ],
    ids=lambda row: row.name,
)
def test_every_kind_of_support(row):
    kitchen = guide_table.kitchen
    assert_everywhere(Program(lambda: (kitchen, row.make(kitchen), (guide_table.data(),))))


OBJECTIVES = [
    pytest.param(row, make, vectorize, id=f"{row.name}-{make().name}-{vectorize}")
    for row in objectives.ROWS
    for make in (zoo.gamma_poisson, zoo.local_normals, zoo.bernoulli_mixture)
    for vectorize in row.vectorized
    if row.accepts(make()) and not (make is zoo.local_normals and row.needs != "likelihood")
]


@pytest.mark.parametrize("row, make, vectorize", OBJECTIVES)
def test_objectives(row, make, vectorize):
    known = make()
    program = Program(
        lambda: (known.model, known.guide, known.args), lambda: row.make(vectorize_particles=vectorize)
    )
    assert_everywhere(program, ("run",) if vectorize else ("compiled",))


def wake_model(observations=None):
    x = DATA if observations is None else observations["x"]
    z = ember.sample("z", dist.Normal(ember.param("m", torch.tensor(0.5)), 1.0))
    with ember.plate("rows", 6):
        ember.sample("x", dist.Normal(z, 1.0), obs=x)


def wake_guide(observations=None):
    x = DATA if observations is None else observations["x"]
    loc = ember.param("loc", torch.tensor(0.1)) + 0.1 * x.mean(-1, keepdim=x.dim() > 1)
    ember.sample("z", dist.Normal(loc, ember.param("s", torch.tensor(1.0), constraint=constraints.positive)))


@pytest.mark.parametrize("insomnia", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("vectorize", [False, True])
def test_sleep(insomnia, vectorize):
    objective = lambda: ReweightedWakeSleep(3, insomnia, num_sleep_particles=2, vectorize_particles=vectorize)
    program = Program(lambda: (wake_model, wake_guide, ()), objective)
    # Two losses a step.
    assert fit(program, "eager", steps=3).losses.shape == (3, 2)
    assert_everywhere(program)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(1, 1)

    def forward(self, x):
        return self.linear(x[:, None])[:, 0]


BASELINES = {
    "average": lambda net: {"use_decaying_avg_baseline": True},
    "network": lambda net: {"nn_baseline": net, "nn_baseline_input": DATA},
    "network and average": lambda net: {
        "nn_baseline": net,
        "nn_baseline_input": DATA,
        "use_decaying_avg_baseline": True,
    },
    "value": lambda net: {"baseline_value": ember.param("value", torch.zeros(6))},
}


@pytest.mark.parametrize("baseline", BASELINES)
def test_baselines(baseline):
    def make():
        net = Net()

        def guide(x):
            if "network" in baseline:
                ember.module("net", net)
            probs = ember.param("probs", torch.full((6,), 0.5), constraint=constraints.unit_interval)
            with ember.plate("rows", 6):
                ember.sample("k", dist.Bernoulli(probs), infer={"baseline": BASELINES[baseline](net)})

        def model(x):
            with ember.plate("rows", 6):
                k = ember.sample("k", dist.Bernoulli(0.3))
                ember.sample("x", dist.Normal(2.0 * k, 1.0), obs=x)

        return model, guide, (DATA,)

    assert_everywhere(Program(make, lambda: TraceGraph_ELBO(num_particles=2)))


@pytest.mark.parametrize("name", test_enumeration_compiled.PROGRAMS)
@pytest.mark.parametrize(
    "options", [{}, {"num_particles": 2, "vectorize_particles": True}], ids=["one", "two"]
)
def test_enumeration(name, options):
    model, guide, objective = test_enumeration_compiled.PROGRAMS[name]
    assert_everywhere(
        Program(lambda: (model, guide, (DATA,)), lambda: objective(max_plate_nesting=1, **options))
    )


def transition(*shape):
    start = torch.linspace(0.2, 0.8, torch.Size(shape).numel()).reshape(shape)
    return ember.param("p", start / start.sum(-1, keepdim=True), constraint=constraints.simplex)


def second_order(x):
    p, loc = transition(2, 2, 2), ember.param("loc", torch.tensor([-1.0, 1.0]))
    before = last = torch.tensor(0)
    for t in ember.markov(range(len(x)), history=2):
        k = ember.sample(f"k{t}", dist.Categorical(p[before, last]), infer={"enumerate": "parallel"})
        ember.sample(f"x{t}", dist.Normal(loc[k], 1.0), obs=x[t])
        before, last = last, k


def sequences_of_different_lengths(x):
    p, loc = transition(2, 2), ember.param("loc", torch.tensor([-1.0, 1.0]))
    lengths, k = torch.tensor([4, 2]), 0
    with ember.plate("sequences", 2, dim=-1):
        for t in ember.markov(range(4)):
            with poutine.mask(mask=t < lengths):
                k = ember.sample(f"k{t}", dist.Categorical(p[k]), infer={"enumerate": "parallel"})
                ember.sample(f"x{t}", dist.Normal(loc[k], 1.0), obs=x[t : t + 2])


def hidden_markov(x):
    p, loc = transition(2, 2), ember.param("loc", torch.tensor([-1.0, 1.0]))
    fn = dist.DiscreteHMM(torch.zeros(2), p.log(), dist.Normal(loc, 1.0), duration=len(x))
    ember.sample("x", fn, obs=x)


@pytest.mark.parametrize("model", [second_order, sequences_of_different_lengths, hidden_markov])
def test_chains(model):
    assert_everywhere(
        Program(lambda: (model, lambda x: None, (DATA,)), lambda: TraceEnum_ELBO(max_plate_nesting=1))
    )


def test_sequential_plates_and_sequential_enumeration():
    def model(x):
        for i in ember.plate("rows", len(x)):
            k = ember.sample(f"k{i}", dist.Categorical(torch.tensor([0.3, 0.7])))
            ember.sample(f"x{i}", dist.Normal(2.0 * k, 1.0), obs=x[i])

    def guide(x):
        q = ember.param("q", torch.full((len(x), 2), 0.5), constraint=constraints.simplex)
        for i in ember.plate("rows", len(x)):
            ember.sample(f"k{i}", dist.Categorical(q[i]), infer={"enumerate": "sequential"})

    assert_everywhere(Program(lambda: (model, guide, (DATA[:2],)), TraceEnum_ELBO))


def mixture(x):
    weights = ember.sample("weights", dist.Dirichlet(torch.ones(2)))
    locs = ember.sample("locs", dist.Normal(0.0, 5.0).expand([2]).to_event(1))
    with ember.plate("rows", len(x)):
        k = ember.sample("k", dist.Categorical(weights))
        ember.sample("x", dist.Normal(locs[k], 1.0), obs=x)


def mixture_guide():
    guide = autoguide.AutoGuideList(mixture)
    guide.append(autoguide.AutoNormal(poutine.block(mixture, hide=["k"])))
    guide.append(autoguide.AutoDiscreteParallel(poutine.block(mixture, expose=["k"])))
    return guide


def test_discrete_guides():
    objective = lambda: TraceEnum_ELBO(max_plate_nesting=1)
    assert_everywhere(Program(lambda: (mixture, mixture_guide(), (DATA,)), objective))


@pytest.mark.parametrize("row", [*BIJECTIVE, *NOISY, SPLIT], ids=lambda row: row.name)
def test_reparameterisations(row):
    y = torch.linspace(-1, 1, 12).reshape(3, 4)

    def model():
        loc = ember.param("loc", torch.full((3, 4), 0.2))
        scale = ember.param("scale", torch.full((3, 4), 0.7), constraint=constraints.positive)
        with ember.plate("rows", 3):
            x = ember.sample("x", row.fn(loc, scale))
            ember.sample("y", dist.Normal(x, 0.5).to_event(1), obs=y)

    def make():
        other = poutine.reparam(model, config={"x": row.reparam()})
        return other, (lambda: None) if row.name == "Conjugate" else autoguide.AutoNormal(other), ()

    assert_everywhere(Program(make), ("run",))


class FollowsTheMean(autoguide.AutoNormalMessenger):
    def get_posterior(self, name, prior):
        if name == "z":
            weight = ember.param("weight", torch.tensor(0.5))
            return dist.Normal(weight * self.upstream_value("m"), 0.3)
        return super().get_posterior(name, prior)


def test_a_messenger_guide_of_ones_own():
    model = everywhere.subsampled
    assert_everywhere(Program(lambda: (model, FollowsTheMean(model), (everywhere.ROWS,))))


class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.loc = torch.nn.Conv2d(1, 2, 3), torch.nn.Linear(8, 2)

    def forward(self, images):
        features = torch.nn.functional.softplus(self.conv(images))
        return self.loc(
            torch.nn.functional.interpolate(features, scale_factor=0.5, mode="bilinear").flatten(1)
        )


def test_autoencoders():
    """Layers that are calls of torch: the first one has data, of which nobody asks the gradient; operators without a row."""
    images = (torch.linspace(0, 1, 3 * 36).reshape(3, 1, 6, 6) * 7).frac().round()

    def make():
        encoder, decoder = (
            Encoder(),
            torch.nn.Sequential(torch.nn.Linear(2, 9), torch.nn.Unflatten(1, (1, 3, 3))),
        )
        decoder.append(torch.nn.ConvTranspose2d(1, 1, 2, stride=2))

        def model(images):
            ember.module("decoder", decoder)
            with ember.plate("images", 3):
                z = ember.sample("z", dist.Normal(torch.zeros(3, 2), 1.0).to_event(1))
                spread = 0.1 * torch.nn.functional.pdist(decoder(z).flatten(1)).mean()
                fn = dist.Bernoulli(logits=decoder(z) + spread)
                ember.sample("x", fn.to_event(3), obs=images)

        def guide(images):
            ember.module("encoder", encoder)
            with ember.plate("images", 3):
                ember.sample("z", dist.Normal(encoder(images), 0.3).to_event(1))

        return model, guide, (images,)

    assert_everywhere(Program(make))


def test_easy_guides():
    def model(batch, rows):
        drift = ember.sample("drift", dist.LogNormal(-1.0, 0.5))
        with ember.plate("data", 6, subsample=rows):
            z = 0.0
            for t in range(3):
                z = ember.sample(f"state_{t}", dist.Normal(z, drift))
                ember.sample(f"obs_{t}", dist.Bernoulli(logits=z), obs=batch[t])

    def make():
        @easy_guide(model)
        def guide(self, batch, rows):
            self.map_estimate("drift")
            group = self.group(match=r"state_[0-9]*")
            with self.plate("data", 6, subsample=rows):
                loc = ember.param("loc", torch.zeros(6, 3), event_dim=1)
                group.sample("states", dist.Normal(loc, 0.1).to_event(1))

        rows = torch.tensor([0, 2, 3])
        data = (torch.arange(18.0).reshape(3, 6) % 2)[:, rows]
        return model, guide, (data, rows)

    assert_everywhere(Program(make))


ANNEALED = {
    "guide": (
        everywhere.hierarchical,
        lambda: autoguide.AutoNormal(everywhere.hierarchical),
        ember.infer.Trace_ELBO,
    ),
    "enumeration": (mixture, mixture_guide, lambda: TraceEnum_ELBO(max_plate_nesting=1)),
}


@pytest.mark.parametrize("name", ANNEALED)
def test_annealing_is_one_program(name):
    """A factor on all terms but the likelihood, given as a tensor that changes from step to step."""
    model, make_guide, objective = ANNEALED[name]
    observed = {"y", "x"}
    losses, params, svis = [], [], []
    for compiled in (False, True):
        ember.clear_param_store()
        ember.set_rng_seed(0)
        guide = make_guide()

        def annealed(program):
            def run(x, beta):
                with Annealed(beta, observed):
                    return program(x)

            return run

        data = everywhere.Y if name == "guide" else DATA
        svi = ember.infer.SVI(
            annealed(model),
            annealed(guide),
            Adam({"lr": 0.01}),
            objective(),
            compile=compiled,
            backend="native",
        )
        losses.append([svi.step(data, torch.tensor(min(1.0, 0.01 * (i + 1)))) for i in range(120)])
        params.append({n: p.detach().clone() for n, p in ember.get_param_store().named_parameters()})
        svis.append(svi)
    assert losses[1] == pytest.approx(losses[0], rel=1e-8)
    torch.testing.assert_close(params[1], params[0], rtol=1e-8, atol=1e-8)
    assert svis[1].capture_report.num_captures == 1 and svis[1].capture_report.captures[0].backend == "native"


class Annealed(poutine.scale_messenger.ScaleMessenger):
    def __init__(self, scale, left):
        super().__init__(scale)
        self.left = left

    def _process_message(self, msg):
        if msg["name"] not in self.left:
            super()._process_message(msg)


INDUCTOR = {
    "guide": lambda: Program(
        lambda: (everywhere.hierarchical, autoguide.AutoNormal(everywhere.hierarchical), (everywhere.Y,))
    ),
    "enumeration": lambda: Program(
        lambda: (mixture, mixture_guide(), (DATA,)), lambda: TraceEnum_ELBO(max_plate_nesting=1)
    ),
    "sleep": lambda: Program(lambda: (wake_model, wake_guide, ()), lambda: ReweightedWakeSleep(3, 0.4)),
}


@pytest.mark.parametrize("name", INDUCTOR)
def test_the_other_compiler(name):
    assert_everywhere(INDUCTOR[name](), ("run",), "inductor")
