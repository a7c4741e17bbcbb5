"""Switching all validation at once: of distributions, handlers and inference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ember import distributions as dist
from ember import poutine
from ember.infer.traces import validation as infer


def enable_validation(is_validate: bool = True) -> None:
    """Switch the checks of distributions, handlers and inference on or off.

    They are on by default (off under ``python -O``).
    """
    dist.enable_validation(is_validate)
    infer.enable_validation(is_validate)
    poutine.enable_validation(is_validate)


@contextmanager
def validation_enabled(is_validate: bool = True) -> Iterator[None]:
    """Switch all checks on or off for the duration of a block; each is put back as it was."""
    old = [(part, part.is_validation_enabled()) for part in (dist, infer, poutine)]
    try:
        enable_validation(is_validate)
        yield
    finally:
        for part, was_enabled in old:
            part.enable_validation(was_enabled)
