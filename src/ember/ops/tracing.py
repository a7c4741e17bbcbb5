"""Quiet under ``torch.jit.trace``: code here reads sizes and walks over tensors in ways that its tracer warns of."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator

import torch

from ember.torch_private.jit import jit_tracing_state

__all__ = ["ignore_jit_warnings", "jit_iter", "sizes_of"]


@contextlib.contextmanager
def ignore_jit_warnings(filter: Iterable[str | tuple[str, type[Warning]]] | None = None) -> Iterator[None]:
    """Silence tracer warnings while ``torch.jit`` traces; does nothing at any other time.

    Args:
        filter: messages, or pairs of a message and its class, to silence; all tracer warnings if None.
    """
    if jit_tracing_state() is None:
        yield
        return
    with warnings.catch_warnings():
        for item in [""] if filter is None else filter:
            message, category = item if isinstance(item, tuple) else (item, torch.jit.TracerWarning)  # type: ignore[attr-defined]
            warnings.filterwarnings("ignore", message, category)
        yield


def jit_iter(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The slices of a tensor along its first dim, without the tracer's warning about iterating."""
    if jit_tracing_state() is None:
        return list(tensor.unbind())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Iterating over a tensor")
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        return list(tensor)


def sizes_of(tensor: torch.Tensor) -> tuple[int, ...]:
    """The shape in ints: while ``torch.jit`` traces, that of a tensor is of tensors."""
    if jit_tracing_state() is None:
        return tensor.shape
    with ignore_jit_warnings():
        return tuple(int(size) for size in tensor.shape)
