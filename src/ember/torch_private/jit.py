"""Whether ``torch.jit`` is tracing, and what its compiler of classes needs to be told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ember.torch_private.entry import Entry, entry_point

TracingState = Callable[[], object]
Decorator = Callable[[Any], Any]


def _tracing_state() -> object:
    return True if torch.jit.is_tracing() else None  # type: ignore[attr-defined, no-untyped-call]


def _same(function: Any) -> Any:
    return function


def _agrees(call: TracingState) -> bool:
    return (call() is not None) == bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def _keeps(decorator: Decorator) -> bool:
    def function() -> int:
        return 1

    return bool(decorator(function)() == 1)


jit_tracing_state: TracingState = entry_point(
    Entry[TracingState](
        "torch._C._get_tracing_state", _agrees, _tracing_state, "torch.jit.is_tracing, which takes longer"
    )
)
"""None if ``torch.jit`` is not tracing."""

copied_to_script: Decorator = entry_point(
    Entry[Decorator](
        "torch._jit_internal._copy_to_script_wrapper",
        _keeps,
        _same,
        "nothing: torch.jit.script does not see slices of PyroModuleList",
    )
)
