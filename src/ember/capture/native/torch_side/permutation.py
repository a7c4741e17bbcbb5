"""``torch.randperm`` in C: the same numbers from the same generator, in a fifth of the time for long orders."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import torch
from torch import Tensor

from ember.capture.native.build.toolchain import compile_library
from ember.capture.native.torch_side.generator import EngineState, engine, pack, unpack
from ember.errors import CaptureError

FEWEST = 2**15
"""Below, torch is as fast: the array lies in the cache."""
_SOURCE = """
#include "ember_lock.h"
#include "ember_random.h"
void ember_permutation(pthread_mutex_t *mutex, ember_rng *g, int64_t *out, int64_t n) {
    ember_mutex = mutex;
    ember_lock();
    ember_randperm_i64(g, out, n);
    ember_unlock();
}
"""


def permute(order: Tensor) -> None:
    """Fill a tensor with what ``torch.randperm(len(order))`` would draw.

    Args:
        order: int64, ``(n,)``, on any device; the draws are those of the CPU's generator.

    >>> order = torch.empty(50_000, dtype=torch.int64)
    >>> _ = torch.manual_seed(0)
    >>> permute(order)
    >>> _ = torch.manual_seed(0)
    >>> torch.equal(order, torch.randperm(50_000))
    True
    """
    rows = len(order)
    draw = _function() if rows >= FEWEST and order.device.type == "cpu" and order.is_contiguous() else None
    if draw is None:
        order.copy_(torch.randperm(rows))
        return
    own = engine()
    own.begin()
    try:
        draw(own.mutex, own.address, order.data_ptr(), rows)
    finally:
        own.end()


@functools.cache
def _function() -> Any:
    """The compiled function; None where there is no compiler, or torch draws in another way."""
    try:
        function = compile_library(_SOURCE).load().ember_permutation
    except (CaptureError, OSError):
        return None
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    function.restype = None
    generator, own = torch.Generator().manual_seed(20_261_201), EngineState()
    unpack(generator.get_state(), own)
    found = torch.empty(1500, dtype=torch.int64)
    function(None, ctypes.addressof(own), found.data_ptr(), len(found))
    same = torch.equal(found, torch.randperm(len(found), generator=generator))
    return function if same and torch.equal(pack(own), generator.get_state()) else None


__all__ = ["FEWEST", "permute"]
