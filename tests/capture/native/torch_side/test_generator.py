"""The engine of torch's generator is found where it is, without a trace, and compiled code draws from it as torch does."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from ember.capture.native.build.toolchain import compile_library
from ember.capture.native.torch_side import generator
from ember.capture.native.torch_side.generator import (
    Engine,
    EngineState,
    engine,
    engine_pointer,
    private_engine,
)

SOURCE = """
#include "ember_random.h"
void draw(ember_rng *g, double *out, int64_t n) { ember_normal_f64(g, out, n, 0.0, 1.0); }
uint64_t size(void) { return sizeof(ember_rng); }
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ctypes.PyDLL]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMBER_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield compile_library(SOURCE).load()


def draw(library: ctypes.PyDLL, count: int, source: Engine) -> Tensor:
    out = torch.empty(count, dtype=torch.float64)
    source.begin()
    library.draw(ctypes.c_void_p(source.address), ctypes.c_void_p(out.data_ptr()), ctypes.c_int64(count))
    source.end()
    return out


@pytest.fixture(params=["direct", "private"])
def source(request: pytest.FixtureRequest) -> Engine:
    if request.param == "private":
        return private_engine("asked for")
    if not engine().direct:
        pytest.skip(engine().reason)
    return engine()


def test_python_and_c_agree_on_the_layout(library: ctypes.PyDLL) -> None:
    library.size.restype = ctypes.c_uint64
    assert library.size() == ctypes.sizeof(EngineState)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read through /proc")
def test_the_engine_is_found_in_this_torch() -> None:
    assert engine().direct, engine().reason
    assert engine_pointer() == engine().address


def test_finding_it_leaves_every_generator_as_it_was() -> None:
    code = """
import torch
from ember.capture.native.torch_side import generator
torch.manual_seed(5)
torch.randn(3)  # leaves the second value of a pair waiting
before = torch.get_rng_state()
default = torch.initial_seed()
generator.engine()
generator.sampler_differences()
generator.begin(); generator.end()
assert torch.equal(torch.get_rng_state(), before) and torch.initial_seed() == default
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("count", [1, 2, 7, 16, 700])
def test_draws_are_torchs_and_leave_its_state(library: ctypes.PyDLL, source: Engine, count: int) -> None:
    torch.manual_seed(3)
    expected = [torch.randn(count, dtype=torch.float64) for _ in range(4)]
    state = torch.get_rng_state()
    torch.manual_seed(3)
    # Turn by turn: what waits in the generator passes from one to the other.
    mixed = [
        draw(library, count, source),
        torch.randn(count, dtype=torch.float64),
        draw(library, count, source),
        torch.randn(count, dtype=torch.float64),
    ]
    assert all(torch.equal(a, b) for a, b in zip(mixed, expected, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_seeds_saved_states_and_forked_generators_are_followed(library: ctypes.PyDLL, source: Engine) -> None:
    torch.manual_seed(2**40 + 1)
    state = torch.get_rng_state()
    first = draw(library, 5, source)
    torch.set_rng_state(state)
    assert torch.equal(draw(library, 5, source), first)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        inside = draw(library, 5, source)
        torch.manual_seed(1)
        assert torch.equal(torch.randn(5, dtype=torch.float64), inside)
    after = draw(library, 5, source)
    torch.set_rng_state(state)
    torch.randn(5, dtype=torch.float64)
    assert torch.equal(torch.randn(5, dtype=torch.float64), after)
    torch.seed()  # a seed of the system's choice
    seed = torch.initial_seed()
    drawn = draw(library, 20, source)
    assert torch.equal(
        torch.randn(20, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)), drawn
    )


def test_another_thread_has_the_same_engine(library: ctypes.PyDLL, source: Engine) -> None:
    drawn: list[Tensor] = []

    def work() -> None:
        torch.manual_seed(8)
        drawn.append(draw(library, 9, source))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    second = torch.randn(9, dtype=torch.float64)
    torch.manual_seed(8)
    assert torch.equal(torch.randn(9, dtype=torch.float64), drawn[0])
    assert torch.equal(torch.randn(9, dtype=torch.float64), second)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_draws_from_its_own_copy(library: ctypes.PyDLL, source: Engine) -> None:
    torch.manual_seed(4)
    expected = torch.randn(33, dtype=torch.float64)
    torch.manual_seed(4)
    before = torch.get_rng_state()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if torch.equal(draw(library, 33, source), expected) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("draws", [0, 1, 2, 311, 624, 1000])
def test_states_survive_packing(draws: int) -> None:
    torch.manual_seed(draws)
    torch.randint(0, 10, (draws,))
    torch.randn(draws % 3)
    state, copy = torch.get_rng_state(), EngineState()
    generator.unpack(state, copy)
    expected = torch.randn(40)
    torch.set_rng_state(generator.pack(copy))
    assert torch.equal(torch.randn(40), expected)


def test_a_place_that_does_not_hold_the_engine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = generator._offset() if engine().direct else 0
    for wrong in (right + 8, 0):
        with pytest.raises(generator._Unverified, match=r"differs from the generator's state in"):
            generator._address(torch.Generator(), wrong)
    monkeypatch.setattr(generator, "_read", lambda address, count: bytes(count))
    found = generator.engine.__wrapped__()
    assert not found.direct and "not within" in found.reason
    assert found.copy is not None and found.address == ctypes.addressof(found.copy)


def test_memory_that_is_not_mapped_is_an_error_and_not_a_crash() -> None:
    with pytest.raises((OSError, generator._Unverified)):
        generator._read(16, 64)


def test_samplers_that_torch_draws_otherwise_are_named() -> None:
    assert generator.sampler_differences() <= {"exponential", "bernoulli_scalar"}
