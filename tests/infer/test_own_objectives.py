"""Objectives that users derive, by Ember's one method or by the methods that Pyro's objectives have: each changes the loss by a
known amount."""

from __future__ import annotations

import pytest
import torch

import ember
import ember.distributions as dist
from ember.errors import CaptureError
from ember.infer import (
    ELBO,
    SVI,
    Estimate,
    LeaveOneOut,
    RenyiELBO,
    ReweightedWakeSleep,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
)
from ember.infer.objectives.hooks import OverriddenHookError
from ember.optim import SGD

pytestmark = pytest.mark.usefixtures("float64")
DATA = torch.linspace(-1.0, 2.0, 6)


def model():
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    with ember.plate("rows", len(DATA)):
        ember.sample("x", dist.Normal(z, 1.0), obs=DATA.to(z))


def guide():
    ember.sample("z", dist.Normal(ember.param("loc", torch.tensor(0.5)), 0.4))


def penalty():
    return 3.0 * ember.param("loc") ** 2


def fitted(objective, how="step", steps=5, **options):
    """Losses and the parameter."""
    ember.clear_param_store()
    ember.set_rng_seed(0)
    svi = SVI(model, guide, SGD({"lr": 0.01}), objective, **options)
    if how == "run":
        losses = svi.run(steps, progress=False).losses.tolist()
    else:
        losses = [svi.step() for _ in range(steps)]
    return losses, ember.param("loc").item()


def with_particle_hook(kind):
    class Penalised(kind):
        def _differentiable_loss_particle(self, model_trace, guide_trace):
            loss, surrogate = super()._differentiable_loss_particle(model_trace, guide_trace)
            return loss + penalty().item(), surrogate + penalty()

    return Penalised


def by_hand(kind, **options):
    """The same as a callable loss. Vectorised particles are one pair of traces, whose worth is divided among them."""
    plain = kind(**options)
    share = 1 / plain.num_particles if plain.vectorize_particles else 1.0
    return lambda *programs: plain.differentiable_loss(*programs) + share * penalty()


@pytest.mark.parametrize("kind", [Trace_ELBO, TraceMeanField_ELBO])
@pytest.mark.parametrize(
    "options", [{}, {"num_particles": 3}, {"num_particles": 3, "vectorize_particles": True}]
)
@pytest.mark.parametrize("how, compile", [("step", False), ("step", True), ("run", True), ("run", None)])
def test_what_a_particle_is_worth(kind, options, how, compile):
    losses, loc = fitted(with_particle_hook(kind)(**options), how, compile=compile)
    expected, expected_loc = fitted(by_hand(kind, **options))
    assert losses == pytest.approx(expected, rel=1e-6) and loc == pytest.approx(expected_loc, rel=1e-6)


def test_numbers_are_numbers_in_eager_steps():
    class Watched(Trace_ELBO):
        def _differentiable_loss_particle(self, model_trace, guide_trace):
            loss, surrogate = super()._differentiable_loss_particle(model_trace, guide_trace)
            assert type(loss) is float
            return loss, surrogate

    assert fitted(Watched()) == fitted(Trace_ELBO())


def test_loss_asks_the_hook_where_pyro_does():
    guide()
    for kind, asks in ((Trace_ELBO, False), (TraceMeanField_ELBO, True)):
        ember.set_rng_seed(1)
        plain = kind().loss(model, guide)
        ember.set_rng_seed(1)
        penalised = with_particle_hook(kind)().loss(model, guide)
        assert penalised - plain == pytest.approx(penalty().item() if asks else 0.0)


def test_the_particle_of_the_graph_objective():
    class Penalised(TraceGraph_ELBO):
        def _loss_and_surrogate_loss_particle(self, model_trace, guide_trace):
            elbo, surrogate_loss = super()._loss_and_surrogate_loss_particle(model_trace, guide_trace)
            return elbo - penalty(), surrogate_loss + penalty()

    assert fitted(Penalised())[0] == pytest.approx(fitted(by_hand(TraceGraph_ELBO))[0])


def doubled(trace):
    for key in ("log_prob", "log_prob_sum"):
        trace.nodes["x"][key] = 2 * trace.nodes["x"][key]


def with_trace_hook(kind):
    class Doubled(kind):
        def _get_trace(self, model, guide, args, kwargs):
            model_trace, guide_trace = super()._get_trace(model, guide, args, kwargs)
            doubled(model_trace)
            return model_trace, guide_trace

    return Doubled


def with_traces_hook(kind):
    class Doubled(kind):
        def _get_traces(self, model, guide, args, kwargs):
            for model_trace, guide_trace in super()._get_traces(model, guide, args, kwargs):
                doubled(model_trace)
                yield model_trace, guide_trace

    return Doubled


def doubled_model():
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    with ember.poutine.scale(scale=2.0), ember.plate("rows", len(DATA)):
        ember.sample("x", dist.Normal(z, 1.0), obs=DATA.to(z))


@pytest.mark.parametrize("derive", [with_trace_hook, with_traces_hook])
@pytest.mark.parametrize("kind", [Trace_ELBO, TraceMeanField_ELBO, TraceGraph_ELBO, RenyiELBO])
@pytest.mark.parametrize("options", [{"num_particles": 2}, {"num_particles": 2, "vectorize_particles": True}])
def test_the_traces(derive, kind, options):
    found = [fitted(derive(kind)(**options), compile=compile) for compile in (False, True)]
    global model
    own, model = model, doubled_model
    try:
        expected = fitted(kind(**options))
    finally:
        model = own
    for losses, loc in found:
        assert losses == pytest.approx(expected[0], rel=1e-6) and loc == pytest.approx(expected[1], rel=1e-6)


def test_the_traces_of_an_enumeration():
    seen = []

    class Watched(TraceEnum_ELBO):
        def _get_trace(self, model, guide, args, kwargs):
            seen.append(self.max_plate_nesting)
            return super()._get_trace(model, guide, args, kwargs)

    options = {"strict_enumeration_warning": False}
    assert fitted(Watched(**options)) == fitted(TraceEnum_ELBO(**options)) and seen == [1] * 5


class OwnGradients(Trace_ELBO):
    def loss_and_grads(self, model, guide, *args, **kwargs):
        loss = self.differentiable_loss(model, guide, *args, **kwargs) + penalty()
        loss.backward()
        return loss.item()


def test_own_gradients_are_refused_by_name_and_run_eagerly():
    expected = fitted(by_hand(Trace_ELBO))
    assert fitted(OwnGradients()) == expected
    with pytest.raises(OverriddenHookError, match=r"(?s)OwnGradients\.loss_and_grads.*particle") as caught:
        fitted(OwnGradients(), compile=True)
    assert caught.value.method == "loss_and_grads" and isinstance(caught.value, CaptureError)
    for how, options in (("step", {"compile": "auto"}), ("run", {})):
        with pytest.warns(UserWarning, match="loss_and_grads"):
            assert fitted(OwnGradients(), how, **options)[0] == pytest.approx(expected[0])


class OwnLoss(Trace_ELBO):
    @torch.no_grad()
    def loss(self, model, guide, *args, **kwargs):
        return super().loss(model, guide, *args, **kwargs) + 100.0


def test_an_own_loss_is_evaluated_and_the_step_captured():
    assert fitted(OwnLoss(), compile=True)[0] == pytest.approx(fitted(Trace_ELBO())[0])
    svi = SVI(model, guide, SGD({"lr": 0.01}), OwnLoss(), compile="auto")
    ember.set_rng_seed(0)
    with pytest.warns(UserWarning, match=r"OwnLoss\.loss"):
        losses = [svi.evaluate_loss() for _ in range(3)]
    ember.set_rng_seed(0)
    assert losses == pytest.approx([Trace_ELBO().loss(model, guide) + 100.0 for _ in range(3)])


class Annealed(ELBO):
    """As programs for Pyro make them: no particle, but losses."""

    def _get_trace(self, model, guide, args, kwargs):
        guide_trace = ember.poutine.trace(guide).get_trace(*args, **kwargs)
        model_trace = ember.poutine.trace(ember.poutine.replay(model, trace=guide_trace)).get_trace(
            *args, **kwargs
        )
        return model_trace, guide_trace

    def loss_and_grads(self, model, guide, *args, **kwargs):
        total = 0.0
        for model_trace, guide_trace in self._get_traces(model, guide, args, kwargs):
            loss = (guide_trace.log_prob_sum() - model_trace.log_prob_sum()) / self.num_particles
            loss.backward()
            total += loss.item()
        return total


def test_an_objective_without_a_particle():
    for options in ({}, {"num_particles": 2}, {"num_particles": 2, "vectorize_particles": True}):
        losses, loc = fitted(Annealed(**options))
        expected = fitted(Trace_ELBO(**options))
        assert losses == pytest.approx(expected[0]) and loc == pytest.approx(expected[1])
    with pytest.raises(NotImplementedError, match="Annealed does not say what a pair of traces is worth"):
        Annealed().loss(model, guide)


def test_an_objective_by_its_particle():
    class Tempered(ELBO):
        def particle(self, model_trace, guide_trace):
            value = model_trace.log_prob_sum() - guide_trace.log_prob_sum()
            return Estimate(value, value)

    expected = fitted(Trace_ELBO(num_particles=2))
    for compile in (False, True):
        losses, loc = fitted(Tempered(num_particles=2), compile=compile)
        assert losses == pytest.approx(expected[0]) and loc == pytest.approx(expected[1])
    ember.set_rng_seed(0)
    loss, surrogate = Tempered()._differentiable_loss_particle(
        *next(Tempered()._get_traces(model, guide, (), {}))
    )
    assert loss == surrogate.item()


def test_what_cannot_be_honoured_is_an_error():
    with pytest.raises(TypeError, match="abstract"):
        ELBO()
    with pytest.raises(
        ValueError, match=r"LeaveOneOut\(\).*_differentiable_loss_particle.*leave control_variate out"
    ):
        with_particle_hook(Trace_ELBO)(num_particles=2, control_variate=LeaveOneOut())
    for kind, method in (
        (TraceGraph_ELBO, "_loss_and_surrogate_loss"),
        (ReweightedWakeSleep, "_loss"),
        (Trace_ELBO, "_vectorized_num_particles"),
    ):
        with pytest.raises(TypeError, match=rf"Own\.{method} would never be called"):
            type("Own", (kind,), {method: lambda self: None})


def test_settings_are_read_and_set_as_in_pyro():
    objective = Trace_ELBO(num_particles=2, vectorize_particles=True, max_plate_nesting=1)
    assert (objective.num_particles, objective.max_plate_nesting, objective.vectorize_particles) == (
        2,
        2,
        True,
    )
    objective.vectorize_particles, objective.num_particles, objective.max_plate_nesting = (
        False,
        1,
        float("inf"),
    )
    assert fitted(objective) == fitted(Trace_ELBO())
    objective._guess_max_plate_nesting(model, guide, (), {})
    assert objective.max_plate_nesting == 1 and objective.settings.num_particles == 1
    with pytest.raises(AttributeError):
        objective.settings.num_particles = 3
