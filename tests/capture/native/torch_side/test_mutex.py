"""Compiled code takes the generator's own mutex, so that threads that draw without Python's lock do no harm."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from torch import Tensor

from ember.capture.native.program import NativeProgram
from ember.capture.native.torch_side import generator, mutex
from ember.capture.native.torch_side.generator import engine
from tools.soak.drawing import engine_is_sound, loaders

from ..programs import recorded

SECONDS = 3.0


def drawing(_: list[Tensor]) -> list[Tensor]:
    return [torch.randn(3), torch.rand(700), torch.multinomial(torch.ones(4), 2, replacement=True)]


@pytest.mark.skipif(not engine().direct, reason="C draws from a copy")
def test_a_soak_with_loader_threads() -> None:
    program = NativeProgram(recorded(drawing, []), [])
    end = time.monotonic() + SECONDS
    with loaders(2):
        while time.monotonic() < end:
            for _ in program.run([], 50):
                pass
            _, normal, uniform, category = program([])
            assert normal.abs().max() < 10 and uniform.min() >= 0 and uniform.max() < 1
            assert category.min() >= 0 and category.max() < 4
    assert engine_is_sound()


@pytest.mark.skipif(not engine().direct, reason="C draws from a copy")
def test_a_draw_in_c_leaves_the_mutex_free() -> None:
    NativeProgram(recorded(drawing, []), [])([])
    thread = threading.Thread(target=torch.rand, args=(3,))
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_a_mutex_that_does_not_behave_like_one_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutex, "_SECONDS", 0.05)
    memory = torch.zeros(128, dtype=torch.uint8)
    place = memory.data_ptr()
    with pytest.raises(mutex.NoMutexError, match="not locked while torch draws"):
        mutex.mutex_offset(torch.Generator(), place, place + 64, lambda address, count: bytes(count))
    with pytest.raises(mutex.NoMutexError, match="no memory"):
        mutex.mutex_offset(torch.Generator(), place, place + 64, lambda address, count: b"x" * count)
    monkeypatch.setattr(generator, "_mutex_offset", _none)
    found = generator.engine.__wrapped__()
    assert not found.direct and found.reason == "none"


def _none(engine_offset: int) -> int:
    raise mutex.NoMutexError("none")
