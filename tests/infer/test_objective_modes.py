"""Every objective, in every way to run it: the same value after the same seed, the same gradients, the same draws."""

from __future__ import annotations

import math

import pytest
import torch
from tests import zoo
from tests.infer.objectives import ROWS

import ember
import ember.distributions as dist
from ember import poutine
from ember.capture import Interpreter
from ember.capture.backend import Inductor
from ember.infer import ELBO, SVI, Trace_ELBO, TraceGraph_ELBO
from ember.optim import Adam

pytestmark = pytest.mark.usefixtures("float64")
CASES = [
    pytest.param(
        row, make, vectorize, id=f"{row.name}-{make().name}-{'vectorized' if vectorize else 'sequential'}"
    )
    for row in ROWS
    for make in zoo.ALL
    for vectorize in row.vectorized
    if row.accepts(make())
]
FEW = [case for case in CASES if case.values[1] in (zoo.local_normals, zoo.bernoulli_mixture)]


def floats(value):
    parts = value if isinstance(value, tuple) else (value,)
    return [float(part.detach() if isinstance(part, torch.Tensor) else part) for part in parts]


def leaves():
    return dict(ember.get_param_store().named_parameters())


def seeded(run):
    ember.set_rng_seed(5)
    value = run()
    return value, torch.get_rng_state()


@pytest.mark.parametrize("row, make, vectorize", CASES)
def test_losses_gradients_and_draws_agree(row, make, vectorize):
    known = make()
    objective = row.make(vectorize_particles=vectorize)
    programs = (known.model, known.guide, *known.args)
    if not isinstance(objective, ELBO):
        return
    objective.loss_and_grads(*programs)  # parameters come into being, the nesting of plates is found
    for leaf in leaves().values():
        leaf.grad = None
    trained, state = seeded(lambda: objective.loss_and_grads(*programs))
    if row.has_loss:
        value, after = seeded(lambda: objective.loss(*programs))
        assert floats(value) == pytest.approx(floats(trained), abs=1e-10) and torch.equal(after, state)
        assert all(math.isfinite(part) for part in floats(trained))
    else:
        with pytest.raises(NotImplementedError):
            objective.loss(*programs)
    for differentiate in (
        lambda: objective.differentiable_loss(*programs),
        lambda: objective(known.model, known.guide)(*known.args),
    ):
        loss, after = seeded(differentiate)
        assert loss.shape == () and torch.equal(after, state)
        assert loss.item() == pytest.approx(sum(floats(trained)), abs=1e-10)
        for grad, leaf in zip(
            torch.autograd.grad(loss, list(leaves().values())), leaves().values(), strict=True
        ):
            torch.testing.assert_close(grad, leaf.grad, rtol=1e-9, atol=1e-11)


def fitted(row, known, vectorize, how, backend, steps=4):
    ember.clear_param_store()
    ember.set_rng_seed(0)
    objective = row.make(vectorize_particles=vectorize)
    svi = SVI(known.model, known.guide, Adam({"lr": 0.02}), objective, compile=how != "eager")
    svi.programs.backend = backend
    if how == "run":
        losses = svi.run(steps, *known.args, progress=False).losses
    else:
        losses = torch.tensor([svi.step(*known.args) for _ in range(steps)])
    if how != "eager":
        assert svi.capture_report.num_captures == 1, svi.capture_report
    return {
        "losses": losses,
        "params": {n: p.detach().clone() for n, p in leaves().items()},
    }, torch.get_rng_state()


def assert_modes_agree(row, known, vectorize, backend, modes=("compiled", "run")):
    eager, state = fitted(row, known, vectorize, "eager", backend)
    for how in modes:
        captured, after = fitted(row, known, vectorize, how, backend)
        torch.testing.assert_close(captured, eager, rtol=1e-8, atol=1e-8)
        assert torch.equal(after, state)


@pytest.mark.parametrize("row, make, vectorize", FEW)
def test_eager_captured_and_looped_steps_agree(row, make, vectorize):
    assert_modes_agree(row, make(), vectorize, Interpreter())


@pytest.mark.parametrize("name", ["graph", "wake_sleep"])
def test_the_compiler_agrees_too(name):
    row = next(row for row in ROWS if row.name == name)
    assert_modes_agree(row, zoo.normal_normal(), True, Inductor(), ("run",))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_one_object_serves_several_pairs(row):
    def nested(data):
        with ember.plate("outer", 2, dim=-2), ember.plate("inner", 3, dim=-1):
            z = ember.sample("z", dist.Normal(0.0, 1.0))
            ember.sample("x", dist.Normal(z, 1.0), obs=torch.zeros(2, 3))

    def nested_guide(data):
        with ember.plate("outer", 2, dim=-2), ember.plate("inner", 3, dim=-1):
            ember.sample("z", dist.Normal(ember.param("m", torch.zeros(2, 3)), 1.0))

    objective = row.make(vectorize_particles=row.vectorized[-1])
    known = zoo.normal_normal()
    before = dict(vars(objective))
    for model, guide in ((known.model, known.guide), (nested, nested_guide), (known.model, known.guide)):
        SVI(model, guide, Adam({"lr": 0.0}), objective).step(*known.args)
    assert vars(objective) == before


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_is_masked_counts_nowhere(row):
    mask = torch.tensor([True, False, True])
    data = torch.tensor([0.4, 1e100, -0.6])

    def model():
        with ember.plate("rows", 3), poutine.mask(mask=mask):
            z = ember.sample("z", dist.Normal(0.0, 1.0))
            ember.sample("x", dist.Normal(z, 1.0), obs=data)

    def guide():
        loc = ember.param("loc", torch.zeros(3))
        with ember.plate("rows", 3), poutine.mask(mask=mask):
            ember.sample("z", dist.Normal(loc, 1.0))

    svi = SVI(model, guide, Adam({"lr": 0.1}), row.make(vectorize_particles=row.vectorized[-1]))
    assert not any(math.isnan(part) for part in floats(svi.step()))
    assert (leaves()["loc"] != 0).tolist()[::2] == [True, True]
    # Only the discrepancy takes samples as they are, whatever the mask.
    assert leaves()["loc"][1] == 0 or row.name == "mmd"


@pytest.mark.parametrize("objective", [Trace_ELBO, TraceGraph_ELBO])
def test_an_annealing_schedule_asks_for_no_new_program(objective):
    known = zoo.normal_normal()
    model = lambda data, beta: poutine.scale(known.model, scale=beta)(data)
    guide = lambda data, beta: poutine.scale(known.guide, scale=beta)(data)
    losses = {}
    for compiled in (False, True):
        ember.clear_param_store()
        ember.set_rng_seed(0)
        svi = SVI(model, guide, Adam({"lr": 0.02}), objective(), compile=compiled)
        svi.programs.backend = Interpreter()
        losses[compiled] = [svi.step(*known.args, torch.tensor(0.1 * (i + 1))) for i in range(6)]
    assert losses[True] == pytest.approx(losses[False], rel=1e-9)
    assert svi.capture_report.num_captures == 1
