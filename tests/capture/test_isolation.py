"""Capturing leaves no trace: random state, tensors, settings and other threads are as without it; memory stays flat."""

from __future__ import annotations

import gc
import logging
import threading
import time
import weakref

import pytest
import torch

import ember
import ember.distributions as dist
from ember import infer, poutine
from ember.capture import Interpreter, backend, capture
from ember.errors import CaptureError
from ember.infer import SVI, Trace_ELBO
from ember.optim import Adam
from ember.params import ParamStoreDict
from tests.capture.fitting import data, new_svi, parameters, simple_guide, simple_model

pytestmark = pytest.mark.usefixtures("float64")


def switches():
    return {
        "distributions": torch.distributions.Distribution._validate_args,
        "checks": (
            dist.is_validation_enabled(),
            infer.is_validation_enabled(),
            poutine.is_validation_enabled(),
        ),
        "settings": ember.settings.get(),
        "dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "compiling": torch.compiler.is_compiling,
        "step": torch.optim.Adam.step,
        "item": torch.Tensor.item,
        "benchmark": torch.backends.cudnn.benchmark,
    }


@pytest.mark.parametrize("validate", [True, False])
def test_no_switch_is_left_changed(validate):
    torch.optim.Adam([torch.zeros(1)])  # torch wraps its classes when the first object is made
    with ember.validation_enabled(validate):
        before = switches()
        svi = new_svi(compile=True)
        svi.programs.backend = backend.Inductor()
        for _ in range(4):
            svi.step(data())
        svi.run(5, data(), progress=False)
        assert switches() == before
        failing = new_svi(lambda data: simple_model(data) if torch.rand(()) < 2 else None)
        failing.step(data())
        with pytest.raises(CaptureError):
            failing.step(data())
        assert switches() == before


def test_random_state_and_tensors_of_closures():
    buffer, views = torch.zeros(4), torch.arange(6.0)

    def program(flat):
        buffer.add_(flat[0].sum())
        views[2:].mul_(2.0)
        views.add_(1.0)
        views[1:3].sub_(torch.rand(2))
        flat[0].mul_(3.0)
        return [flat[0] + buffer.sum() + views.sum()]

    x, rng = torch.ones(2), torch.get_rng_state()
    graph = capture(program, [x])
    assert torch.equal(buffer, torch.zeros(4)) and torch.equal(views, torch.arange(6.0))
    assert torch.equal(x, torch.ones(2)) and torch.equal(torch.get_rng_state(), rng)
    assert graph.mutated_inputs == (0,)


def test_a_failed_capture_puts_tensors_back():
    buffer, rng = torch.zeros(4), torch.get_rng_state()

    def program(flat):
        buffer.add_(torch.rand(4))
        flat[0].mul_(2.0)
        raise LookupError

    x = torch.ones(2)
    with pytest.raises(LookupError):
        capture(program, [x])
    assert torch.equal(buffer, torch.zeros(4)) and torch.equal(x, torch.ones(2))
    assert torch.equal(torch.get_rng_state(), rng)


def enumerated_guide(data):
    loc = ember.param("loc", torch.tensor(0.3))
    ember.sample("z", dist.Delta(loc))


def train(mode, steps, results, key, wait=None):
    torch.set_default_dtype(torch.float64)
    try:
        with ParamStoreDict().active() as store:
            svi = SVI(simple_model, enumerated_guide, Adam({"lr": 0.01}), Trace_ELBO(), compile=mode)
            svi.programs.backend = Interpreter()
            if wait is not None:
                wait.wait()
            results[key] = [svi.step(data()) for _ in range(steps)]
            results[key].append(store["loc"].item())
    except BaseException as error:
        results[key] = error


def test_threads_do_not_disturb_each_other():
    # A program without draws: the random state belongs to all threads.
    results = {}
    train(False, 60, results, "alone")
    barrier = threading.Barrier(4)
    threads = [
        threading.Thread(target=train, args=(mode, 60, results, key, barrier))
        for key, mode in (("eager", False), ("compiled", True), ("compiled too", True), ("eager too", False))
    ]
    before = switches()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert switches() == before
    for key in ("eager", "compiled", "compiled too", "eager too"):
        assert results[key] == pytest.approx(results["alone"], rel=1e-10), key


def test_explain_counts_reasons_and_times():
    svi = new_svi()
    report = ember.capture.explain(svi)
    assert (report.num_captures, report.eager_calls) == (0, 0)
    for _ in range(5):
        svi.step(data())
    svi.run(10, data(), progress=False)
    ember.get_param_store()["loc"] = torch.tensor(1.0)
    for _ in range(3):
        svi.step(data())
    for _ in range(3):
        svi.evaluate_loss(data())
    assert report is ember.capture.explain(svi)
    assert [(c.what, c.calls) for c in report.captures] == [("step", 13), ("step", 1), ("evaluate_loss", 1)]
    assert [c.reason for c in report.captures] == [
        "second call with such arguments",
        "parameters have been replaced",
        "second call with such arguments",
    ]
    assert report.eager_calls == 3
    for entry in report.captures:
        assert entry.num_nodes > 10 and entry.trace_seconds > 0 and entry.check_seconds > 0
        assert entry.compile_seconds >= 0 and entry.backend == "interpreter" and entry.failure is None
    text = str(report)
    assert (
        text.startswith("3 captures, 3 eager calls")
        and "13 calls" in text
        and "parameters have been replaced" in text
    )


def test_long_compiling_is_said_once(caplog):
    with caplog.at_level(logging.INFO, "ember.capture"):
        with backend.said_if_slow("a graph of 7 operators", 0.05):
            time.sleep(0.2)
        with backend.said_if_slow("a fast one", 5.0):
            pass
    warned = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == 1 and "compiling a graph of 7 operators" in warned[0]
    assert sum("compiled" in record.message for record in caplog.records) == 2


def live_tensors():
    gc.collect()
    return sum(issubclass(type(obj), torch.Tensor) for obj in gc.get_objects())


def test_memory_is_flat_over_many_compiled_steps():
    svi = new_svi()
    svi.programs.backend = backend.Inductor()
    x = data()
    for _ in range(20):
        svi.step(x)
    before = live_tensors()
    entries = len(svi.programs.entries)
    for _ in range(100_000):
        svi.step(x)
    svi.run(1000, x, progress=False)
    assert live_tensors() <= before + 2
    assert len(svi.programs.entries) == entries
    assert ember.capture.explain(svi).num_captures == 1


def test_programs_are_freed_with_their_svi():
    kept = []

    def fit():
        svi = new_svi()
        for _ in range(3):
            svi.step(data())
        kept.append(weakref.ref(svi))
        kept.append(weakref.ref(next(iter(svi.programs.entries.values()))))

    for _ in range(3):
        fit()
    before = live_tensors()
    for _ in range(200):
        fit()
    assert live_tensors() <= before + 2
    assert not any(ref() for ref in kept)


def test_a_second_process_finds_the_code_of_inductor(tmp_path):
    import os
    import subprocess
    import sys

    script = (
        "import torch, ember, json\n"
        "from torch._dynamo.utils import counters\n"
        "from tests import zoo\n"
        "known = zoo.beta_bernoulli()\n"
        "adam, loss = ember.optim.Adam({'lr': 0.1}), ember.infer.Trace_ELBO()\n"
        "svi = ember.infer.SVI(known.model, known.guide, adam, loss, compile=True, backend='inductor')\n"
        "losses = [svi.step(*known.args) for _ in range(3)]\n"
        "print('hits', counters['inductor']['fxgraph_cache_hit'], 'misses', counters['inductor']['fxgraph_cache_miss'])\n"
    )
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    for expected in ("hits 0 misses 1", "hits 1 misses 0"):
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=300
        )
        assert expected in done.stdout, done.stdout + done.stderr


def test_a_second_process_finds_the_native_code(tmp_path):
    import os
    import subprocess
    import sys

    script = (
        "import ember\n"
        "from tests import zoo\n"
        "known = zoo.beta_bernoulli()\n"
        "adam, loss = ember.optim.Adam({'lr': 0.1}), ember.infer.Trace_ELBO()\n"
        "svi = ember.infer.SVI(known.model, known.guide, adam, loss, compile=True, backend='native')\n"
        "losses = [svi.step(*known.args) for _ in range(3)]\n"
        "print(ember.capture.explain(svi))\n"
    )
    environment = {**os.environ, "EMBER_CACHE_DIR": str(tmp_path)}
    for seed, expected in (("1", ", compiled in"), ("2", ", found on disk in")):
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**environment, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert expected in done.stdout, done.stdout + done.stderr


def test_parameters_stay_the_same_objects():
    svi = new_svi()
    svi.step(data())
    leaves = [ember.param(name).unconstrained() for name in parameters()]
    for _ in range(5):
        svi.step(data())
    svi.run(5, data(), progress=False)
    assert all(
        leaf is ember.param(name).unconstrained() for leaf, name in zip(leaves, parameters(), strict=True)
    )
    assert simple_guide(data()) is None
