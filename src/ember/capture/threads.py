"""How many threads share the large loops of a captured step; the setting ``threads``."""

from __future__ import annotations

import os
from typing import Any

import torch

from ember import settings

_THREADS: int | None = None


@settings.register("threads", __name__, "_THREADS")
def _check(value: Any) -> int | None:
    """A number of threads, or None.

    Raises:
        ValueError: if it is neither None nor a whole number from 1 on.
    """
    if value is not None and (type(value) is not int or value < 1):
        raise ValueError(f"threads must be None or a whole number from 1 on, got {value!r}")
    return value


def num_threads() -> int:
    """The setting; None stands for as many as torch uses, and at most one for each core that this process may use."""
    if _THREADS is not None:
        return _THREADS
    return min(
        torch.get_num_threads(), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    )


__all__ = ["num_threads"]
