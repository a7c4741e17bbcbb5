"""Other threads draw from torch's generator while compiled programs do."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ember.capture.native.torch_side.generator import EngineState, engine
from tools.soak.fits import fitted


@contextmanager
def loaders(count: int) -> Iterator[None]:
    """Threads that only draw, as those of a data loader do."""
    stop = threading.Event()

    def draw() -> None:
        while not stop.is_set():
            torch.randn(20_000)
            torch.rand(10_001)

    threads = [threading.Thread(target=draw, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def engine_is_sound() -> bool:
    """In a sound engine the words that are left and the next one's place belong together."""
    if not engine().direct:
        return True
    there = EngineState.from_address(engine().address)
    return there.left + there.next in (624, 625)


def loader_threads(dice: random.Random, folder: Path) -> Iterator[None]:
    """Threads that draw do no harm to native steps and runs, nor these to them."""
    svi = fitted("native", draws=True)
    while True:
        with loaders(2):
            for _ in range(dice.randrange(20, 100)):
                steps = dice.randrange(1, 200)
                result = svi.run(steps, progress=False)
                losses = [*result.losses.tolist(), *(svi.step() for _ in range(dice.randrange(50)))]
                assert result.num_steps == steps and all(map(math.isfinite, losses)), losses
                normal, uniform = torch.randn(100), torch.rand(100)
                assert normal.abs().max() < 10 and uniform.min() >= 0 and uniform.max() < 1
                yield
        # Only without others: they take words between the two that are read.
        assert engine_is_sound()
