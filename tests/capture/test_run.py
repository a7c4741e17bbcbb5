"""Many steps in one call: chunks, callbacks, interruptions, losses that are not finite."""

from __future__ import annotations

import _thread
import math
import threading
import warnings

import pytest
import torch

import ember
import ember.distributions as dist
from ember import settings
from ember.capture import Interpreter
from ember.distributions import constraints
from ember.errors import NonFiniteLossError
from ember.infer import Trace_ELBO
from ember.optim import Adam, PyroOptim
from tests import zoo
from tests.capture.fitting import (
    assert_same,
    assert_unchanged,
    data,
    fit,
    new_svi,
    parameters,
    simple_guide,
    state_of,
)
from tests.capture.test_optimizers import Halving

pytestmark = [
    pytest.mark.usefixtures("float64"),
    # torch says this once in a process, of the first float() in the report on a bad loss.
]
MODES = [None, True, False, "auto"]


@pytest.mark.parametrize("mode", MODES)
def test_losses_and_counts(mode):
    expected = new_svi(compile=False)
    losses = [expected.step(data()) for _ in range(50)]
    values = parameters()
    svi = new_svi(compile=mode)
    result = svi.run(50, data(), progress=False)
    assert result.losses.dtype == torch.float64 and result.losses.shape == (50,)
    assert (result.num_steps, result.num_skipped, result.interrupted) == (50, 0, False)
    assert result.seconds > 0
    assert_same((result.losses.tolist(), parameters()), (losses, values))
    empty = svi.run(0, data(), progress=False)
    assert empty.losses.shape == (0,) and empty.num_steps == 0 and empty.losses.dtype == torch.float64
    torch.testing.assert_close(parameters(), values)


def test_bad_counts():
    with pytest.raises(ValueError, match="num_steps"):
        new_svi().run(-1, data())
    with pytest.raises(ValueError, match="callback_interval"):
        new_svi().run(1, data(), callback_interval=0)


@pytest.mark.parametrize("mode", MODES)
def test_callbacks_at_their_interval(mode):
    seen = []
    result = new_svi(compile=mode).run(
        47, data(), progress=False, callback=lambda *a: seen.append(a), callback_interval=10
    )
    assert [step for step, _ in seen] == [10, 20, 30, 40]
    assert [loss for _, loss in seen] == [result.losses[step - 1].item() for step, _ in seen]


@pytest.mark.parametrize("mode", MODES)
def test_a_callback_ends_the_run(mode):
    result = new_svi(compile=mode).run(
        100, data(), progress=False, callback=lambda step, loss: step >= 21, callback_interval=7
    )
    assert result.num_steps == 21 and not result.interrupted
    eager = new_svi(compile=False)
    assert result.losses.tolist() == pytest.approx([eager.step(data()) for _ in range(21)])


@pytest.mark.parametrize("mode", [None, False])
def test_the_progress_bar(mode, capsys):
    new_svi(compile=mode).run(30, data())
    shown = capsys.readouterr()
    assert "30/30" in shown.err and "loss=" in shown.err and shown.out == ""
    new_svi(compile=mode).run(30, data(), progress=False)
    shown = capsys.readouterr()
    assert shown.err == shown.out == ""


def interrupt(step, loss):
    raise KeyboardInterrupt


@pytest.mark.parametrize("mode", MODES)
def test_interrupted_by_a_callback(mode):
    svi = new_svi(compile=mode)
    result = svi.run(100, data(), progress=False, callback=interrupt, callback_interval=23)
    assert result.interrupted and result.num_steps == 23
    rest = svi.run(10, data(), progress=False)
    eager = new_svi(compile=False)
    losses = [eager.step(data()) for _ in range(33)]
    assert result.losses.tolist() + rest.losses.tolist() == pytest.approx(losses)


class Slow(Interpreter):
    """Long chunks, so that the signal arrives in the middle of one."""

    def compile(self, graph, inputs):
        program = super().compile(graph, inputs)
        threading.Timer(0.3, _thread.interrupt_main).start()
        return program


@pytest.mark.parametrize("mode", [True, False])
def test_interrupted_by_a_signal(mode):
    svi = new_svi(compile=mode, optim=Adam({"lr": 1e-4}))
    if mode:
        svi.programs.backend = Slow()
    else:
        threading.Timer(0.3, _thread.interrupt_main).start()
    result = svi.run(1_000_000, data(), progress=False)
    assert result.interrupted
    assert 2 < result.num_steps == len(result.losses) < 1_000_000
    taken = {int(state["state"][0]["step"]) for state in svi.optim.get_state().values()}
    assert abs(taken.pop() - result.num_steps) <= 1
    assert math.isfinite(svi.step(data()))


@pytest.mark.parametrize("mode", MODES)
def test_errors_of_a_callback_come_out(mode):
    def fail(step, loss):
        raise LookupError("of the callback")

    svi = new_svi(compile=mode)
    with pytest.raises(LookupError, match="of the callback"):
        svi.run(100, data(), progress=False, callback=fail, callback_interval=20)
    values = parameters()
    eager = new_svi(compile=False)
    for _ in range(20):
        eager.step(data())
    torch.testing.assert_close(values, parameters())


# A loss that is NaN for about one draw in ten, by a log of a negative number.
def risky_model(data):
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    ember.sample("x", dist.Normal((z + 1.2).log(), 1.0, validate_args=False), obs=data.sum())


def infinite_model(data):
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    ember.factor("f", torch.where(z > 1.0, torch.tensor(-math.inf), -z * z))


def bad_gradient_model(data):
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    # Zero for z < -1, but with a gradient of NaN there.
    ember.factor("f", torch.where(z > -1.0, (z + 1.0).sqrt(), torch.tensor(0.0)))


def quiet(model):
    return lambda *args: Trace_ELBO()


def wide_guide(data):
    loc = ember.param("loc", torch.tensor(0.1))
    ember.sample(
        "z", dist.Normal(loc, ember.param("scale", torch.tensor(1.2), constraint=constraints.positive))
    )


@pytest.fixture
def unvalidated():
    with ember.validation_enabled(False):
        yield


@pytest.mark.parametrize("model", [risky_model, infinite_model, bad_gradient_model])
@pytest.mark.parametrize(
    "optim", [Adam({"lr": 0.01}), PyroOptim(Halving, {"lr": 0.01})], ids=["captured", "torch"]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_stable_runs_skip_bad_updates(model, optim, seed, unvalidated):
    results = []
    for mode in (False, True):
        svi = new_svi(
            model, wide_guide, compile=mode, optim=PyroOptim(optim.pt_optim_constructor, optim.pt_optim_args)
        )
        ember.set_rng_seed(seed)
        result = svi.run(100, data(), progress=False, stable=True)
        assert result.num_steps == 100
        results.append((result.losses, result.num_skipped, parameters(), torch.get_rng_state()))
    eager, captured = results
    torch.testing.assert_close(eager[0], captured[0], equal_nan=True)
    assert 0 < eager[1] == captured[1] < 60
    if model is not bad_gradient_model:
        assert eager[1] == int((~torch.isfinite(eager[0])).sum())
    torch.testing.assert_close(eager[2], captured[2])
    assert all(bool(torch.isfinite(value).all()) for value in captured[2].values())
    assert torch.equal(eager[3], captured[3])


def first_bad_step(seed):
    svi = new_svi(risky_model, wide_guide, compile=False)
    ember.set_rng_seed(seed)
    for step in range(1000):
        before = state_of(svi)
        try:
            svi.step(data())
        except NonFiniteLossError:
            return step, before, state_of(svi)
    raise AssertionError


SEEDS = (0, 1, 2, 3, 4, 7)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("how", ["run", "step"])
def test_a_loss_that_is_not_finite_leaves_everything_before_it(how, seed, unvalidated):
    step, before, after = first_bad_step(seed)
    svi = new_svi(risky_model, wide_guide)
    ember.set_rng_seed(seed)
    with pytest.raises(NonFiniteLossError):
        if how == "run":
            svi.run(1000, data(), progress=False)
        else:
            for _ in range(1000):
                svi.step(data())
    torch.testing.assert_close(parameters(), before["params"], rtol=1e-9, atol=1e-9)
    assert torch.equal(torch.get_rng_state(), after["rng"])
    for name, state in svi.optim.get_state().items():
        assert state["state"][0]["step"] == step
        torch.testing.assert_close(state["state"], before["optim"][name]["state"], rtol=1e-7, atol=1e-9)
    again = 0
    while again < 20:
        try:
            assert math.isfinite(svi.step(data()))
            again += 1
        except NonFiniteLossError as error:
            assert not math.isfinite(error.loss)
    assert all(state["state"][0]["step"] == step + 20 for state in svi.optim.get_state().values())


def test_bad_steps_do_occur_after_the_capture(unvalidated):
    assert max(first_bad_step(seed)[0] for seed in SEEDS) > 4


def test_buffers_do_not_see_the_steps_after_a_bad_one(unvalidated):
    states = []
    for how in ("eager", "run"):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))

        def model(x, net=net):
            ember.module("net", net)
            z = ember.sample("z", dist.Normal(0.0, 1.0))
            shift = torch.where(z > 1.7, torch.tensor(math.nan), z)
            ember.sample("x", dist.Normal(net(x) + shift, 1.0).to_event(2), obs=x)

        svi = new_svi(model, lambda x: simple_guide(), compile=how == "run")
        ember.set_rng_seed(5)
        torch.manual_seed(3)
        x = torch.arange(6.0).reshape(3, 2)
        with pytest.raises(NonFiniteLossError):
            if how == "run":
                svi.run(1000, x, progress=False)
            else:
                while True:
                    svi.step(x)
        states.append({name: value.clone() for name, value in net.state_dict().items()})
    assert states[0]["1.num_batches_tracked"] > 2
    torch.testing.assert_close(states[0], states[1])


@pytest.mark.parametrize("how", ["run", "step", "evaluate"])
def test_the_setting_that_goes_on(how, unvalidated):
    results = []
    with settings.context(nonfinite_loss="warn"):
        for mode in (False, True):
            svi = new_svi(risky_model, wide_guide, compile=mode)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                if how == "run":
                    losses = svi.run(60, data(), progress=False).losses.tolist()
                elif how == "step":
                    losses = [svi.step(data()) for _ in range(60)]
                else:
                    losses = [svi.evaluate_loss(data()) for _ in range(60)]
            assert any("NaN" in str(w.message) for w in caught)
            assert {w.category for w in caught} == {UserWarning}
            results.append((losses, parameters()))
    assert any(map(math.isnan, results[0][0]))
    torch.testing.assert_close(
        torch.tensor(results[0][0]), torch.tensor(results[1][0]), equal_nan=True, rtol=1e-9, atol=1e-9
    )
    torch.testing.assert_close(results[0][1], results[1][1], equal_nan=True)


def test_particles_that_are_not_finite(unvalidated):
    results = []
    for mode in (False, True):
        svi = new_svi(risky_model, wide_guide, compile=mode, loss=Trace_ELBO(num_particles=3))
        ember.set_rng_seed(2)
        result = svi.run(60, data(), progress=False, stable=True)
        assert 0 < result.num_skipped < 60 and result.num_steps == 60
        results.append(result)


def test_run_after_steps_uses_the_same_program():
    svi = new_svi()
    for _ in range(3):
        svi.step(data())
    svi.run(20, data(), progress=False)
    assert ember.capture.explain(svi).num_captures == 1
    eager = fit(zoo.normal_normal(), "eager", steps=30)
    assert_same(fit(zoo.normal_normal(), "eager run", steps=30), eager)


def test_a_chunk_interrupted_between_calls_keeps_state(unvalidated):
    svi = new_svi()
    before = state_of(svi)
    assert_unchanged(svi, before)
    svi.run(0, data(), progress=False)
    assert_unchanged(svi, before)


@pytest.mark.parametrize("after", [0.02, 0.3])
def test_ctrl_c_ends_a_native_run_between_two_steps(after):
    import signal

    def interrupt(*_):
        raise KeyboardInterrupt

    svi = new_svi(backend="native")
    svi.programs.backend = None
    for _ in range(3):
        svi.step(data())
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        result = svi.run(50_000_000, data(), progress=False)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert result.interrupted and 0 < result.num_steps == len(result.losses) < 50_000_000
    # As many steps as losses: the counter of Adam says so.
    slot = next(iter(svi.optim.records))
    assert slot.rule.state[slot.param]["step"] == result.num_steps + 3
