"""Switching all validation at once: of distributions, handlers and inference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ember import distributions as dist
from ember import poutine, settings
from ember.distributions.fast_checks import checks_values
from ember.distributions.validation import values_unchecked
from ember.infer.traces import validation as infer
from ember.poutine.validation import structure_unchecked


def enable_validation(is_validate: bool = True) -> None:
    """Switch the checks of distributions, handlers and inference on or off.

    They are on by default (off under ``python -O``).

    Args:
        is_validate: whether to check.

    >>> import ember
    >>> ember.enable_validation(True)
    """
    dist.enable_validation(is_validate)
    infer.enable_validation(is_validate)
    poutine.enable_validation(is_validate)


def switches() -> tuple[bool, ...]:
    """What decides what is checked: the flags of distributions, Ember's and torch's, of inference and of handlers."""
    flags = tuple(part.is_validation_enabled() for part in (dist, infer, poutine))
    return (*flags, checks_values(torch.distributions.Distribution))


@contextmanager
def unchecked() -> Iterator[None]:
    """Check nothing in this thread for the duration of a block; other threads go on checking."""
    with structure_unchecked(), values_unchecked():
        yield


@contextmanager
def validation_enabled(is_validate: bool = True) -> Iterator[None]:
    """Switch all checks of the process on or off for the duration of a block; each is put back as it was.

    Args:
        is_validate: whether to check in the block.

    >>> import ember
    >>> with ember.validation_enabled(False):
    ...     x = ember.sample("x", ember.distributions.Normal(0.0, 1.0))
    """
    with (
        dist.validation_enabled(is_validate),
        settings.context(validate_infer=is_validate, validate_poutine=is_validate),
    ):
        yield
