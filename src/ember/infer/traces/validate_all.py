"""Switching all validation at once: of distributions, handlers and inference."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ember import distributions as dist
from ember import poutine
from ember.distributions.fast_checks import checks_values
from ember.infer.traces import validation as infer

_ONE_AT_A_TIME = threading.RLock()


def enable_validation(is_validate: bool = True) -> None:
    """Switch the checks of distributions, handlers and inference on or off.

    They are on by default (off under ``python -O``).
    """
    dist.enable_validation(is_validate)
    infer.enable_validation(is_validate)
    poutine.enable_validation(is_validate)


def switches() -> tuple[bool, ...]:
    """What decides what is checked: the flags of distributions, Ember's and torch's, of inference and of handlers."""
    flags = tuple(part.is_validation_enabled() for part in (dist, infer, poutine))
    return (*flags, checks_values(torch.distributions.Distribution))


@contextmanager
def structure_unchecked() -> Iterator[None]:
    """Switch the checks of inference and handlers off, but not those of distributions, for the duration of a block. Blocks of
    other threads wait, since the switches are the whole process's."""
    with _ONE_AT_A_TIME:
        old = [(part, part.is_validation_enabled()) for part in (infer, poutine)]
        try:
            for part, _ in old:
                part.enable_validation(False)
            yield
        finally:
            for part, was_enabled in old:
                part.enable_validation(was_enabled)


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
