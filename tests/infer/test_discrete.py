"""Most probable values, posterior samples and marginals of discrete sites, against sums over all assignments."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
import warnings

import pytest
import torch
from tests.infer.discrete_models import (
    PLATES,
    _elements,
    _key,
    assignments,
    data_of,
    joint,
    programs,
    random_graph,
)

import ember
import ember.distributions as dist
from ember import poutine
from ember.distributions import constraints
from ember.errors import CaptureError
from ember.infer import (
    SVI,
    TraceEnum_ELBO,
    TraceEnumSample_ELBO,
    config_enumerate,
    infer_discrete,
)
from ember.optim import Adam

pytestmark = pytest.mark.usefixtures("float64")


def no_guide(*args):
    pass


@pytest.fixture(autouse=True)
def _sites_summed_out_of_the_model_are_not_missing():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found vars in model but not guide")
        yield


def index_of(node, where):
    """Where an element of a node is in a tensor with the node's plates at their dims."""
    index = [0] * max((-PLATES[p][2] for p in node.plates), default=0)
    for p in node.plates:
        index[PLATES[p][2]] = where[p]
    return tuple(index)


def as_assignment(graph, drawn):
    result = {}
    for node in graph.nodes:
        if node.role == "model":
            shape = [1] * max((-PLATES[p][2] for p in node.plates), default=0)
            for p in node.plates:
                shape[PLATES[p][2]] = PLATES[p][1]
            value = drawn[node.name]
            while value.dim() > len(shape):
                value = value.squeeze(0)
            value = value.expand(shape)
            for where in _elements(node):
                result[_key(node, where)] = int(value[index_of(node, where)])
    return result


def graphs_with_posteriors(seeds, max_assignments):
    for seed in seeds:
        graph = random_graph(seed, ("model",), max_assignments)
        if any(n.role == "model" for n in graph.nodes):
            tables = {n.name: n.table for n in graph.nodes}
            values = list(assignments(graph, "model"))
            data = data_of(graph)
            weights = torch.tensor([float(joint(graph, tables, data | v)) for v in values])
            model, _ = programs(graph, {name: table.log() for name, table in tables.items()}, {})
            yield graph, model, values, weights / weights.sum()


def test_temperature_zero_finds_the_most_probable_values():
    for graph, model, values, posterior in graphs_with_posteriors(range(60), 100):
        best = as_assignment(graph, infer_discrete(model, first_available_dim=-4, temperature=0)())
        assert posterior[values.index(best)] == pytest.approx(posterior.max().item(), rel=1e-9)


def test_marginals_equal_sums():
    elbo = TraceEnum_ELBO(max_plate_nesting=3)
    for graph, model, values, posterior in graphs_with_posteriors(range(60), 100):
        marginals = elbo.compute_marginals(model, no_guide)
        assert list(marginals) == [n.name for n in graph.nodes if n.role == "model"]
        for node in graph.nodes:
            if node.role == "model":
                assert type(marginals[node.name]) is dist.Categorical
                for where in _elements(node):
                    chosen = torch.tensor([v[_key(node, where)] for v in values])
                    exact = torch.stack([posterior[chosen == k].sum() for k in range(node.card)])
                    actual = marginals[node.name].probs[index_of(node, where)]
                    assert torch.allclose(actual, exact, atol=1e-9)


@pytest.mark.parametrize("draw", ["infer_discrete", "sample_posterior"])
def test_samples_have_the_joint_posterior(draw):
    """Frequencies of independent copies of each graph, in one more plate, to 4.5 standard errors."""
    count = 1500
    for graph, model, values, posterior in itertools.islice(graphs_with_posteriors(range(3, 40), 30), 15):
        copies = ember.plate("copies", count, dim=-4)(model)
        if draw == "infer_discrete":
            drawn = infer_discrete(copies, first_available_dim=-5)()
        else:
            drawn = TraceEnum_ELBO(max_plate_nesting=4).sample_posterior(copies, no_guide)
        drawn = {name: value.expand(count, *value.shape[-3:]) for name, value in drawn.items()}
        seen = torch.zeros(len(values))
        for i in range(count):
            one = {name: value[i] for name, value in drawn.items()}
            seen[values.index(as_assignment(graph, one))] += 1
        error = (posterior * (1 - posterior) / count).sqrt()
        assert ((seen / count - posterior).abs() < 4.5 * error + 1e-9).all()


TRANSITION = torch.tensor([[0.85, 0.1, 0.05], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]], dtype=torch.float64)


@config_enumerate
def chain(data):
    x, states = 0, []
    for t in ember.markov(range(len(data))):
        x = ember.sample(f"x{t}", dist.Categorical(TRANSITION[x]))
        states.append(x)
        ember.sample(f"y{t}", dist.Normal(2.0 * x, 1.0), obs=data[t])
    return states


def test_viterbi_over_a_long_chain():
    data = 4.0 * torch.rand(300)
    density = dist.Normal(2.0 * torch.arange(3.0), 1.0).log_prob(data.unsqueeze(-1))
    best, came_from = TRANSITION[0].log() + density[0], []
    for t in range(1, len(data)):
        best, source = (best.unsqueeze(-1) + TRANSITION.log()).max(0)
        came_from.append(source)
        best = best + density[t]
    path = [int(best.argmax())]
    for source in reversed(came_from):
        path.append(int(source[path[-1]]))
    states = infer_discrete(chain, first_available_dim=-1, temperature=0)(data)
    assert [int(x) for x in states] == path[::-1]


def test_marginals_of_a_long_chain_are_those_of_forward_and_backward():
    data = 4.0 * torch.rand(200)
    density = dist.Normal(2.0 * torch.arange(3.0), 1.0).log_prob(data.unsqueeze(-1))
    alpha = [TRANSITION[0].log() + density[0]]
    for t in range(1, 200):
        alpha.append((alpha[-1].unsqueeze(-1) + TRANSITION.log()).logsumexp(0) + density[t])
    beta = [torch.zeros(3)]
    for t in range(199, 0, -1):
        beta.append((TRANSITION.log() + density[t] + beta[-1]).logsumexp(-1))
    exact = (torch.stack(alpha) + torch.stack(beta[::-1])).softmax(-1)
    marginals = TraceEnum_ELBO(max_plate_nesting=0).compute_marginals(chain, no_guide, data)
    assert torch.allclose(torch.stack([marginals[f"x{t}"].probs for t in range(200)]), exact, atol=1e-9)


def test_marginals_keep_the_family_and_know_their_gradients():
    logit = torch.tensor(0.4, requires_grad=True)

    @config_enumerate
    def model():
        with ember.plate("rows", 2):
            coin = ember.sample("coin", dist.Bernoulli(logits=logit))
            ember.sample("hot", dist.OneHotCategorical(torch.tensor([0.2, 0.8])).mask(True))
            ember.sample("count", dist.Binomial(2, torch.tensor(0.3)))
            ember.sample("x", dist.Normal(coin, 1.0), obs=torch.tensor([0.0, 1.0]))

    marginals = TraceEnum_ELBO(max_plate_nesting=1).compute_marginals(model, no_guide)
    shapes = {name: (type(d), d.batch_shape) for name, d in marginals.items()}
    assert shapes["coin"] == (dist.Bernoulli, (2,))
    assert shapes["hot"] == (dist.OneHotCategorical, (2,))
    assert shapes["count"] == (dist.Categorical, (2,))
    assert torch.allclose(marginals["coin"].logits, logit + torch.tensor([-0.5, 0.5]))
    assert torch.allclose(marginals["count"].probs, torch.tensor([0.49, 0.42, 0.09]))
    (gradient,) = torch.autograd.grad(marginals["coin"].logits.sum(), logit)
    assert gradient.item() == pytest.approx(2.0)


def test_masked_data_is_not_looked_at():
    @config_enumerate
    def model(seen):
        k = ember.sample("k", dist.Categorical(torch.tensor([0.6, 0.4])))
        with poutine.mask(mask=seen):
            ember.sample("x", dist.Normal(5.0 * k, 1.0), obs=torch.tensor(5.0))
        return k

    decode = infer_discrete(model, first_available_dim=-1, temperature=0)
    assert int(decode(True)) == 1
    assert int(decode(False)) == 0


def test_scales_do_not_sharpen_posteriors():
    """The posterior of a subsample is that of its rows."""

    @config_enumerate
    def model(scale):
        with poutine.scale(scale=scale):
            k = ember.sample("k", dist.Bernoulli(0.5))
            ember.sample("x", dist.Bernoulli(0.4 + 0.2 * k), obs=torch.ones(()))
        return k

    draws = infer_discrete(model, first_available_dim=-1)
    mean = torch.stack([draws(50.0) for _ in range(800)]).mean().item()
    assert mean == pytest.approx(0.6, abs=4.5 * math.sqrt(0.24 / 800))


def test_values_of_several_dims_are_gathered():
    @config_enumerate
    def model():
        with ember.plate("rows", 2):
            k = ember.sample("k", dist.OneHotCategorical(torch.tensor([0.2, 0.3, 0.5])))
            locs = 3.0 * k.cumsum(-1)
            ember.sample(
                "x", dist.Normal(locs, 1.0).to_event(1), obs=torch.tensor([[3.0, 3, 3], [0.0, 0, 3]])
            )
        return k

    best = infer_discrete(model, first_available_dim=-2, temperature=0)()
    assert torch.equal(best, torch.tensor([[1.0, 0, 0], [0.0, 0, 1]]))


def test_wrong_requests():
    program = config_enumerate(lambda: ember.sample("k", dist.Bernoulli(0.5)))
    with pytest.raises(ValueError, match=r"temperature must be 0 \(map\) or 1 \(sample\) for now"):
        infer_discrete(program, first_available_dim=-1, temperature=2)()
    with pytest.raises(AssertionError, match="first_available_dim"):
        infer_discrete(program, first_available_dim=1)
    plain = infer_discrete(lambda: ember.sample("k", dist.Bernoulli(0.5)), first_available_dim=-1)
    with pytest.warns(UserWarning, match="infer_discrete found no sample sites configured for enumeration"):
        plain()
    decorate = infer_discrete(first_available_dim=-1, strict_enumeration_warning=False)
    assert decorate(lambda: ember.sample("k", dist.Bernoulli(0.5)))().shape == ()


@pytest.mark.parametrize("method", ["compute_marginals", "sample_posterior"])
@pytest.mark.parametrize("reason", ["multiple particles", "guide enumeration"])
@pytest.mark.parametrize("mode", ["parallel", "sequential"])
def test_posteriors_of_one_particle_only(method, reason, mode):
    model = config_enumerate(lambda: ember.sample("k", dist.Bernoulli(0.5)))
    several = reason == "multiple particles"
    elbo = TraceEnum_ELBO(max_plate_nesting=0, num_particles=2 if several else 1)
    guide = no_guide if several else config_enumerate(model, default=mode)
    if not several:
        guide = config_enumerate(lambda: ember.sample("k", dist.Bernoulli(0.5)), default=mode)
    with pytest.raises(
        NotImplementedError, match=rf"TraceEnum_ELBO.{method}\(\) is not compatible with {reason}"
    ):
        getattr(elbo, method)(model, guide)


def test_the_guides_sample_is_kept():
    def model():
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        k = ember.sample("k", dist.Bernoulli(logits=20.0 * z), infer={"enumerate": "parallel"})
        return z, k

    def guide():
        ember.sample("z", dist.Delta(torch.tensor(-2.0)))

    z, k = TraceEnum_ELBO(max_plate_nesting=0).sample_posterior(model, guide)
    assert (z.item(), k.item()) == (-2.0, 0.0)


def mixture(data):
    p = ember.param("p", torch.tensor([0.4, 0.6]), constraint=constraints.simplex)
    loc = ember.sample("loc", dist.Normal(0.0, 1.0))
    with ember.plate("rows", len(data)):
        k = ember.sample("k", dist.Categorical(p), infer={"enumerate": "parallel"})
        ember.sample("x", dist.Normal(10.0 * k + loc, 1.0), obs=data)
    return loc, k


def mixture_guide(data):
    ember.sample("loc", dist.Normal(ember.param("m", torch.tensor(0.2)), 0.1))


@pytest.mark.parametrize("options", [{}, {"num_particles": 3, "vectorize_particles": True}])
def test_saved_runs_are_sampled_from(options):
    elbo = TraceEnumSample_ELBO(max_plate_nesting=1, **options)
    with pytest.raises(RuntimeError, match="needs a loss computed before"):
        elbo.sample_saved()
    data = torch.tensor([0.0, 10.0, 10.0])
    svi = SVI(mixture, mixture_guide, Adam({"lr": 0.01}), elbo)
    svi.step(data)
    loc, k = elbo.sample_saved()
    assert abs(loc).max() < 1.0
    particles = options.get("num_particles", 1)
    assert torch.equal(k.squeeze(), torch.tensor([0, 1, 1]).expand(particles, 3).squeeze())
    loc_again, _ = elbo.sample_saved()
    assert torch.equal(loc, loc_again)
    for other in (copy.deepcopy(elbo), pickle.loads(pickle.dumps(elbo))):
        with pytest.raises(RuntimeError):
            other.sample_saved()


def test_runs_of_compiled_steps_are_not_saved():
    """A recorded program would keep the sample of the step that was recorded."""
    svi = SVI(
        mixture, mixture_guide, Adam({"lr": 0.01}), TraceEnumSample_ELBO(max_plate_nesting=1), compile=True
    )
    data = torch.tensor([0.0, 10.0, 10.0])
    svi.step(data)
    with pytest.raises(CaptureError, match="TraceEnumSample_ELBO keeps the traces"):
        svi.step(data)
