"""What a program is for: a second model, a changed argument or setting never gets the numbers of the first."""

from __future__ import annotations

import logging
import math
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
import torch

import ember
import ember.distributions as dist
from ember import optim
from ember.capture import Interpreter
from ember.errors import CaptureError
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoNormal
from tests.capture.fitting import data, new_svi, parameters, simple_guide, simple_model

pytestmark = pytest.mark.usefixtures("float64")


def other_model(data):
    z = ember.sample("z", dist.Normal(3.0, 1.0))
    with ember.plate("rows", len(data)):
        ember.sample("x", dist.Normal(z, 2.0), obs=data)


def other_guide(data):
    ember.sample("z", dist.Normal(ember.param("other", torch.tensor(1.0)), 0.1))


def shifted(data, shift=0.0, **kwargs):
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    ember.sample("x", dist.Normal(z, 0.5).expand([len(data)]).to_event(1), obs=data + shift)


def alike(calls, loss=Trace_ELBO, **options):
    """Run a script of calls on an eager and on a compiled SVI; both must give the same numbers at every point."""
    results = []
    for mode in (False, True):
        svi = new_svi(compile=mode, loss=loss(), **options)
        results.append(([float(value) for value in calls(svi)], parameters()))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-9, abs=1e-9, nan_ok=True)
    torch.testing.assert_close(results[0][1], results[1][1])
    return svi


def test_swapped_model_and_guide():
    def calls(svi):
        for model in (simple_model, other_model, simple_model):
            svi.model = model
            yield from (svi.step(data()) for _ in range(4))
            yield svi.evaluate_loss(data())
        svi.guide = other_guide
        yield from (svi.step(data()) for _ in range(4))

    svi = alike(calls)
    assert ember.capture.explain(svi).num_captures == 4


def test_bound_methods_are_keyed_by_their_object():
    class Model:
        def __init__(self, loc):
            self.loc = loc

        def __call__(self, data):
            self.run(data)

        def run(self, data):
            shifted(data, self.loc)

    def calls(svi):
        first, second = Model(0.0), Model(2.0)
        for model in (first.run, second.run, first.run, first, second):
            svi.model = model
            yield from (svi.step(data()) for _ in range(3))

    alike(calls)


def test_one_objective_for_two_svis():
    def calls(svi):
        second = SVI(other_model, simple_guide, svi.optim, svi._objective, compile=svi.compile)
        second.programs.backend = Interpreter()
        for _ in range(5):
            yield svi.step(data())
            yield second.step(data())

    alike(calls, loss=lambda: Trace_ELBO(num_particles=2, vectorize_particles=True, max_plate_nesting=1))


def test_settings_of_the_objective():
    def calls(svi):
        yield from (svi.step(data()) for _ in range(3))
        for particles in (3, 1, 3):
            owner = getattr(svi._objective, "__self__", svi._objective)
            owner.num_particles = particles
            yield from (svi.step(data()) for _ in range(3))

    alike(calls)
    alike(calls, loss=lambda: Trace_ELBO().differentiable_loss)


Pair = namedtuple("Pair", ["a", "b"])


@pytest.mark.parametrize(
    "values",
    [
        (0.0, 1.0, 0.0, 2.0),
        (1, 1.0, True),
        (torch.tensor(0.0), torch.tensor(1.0), 1.0),
        (np.array(1.0), np.array(2.0)),
        (torch.zeros(3), torch.ones(1), torch.ones(3)),
    ],
)
def test_static_and_tensor_arguments(values):
    def calls(svi):
        for value in values:
            yield from (
                svi.step(data(), torch.as_tensor(value) if isinstance(value, np.ndarray) else value)
                for _ in range(3)
            )

    alike(calls, model=shifted)


WRAPPERS = [
    lambda v: [v],
    lambda v: {"a": v},
    lambda v: OrderedDict(a=v),
    lambda v: Pair(v, 1),
    lambda v: (v, {"x": [v]}),
]


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_structures(wrap):
    def model(data, structure):
        while not isinstance(structure, (torch.Tensor, float)):
            structure = structure["a"] if isinstance(structure, dict) else structure[0]
        shifted(data, structure)

    def calls(svi):
        for value in (torch.tensor(1.0), torch.tensor(2.0), 1.0, 2.0):
            yield from (svi.step(data(), wrap(value)) for _ in range(3))

    svi = alike(calls, model=model)
    assert ember.capture.explain(svi).num_captures == 3


def test_shapes_dtypes_strides():
    x = torch.arange(12.0).reshape(3, 4) / 10

    def model(x):
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        ember.sample("x", dist.Normal(z, 0.5).expand(x.shape).to_event(x.dim()), obs=x.double())

    def calls(svi):
        for value in (x, x.t(), x[:2], x[:, 0], x.float(), x.int(), x):
            yield from (svi.step(value) for _ in range(3))

    alike(calls, model=model)


def test_data_changed_in_place_is_seen():
    def calls(svi):
        x = data()
        for shift in range(5):
            x += 0.1 * shift
            yield svi.step(x)
            yield svi.evaluate_loss(x)

    alike(calls)


def test_an_argument_that_the_program_changes():
    def model(data, count):
        count += 1
        shifted(data, count)

    def calls(svi):
        count = torch.tensor(0.0)
        for _ in range(6):
            yield svi.step(data(), count)
            yield count

    alike(calls, model=model)


def test_a_tensor_of_a_closure_changed_in_place_is_seen():
    shift = torch.tensor(0.0)

    def calls(svi):
        shift.zero_()
        for _ in range(6):
            yield svi.step(data())
            shift.add_(0.5)

    alike(calls, model=lambda data: shifted(data, shift))


def test_the_default_dtype():
    def model():
        z = ember.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        ember.sample("x", dist.Normal(z.sum() + torch.ones(3).sum() / 3, 1.0), obs=torch.tensor(0.5))

    def guide():
        ember.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        ember.param("loc", torch.tensor(0.3))

    svi = new_svi(model, guide)
    losses = [svi.evaluate_loss() for _ in range(3)]
    torch.set_default_dtype(torch.float32)
    assert svi.evaluate_loss() not in losses
    assert len(svi.programs.entries) == 2


def test_the_parameter_store_in_use():
    def calls(svi):
        stores = [ember.params.ParamStoreDict() for _ in range(2)]
        for store in (*stores, *stores):
            with store.active():
                yield from (svi.step(data()) for _ in range(3))
        yield from (svi.step(data()) for _ in range(3))

    alike(calls)


def test_arguments_that_are_new_in_every_step_do_not_fill_the_memory(caplog):
    svi = new_svi(shifted)
    with caplog.at_level(logging.WARNING, "ember.capture"):
        for step in range(150):
            svi.step(data(), 0.001 * step, label=f"batch {step}")
    assert len(svi.programs.entries) <= 65
    assert "pass numbers that change from step to step as tensors" in caplog.text


def test_autocast_is_part_of_the_key():
    net = torch.nn.Linear(3, 3, dtype=torch.float32)

    def model(data):
        ember.module("net", net)
        ember.sample("x", dist.Normal(net(data.float()).double(), 1.0).to_event(1), obs=data)

    svi = new_svi(model, lambda data: None, optim=optim.SGD({"lr": 0.0}))
    plain = [svi.evaluate_loss(data()) for _ in range(3)]
    with torch.autocast("cpu", torch.bfloat16):
        cast = [svi.evaluate_loss(data()) for _ in range(3)]
    assert plain[0] == pytest.approx(plain[2], rel=1e-9) and cast[0] == pytest.approx(cast[2], rel=1e-9)
    assert plain[0] != cast[0]


def test_numpy_arguments_by_content():
    svi = new_svi(lambda data, array: shifted(data, float(array[0])))
    eager = [
        SVI(svi.model, svi.guide, optim.SGD({"lr": 0.0}), Trace_ELBO()).evaluate_loss(
            data(), np.array([value, 2.0])
        )
        for value in (1.0, 5.0)
    ]
    assert all(map(math.isfinite, eager))
    for value in (1.0, 1.0, 1.0, 5.0, 5.0, 5.0):
        ember.set_rng_seed(1)
        first = svi.evaluate_loss(data(), np.array([value, 2.0]))
        ember.set_rng_seed(1)
        fresh = SVI(svi.model, svi.guide, optim.SGD({"lr": 0.0}), Trace_ELBO())
        assert first == pytest.approx(fresh.evaluate_loss(data(), np.array([value, 2.0])))


def test_modes_of_modules():
    net = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(0.5))

    def model(data):
        ember.module("net", net)
        ember.sample("x", dist.Normal(net(data), 1.0).to_event(1), obs=data)

    def calls(svi):
        torch.manual_seed(0)
        with torch.no_grad():
            for p in net.parameters():
                p.copy_(torch.randn_like(p))
        for mode in (True, False, True):
            net[1].train(mode)
            yield from (svi.step(data()) for _ in range(4))
            yield svi.evaluate_loss(data())

    alike(calls, model=model, guide=lambda data: None)


@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_other_memory_behind_the_same_objects_is_seen(backend):
    x = data()
    svi = SVI(
        simple_model, simple_guide, optim.Adam({"lr": 0.0}), Trace_ELBO(), compile=True, backend=backend
    )
    for _ in range(3):
        svi.step(x)
    x.data = x + 100.0
    assert svi.step(x) > 1e4
    ember.get_param_store()._params["loc"].data = torch.tensor(90.0)
    ember.set_rng_seed(1)
    losses = [svi.step(x) for _ in range(3)]
    ember.set_rng_seed(1)
    eager = SVI(simple_model, simple_guide, optim.Adam({"lr": 0.0}), Trace_ELBO(), compile=False)
    assert losses == pytest.approx([eager.step(x) for _ in range(3)], rel=1e-5)


@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_batches_in_turn_are_never_mixed_up(backend):
    batches = [data(), data() + 5.0, data() * 3.0]
    order = [0, 0, 0, 1, 0, 1, 1, 2, 0, 2, 1, 0]
    losses = []
    for compile in (True, False):
        svi = new_svi(optim=optim.Adam({"lr": 0.05}), compile=compile, backend=backend)
        svi.programs.backend = None
        losses.append([svi.step(batches[i]) for i in order])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_settings_that_change_between_calls_are_seen():
    loss = Trace_ELBO()
    svi = new_svi(loss=loss, backend="native")
    svi.programs.backend = None
    for _ in range(4):
        svi.step(data())
    loss.num_particles = 5
    svi.step(data())
    svi.step(data())
    assert ember.capture.explain(svi).num_captures == 2
    with ember.settings.context(backend="interpreter"):
        svi.backend = None
        svi.step(data())
        svi.step(data())
    assert [record.backend for record in ember.capture.explain(svi).captures] == [
        "native",
        "native",
        "interpreter",
    ]


def test_the_program_can_be_read():
    svi = new_svi(backend="native")
    svi.programs.backend = None
    with pytest.raises(CaptureError, match="no program to show"):
        ember.capture.source(svi)
    for _ in range(2):
        svi.step(data())
    text = ember.capture.source(svi)
    for part in ("site 'z'", "site 'x'", "Adam: loc", "param 'scale'", "backward of", "ember_normal_"):
        assert part in text, part


@pytest.mark.parametrize(
    ("local", "call", "eager_calls"),
    [(False, "step", 0), (False, "evaluate_loss", 1), (True, "step", 1), (True, "evaluate_loss", 1)],
)
def test_which_first_calls_after_loading_are_eager(local, call, eager_calls):
    """Parameters of modules alone are not in the store, and a loss alone says nothing of an optimizer."""
    with ember.settings.context(module_local_params=local):
        svi = new_svi(guide=(guide := AutoNormal(simple_model)))
        for _ in range(3):
            getattr(svi, call)(data())
        state = guide.state_dict(), ember.get_param_store().get_state(), svi.optim.get_state()
        svi = new_svi(guide=(guide := AutoNormal(simple_model)))
        if local:
            guide.prepare(data()).load_state_dict(state[0])
        else:
            ember.get_param_store().set_state(state[1])
        svi.optim.set_state(state[2])
        for _ in range(3):
            getattr(svi, call)(data())
    report = ember.capture.explain(svi)
    assert (report.num_captures, report.eager_calls) == (1, eager_calls)
