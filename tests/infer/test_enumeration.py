"""Enumerated objectives against explicit sums, and their gradients against those of the sums."""

from __future__ import annotations

import itertools
import math
import warnings

import pytest
import torch
from tests.infer.discrete_models import elbo_by_loops, programs, random_graph

import ember
import ember.distributions as dist
from ember.distributions import constraints
from ember.infer import TraceEnum_ELBO, config_enumerate
from ember.infer.enumeration.dice import LAST_CACHE_SIZE

pytestmark = pytest.mark.usefixtures("float64")
ROLES = {"model": ("model",), "guide": ("guide",), "both": ("model", "guide")}


def no_guide(*args):
    pass


@pytest.fixture(autouse=True)
def _sites_summed_out_of_the_model_are_not_missing():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found vars in model but not guide")
        yield


def logits_of(graph, grad=False):
    model = {n.name: n.table.log().requires_grad_(grad) for n in graph.nodes}
    guide = {n.name: n.proposal.log().requires_grad_(grad) for n in graph.nodes if n.role == "guide"}
    return model, guide


@pytest.mark.parametrize("roles", ROLES)
@pytest.mark.parametrize("block", range(5))
def test_losses_equal_sums_over_all_assignments(roles, block):
    """Plates as a tree, masks, scales, impossible values, parallel and sequential enumeration."""
    checked = 0
    for seed in range(25 * block, 25 * block + 25):
        graph = random_graph(seed, ROLES[roles], max_assignments=250)
        model, guide = programs(graph, *logits_of(graph))
        if not all(n.role == "observed" for n in graph.nodes):
            tables = {n.name: n.table for n in graph.nodes}
            proposals = {n.name: n.proposal for n in graph.nodes if n.role == "guide"}
            expected = -float(elbo_by_loops(graph, tables, proposals))
            loss = TraceEnum_ELBO(max_plate_nesting=3).loss(model, guide)
            assert loss == pytest.approx(expected, rel=1e-10, abs=1e-10), seed
            checked += 1
    assert checked > 20


@pytest.mark.parametrize("roles", ROLES)
def test_gradients_equal_those_of_the_sums(roles):
    for seed in range(200, 220):
        graph = random_graph(seed, ROLES[roles], max_assignments=30)
        model_logits, guide_logits = logits_of(graph, grad=True)
        leaves = [*model_logits.values(), *guide_logits.values()]
        tables, proposals = (
            {name: x.softmax(-1) for name, x in part.items()} for part in (model_logits, guide_logits)
        )
        expected = elbo_by_loops(graph, tables, proposals)
        model, guide = programs(graph, model_logits, guide_logits)
        loss = TraceEnum_ELBO(max_plate_nesting=3, strict_enumeration_warning=False).differentiable_loss(
            model, guide
        )
        assert torch.allclose(-loss, expected)
        for actual, exact in zip(
            torch.autograd.grad(-loss, leaves, materialize_grads=True, allow_unused=True),
            torch.autograd.grad(expected, leaves, materialize_grads=True, allow_unused=True),
            strict=True,
        ):
            assert torch.allclose(actual, exact, atol=1e-9), seed


def local_model(x):
    z = ember.sample("z", dist.Bernoulli(0.4))
    with ember.plate("rows", len(x)):
        k = ember.sample("k", dist.Categorical(torch.tensor([0.2, 0.3, 0.5])))
        ember.sample("x", dist.Normal(k + 2.0 * z, 1.0), obs=x)


def local_guide(modes):
    def guide(x):
        q = ember.param("q", torch.tensor(0.35), constraint=constraints.unit_interval)
        w = ember.param("w", torch.tensor([0.1, -0.3, 0.2]))
        z = ember.sample("z", dist.Bernoulli(q), infer={"enumerate": modes[0]})
        with ember.plate("rows", len(x)):
            logits = w * (1.0 + z.unsqueeze(-1)) * torch.arange(1.0, 3.0).unsqueeze(-1)
            ember.sample("k", dist.Categorical(logits=logits), infer={"enumerate": modes[1]})

    return guide


def loss_and_gradients(elbo, model, guide, *args):
    ember.clear_param_store()
    loss = elbo.loss_and_grads(model, guide, *args)
    return loss, {name: p.grad for name, p in ember.get_param_store().named_parameters()}


DATA = torch.tensor([0.5, 2.5], dtype=torch.float64)


@pytest.mark.parametrize(
    "modes",
    [(None, None), ("parallel", None), (None, "parallel"), (None, "sequential"), ("sequential", None)],
)
def test_dice_gradients_are_unbiased(modes):
    """Sites that are sampled, enumerated or both: the mean over many particles is the exact gradient, to 4.5 standard errors."""
    _, exact = loss_and_gradients(
        TraceEnum_ELBO(max_plate_nesting=1), local_model, local_guide(("parallel", "parallel")), DATA
    )
    runs, each = 40, 400
    elbo = TraceEnum_ELBO(
        max_plate_nesting=1, num_particles=each, vectorize_particles=True, strict_enumeration_warning=False
    )
    draws = [loss_and_gradients(elbo, local_model, local_guide(modes), DATA)[1] for _ in range(runs)]
    for name, gradient in exact.items():
        samples = torch.stack([draw[name] for draw in draws])
        error = samples.std(0) / math.sqrt(runs)
        assert ((samples.mean(0) - gradient).abs() < 4.5 * error + 1e-9).all(), name


@pytest.mark.parametrize(
    "modes", [(a, b) for a in ("parallel", "sequential") for b in ("parallel", "sequential")]
)
def test_all_ways_to_enumerate_agree(modes):
    both = TraceEnum_ELBO(max_plate_nesting=1), local_model
    loss, gradients = loss_and_gradients(*both, local_guide(("parallel", "parallel")), DATA)
    other_loss, other_gradients = loss_and_gradients(*both, local_guide(modes), DATA)
    assert other_loss == pytest.approx(loss, abs=1e-12)
    for name in gradients:
        assert torch.allclose(gradients[name], other_gradients[name], atol=1e-12)


def test_sequential_values_share_the_graph_of_what_was_sampled_before():
    def model():
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        ember.sample("k", dist.Bernoulli(logits=z))

    def guide():
        loc = ember.param("loc", torch.tensor(0.3))
        scale = ember.param("scale", torch.tensor(0.7), constraint=constraints.positive)
        z = ember.sample("z", dist.Normal(loc, scale))
        ember.sample("k", dist.Bernoulli(logits=0.5 * z), infer={"enumerate": "sequential"})

    ember.set_rng_seed(3)
    loss, gradients = loss_and_gradients(TraceEnum_ELBO(max_plate_nesting=0), model, guide)
    noise = (gradients["scale"] * 0).item()  # the draw itself follows from the seed
    ember.set_rng_seed(3)
    z = 0.3 + 0.7 * torch.randn(()).item() + noise
    q, p = torch.sigmoid(torch.tensor([0.5 * z, z]))
    divergence = q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()
    prior = dist.Normal(0.0, 1.0).log_prob(torch.tensor(z)) - dist.Normal(0.3, 0.7).log_prob(torch.tensor(z))
    assert loss == pytest.approx(float(divergence - prior), abs=1e-9)
    assert all(torch.isfinite(g).all() for g in gradients.values())


@pytest.mark.parametrize(
    "particles", [{}, {"num_particles": 3}, {"num_particles": 3, "vectorize_particles": True}]
)
def test_losses_agree_and_second_derivatives_exist(particles):
    elbo = TraceEnum_ELBO(max_plate_nesting=1, **particles)
    guide = local_guide((None, "parallel"))
    values = []
    for method in (elbo.loss, elbo.loss_and_grads, elbo.differentiable_loss):
        ember.set_rng_seed(7)
        values.append(method(local_model, guide, DATA))
    assert values[1] == pytest.approx(values[0], abs=1e-12)
    assert values[2].item() == pytest.approx(values[0], abs=1e-12)
    w = dict(ember.get_param_store().named_parameters())["w"]
    (first,) = torch.autograd.grad(values[2], w, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), w)
    assert torch.isfinite(second).all() and second.abs().sum() > 0


def test_subsampling_is_unbiased():
    """Each half of the data, weighed twice, averages to all of it."""
    data = torch.tensor([0.1, 2.0, -1.0, 0.7])

    @config_enumerate
    def model(rows):
        p = ember.param("p", torch.tensor([0.3, 0.7]), constraint=constraints.simplex)
        with ember.plate("rows", 4, subsample=rows) as i:
            k = ember.sample("k", dist.Categorical(p))
            ember.sample("x", dist.Normal(k * 1.0, 1.0), obs=data[i])

    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    full, full_gradient = loss_and_gradients(elbo, model, no_guide, torch.arange(4))
    halves = [loss_and_gradients(elbo, model, no_guide, rows) for rows in torch.arange(4).reshape(2, 2)]
    assert sum(loss for loss, _ in halves) / 2 == pytest.approx(full, abs=1e-12)
    assert torch.allclose(sum(g["p"] for _, g in halves) / 2, full_gradient["p"])


@pytest.mark.parametrize("place", ["model", "guide"])
def test_long_chains_are_linear_in_their_steps(place):
    """The operations of an expectation, and the dims in use, do not grow faster than the chain."""
    transition = torch.tensor([[0.8, 0.2], [0.3, 0.7]])
    ranks = []

    def chain(data, observe):
        x = 0
        for t in ember.markov(range(len(data))):
            x = ember.sample(f"x{t}", dist.Categorical(transition[x]), infer={"enumerate": "parallel"})
            ranks.append(x.dim())
            if observe:
                ember.sample(f"y{t}", dist.Normal(x.to(data), 1.0), obs=data[t])

    def model(data):
        chain(data, observe=True)

    def guide(data):
        if place == "guide":
            chain(data, observe=False)

    def operations(steps):
        loss = TraceEnum_ELBO(max_plate_nesting=0).loss(model, guide, torch.zeros(steps))
        assert math.isfinite(loss)
        return sum(LAST_CACHE_SIZE[0].values())

    few, many = operations(20), operations(200)
    assert many <= 10.5 * few
    assert max(ranks) <= 2


def test_a_thousand_steps_equal_the_forward_algorithm():
    transition = torch.tensor([[0.8, 0.2], [0.3, 0.7]])
    data = torch.sin(torch.arange(1000.0))

    def model():
        x = 0
        for t in ember.markov(range(1000)):
            x = ember.sample(f"x{t}", dist.Categorical(transition[x]), infer={"enumerate": "parallel"})
            ember.sample(f"y{t}", dist.Normal(x.to(data), 1.0), obs=data[t])

    alpha = torch.tensor([0.0, -math.inf])
    for y in data:
        alpha = (alpha.unsqueeze(-1) + transition.log()).logsumexp(0)
        alpha = alpha + dist.Normal(torch.arange(2.0), 1.0).log_prob(y)
    loss = TraceEnum_ELBO(max_plate_nesting=0).loss(model, no_guide)
    assert loss == pytest.approx(-alpha.logsumexp(0).item(), rel=1e-12)


def test_values_of_several_dims_are_enumerated():
    w = torch.tensor([0.2, 0.5, 0.3])
    x = torch.tensor([0.5, -0.5])

    @config_enumerate
    def model():
        with ember.plate("rows", 2):
            k = ember.sample("k", dist.OneHotCategorical(w))
            ember.sample("x", dist.Normal((k * torch.arange(3.0)).sum(-1), 1.0), obs=x)

    density = dist.Normal(torch.arange(3.0), 1.0).log_prob(x.unsqueeze(-1))
    assert TraceEnum_ELBO().loss(model, no_guide) == pytest.approx(
        -(density + w.log()).logsumexp(-1).sum().item(), abs=1e-12
    )


@pytest.mark.parametrize("mode", ["parallel", "sequential"])
@pytest.mark.parametrize("inner", ["chain", "each step", "once"])
def test_a_chain_of_the_guide_with_sites_of_the_model(mode, inner):
    """x is a chain in the guide; y, a chain too or alone, is summed out of the model. Their dims must not meet."""
    torch.manual_seed(2)
    q, p, w = torch.rand(2, 2).softmax(-1), torch.rand(2, 2).softmax(-1), torch.rand(2, 2, 2).softmax(-1)
    data = torch.tensor([0.2, -0.4, 1.3])
    likelihood = dist.Normal(torch.arange(2.0), 1.0).log_prob(data.unsqueeze(-1)).exp()

    def guide():
        x = torch.tensor(0)
        for t in ember.markov(range(3)):
            x = ember.sample(f"x{t}", dist.Categorical(q[x]), infer={"enumerate": mode})

    @config_enumerate
    def model():
        y = torch.tensor(0)
        if inner == "once":
            y = ember.sample("y", dist.Categorical(p[0]))
        x = torch.tensor(0)
        for t in ember.markov(range(3)):
            x = ember.sample(f"x{t}", dist.Categorical(p[x]))
            if inner != "once":
                previous = y if inner == "chain" else torch.tensor(0)
                y = ember.sample(f"y{t}", dist.Categorical(w[x, previous]))
            ember.sample(f"o{t}", dist.Normal((x + y) % 2 * 1.0, 1.0), obs=data[t])

    def joint(xs, ys):
        weight, x, y = (p[0, ys[0]] if inner == "once" else torch.tensor(1.0)), 0, 0
        for t in range(3):
            weight = weight * p[x, xs[t]]
            x = xs[t]
            if inner == "once":
                y = ys[0]
            else:
                weight = weight * w[x, y if inner == "chain" else 0, ys[t]]
                y = ys[t]
            weight = weight * likelihood[t, (x + y) % 2]
        return weight

    expected = 0.0
    for xs in itertools.product((0, 1), repeat=3):
        proposal = math.prod(q[a, b] for a, b in itertools.pairwise((0, *xs)))
        evidence = sum(joint(xs, ys) for ys in itertools.product((0, 1), repeat=1 if inner == "once" else 3))
        expected += proposal * (evidence.log() - proposal.log())
    loss = TraceEnum_ELBO(max_plate_nesting=0).loss(model, guide)
    assert loss == pytest.approx(-expected.item(), abs=1e-12)
