"""Whether handlers check what they see; the setting ``validate_poutine``."""

from __future__ import annotations

from ember import settings

_VALIDATION_ENABLED = __debug__
settings.register("validate_poutine", __name__, "_VALIDATION_ENABLED")


def enable_validation(is_validate: bool) -> None:
    """Switch the checks of handlers on or off."""
    global _VALIDATION_ENABLED
    _VALIDATION_ENABLED = is_validate


def is_validation_enabled() -> bool:
    """Whether handlers check what they see."""
    return _VALIDATION_ENABLED
