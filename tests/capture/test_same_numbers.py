"""Eager, compiled and looped runs give the same losses and parameters from one seed."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.capture import Interpreter
from ember.capture.choice import backend_of
from ember.infer import SVI, Trace_ELBO
from ember.optim import SGD, Adam, ClippedAdam, ExponentialLR
from tests import zoo
from tests.capture.fitting import assert_all_agree, assert_same, fit, program, simple_guide

pytestmark = pytest.mark.usefixtures("float64")
STEPS = 200


@pytest.mark.parametrize("make", zoo.ALL)
@pytest.mark.parametrize("backend", ["native", "inductor"])
def test_the_zoo(make, backend):
    assert_all_agree(make(), backend_of(backend))


@pytest.mark.parametrize("make", zoo.ALL)
def test_the_zoo_in_float32(make):
    torch.set_default_dtype(torch.float32)
    known = make()
    args = [
        arg.float() if isinstance(arg, torch.Tensor) and arg.is_floating_point() else arg
        for arg in known.args
    ]
    eager = fit(known, "eager", args=args)
    # Rounding to 24 bits, 200 steps of Adam long.
    assert_same(fit(known, "compiled", backend=backend_of("native"), args=args), eager, 2e-3)


@pytest.mark.parametrize("make", zoo.ALL)
@pytest.mark.parametrize("vectorize", [False, True])
def test_particles(make, vectorize):
    loss = lambda: Trace_ELBO(num_particles=3, vectorize_particles=vectorize, max_plate_nesting=1)
    assert_all_agree(make(), Interpreter(), loss=loss)


def test_subsampling_draws_new_rows_in_every_step():
    data = torch.linspace(-1, 2, 50)

    def model(data):
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        with ember.plate("rows", 50, subsample_size=7) as rows:
            ember.sample("x", dist.Normal(z, 0.5), obs=data[rows])

    losses, _, _ = assert_all_agree(program(model, simple_guide, data))
    assert len(set(losses)) == STEPS


def test_given_subsamples_scales_and_masks():
    data = torch.linspace(-1, 2, 50)

    def model(data, rows):
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        with poutine.scale(scale=0.7), ember.plate("rows", 50, subsample=rows):
            with poutine.mask(mask=data[rows] > 0):
                ember.sample("x", dist.Normal(z, 0.5), obs=data[rows])

    assert_all_agree(program(model, simple_guide, data, torch.arange(9)), Interpreter())


def test_batches_a_last_smaller_one_included_are_scaled_right():
    data = torch.linspace(-1, 2, 22)

    def model(batch):
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        with ember.plate("rows", 22, subsample_size=len(batch)):
            ember.sample("x", dist.Normal(z, 0.5), obs=batch)

    def epochs(mode):
        ember.clear_param_store()
        ember.set_rng_seed(0)
        svi = SVI(model, simple_guide, Adam({"lr": 0.02}), Trace_ELBO(), compile=mode)
        svi.programs.backend = Interpreter()
        losses = [svi.step(batch) for _ in range(5) for batch in data.split(5)]
        return losses, dict(ember.get_param_store().named_parameters()), svi

    compiled = epochs(True)
    assert_same(compiled, epochs(False))
    assert ember.capture.explain(compiled[2]).num_captures == 2


@dataclass
class Batch:
    x: torch.Tensor
    noise: float
    extra: dict


def test_nested_and_keyword_arguments():
    def model(batch, *, more):
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        with ember.plate("rows", len(batch.x)):
            ember.sample("x", dist.Normal(z + more[0] + batch.extra["shift"], batch.noise), obs=batch.x)

    known = program(model, lambda batch, *, more: simple_guide())
    known = dataclasses.replace(known, args=(Batch(torch.arange(4.0), 0.5, {"shift": torch.tensor(0.2)}),))
    eager = fit(known, "eager", more=(torch.tensor(0.1), "static"))
    assert_same(fit(known, "compiled", backend=Interpreter(), more=(torch.tensor(0.1), "static")), eager)
    assert_same(fit(known, "run", backend=Interpreter(), more=(torch.tensor(0.1), "static")), eager)


def make_net(batch_norm):
    torch.manual_seed(0)
    middle = [torch.nn.BatchNorm1d(6)] if batch_norm else []
    # A bias before the norm does nothing: its gradient is rounding error, of which Adam makes full steps.
    return torch.nn.Sequential(
        torch.nn.Linear(3, 6, bias=not batch_norm),
        *middle,
        torch.nn.Tanh(),
        torch.nn.Dropout(0.2),
        torch.nn.Linear(6, 2),
    )


@pytest.mark.parametrize("batch_norm", [False, True])
def test_modules_their_buffers_and_dropout(batch_norm):
    data = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))

    def trained(how):
        net = make_net(batch_norm)

        def model(data):
            ember.module("net", net)
            with ember.plate("rows", len(data)):
                out = net(data)
                z = ember.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                ember.sample("x", dist.Normal(out + z, 1.0).to_event(1), obs=data[:, :2])

        def guide(data):
            loc = ember.param("loc", torch.zeros(8, 2))
            with ember.plate("rows", len(data)):
                ember.sample("z", dist.Normal(loc, 0.3).to_event(1))

        fitted = fit(program(model, guide, data), how, steps=60)
        return fitted, {name: value.clone() for name, value in net.state_dict().items()}, net

    eager, eager_state, _ = trained("eager")
    for how in ("compiled", "run"):
        captured, state, net = trained(how)
        assert_same(captured, eager)
        for name, value in state.items():
            torch.testing.assert_close(value, eager_state[name], rtol=1e-8, atol=1e-8)
        assert all(own is ember.param(f"net$$${name}") for name, own in net.named_parameters())


def test_training_mode_is_part_of_the_key():
    net = make_net(batch_norm=True)
    data = torch.randn(8, 3)

    def model(data):
        ember.module("net", net)
        with ember.plate("rows", 8):
            ember.sample("x", dist.Normal(net(data), 1.0).to_event(1), obs=data[:, :2])

    svi = SVI(model, lambda data: None, SGD({"lr": 0.01}), Trace_ELBO(), compile=True)
    svi.programs.backend = Interpreter()
    for _ in range(4):
        svi.step(data)
    net.eval()
    means = net[1].running_mean.clone()
    eager = SVI(model, lambda data: None, SGD({"lr": 0.01}), Trace_ELBO()).evaluate_loss(data)
    first = svi.evaluate_loss(data)
    svi.step(data)
    assert first == pytest.approx(eager)
    assert torch.equal(net[1].running_mean, means)


def test_schedulers_never_capture_again():
    known = zoo.normal_normal()
    optim = lambda: ExponentialLR({"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.1}, "gamma": 0.97})
    assert_all_agree(known, Interpreter(), optim=optim, after_step=lambda svi: svi.optim.step())


def test_clipping_and_options_by_parameter():
    known = zoo.local_normals()
    optim = lambda: Adam(lambda name: {"lr": 0.1 if name == "loc" else 0.01}, {"clip_norm": 0.3})
    assert_all_agree(known, Interpreter(), optim=optim)
    assert_all_agree(known, Interpreter(), optim=lambda: SGD({"lr": 0.01}, {"clip_global_norm": 0.5}))
    assert_all_agree(known, Interpreter(), optim=lambda: SGD({"lr": 0.01}, {"clip_value": 0.2}))


def test_a_learning_rate_that_the_optimizer_decays_can_be_read():
    known = zoo.normal_normal()
    eager, compiled = (
        fit(known, how, optim=lambda: ClippedAdam({"lr": 0.1, "lrd": 0.99})) for how in ("eager", "compiled")
    )
    assert_same(compiled, eager)
    rates = [
        [view.param_groups[0]["lr"] for view in svi.optim.optim_objs.values()]
        for _, _, svi in (eager, compiled)
    ]
    assert rates[0] == pytest.approx(rates[1])


def test_a_learning_rate_set_by_hand_counts_at_once():
    known = zoo.normal_normal()
    svi = fit(known, "compiled", optim=lambda: SGD({"lr": 0.01}), steps=5)[2]
    for view in svi.optim.optim_objs.values():
        view.param_groups[0]["lr"] = 0.0
    before = ember.param("loc").item()
    svi.step(*known.args)
    assert ember.param("loc").item() == before
    assert ember.capture.explain(svi).num_captures == 1


@pytest.mark.parametrize("make", zoo.ALL)
def test_evaluate_loss(make):
    known = make()
    results = {}
    for mode in (False, True):
        ember.clear_param_store()
        ember.set_rng_seed(0)
        svi = SVI(known.model, known.guide, Adam({"lr": 0.1}), Trace_ELBO(), compile=mode)
        svi.programs.backend = Interpreter()
        results[mode] = [svi.evaluate_loss(*known.args) for _ in range(10)]
        leaves = [leaf.detach().clone() for _, leaf in ember.get_param_store().named_parameters()]
        results[mode] += [svi.evaluate_loss(*known.args) for _ in range(10)]
        for leaf, (_, now) in zip(leaves, ember.get_param_store().named_parameters(), strict=True):
            assert torch.equal(leaf, now) and now.grad is None
        assert svi.optim.get_state() == {}
    assert results[True] == pytest.approx(results[False], rel=1e-9)


def test_callable_losses():
    def loss(model, guide, *args):
        return Trace_ELBO().differentiable_loss(model, guide, *args)

    assert_all_agree(zoo.normal_normal(), Interpreter(), loss=lambda: loss)


def test_float32_agrees_to_its_precision():
    torch.set_default_dtype(torch.float32)
    known = zoo.beta_bernoulli()
    assert_same(fit(known, "compiled"), fit(known, "eager"), tolerance=2e-4)


def test_parameters_replaced_by_the_user_are_seen():
    known = zoo.normal_normal()
    svi = fit(known, "compiled", backend=Interpreter(), steps=5)[2]
    ember.get_param_store()["loc"] = torch.tensor(7.0)
    svi.step(*known.args)
    svi.step(*known.args)
    assert abs(ember.param("loc").item() - 7.0) < 0.1
    assert math.isfinite(svi.step(*known.args))
