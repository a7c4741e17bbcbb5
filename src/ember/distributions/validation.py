"""Whether distributions check their arguments and values: one switch for Ember's flag and torch's.

Importing this module changes neither: torch's own default (on, unless Python runs with ``-O``) stays.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ember import settings
from ember.torch_private.values import all_hold

_VALIDATION_ENABLED: bool = __debug__

settings.register("validate_distributions_pyro", __name__, "_VALIDATION_ENABLED")
settings.register(
    "validate_distributions_torch", "torch.distributions.distribution", "Distribution._validate_args"
)


def enable_validation(is_validate: bool) -> None:
    """Turn the checks of all distributions, torch's included, on or off for the whole process."""
    global _VALIDATION_ENABLED
    torch.distributions.Distribution.set_default_validate_args(is_validate)
    _VALIDATION_ENABLED = is_validate


def is_validation_enabled() -> bool:
    """Say whether Ember's distributions validate in this thread; see :func:`enable_validation`."""
    return _VALIDATION_ENABLED and VALUE_CHECKS.on


def all_valid(valid: torch.Tensor) -> bool:
    """Whether all elements are true, asked as torch's own validation asks it: a recorded step then looks at it in every run.

    >>> all_valid(torch.tensor([True, False]))
    False
    """
    return all_hold(valid)


class _ValueChecks(threading.local):
    on = True


VALUE_CHECKS = _ValueChecks()


@contextmanager
def values_unchecked() -> Iterator[None]:
    """Let no distribution look at arguments and values in this thread, not even one that is made with validation on."""
    outer, VALUE_CHECKS.on = VALUE_CHECKS.on, False
    try:
        yield
    finally:
        VALUE_CHECKS.on = outer


@contextmanager
def validation_enabled(is_validate: bool = True) -> Iterator[None]:
    """Switch validation of the whole process for the duration of a ``with`` block.

    Both flags come back as they were.

    >>> from ember.distributions import is_validation_enabled, validation_enabled
    >>> with validation_enabled(False):
    ...     is_validation_enabled()
    False
    """
    with settings.context(validate_distributions_pyro=is_validate, validate_distributions_torch=is_validate):
        yield
