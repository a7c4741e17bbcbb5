"""Ctrl-C in a run loses no loss, whenever it comes."""

from __future__ import annotations

import itertools
import random
import signal
import threading
from pathlib import Path

import pytest
import torch

from ember.capture.signals import Gate
from ember.infer.step import loop
from tools.soak.fits import BACKENDS, Backend, fitted, step_counts
from tools.soak.interrupts import ctrl_c_in_a_run, ctrl_c_in_a_step


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


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("where", ["cat", "stack", "tensor"])
def test_ctrl_c_while_losses_are_kept(where: str, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    svi = fitted(backend)
    spy = InTorch(where)
    monkeypatch.setattr(loop, "torch", spy)
    result = svi.run(100, progress=False)
    assert result.interrupted == bool(spy.sent)
    assert step_counts(svi) == {result.num_steps} == {len(result.losses)}
    assert result.num_steps == 100 if where == "tensor" or not spy.sent else 0 < result.num_steps < 100
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("backend", BACKENDS)
def test_ctrl_c_at_any_time_loses_no_loss(backend: Backend, tmp_path: Path) -> None:
    assert len(list(itertools.islice(ctrl_c_in_a_run(random.Random(0), tmp_path, (backend,)), 15))) == 15


def test_ctrl_c_at_any_time_breaks_no_step(tmp_path: Path) -> None:
    assert len(list(itertools.islice(ctrl_c_in_a_step(random.Random(0), tmp_path), 41))) == 41


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
