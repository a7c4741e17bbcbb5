"""Where torch's CPU generator keeps its mutex, so that compiled C waits for other threads' draws as torch itself does.

torch locks a generator while it draws, and gives up the interpreter's lock meanwhile. C that draws from the same engine therefore
takes the generator's mutex, too. It is looked for on a private generator: memory that is all zero at rest, that is busy while
another thread draws, and that keeps this thread's draws waiting while we hold it.
"""

from __future__ import annotations

import ctypes
import errno
import threading
import time
from collections.abc import Callable

import torch

_BYTES = 40
"""What is used of a mutex by the threads of glibc and musl on 64 bits."""
_SECONDS = 10.0
_DRAWN = 100_000
_REST = 0.001

Read = Callable[[int, int], bytes]
"""Memory of this process: an address and how many bytes."""


class NoMutexError(Exception):
    """The mutex is not where it was expected; the text says what was found."""


def mutex_offset(generator: torch.Generator, base: int, engine: int, read: Read) -> int:
    """How far from the start of a generator its mutex lies.

    Args:
        generator: a private one, to experiment with.
        base: where the generator lies.
        engine: where its engine lies, which comes after the mutex.
        read: reads memory without harm.

    Raises:
        NoMutexError: if nothing there behaves like one.
    """
    memory = read(base, engine - base)
    for offset in range(8, len(memory) - _BYTES + 1, 8):
        if not any(memory[offset : offset + _BYTES]):
            _confirm(generator, base + offset, lambda: read(engine, 64))
            return offset
    raise NoMutexError("no memory like that of a mutex lies before the engine")


def _confirm(generator: torch.Generator, address: int, engine: Callable[[], bytes]) -> None:
    """Let another thread draw from the generator, and look whether this is what it locks."""
    stop = threading.Event()
    numbers = torch.empty(_DRAWN)

    def draw() -> None:
        while not stop.is_set():
            numbers.uniform_(generator=generator)

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        _see_it_busy(address)
        # It is held without the interpreter's lock, so that waiting for it with that lock ends.
        _pthread("lock", address)
        try:
            before = engine()
            time.sleep(_REST)
            held = engine() == before
        finally:
            _pthread("unlock", address)
    finally:
        stop.set()
        thread.join()
    if not held:
        raise NoMutexError("torch draws while the generator's mutex is held")


def _see_it_busy(address: int) -> None:
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        status = _pthread("trylock", address)
        if status == errno.EBUSY:
            return
        if status:
            break
        _pthread("unlock", address)
        time.sleep(0)
    raise NoMutexError("the memory before the engine is not locked while torch draws")


def _pthread(name: str, address: int) -> int:
    """What ``pthread_mutex_<name>`` returns."""
    function = getattr(ctypes.pythonapi, f"pthread_mutex_{name}")
    status: int = function(ctypes.c_void_p(address))
    return status
