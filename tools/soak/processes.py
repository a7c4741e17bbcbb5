"""Many programs, many threads, many processes."""

from __future__ import annotations

import gc
import itertools
import math
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch

from ember.capture import capture
from ember.capture.native import program as native
from ember.capture.native.build.store import cache_folder
from ember.infer import SVI
from ember.params import ParamStoreDict
from tools.soak.fits import BACKENDS, Backend, fitted, values
from tools.soak.saving import in_a_child

# A new one now and then: a compiler takes most of the time.
_KINDS, _EACH = 60, 12


@contextmanager
def _cheap_compiler(folder: Path) -> Iterator[None]:
    """A cache of our own, and code that is not optimised."""
    before = native.FLAGS, os.environ.get("EMBER_CACHE_DIR")
    os.environ["EMBER_CACHE_DIR"] = str(folder)
    native.FLAGS = ("-O0", *native.FLAGS[1:])
    try:
        yield
    finally:
        native.FLAGS = before[0]
        del os.environ["EMBER_CACHE_DIR"]
        if before[1] is not None:
            os.environ["EMBER_CACHE_DIR"] = before[1]


def mapped() -> set[str]:
    """The files of the cache that this process has in memory."""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return {line.split()[-1] for line in lines if str(cache_folder()) in line}


def _use(number: int) -> None:
    x = torch.ones(2)
    graph = capture(lambda flat: [torch.zeros(()), flat[0] * number + torch.rand(2)], [x])
    result = native.NativeProgram(graph, [x])([x])[1]
    assert (result >= number).all() and (result <= number + 1).all()


def many_programs(dice: random.Random, folder: Path) -> Iterator[None]:
    """Programs that are dropped leave nothing in memory, and their files in the cache."""
    with _cheap_compiler(folder):
        for kind in itertools.count():
            _use(dice.randrange(min(kind // _EACH, _KINDS) + 1))
            if kind % 50 == 49:
                gc.collect()
                assert mapped() == set()
            yield


def many_fits(dice: random.Random, folder: Path) -> Iterator[None]:
    """Fits that are dropped leave nothing in memory: neither parameters, nor optimizer, nor programs."""
    with _cheap_compiler(folder):
        while True:
            svi = fitted("native", ParamStoreDict(), draws=True, rows=dice.randrange(1, 12))
            svi.run(20, progress=False)
            del svi
            gc.collect()
            assert mapped() == set()
            yield


def _trained(svi: SVI, steps: int) -> tuple[list[float], dict[str, float]]:
    losses = [svi.step() for _ in range(steps)] + svi.run(steps, progress=False).losses.tolist()
    return losses, values(svi)


def threads_with_fits(dice: random.Random, folder: Path) -> Iterator[None]:
    """Fits with stores of their own, each in a thread, give the numbers that they give alone, up to rounding.

    Beside other threads a step may be eager that is compiled alone.
    """
    while True:
        kinds: list[tuple[Backend, int]] = [(dice.choice(BACKENDS), dice.randrange(1, 9)) for _ in range(4)]
        steps = dice.randrange(5, 60)
        alone = [_fit(*kind, steps) for kind in kinds]
        with ThreadPoolExecutor(len(kinds)) as pool:
            together = [pool.submit(_fit, *kind, steps) for kind in kinds]
        for kind, own, other in zip(kinds, alone, (each.result() for each in together), strict=True):
            assert len(own[0]) == len(other[0]) and own[1].keys() == other[1].keys(), kind
            numbers = zip([*own[0], *own[1].values()], [*other[0], *other[1].values()], strict=True)
            assert all(math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-5) for a, b in numbers), kind
        yield


def _fit(backend: Backend, rows: int, steps: int) -> tuple[list[float], dict[str, float]]:
    return _trained(fitted(backend, ParamStoreDict(), rows=rows), steps)


def forks(dice: random.Random, folder: Path) -> Iterator[None]:
    """A forked process goes on with a native fit as its parent does, with the same random numbers, and does not disturb it."""
    svi, result = fitted("native", draws=True), folder / "losses"
    while True:
        steps = dice.randrange(1, 20)
        child = in_a_child(lambda number=steps: torch.save(_trained(svi, number), result))  # type: ignore[misc]
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert torch.load(result) == _trained(svi, steps)
        yield
