"""Where torch's CPU generator keeps its engine, so that compiled C draws from it in place.

``torch.get_rng_state`` and ``torch.set_rng_state`` cost microseconds a pair, more than a small compiled step. This module finds
the engine's memory once per process and hands out its address; nothing is trusted that experiments on private generators and a
comparison with ``torch.get_rng_state`` have not confirmed. Where they do not, the same interface works on a private copy, which
:meth:`Engine.begin` fills and :meth:`Engine.end` gives back.

Threads: torch locks a generator while it draws, without the interpreter's lock. Compiled code locks the same mutex around each of
its draws (``c/ember_lock.h``); where that cannot be found, it works on a copy. A forked process has its own copy of the generator
at the same address, so that what was found stays right.
"""

from __future__ import annotations

import ctypes
import functools
import os
from dataclasses import dataclass

import torch

from ember.capture.native.torch_side.mutex import NoMutexError, mutex_offset


class EngineState(ctypes.Structure):
    """The engine as ``c/ember_engine.h`` declares it (``ember_rng``), and as torch keeps it in memory."""

    _fields_ = [
        ("seed", ctypes.c_uint64),
        ("left", ctypes.c_int32),
        ("seeded", ctypes.c_uint8),
        ("next", ctypes.c_uint32),
        ("state", ctypes.c_uint32 * 624),
        ("padding", ctypes.c_uint32),
        ("float_normal", ctypes.c_float),
        ("has_float_normal", ctypes.c_uint8),
        ("normal", ctypes.c_double),
        ("has_normal", ctypes.c_uint8),
    ]


class _SavedState(ctypes.Structure):
    """The bytes of ``torch.get_rng_state()`` for a CPU generator."""

    _fields_ = [
        ("seed", ctypes.c_uint64),
        ("left", ctypes.c_int32),
        ("seeded", ctypes.c_int32),
        ("next", ctypes.c_uint64),
        ("state", ctypes.c_uint64 * 624),
        ("unused_x", ctypes.c_double),
        ("normal", ctypes.c_double),
        ("unused_rho", ctypes.c_double),
        ("has_normal", ctypes.c_int32),
        ("float_normal", ctypes.c_float),
        ("has_float_normal", ctypes.c_uint8),
    ]


_PLAIN_FIELDS = ("seed", "left", "seeded", "next", "float_normal", "has_float_normal", "normal", "has_normal")
_SEARCHED_BYTES = 4096
"""How far from the generator's address its engine is looked for."""


class _Unverified(Exception):
    """The engine is not where it was expected; the text says what was found."""


@dataclass(frozen=True)
class Engine:
    """The default CPU generator's engine, for compiled code.

    ``address`` is the argument of C functions that take an ``ember_rng *``. If ``direct`` is true it is the engine itself, and
    :meth:`begin` and :meth:`end` do nothing; else it is a copy, valid between the two calls, and ``reason`` says why.
    """

    address: int
    direct: bool
    reason: str
    copy: EngineState | None
    mutex: int = 0
    """Where the mutex lies that is held around draws; 0 for a copy, which belongs to one thread."""

    def begin(self) -> None:
        """Before a compiled call: bring the generator's state into the copy."""
        if self.copy is not None:
            unpack(torch.get_rng_state(), self.copy)

    def end(self) -> None:
        """After a compiled call, also one that failed: give the copy's state back to the generator."""
        if self.copy is not None:
            torch.set_rng_state(pack(self.copy))


def unpack(saved: torch.Tensor, into: EngineState) -> None:
    """Write a state that ``torch.get_rng_state`` returned into an engine."""
    if saved.numel() < ctypes.sizeof(_SavedState):
        raise _Unverified(f"torch's saved state has {saved.numel()} bytes, not {ctypes.sizeof(_SavedState)}")
    source = _SavedState.from_buffer_copy(ctypes.string_at(saved.data_ptr(), ctypes.sizeof(_SavedState)))
    for name in _PLAIN_FIELDS:
        setattr(into, name, getattr(source, name))
    into.state[:] = source.state[:]


def pack(engine: EngineState) -> torch.Tensor:
    """The state of an engine as ``torch.set_rng_state`` takes it."""
    saved = _SavedState()
    for name in _PLAIN_FIELDS:
        setattr(saved, name, getattr(engine, name))
    saved.state[:] = engine.state[:]
    return torch.frombuffer(bytearray(saved), dtype=torch.uint8).clone()


@functools.cache
def engine() -> Engine:
    """The default generator's engine, found on the first call. Draws nothing and leaves every generator's state as it was.

    >>> state = torch.get_rng_state()
    >>> engine().address == engine_pointer()
    True
    >>> torch.equal(torch.get_rng_state(), state)
    True
    """
    try:
        offset = _offset()
        mutex = _mutex_offset(offset)
        address = _address(torch.default_generator, offset)
    except (_Unverified, NoMutexError, OSError, AttributeError) as failure:
        return private_engine(str(failure))
    return Engine(address, True, "", None, _base(torch.default_generator) + mutex)


def private_engine(reason: str) -> Engine:
    """An engine that works on a copy: for a torch whose generator is laid out in another way."""
    copy = EngineState()
    return Engine(ctypes.addressof(copy), False, reason, copy)


def engine_pointer() -> int:
    """The address to hand to C functions that take an ``ember_rng *``."""
    return engine().address


def begin() -> None:
    """To be called before compiled code draws. Free where the engine is used in place."""
    engine().begin()


def end() -> None:
    """To be called after compiled code drew. Free where the engine is used in place."""
    engine().end()


@functools.cache
def sampler_differences() -> frozenset[str]:
    """Samplers that do not draw as ``c/ember_random.h`` does in this build of torch on this processor.

    torch built with MKL hands ``exponential_`` and ``bernoulli_`` with a scalar to it on some processors; their stream is another
    one. Private generators are asked, so that nothing else changes. The names are ``"exponential"`` and ``"bernoulli_scalar"``;
    a multinomial draw without replacement, or of one category, is made of exponentials.
    """
    different = set()
    for count in (1, 40, 5000):
        uniforms, other = (torch.Generator().manual_seed(count) for _ in range(2))
        u = torch.rand(count, generator=uniforms, dtype=torch.float64)
        waits = torch.empty(count, dtype=torch.float64).exponential_(1.0, generator=other)
        if not torch.allclose(waits, -torch.log1p(-u), rtol=1e-12, atol=0):
            different.add("exponential")
        coins = torch.empty(count, dtype=torch.float64).bernoulli_(0.3, generator=other.manual_seed(count))
        if not torch.equal(coins, (u < 0.3).to(torch.float64)):
            different.add("bernoulli_scalar")
    return frozenset(different)


def _offset() -> int:
    """Where the engine lies within a generator: found on one private generator, confirmed on others."""
    first = torch.Generator().manual_seed(20_260_101)
    torch.rand(3, generator=first)
    expected = _expected(first)
    words = bytes(expected.state)
    found = _read(_base(first), _SEARCHED_BYTES).find(words)
    if found < 0:
        raise _Unverified(
            f"the {len(words)} bytes of the engine are not within {_SEARCHED_BYTES} of its generator"
        )
    offset = found - EngineState.state.offset
    for seed in (0, 1, 2**32 + 7):
        _confirm(seed, offset)
    return offset


def _mutex_offset(engine_offset: int) -> int:
    generator = torch.Generator().manual_seed(20_260_102)
    base = _base(generator)
    return mutex_offset(generator, base, base + engine_offset, _read)


def _confirm(seed: int, offset: int) -> None:
    """Check all fields through what torch does with a generator, and that what is written there is what torch uses."""
    generator = torch.Generator().manual_seed(seed)
    _address(generator, offset)
    torch.rand(seed % 5 + 1, generator=generator)
    _address(generator, offset)
    torch.randn(1, generator=generator)  # leaves the second value of a pair behind
    if not _expected(generator).has_normal:
        raise _Unverified("one normal does not leave a second one in the generator")
    address = _address(generator, offset)
    torch.randn(1, generator=generator)
    _address(generator, offset)
    crafted = _expected(generator)
    crafted.float_normal, crafted.has_float_normal = 0.375, 1
    generator.set_state(pack(crafted))
    _address(generator, offset)
    # The other way round, now that every field was read where it was expected.
    fresh = torch.Generator().manual_seed(seed + 11)
    torch.randn(3, generator=fresh)
    there = EngineState.from_address(address)
    unpack(fresh.get_state(), there)
    if not torch.equal(torch.randn(40, generator=generator), torch.randn(40, generator=fresh)):
        raise _Unverified("a state written to the engine's place is not the one that torch draws from")
    _address(generator, offset)


def _address(generator: torch.Generator, offset: int) -> int:
    """The engine's address, if the memory there says what the generator's state says."""
    address = _base(generator) + offset
    there = EngineState.from_buffer_copy(_read(address, ctypes.sizeof(EngineState)))
    expected = _expected(generator)
    wrong = [name for name in _PLAIN_FIELDS if not _same(name, there, expected)]
    if bytes(there.state) != bytes(expected.state):
        wrong.append("state")
    if wrong:
        raise _Unverified(
            f"the memory at the engine's place differs from the generator's state in {', '.join(wrong)}"
        )
    return address


def _base(generator: torch.Generator) -> int:
    """The address of the C++ object behind a generator. Python has it as an attribute that torch's type stubs leave out."""
    return int(generator._cdata)  # type: ignore[attr-defined]


def _same(name: str, there: EngineState, expected: EngineState) -> bool:
    if name in ("normal", "float_normal") and not getattr(expected, f"has_{name}"):
        return True  # an empty optional keeps whatever was there
    return bool(getattr(there, name) == getattr(expected, name))


def _expected(generator: torch.Generator) -> EngineState:
    expected = EngineState()
    unpack(generator.get_state(), expected)
    return expected


def _read(address: int, count: int) -> bytes:
    """Memory of this process, through the kernel: an address that is not mapped gives an error, not a crash."""
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        return os.pread(memory.fileno(), count, address)
