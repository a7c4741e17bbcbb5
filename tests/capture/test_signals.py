"""Ctrl-C in a run loses no loss, whenever it comes."""

from __future__ import annotations

import os
import signal
import threading
from typing import Literal

import pytest
import torch

import ember
from ember import distributions as dist
from ember.capture.signals import Gate
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoDelta
from ember.infer.step import loop
from ember.optim import Adam

Backend = Literal["native", "interpreter"] | None


def fitted(backend: Backend) -> SVI:
    ember.clear_param_store()

    def model() -> None:
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        ember.sample("obs", dist.Normal(z, 1.0), obs=torch.tensor(0.3))

    optim = Adam({"lr": 0.01})
    svi = SVI(model, AutoDelta(model), optim, Trace_ELBO(), compile=backend is not None, backend=backend)
    svi.run(5, progress=False)
    return svi


def steps_taken(svi: SVI) -> int:
    """What the optimizer has counted, without the first five."""
    (state,) = svi.optim.get_state().values()
    return int(state["state"][0]["step"]) - 5


class InTorch:
    """torch, with a signal before one of its functions."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sent = 0

    def __getattr__(self, name: str) -> object:
        if name == self.name and not self.sent:
            self.sent += 1
            signal.raise_signal(signal.SIGINT)
        return getattr(torch, name)


@pytest.mark.parametrize("backend", ["native", "interpreter", None])
@pytest.mark.parametrize("where", ["cat", "stack", "tensor"])
def test_ctrl_c_while_losses_are_kept(where: str, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    svi = fitted(backend)
    spy = InTorch(where)
    monkeypatch.setattr(loop, "torch", spy)
    result = svi.run(100, progress=False)
    assert result.interrupted == bool(spy.sent)
    assert steps_taken(svi) == result.num_steps == len(result.losses)
    assert result.num_steps == 100 if where == "tensor" or not spy.sent else 0 < result.num_steps < 100
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_ctrl_c_at_any_time_loses_no_loss(backend: Backend) -> None:
    svi, taken = fitted(backend), 0
    for number in range(25):
        timer = threading.Timer(0.001 * number**1.3, os.kill, (os.getpid(), signal.SIGINT))

        def callback(step: int, loss: float, timer: threading.Timer = timer) -> None:
            if step == 500:
                timer.start()

        result = svi.run(10_000_000, progress=False, callback=callback, callback_interval=500)
        timer.join()
        taken += result.num_steps
        assert result.interrupted and steps_taken(svi) == taken and len(result.losses) == result.num_steps


@pytest.mark.parametrize("backend", ["native", None])
def test_a_handler_of_the_users_runs_between_steps(backend: Backend) -> None:
    svi = fitted(backend)

    class TimeIsUpError(Exception):
        pass

    def handler(number: int, frame: object) -> None:
        raise TimeIsUpError

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(TimeIsUpError):
            svi.run(10_000_000, progress=False)
        assert signal.getsignal(signal.SIGALRM) is handler
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_ctrl_c_in_a_callback_ends_its_run_and_not_the_outer_one() -> None:
    svi, inner = fitted("native"), []

    def callback(step: int, loss: float) -> None:
        other = fitted(None)
        threading.Timer(0.05, signal.raise_signal, (signal.SIGINT,)).start()
        inner.append(other.run(1_000_000, progress=False))

    result = svi.run(20, progress=False, callback=callback, callback_interval=20)
    assert inner[0].interrupted and not result.interrupted and result.num_steps == 20


def test_handlers_that_wait_are_run_in_their_order() -> None:
    seen: list[int] = []
    numbers = (signal.SIGUSR1, signal.SIGUSR2)
    before = [signal.signal(number, lambda n, frame: seen.append(n)) for number in numbers]
    gate = Gate()
    gate.close()
    try:
        for number in (*numbers, signal.SIGUSR1):
            signal.raise_signal(number)
        assert seen == [] and gate.waiting == [*numbers, signal.SIGUSR1]
        gate.restore()
        signal.raise_signal(signal.SIGUSR2)
        assert seen == [signal.SIGUSR2]
        gate.deliver()
        assert seen[1:] == [*numbers, signal.SIGUSR1]
    finally:
        gate.restore()
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def test_in_another_thread_nothing_is_changed() -> None:
    seen: list[object] = []

    def work() -> None:
        gate = Gate()
        gate.close()
        seen.append(signal.getsignal(signal.SIGINT))
        gate.restore()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
