"""Sizes of plates that are tensors, as ``data.shape[0]`` is under ``torch.jit.trace``."""

from __future__ import annotations

import warnings
from typing import Any

import torch


def as_int(size: Any) -> int:
    """The size as a number, for comparisons.

    The tracer warns that a number does not follow later inputs; plates compare sizes only to find mistakes, and go on with
    the tensor itself.
    """
    if isinstance(size, torch.Tensor):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
            return int(size)
    return size  # type: ignore[no-any-return]
