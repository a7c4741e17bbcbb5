"""TraceGraph: what is downstream of a sample, baselines, and gradients that are right however a program uses its samples."""

from __future__ import annotations

import itertools

import pytest
import torch
from tests.infer.gradient_samples import assert_means_agree, gradient_of, samples

import ember
import ember.distributions as dist
from ember import poutine
from ember.capture import Interpreter
from ember.distributions import constraints
from ember.distributions.testing import fakes
from ember.infer import SVI, Trace_ELBO, TraceGraph_ELBO
from ember.infer.objectives.tracegraph_elbo import (
    TrackNonReparam,
    _compute_downstream_costs,
    _downstream_costs,
)
from ember.infer.terms.baselines import Baseline
from ember.infer.traces.plates import MultiFrameTensor, get_plate_stacks
from ember.ops.provenance import detach_provenance, get_provenance
from ember.optim import Adam
from ember.poutine.prune import prune_subsample_sites

pytestmark = pytest.mark.usefixtures("float64")


def flat():
    a = ember.sample("a", dist.Bernoulli(0.4))
    b = ember.sample("b", dist.Bernoulli(0.2 + 0.5 * a))
    c = ember.sample("c", dist.Normal(b, 1.0))
    ember.sample("x", dist.Normal(c + a, 1.0), obs=torch.tensor(0.3))


def nested_plates():
    a = ember.sample("a", dist.Bernoulli(0.4))
    with ember.plate("outer", 2, dim=-2):
        b = ember.sample("b", dist.Bernoulli(0.2 + 0.5 * a))
        with ember.plate("inner", 3, dim=-1):
            c = ember.sample("c", dist.Bernoulli(0.1 + 0.3 * a + 0.3 * b))
            ember.sample("x", dist.Normal(c, 1.0), obs=torch.linspace(0, 1, 3))
    ember.sample("y", dist.Normal(a, 1.0), obs=torch.tensor(0.3))


def crossed_plates():
    rows, columns = ember.plate("rows", 2, dim=-2), ember.plate("columns", 3, dim=-1)
    with rows:
        a = ember.sample("a", dist.Bernoulli(0.4))
    with columns:
        b = ember.sample("b", dist.Bernoulli(0.3))
    with rows, columns:
        c = ember.sample("c", dist.Bernoulli(0.1 + 0.3 * a + 0.3 * b))
        ember.sample("x", dist.Normal(c, 1.0), obs=torch.ones(2, 3))


def sequential_in_vectorized():
    a = ember.sample("a", dist.Bernoulli(0.4))
    with ember.plate("outer", 3, dim=-1):
        for i in ember.plate("steps", 2):
            b = ember.sample(f"b_{i}", dist.Bernoulli(0.2 + 0.5 * a))
            ember.sample(f"x_{i}", dist.Normal(b, 1.0), obs=torch.ones(3))


def nested_sequential():
    for i in ember.plate("outer", 2):
        a = ember.sample(f"a_{i}", dist.Bernoulli(0.4))
        for j in ember.plate(f"inner_{i}", 2):
            b = ember.sample(f"b_{i}{j}", dist.Bernoulli(0.2 + 0.5 * a))
            ember.sample(f"x_{i}{j}", dist.Normal(b, 1.0), obs=torch.tensor(1.0))


def chain_of_plates():
    z = ember.sample("z0", dist.Bernoulli(0.4))
    for t in range(1, 3):
        with ember.plate(f"rows_{t}", 2, dim=-1):
            z = ember.sample(f"z{t}", dist.Bernoulli(0.2 + 0.2 * z.sum()))
        z = z.mean()
    ember.sample("x", dist.Normal(z, 1.0), obs=torch.tensor(1.0))


TOPOLOGIES = [
    flat,
    nested_plates,
    crossed_plates,
    sequential_in_vectorized,
    nested_sequential,
    chain_of_plates,
]


def guide_of(model):
    """The same program, with its observations left out."""
    return poutine.block(model, hide_types=["observe"])


def traced(model, guide):
    with TrackNonReparam():
        guide_trace = poutine.trace(guide, graph_type="dense").get_trace()
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace), graph_type="dense").get_trace()
    guide_trace, model_trace = prune_subsample_sites(guide_trace), prune_subsample_sites(model_trace)
    model_trace.compute_log_prob()
    guide_trace.compute_score_parts()
    return model_trace, guide_trace


def descendants(trace, name):
    found, frontier = set(), {name}
    while frontier:
        frontier = set().union(*(trace.successors(node) for node in frontier)) - found
        found |= frontier
    return found


@pytest.mark.parametrize("model", TOPOLOGIES)
def test_downstream_costs_equal_brute_force_over_edges(model):
    model_trace, guide_trace = traced(model, guide_of(model))
    names = set(guide_trace.nonreparam_stochastic_nodes)
    costs, included = _compute_downstream_costs(model_trace, guide_trace, names)
    stacks = get_plate_stacks(model_trace)
    for name in names:
        in_guide = {name} | descendants(guide_trace, name)
        in_model = set().union(*(model_trace.successors(node) for node in in_guide)) - in_guide
        assert included[name] == in_guide | in_model
        expected = MultiFrameTensor()
        for node in in_guide | in_model:
            term = model_trace.nodes[node]["log_prob"]
            if node in in_guide:
                term = term - guide_trace.nodes[node]["log_prob"]
            expected.add((stacks[node], term))
        torch.testing.assert_close(
            torch.as_tensor(costs[name]),
            torch.as_tensor(expected.sum_to(guide_trace.nodes[name]["cond_indep_stack"])),
        )


@pytest.mark.parametrize("model", TOPOLOGIES)
def test_provenance_finds_what_a_sample_can_change(model):
    """A term is downstream of a sample if setting the sample changes it, or a sample that it depends on."""
    model_trace, guide_trace = traced(model, guide_of(model))
    sites = {name: site for name, site in model_trace.nodes.items() if site["type"] == "sample"}
    values = {
        name: detach_provenance(site["value"]) for name, site in sites.items() if not site["is_observed"]
    }
    changed = {name: _changed_terms(model, values, name, sites) for name in values}
    for name in reversed(values):
        changed[name] |= set().union(
            *(changed[later] for later in changed[name] - {name} if later in changed)
        )
    _, allowed = _compute_downstream_costs(model_trace, guide_trace, set(values))
    for name in values:
        if not sites[name]["fn"].has_rsample:
            found = {node for node, site in sites.items() if name in get_provenance(site["log_prob_sum"])}
            assert found == changed[name] <= allowed[name]


def _changed_terms(model, values, name, sites):
    changed = set()
    for other in (0.0, 1.0):
        data = {**values, name: torch.full_like(values[name], other)}
        again = poutine.trace(poutine.condition(model, data=data)).get_trace()
        again.compute_log_prob()
        pairs = {node: (again.nodes[node]["log_prob"], site["log_prob"]) for node, site in sites.items()}
        changed |= {node for node, pair in pairs.items() if not torch.equal(*map(detach_provenance, pair))}
    return changed


def enumerated(model, guide):
    """The exact ELBO of programs all of whose latents are Bernoulli."""
    first = prune_subsample_sites(poutine.trace(guide).get_trace())
    sites = [first.nodes[name] for name in first.stochastic_nodes]
    elbo = 0.0
    shapes = [site["fn"].batch_shape for site in sites]
    for bits in itertools.product([0.0, 1.0], repeat=sum(shape.numel() for shape in shapes)):
        rest, data = list(bits), {}
        for site, shape in zip(sites, shapes, strict=True):
            data[site["name"]] = torch.tensor(rest[: shape.numel()]).reshape(shape)
            rest = rest[shape.numel() :]
        q = poutine.trace(poutine.condition(guide, data=data)).get_trace().log_prob_sum()
        p = poutine.trace(poutine.condition(model, data=data)).get_trace().log_prob_sum()
        elbo = elbo + q.exp() * (p - q)
    return elbo


def learned(model):
    """A guide like the model, with a parameter for each site."""

    def guide():
        with Learned():
            guide_of(model)()

    return guide


class Learned(poutine.Messenger):
    def _pyro_sample(self, msg):
        if not msg["is_observed"] and isinstance(msg["fn"], dist.Bernoulli):
            weight = ember.param(
                "w_" + msg["name"][0], torch.tensor(0.7), constraint=constraints.unit_interval
            )
            fn = dist.Bernoulli(weight * msg["fn"].probs + 0.1)
            msg["fn"] = fn


@pytest.mark.parametrize("model", [nested_sequential, crossed_plates])
@pytest.mark.parametrize("baseline", [None, {"use_decaying_avg_baseline": True}])
def test_gradients_agree_with_enumeration(model, baseline):
    def guide():
        with poutine.infer_config(config_fn=lambda site: {"baseline": baseline} if baseline else {}):
            learned(model)()

    elbo = TraceGraph_ELBO(num_particles=700, vectorize_particles=True)
    rows = samples(elbo, model, guide, batches=20)
    leaves = [leaf for name, leaf in ember.get_param_store().named_parameters() if name[:2] != "__"]
    exact = torch.cat([-g.reshape(-1) for g in torch.autograd.grad(enumerated(model, guide), leaves)])
    assert_means_agree(rows, exact, precision=0.3)


def test_a_sample_that_python_looks_at_is_not_lost():
    """Pyro's gradient is biased here: the choice of the branch leaves no trace in tensors."""

    def model():
        z = ember.sample("z", dist.Bernoulli(0.4))
        loc = 2.0 if z.item() > 0 else 0.0
        ember.sample("x", dist.Normal(loc, 1.0), obs=torch.tensor(1.5))

    def guide():
        ember.sample(
            "z", dist.Bernoulli(ember.param("p", torch.tensor(0.5), constraint=constraints.unit_interval))
        )

    rows = samples(TraceGraph_ELBO(), model, guide, batches=600)
    assert_means_agree(rows, gradient_of(lambda: enumerated(model, guide)))


def test_costs_that_do_not_depend_on_a_sample_do_not_reach_it():
    def gradient(data):
        ember.set_rng_seed(7)
        ember.clear_param_store()

        def model():
            a, b = ember.sample("a", dist.Bernoulli(0.3)), ember.sample("b", dist.Bernoulli(0.3))
            ember.sample("x", dist.Normal(a, 1.0), obs=torch.tensor(0.2))
            ember.sample("y", dist.Normal(b, 1.0), obs=data)

        def guide():
            for name in "ab":
                ember.sample(name, dist.Bernoulli(ember.param(f"p{name}", torch.tensor(0.4))))

        TraceGraph_ELBO().loss_and_grads(model, guide)
        return [ember.param(f"p{name}").unconstrained().grad for name in "ab"]

    before, after = gradient(torch.tensor(0.5)), gradient(torch.tensor(50.0))
    assert before[0] == after[0] and before[1] != after[1]


def test_reparameterised_guides_have_the_gradient_of_the_plain_objective():
    def model():
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        ember.sample("x", dist.Normal(z, 1.0), obs=torch.tensor(1.0))

    def guide():
        ember.sample("z", dist.Normal(ember.param("loc", torch.tensor(0.3)), 1.0))

    rows = []
    for objective in (Trace_ELBO(), TraceGraph_ELBO()):
        ember.set_rng_seed(1)
        rows.append(samples(objective, model, guide, batches=3))
    torch.testing.assert_close(rows[0], rows[1])


def bernoulli_rows(baseline, data=torch.tensor([0.4, 1.7, -0.2])):  # noqa: B008
    def model():
        with ember.plate("rows", 3):
            z = ember.sample("z", dist.Bernoulli(0.3))
            ember.sample("x", dist.Normal(z, 0.5), obs=data)

    def guide():
        probs = ember.param("probs", torch.full((3,), 0.5), constraint=constraints.unit_interval)
        with ember.plate("rows", 3):
            ember.sample(
                "z", dist.Bernoulli(probs), infer={"baseline": baseline() if callable(baseline) else baseline}
            )

    return model, guide


@pytest.mark.parametrize("compiled", [False, True])
def test_a_decaying_average_stays_one_parameter(compiled):
    model, guide = bernoulli_rows({"use_decaying_avg_baseline": True, "baseline_beta": 0.5})
    svi = SVI(model, guide, Adam({"lr": 0.01}), TraceGraph_ELBO(), compile=compiled)
    svi.programs.backend = Interpreter()
    name = "__baseline_avg_downstream_cost_z"
    svi.step()
    leaf, first = ember.param(name).unconstrained(), ember.param(name).detach().clone()
    for _ in range(5):
        svi.step()
    assert ember.param(name).unconstrained() is leaf and not torch.equal(leaf, first)
    assert len(svi.optim.optim_objs) == 2 == len(ember.get_param_store()._param_to_name)
    before = leaf.detach().clone()
    for _ in range(3):
        svi.evaluate_loss()
    assert torch.equal(leaf, before), "evaluating the loss must change nothing"


def test_the_average_is_that_of_the_costs_and_skips_costs_that_are_not_finite():
    costs = []
    model, guide = bernoulli_rows({"use_decaying_avg_baseline": True, "baseline_beta": 0.9})
    average = torch.zeros(3)
    for seed in range(4):
        ember.set_rng_seed(seed)
        TraceGraph_ELBO().loss_and_grads(model, guide)
        ember.set_rng_seed(seed)
        with torch.no_grad():
            guide_trace = poutine.trace(guide).get_trace()
            model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace()
            model_trace.compute_log_prob()
            guide_trace.compute_log_prob()
            cost = sum(model_trace.nodes[n]["log_prob"] for n in "zx") - guide_trace.nodes["z"]["log_prob"]
        costs.append(cost)
        average = 0.9 * average + 0.1 * cost
    stored = ember.param("__baseline_avg_downstream_cost_z").detach().clone()
    torch.testing.assert_close(stored, average)
    bad_model, _ = bernoulli_rows(None, torch.tensor([0.4, float("inf"), 0.0]))
    with pytest.raises(ValueError, match="loss is"), _unchecked():
        TraceGraph_ELBO().loss_and_grads(bad_model, guide)
    assert torch.equal(ember.param("__baseline_avg_downstream_cost_z"), stored)


def _unchecked():
    from ember.infer.traces.validate_all import validation_enabled

    return validation_enabled(False)


def test_baselines_are_fitted_to_the_costs_and_lower_the_variance():
    net = torch.nn.Linear(1, 1)
    features = torch.tensor([[0.4], [1.7], [-0.2]])

    def options():
        ember.module("net", net)
        return {"nn_baseline": lambda x: net(x)[..., 0], "nn_baseline_input": features}

    model, guide = bernoulli_rows(options)
    svi = SVI(model, guide, Adam(lambda name: {"lr": 0.05 if "net" in name else 0.0}), TraceGraph_ELBO())
    for _ in range(300):
        svi.step()
    fitted = net(features)[:, 0].detach()
    assert samples(TraceGraph_ELBO(), model, guide, batches=200)[:, :3].var(0).sum() < (
        samples(TraceGraph_ELBO(), *bernoulli_rows(None), batches=200)[:, :3].var(0).sum()
    )
    # Least squares: the fitted line goes through the mean cost.
    mean_cost = torch.stack([_costs(model, guide) for _ in range(400)]).mean(0)
    assert (fitted - mean_cost).mean().abs() < 0.4


def _costs(model, guide):
    model_trace, guide_trace = traced(model, guide)
    return (
        _downstream_costs(model_trace, guide_trace)["z"]
        .sum_to(guide_trace.nodes["z"]["cond_indep_stack"])
        .detach()
    )


def test_given_baselines_train_their_own_parameters_only():
    value = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    model, guide = bernoulli_rows({"baseline_value": value})
    ember.set_rng_seed(2)
    TraceGraph_ELBO().loss_and_grads(model, guide)
    ember.set_rng_seed(2)
    cost = _costs(model, guide)
    torch.testing.assert_close(value.grad, -2 * (cost - value.detach()))


def test_wrong_options_are_refused_and_named():
    def loss(baseline):
        return TraceGraph_ELBO().loss_and_grads(*bernoulli_rows(baseline))

    with pytest.raises(ValueError, match=r"Unrecognized baseline options.*'z'.*nn_baseline"):
        loss({"nn_base": 1})
    with pytest.raises(AssertionError, match="cannot use baseline_value and nn_baseline simultaneously"):
        loss({"baseline_value": torch.zeros(3), "nn_baseline": torch.nn.Identity()})
    with pytest.raises(ValueError, match="Expected baseline at site z to be"):
        loss({"baseline_value": torch.zeros(2)})
    assert Baseline().baseline_beta == 0.9


def test_a_parameter_made_from_a_sample_is_a_plain_tensor():
    def model():
        ember.sample("z", dist.Bernoulli(0.5))

    def guide():
        z = ember.sample("z", dist.Bernoulli(ember.param("p", torch.tensor(0.5))))
        ember.param("from_sample", lambda: z + 1.0)

    TraceGraph_ELBO().loss_and_grads(model, guide)
    assert type(ember.get_param_store()["from_sample"].unconstrained()) is torch.Tensor


def test_score_functions_agree_with_paths():
    def model():
        ember.sample("z", dist.Gamma(2.0, 1.0))

    def guide(family):
        def run():
            shape = ember.param("shape", torch.tensor(3.0), constraint=constraints.positive)
            ember.sample("z", family(shape, torch.tensor(1.5)))

        return run

    elbo = TraceGraph_ELBO(num_particles=2000, vectorize_particles=True)
    rows = samples(elbo, model, guide(fakes.NonreparameterizedGamma))
    assert_means_agree(rows, samples(elbo, model, guide(dist.Gamma)))


def test_masked_and_impossible_terms_give_no_nan():
    def model():
        with ember.plate("rows", 3), poutine.mask(mask=torch.tensor([True, False, True])):
            z = ember.sample("z", dist.Bernoulli(torch.tensor([0.5, 0.0, 1.0]), validate_args=False))
            ember.sample("x", dist.Normal(z, 1.0), obs=torch.tensor([0.1, float("nan"), 0.3]))

    def guide():
        probs = ember.param("probs", torch.tensor([0.4, 0.6, 0.9]), constraint=constraints.unit_interval)
        with ember.plate("rows", 3), poutine.mask(mask=torch.tensor([True, False, True])):
            ember.sample("z", dist.Bernoulli(torch.where(torch.tensor([True, True, False]), probs, 1.0)))

    with _unchecked():
        rows = samples(TraceGraph_ELBO(), model, guide, batches=20)
    assert rows.isfinite().all() and torch.all(rows[:, 1] == 0)
