"""Programs that cannot be captured: an error that names the line, or eager steps with one warning; never a wrong number."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

import ember
import ember.distributions as dist
from ember import optim, poutine
from ember.capture.recording.graph import capture
from ember.errors import CaptureError, CaptureMismatchError
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoNormal
from tests.capture.fitting import (
    assert_same,
    assert_unchanged,
    data,
    new_svi,
    parameters,
    simple_guide,
    simple_model,
    state_of,
)

pytestmark = pytest.mark.usefixtures("float64")
COUNTS = {"calls": 0}


def observed(z, shift=0.0):
    ember.sample("x", dist.Normal(z + shift, 0.5), obs=torch.tensor(0.4))


def branches(data):
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    observed(z, 1.0 if z > 0 else 0.0)  # the line


def asks_for_a_draw(data):
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    observed(z, (z * data.sum()).item())  # the line


def converts_to_numpy(data):
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    observed(z, float(np.asarray(z.detach())))  # the line


def makes_a_list(data):
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    observed(z, sum((z * data).tolist()))  # the line


def loops_over_a_parameter(data):
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    for _ in range(int(ember.param("loc", torch.tensor(0.3)) * 10)):  # the line
        z = z * 1.1
    observed(z)


def boolean_index(data):
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    observed(z, data[data > z].sum())  # the line


def nonzero(data):
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    observed(z, (data > z).nonzero().sum())  # the line


VALUES = [branches, asks_for_a_draw, converts_to_numpy, makes_a_list, loops_over_a_parameter]
VALUES += [boolean_index, nonzero]


def line_of(model):
    code = model.__code__
    with open(__file__) as source:
        lines = source.read().splitlines()
    return next(
        n for n in range(code.co_firstlineno, code.co_firstlineno + 9) if lines[n - 1].endswith("# the line")
    )


def both_modes(model, guide=simple_guide, args=None, steps=6, **options):
    """Losses, parameters and warnings under "auto", and the same eagerly."""
    args = (data(),) if args is None else args
    eager = new_svi(model, guide, compile=False, **options)
    expected = ([eager.step(*args) for _ in range(steps)], parameters())
    svi = new_svi(model, guide, compile="auto", **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        losses = [svi.step(*args) for _ in range(steps)]
    assert_same((losses, parameters()), expected)
    return svi, [str(w.message) for w in caught]


@pytest.mark.parametrize("model", VALUES, ids=lambda model: model.__name__)
def test_values_asked_for(model):
    svi = new_svi(model)
    svi.step(data())
    before = state_of(svi)
    where = rf"{os.path.basename(__file__)}:{line_of(model)}: "
    for _ in range(2):
        with pytest.raises(CaptureError, match=where) as raised:
            svi.step(data())
        assert_unchanged(svi, before)
    assert "way out" in str(raised.value)
    with pytest.raises(CaptureError, match=where):
        svi.run(3, data(), progress=False)
    assert_unchanged(svi, before)
    svi, messages = both_modes(model)
    assert len(messages) == 1 and str(line_of(model)) in messages[0]
    assert ember.capture.explain(svi).num_captures == 0
    assert "eager, since" in str(ember.capture.explain(svi))


@pytest.mark.parametrize("model", [branches, boolean_index])
def test_run_goes_on_eagerly(model):
    eager = new_svi(model, compile=False).run(10, data(), progress=False)
    expected = parameters()
    svi = new_svi(model, compile=None)
    with pytest.warns(UserWarning, match="way out") as caught:
        result = svi.run(10, data(), progress=False)
        again = svi.run(2, data(), progress=False)
    assert len(caught) == 1 and again.num_steps == 2
    assert result.losses.tolist() == pytest.approx(eager.losses.tolist())
    assert expected.keys() == parameters().keys()


def comes_and_goes(kind):
    def guide(data):
        COUNTS["calls"] += 1
        simple_guide()
        if kind == "parameter" and COUNTS["calls"] % 2 == 0:
            ember.param("extra", torch.tensor(0.0))
        if kind == "site" and COUNTS["calls"] % 2 == 0:
            ember.sample("aux", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})

    return guide


@pytest.mark.parametrize("kind", ["parameter", "site"])
def test_sites_that_come_and_go(kind):
    def losses(compile):
        COUNTS["calls"] = 0
        svi = new_svi(guide=comes_and_goes(kind), compile=compile)
        return svi, [svi.step(data()) for _ in range(6)]

    _, expected = losses(False)
    # The guide counts its own runs, in a global: that is noticed, and every step is an eager one.
    with pytest.warns(UserWarning, match="the program changes 'COUNTS' as it runs"):
        svi, found = losses(True)
    assert found == expected
    assert ember.capture.explain(svi).num_captures == 0


def test_parameters_that_come_and_go_by_what_nobody_can_watch(monkeypatch):
    def guide(data):
        simple_guide()
        if os.getcwd() == "/":
            ember.param("extra", torch.tensor(0.0))

    svi = new_svi(guide=guide)
    svi.step(data())
    monkeypatch.chdir("/")
    with pytest.raises(CaptureError, match="extra"):
        svi.step(data())


def test_handlers_that_keep_something_of_each_run():
    def equalized(svi, count=3):
        with poutine.equalize(sites=["absent"]):
            return [svi.step(data()) for _ in range(count)]

    with pytest.raises(CaptureError, match="handlers are active"):
        equalized(new_svi())
    with pytest.warns(UserWarning, match="handlers are active") as caught:
        losses = equalized(new_svi(compile="auto"))
    assert len(caught) == 1
    assert losses == pytest.approx(equalized(new_svi(compile=False)))


def test_an_argument_that_requires_gradients():
    x = data().requires_grad_()
    svi = new_svi()
    svi.step(x)
    with pytest.raises(CaptureError, match=r"detach\(\)"):
        svi.step(x)
    _, messages = both_modes(simple_model, args=(x,))
    assert len(messages) == 1


def test_gradients_computed_by_the_user():
    def loss_and_grads(model, guide, *args):
        loss = Trace_ELBO().differentiable_loss(model, guide, *args)
        loss.backward()
        return loss.item()

    loss = lambda model, guide, *args: Trace_ELBO().differentiable_loss(model, guide, *args)
    _, messages = both_modes(simple_model, loss=loss, loss_and_grads=loss_and_grads)
    assert len(messages) == 1 and "loss_and_grads" in messages[0]


class OwnGradients(Trace_ELBO):
    def loss_and_grads(self, model, guide, *args, **kwargs):
        loss = 2 * self.differentiable_loss(model, guide, *args, **kwargs)
        loss.backward()
        return loss.item()


def test_objectives_with_other_gradients_are_found_out():
    svi = new_svi(loss=OwnGradients())
    svi.step(data())
    with pytest.raises(CaptureError):
        svi.step(data())
    both_modes(simple_model, loss=OwnGradients())


def test_a_method_of_the_svi_replaced():
    svi = new_svi()
    for _ in range(3):
        svi.step(data())
    svi.loss_and_grads = OwnGradients().loss_and_grads
    svi.step(data())
    with pytest.raises(CaptureError):
        svi.step(data())


def test_a_loss_that_is_no_tensor():
    loss = lambda model, guide, *args: Trace_ELBO().loss(model, guide, *args)
    svi = new_svi(loss=loss)
    svi.step(data())
    with pytest.raises(CaptureError, match=r"no tensor|asks for the value"):
        svi.step(data())


def test_random_numbers_from_elsewhere_are_found_out():
    generator = random.Random(0)

    def model(data):
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        observed(z, generator.random())

    svi = new_svi(model)
    svi.step(data())
    with pytest.raises(CaptureMismatchError):
        svi.step(data())


def test_tensors_that_share_memory_with_one_that_changes():
    w = torch.nn.Parameter(torch.tensor(0.5))

    def model(data):
        ember.param("w", w)
        observed(ember.sample("z", dist.Normal(w, 1.0)))

    svi = new_svi(model)
    svi.step(data())
    with pytest.raises(CaptureError, match="shares its memory"):
        svi.step(data())


class Wrong:
    """A backend whose programs return a loss that is off by one, or leave a parameter alone."""

    name = "wrong"

    def __init__(self, what):
        self.what = what

    def compile(self, graph, inputs):
        what, module = self.what, graph.module

        class Program:
            backend, note, source, in_blocks = "wrong", "", "", False

            def loss(self, flat):
                return self(flat)[0].item()

            def __call__(self, flat):
                with torch.no_grad():
                    kept = flat[0].clone()
                    out = list(module(*flat))
                    if what == "loss":
                        out[0] = out[0] + 1
                    elif what == "parameter":
                        flat[0].copy_(kept)
                    else:
                        torch.rand(1)
                    return out

        return Program()


WRONG = {
    "loss": r"disagrees with the eager one in the loss: captured [-\d.]+, eager [-\d.]+",
    "parameter": r"in parameter 'loc': captured [-\d.]+, eager [-\d.]+",
    "draws": "draws other random numbers",
}


@pytest.mark.parametrize("what", list(WRONG))
def test_a_mismatch_shows_both_and_is_never_trusted(what):
    eager = new_svi(compile=False)
    expected = ([eager.step(data()) for _ in range(5)], parameters())
    svi = new_svi()
    svi.programs.backend = Wrong(what)
    svi.step(data())
    with pytest.raises(CaptureMismatchError, match=WRONG[what]):
        svi.step(data())
    with pytest.raises(CaptureError, match=WRONG[what]):
        svi.step(data())
    svi = new_svi(compile="auto")
    svi.programs.backend = Wrong(what)
    with pytest.warns(UserWarning, match=WRONG[what]) as caught:
        losses = [svi.step(data()) for _ in range(5)]
    assert len(caught) == 1
    assert_same((losses, parameters()), expected)
    for how in ("auto", None):
        svi = new_svi(compile=how)
        svi.programs.backend = Wrong(what)
        with pytest.warns(UserWarning, match=WRONG[what]):
            losses = svi.run(3, data(), progress=False).losses.tolist()
            losses += svi.run(2, data(), progress=False).losses.tolist()
        assert_same((losses, parameters()), expected)


def test_the_text_of_a_refusal_does_not_collect_frames():
    svi = new_svi(branches, compile="auto")
    with pytest.warns(UserWarning):
        for _ in range(5):
            svi.step(data())
    assert all(not isinstance(entry, BaseException) for entry in svi.programs.entries.values())


def test_an_error_of_the_model_is_not_hidden():
    def model(data):
        simple_model(data)
        if COUNTS["calls"]:
            raise KeyError("of the model")

    COUNTS["calls"] = 0
    svi = new_svi(model)
    svi.step(data())
    COUNTS["calls"] = 1
    before = parameters()
    # What the model reads has changed: the call is eager, and so is its error.
    with pytest.raises(KeyError, match="of the model"):
        svi.step(data())
    torch.testing.assert_close(parameters(), before, rtol=0.0, atol=0.0)


SCRIPT = """
import logging, warnings, torch, ember
import ember.distributions as dist
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoNormal
def model(): ember.sample("z", dist.Normal(0.0, 1.0))
def guide(): ember.sample("z", dist.Normal(ember.param("loc", torch.tensor(0.3)), 1.0))
def losses(mode):
    ember.clear_param_store(); ember.set_rng_seed(0)
    svi = SVI(model, guide, ember.optim.Adam({"lr": 0.1}), Trace_ELBO(), compile=mode)
    return [svi.step() for _ in range(4)]
try:
    losses(True)
except ember.errors.CaptureError as error:
    print(error)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    auto = losses("auto")
print([str(w.message) for w in caught if "SVI" in str(w.message)].__len__(), auto == losses(False))
"""


def test_without_a_compiler(tmp_path):
    missing = {"CC": "/nonexistent/cc", "CXX": "/nonexistent/c++"}
    folders = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "EMBER_CACHE_DIR": str(tmp_path / "ember")}
    environment = {**os.environ, **missing, **folders}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=300
    )
    assert "no C++ compiler" in done.stdout, done.stdout + done.stderr
    assert "CXX" in done.stdout and "compile=False" in done.stdout
    assert done.stdout.strip().endswith("1 True")


def test_svi_without_capture_is_not_touched_by_the_setting_of_others():
    with ember.settings.context(compile=True):
        svi = SVI(simple_model, simple_guide, optim.Adam({"lr": 0.1}), Trace_ELBO(), compile=False)
        for _ in range(3):
            svi.step(data())
    assert ember.capture.explain(svi).captures == []


@pytest.mark.parametrize(
    ("setting", "captured"), [(None, (0, 1)), ("auto", (1, 1)), (True, (1, 1)), (False, (0, 0))]
)
def test_the_setting_decides_where_an_svi_does_not(setting, captured):
    """How many programs four steps ask for, and a run after them: without a setting, the run alone has one."""
    svi = new_svi(compile=None)
    found = []
    with ember.settings.context(compile=setting):
        for _ in range(4):
            svi.step(data())
        found.append(ember.capture.explain(svi).num_captures)
        svi.run(4, data(), progress=False)
        found.append(ember.capture.explain(svi).num_captures)
    assert tuple(found) == captured


@pytest.mark.parametrize(
    ("draw", "generator"),
    [
        (lambda: float(np.random.rand()), "numpy.random"),
        (lambda: torch.from_numpy(np.random.choice([1.0, 1.0001], 1))[0], "numpy.random"),
        (lambda: random.gauss(1.0, 1e-6), "Python's random"),
    ],
)
def test_draws_of_other_generators_are_seen_even_if_they_hardly_matter(draw, generator):
    def model():
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        ember.sample("y", dist.Normal(z * draw(), 1.0), obs=torch.tensor(1.0))

    def losses(compile):
        for seed in (torch.manual_seed, np.random.seed, random.seed):
            seed(0)
        svi = SVI(
            model,
            AutoNormal(model),
            optim.Adam({"lr": 0.1}),
            Trace_ELBO(),
            compile=compile,
            param_store="own",
        )
        return [svi.step() for _ in range(5)]

    with pytest.raises(CaptureError, match="draws random numbers by"):
        losses(True)
    with pytest.warns(UserWarning, match="draws random numbers by"):
        found = losses("auto")
    assert found == losses(False)
    with pytest.raises(CaptureError, match=generator):
        capture(lambda inputs: [inputs[0] * draw()], [torch.ones(2)])
