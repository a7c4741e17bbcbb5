"""Whether handlers check what they see; the setting ``validate_poutine``."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ember import settings

_VALIDATION_ENABLED = __debug__
settings.register("validate_poutine", __name__, "_VALIDATION_ENABLED")


class _StructureChecks(threading.local):
    on = True


STRUCTURE_CHECKS = _StructureChecks()


def enable_validation(is_validate: bool) -> None:
    """Switch the checks of handlers on or off.

    Args:
        is_validate: whether handlers check what they see.
    """
    global _VALIDATION_ENABLED
    _VALIDATION_ENABLED = is_validate


def is_validation_enabled() -> bool:
    """Say whether handlers check what they see in this thread."""
    return _VALIDATION_ENABLED and STRUCTURE_CHECKS.on


@contextmanager
def structure_unchecked() -> Iterator[None]:
    """Let inference and handlers check nothing in this thread for the duration of a block; distributions go on checking."""
    outer, STRUCTURE_CHECKS.on = STRUCTURE_CHECKS.on, False
    try:
        yield
    finally:
        STRUCTURE_CHECKS.on = outer
