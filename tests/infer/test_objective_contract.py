"""What every objective must do; a new objective adds a row."""

from __future__ import annotations

import copy
import functools
import inspect
import math
import pickle

import pytest
import torch
from tests import zoo

import ember
import ember.distributions as dist
from ember.infer import (
    ELBO,
    SVI,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    TraceTMC_ELBO,
)
from ember.optim import Adam

# Objectives with Pyro's common arguments; test_objective_modes.py has all of them.
# The two that enumerate have nothing to enumerate here, and say so unless told not to.
OBJECTIVES = [
    Trace_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    pytest.param(functools.partial(TraceEnum_ELBO, strict_enumeration_warning=False), id="TraceEnum_ELBO"),
    pytest.param(functools.partial(TraceTMC_ELBO, strict_enumeration_warning=False), id="TraceTMC_ELBO"),
]
pytestmark = [pytest.mark.usefixtures("float64"), pytest.mark.parametrize("objective", OBJECTIVES)]


def _skip_unless_usable(objective, make):
    if objective is TraceMeanField_ELBO and make in zoo.SCORE_FUNCTION:
        pytest.skip("needs a reparameterised guide")


@pytest.mark.parametrize("make", zoo.ALL)
@pytest.mark.parametrize(
    "particles", [{}, {"num_particles": 4}, {"num_particles": 4, "vectorize_particles": True}]
)
def test_losses_agree_and_draw_the_same_numbers(objective, make, particles):
    known = make()
    _skip_unless_usable(objective, make)
    elbo = objective(max_plate_nesting=1, **particles)
    values, states = [], []
    for method in ("loss", "loss_and_grads", "differentiable_loss"):
        ember.set_rng_seed(5)
        value = getattr(elbo, method)(known.model, known.guide, *known.args)
        values.append(float(value.detach() if isinstance(value, torch.Tensor) else value))
        states.append(torch.get_rng_state())
    assert values[1] == pytest.approx(values[0], abs=1e-10) and values[2] == pytest.approx(
        values[0], abs=1e-10
    )
    assert torch.equal(states[0], states[1]) and torch.equal(states[0], states[2])


@pytest.mark.parametrize("make", zoo.ALL)
def test_loss_makes_no_gradients_and_returns_floats(objective, make):
    known = make()
    _skip_unless_usable(objective, make)
    assert type(objective().loss(known.model, known.guide, *known.args)) is float
    assert all(leaf.grad is None for _, leaf in ember.get_param_store().named_parameters())
    assert type(objective().loss_and_grads(known.model, known.guide, *known.args)) is float
    assert all(leaf.grad is not None for _, leaf in ember.get_param_store().named_parameters())


def test_one_object_serves_several_pairs(objective):
    """An objective holds settings only: what it finds out about one pair is not used for another."""
    elbo = objective(num_particles=3, vectorize_particles=True)

    def nested(data):
        with ember.plate("outer", 2, dim=-2), ember.plate("inner", 3, dim=-1):
            ember.sample("z", dist.Normal(0.0, 1.0))

    def nested_guide(data):
        with ember.plate("outer", 2, dim=-2), ember.plate("inner", 3, dim=-1):
            ember.sample("z", dist.Normal(ember.param("m", torch.zeros(2, 3)), 1.0))

    known = zoo.normal_normal()
    before = copy.copy(vars(elbo))
    for model, guide in ((known.model, known.guide), (nested, nested_guide), (known.model, known.guide)):
        assert math.isfinite(elbo.loss(model, guide, *known.args))
    assert vars(elbo) == before


def test_unknown_nesting_costs_one_more_run_and_is_remembered_for_the_pair(objective):
    known = zoo.normal_normal()

    def runs_of_two_calls(**settings):
        runs = []

        def guide(data):
            runs.append(1)
            known.guide(data)

        elbo = objective(num_particles=2, vectorize_particles=True, **settings)
        elbo.loss(known.model, guide, *known.args)
        first = len(runs)
        elbo.loss(known.model, guide, *known.args)
        return first, len(runs) - first

    first, second = runs_of_two_calls()
    assert runs_of_two_calls(max_plate_nesting=1) == (first - 1, second) and second == 1


def test_parameters_made_while_the_nesting_is_found_are_still_trained(objective):
    known = zoo.local_normals()
    svi = SVI(
        known.model, known.guide, Adam({"lr": 0.1}), objective(num_particles=2, vectorize_particles=True)
    )
    svi.step(*known.args)
    assert set(svi.optim.get_state()) == {"loc", "scale"}


def test_particles_stand_left_of_all_plates(objective):
    shapes = []

    def model():
        with ember.plate("rows", 2):
            shapes.append(ember.sample("z", dist.Normal(0.0, 1.0)).shape)
        shapes.append(ember.sample("y", dist.Normal(0.0, 1.0)).shape)

    objective(num_particles=10, vectorize_particles=True, max_plate_nesting=2).loss(model, model)
    assert set(shapes) == {(10, 1, 2), (10, 1, 1), (2,), ()}  # one is run alone, to be compared


def test_module_works_with_a_plain_torch_optimizer(objective):
    class Model(torch.nn.Module):
        def forward(self, data):
            z = ember.sample("z", dist.Normal(0.0, 2.0))
            with ember.plate("data", len(data)):
                ember.sample("x", dist.Normal(z, 0.7), obs=data)

    class Guide(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.loc = torch.nn.Parameter(torch.tensor(0.0))
            self.log_scale = torch.nn.Parameter(torch.tensor(0.0))

        def forward(self, data):
            ember.sample("z", dist.Normal(self.loc, self.log_scale.exp()))

    known = zoo.normal_normal()
    guide = Guide()
    loss = objective(num_particles=20, vectorize_particles=True)(Model(), guide)
    assert isinstance(loss, torch.nn.Module)
    assert {name for name, _ in loss.named_parameters()} == {"guide.loc", "guide.log_scale"}
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.03)
    for _ in range(600):
        optimizer.zero_grad()
        loss(*known.args).backward()
        optimizer.step()
    mean, sd = known.posterior["z" if "z" in known.posterior else "mean"]
    assert guide.loc.item() == pytest.approx(mean, abs=0.15 * sd)
    assert guide.log_scale.exp().item() == pytest.approx(sd, rel=0.15)
    assert len(ember.get_param_store()) == 0


def test_pyros_arguments_are_taken(objective):
    names = (
        *("num_particles", "max_plate_nesting", "max_iarange_nesting", "vectorize_particles"),
        *(
            "strict_enumeration_warning",
            "ignore_jit_warnings",
            "jit_options",
            "retain_graph",
            "tail_adaptive_beta",
        ),
    )
    parameters = inspect.signature(getattr(objective, "func", objective)).parameters
    assert tuple(name for name, p in parameters.items() if p.kind is not p.KEYWORD_ONLY) == names
    objective(ignore_jit_warnings=True, jit_options={"check_trace": True}, retain_graph=True)
    with pytest.warns(DeprecationWarning, match="max_plate_nesting"):
        assert objective(max_iarange_nesting=2).max_plate_nesting == 2
    with pytest.raises(ValueError, match="num_particles"):
        objective(num_particles=0)


def test_objects_are_plain_settings(objective):
    elbo = objective(num_particles=3, max_plate_nesting=2)
    assert isinstance(elbo, ELBO)
    assert vars(pickle.loads(pickle.dumps(elbo))) == vars(elbo)


def test_retained_graphs_can_be_walked_again(objective):
    known = zoo.normal_normal()
    loss = objective().differentiable_loss(known.model, known.guide, *known.args)
    loss.backward(retain_graph=True)
    loss.backward()


def test_nothing_to_differentiate_is_legal(objective):
    def model():
        ember.sample("x", dist.Normal(0.0, 1.0), obs=torch.tensor(0.0))

    def frozen():
        ember.sample("z", dist.Normal(0.0, 1.0))

    def with_latent():
        model()
        frozen()

    assert math.isfinite(objective().loss_and_grads(model, lambda: None))
    assert math.isfinite(objective().loss_and_grads(with_latent, frozen))
