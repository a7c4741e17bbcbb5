"""Whether inference checks models and guides; the setting ``validate_infer``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ember import settings
from ember.poutine.validation import STRUCTURE_CHECKS

_VALIDATION_ENABLED = __debug__
settings.register("validate_infer", __name__, "_VALIDATION_ENABLED")


def enable_validation(is_validate: bool) -> None:
    """Switch the checks of inference on or off.

    Args:
        is_validate: whether to check.

    >>> import ember
    >>> ember.infer.enable_validation(True)
    """
    global _VALIDATION_ENABLED
    _VALIDATION_ENABLED = is_validate


def is_validation_enabled() -> bool:
    """Say whether inference checks models and guides in this thread.

    >>> import ember
    >>> with ember.settings.context(validate_infer=False):
    ...     ember.infer.is_validation_enabled()
    False
    """
    return _VALIDATION_ENABLED and STRUCTURE_CHECKS.on


@contextmanager
def validation_enabled(is_validate: bool = True) -> Iterator[None]:
    """Switch the checks on or off for the duration of a block."""
    with settings.context(validate_infer=is_validate):
        yield
