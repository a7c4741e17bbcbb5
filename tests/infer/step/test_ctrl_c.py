"""Ctrl-C finds parameters and optimizer before a step or after it, never between, wherever it comes."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
import torch

import ember
from ember import distributions as dist
from ember.capture.recording.recorder import Recorder
from ember.capture.recording.value_guard import ValueGuard, is_recording
from ember.capture.signals import Gate, Unbroken
from ember.infer import SVI, Trace_ELBO
from ember.optim import Adam, ClippedAdam, PyroOptim

DATA = torch.tensor([0.3, -0.8, 1.1])


def model(x: torch.Tensor) -> None:
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    with ember.plate("rows", len(x)):
        ember.sample("x", dist.Normal(z, 1.0), obs=x)


def guide(x: torch.Tensor) -> None:
    loc = ember.param("loc", torch.tensor(0.1))
    scale = ember.param("scale", torch.tensor(0.5), constraint=dist.constraints.positive)
    ember.sample("z", dist.Normal(loc, scale))


def fitted(taken: int, optimizer: PyroOptim, **options: Any) -> SVI:
    ember.clear_param_store()
    ember.set_rng_seed(0)
    svi = SVI(model, guide, optimizer, Trace_ELBO(), **options)
    for _ in range(taken):
        svi.step(DATA)
    ember.set_rng_seed(1)
    return svi


def state(svi: SVI) -> tuple[dict[str, float], list[Any]]:
    """Parameters, and what the optimizer has for each."""
    values = {name: leaf.item() for name, leaf in ember.get_param_store().named_parameters()}
    entries = []
    for name, each in svi.optim.get_state().items():
        kept = {key: float(value) for key, value in each["state"].get(0, {}).items()}
        entries.append((name, each["param_groups"][0]["lr"], kept))
    return values, entries


def numbers(found: tuple[dict[str, float], list[Any]]) -> list[float]:
    """The numbers of a state, in order."""
    values, entries = found
    return [*values.values(), *(number for _, rate, kept in entries for number in (rate, *kept.values()))]


class _Stopper:
    """Ctrl-C before a certain line of Ember's code is run, counted from the beginning of a call."""

    def __init__(self, place: int) -> None:
        self.place = place
        self.seen = 0

    def __call__(self, frame: FrameType, event: str, arg: object) -> Any:
        if "/ember/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            self.seen += 1
            if self.seen == self.place:
                signal.raise_signal(signal.SIGINT)
        return self


@contextmanager
def traced(stopper: _Stopper) -> Iterator[None]:
    before = sys.gettrace()
    gc.disable()
    sys.settrace(stopper)
    try:
        yield
    finally:
        sys.settrace(before)
        gc.enable()


def lines_of(make: Callable[[], SVI]) -> int:
    counting, svi = _Stopper(0), make()
    with traced(counting):
        svi.step(DATA)
    return counting.seen


# Ctrl-C in the callback of a weak reference is told of, and is no more than that.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("taken", "optimizer", "options"),
    [
        (0, Adam, {"compile": False}),
        (2, Adam, {"compile": False}),
        (2, ClippedAdam, {"compile": False}),
        (1, Adam, {"compile": True, "backend": "interpreter"}),
        (3, Adam, {"compile": True, "backend": "interpreter"}),
        (3, ClippedAdam, {"compile": True, "backend": "native"}),
        (3, Adam, {"compile": True, "backend": "native"}),
    ],
)
def test_wherever_it_comes(taken: int, optimizer: Any, options: dict[str, Any]) -> None:
    make = lambda: fitted(
        taken, optimizer({"lr": 0.1} | ({"lrd": 0.9} if optimizer is ClippedAdam else {})), **options
    )
    svi = make()
    before = state(svi)
    svi.step(DATA)
    after = state(svi)
    num_lines, seen = lines_of(make), set()
    assert before != after
    for place in range(1, num_lines + 1, max(1, num_lines // 150)):
        svi, stopper = make(), _Stopper(place)
        try:
            with traced(stopper):
                svi.step(DATA)
            # Only a recording watches tensors by weak references, whose callbacks may lose it.
            assert stopper.seen < place or taken == 1, place
        except KeyboardInterrupt:
            now = state(svi)
            # While a program is compared, the step that counts is Python's: the same up to rounding.
            close = taken == 1 and numbers(now) == pytest.approx(numbers(after), rel=1e-5)
            assert now in (before, after) or close, place
            seen.add(now != before)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert all(
            leaf.grad is None or not leaf.grad.any() for _, leaf in ember.get_param_store().named_parameters()
        )
    assert False in seen


def test_within_the_update_it_waits_for_its_end() -> None:
    class Interrupted(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            signal.raise_signal(signal.SIGINT)
            super().step(closure)

    svi = fitted(0, PyroOptim(Interrupted, {"lr": 0.1}))
    with pytest.raises(KeyboardInterrupt):
        svi.step(DATA)
    assert ember.param("loc").item() != pytest.approx(0.1) and len(svi.optim.get_state()) == 2
    result = svi.run(5, DATA, progress=False)
    assert result.interrupted and result.num_steps == len(result.losses) == 1


def test_a_gate_that_was_open_is_open_again() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    gate = Gate()
    gate.close()
    try:
        gate.open = True
        with Unbroken() as update:
            update.begin()
            signal.raise_signal(signal.SIGINT)
            assert seen == [] and not gate.open
        assert seen == [signal.SIGINT] and gate.open
        gate.keeps_shut = True
        with Unbroken() as update:
            update.begin()
            signal.raise_signal(signal.SIGINT)
        assert len(seen) == 1 and gate.waiting == [signal.SIGINT]
    finally:
        gate.restore()
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("method", [ValueGuard.__enter__, ValueGuard.__exit__, Recorder.__exit__])
def test_a_recording_leaves_no_mode_of_torch_behind(method: Any) -> None:
    """It comes at each line that makes a mode of torch active, or ends it; the next program is captured as ever."""
    for place in range(1, 6):
        svi, lines = fitted(1, Adam({"lr": 0.1}), compile=True, backend="interpreter"), 0

        def trace(frame: FrameType, event: str, arg: object, place: int = place) -> Any:
            nonlocal lines
            if frame.f_code is not method.__code__:
                return None
            if event == "line":
                lines += 1
                if lines == place:
                    signal.raise_signal(signal.SIGINT)
            return trace

        sys.settrace(trace)
        try:
            svi.step(DATA)
            assert lines < place
        except KeyboardInterrupt:
            assert lines >= place
        finally:
            sys.settrace(None)
        fitted(3, Adam({"lr": 0.1}), compile=True, backend="interpreter")


def test_a_second_one_breaks_a_recording_that_waits_for_the_program() -> None:
    def waits(x: torch.Tensor) -> None:
        if is_recording():
            for _ in range(2):
                signal.raise_signal(signal.SIGINT)
            raise AssertionError("it went on")
        model(x)

    svi = SVI(waits, guide, Adam({"lr": 0.1}), Trace_ELBO(), compile=True)
    svi.step(DATA)
    with pytest.raises(KeyboardInterrupt):
        svi.step(DATA)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
