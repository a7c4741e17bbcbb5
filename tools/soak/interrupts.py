"""Ctrl-C at random moments."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.soak.fits import BACKENDS, Backend, fitted, step_counts, values

_MANY = 10_000_000


@contextmanager
def _ctrl_c_after(seconds: float) -> Iterator[None]:
    """SIGINT so much later, which must come while the block lasts."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        yield
    finally:
        timer.join()


def _can_be_interrupted() -> None:
    """Where a shell has started a process in the background, Ctrl-C is ignored there."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def ctrl_c_in_a_run(
    dice: random.Random, folder: Path, backends: tuple[Backend, ...] = BACKENDS
) -> Iterator[None]:
    """Ctrl-C ends a run between two steps: every step that was taken has its loss, and the handler is the one before."""
    _can_be_interrupted()
    while True:
        backend = dice.choice(backends)
        svi, taken = fitted(backend, draws=True), 0
        for _ in range(20):
            callback = (lambda step, loss: None) if dice.random() < 0.3 else None
            try:
                with _ctrl_c_after(dice.random() ** 3 * 0.2):
                    result = svi.run(_MANY, progress=False, callback=callback, callback_interval=7)
            except KeyboardInterrupt:
                pass  # It came before the run had begun.
            else:
                taken += result.num_steps
                assert result.interrupted and len(result.losses) == result.num_steps
            assert step_counts(svi) == {taken}, (backend, step_counts(svi), taken)
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            yield


def ctrl_c_in_a_step(dice: random.Random, folder: Path) -> Iterator[None]:
    """Ctrl-C comes before a step or after it: all parameters have moved, or none, and the optimizer has counted the same."""
    _can_be_interrupted()
    while True:
        backend = dice.choice(BACKENDS)
        svi, losses = fitted(backend, draws=True), 0
        for _ in range(20):
            before, now = values(svi), {}
            try:
                with _ctrl_c_after(dice.random() ** 3 * 0.1):
                    while True:
                        svi.step()
                        before = values(svi)
                        losses += 1
            except KeyboardInterrupt:
                now = values(svi)
            (counted,) = step_counts(svi)
            moved = {now[name] != before[name] for name in now}
            # The loss of a step that was taken may not have come back.
            assert counted in (losses, losses + 1), (backend, counted, losses)
            assert moved == {False} or (moved == {True} and counted == losses + 1), (backend, moved)
            losses = counted
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            yield
