"""Whether steps are captured; the setting ``compile``."""

from __future__ import annotations

from typing import Any, Literal

from ember import settings

CompileMode = bool | Literal["auto"] | None

_COMPILE: CompileMode = None


@settings.register("compile", __name__, "_COMPILE")
def check_mode(value: Any) -> CompileMode:
    """The mode, if it is one.

    Raises:
        ValueError: if it is not None, True, False or "auto".
    """
    if value is not None and value is not True and value is not False and value != "auto":
        raise ValueError(f'compile must be None, True, False or "auto", got {value!r}')
    return value  # type: ignore[no-any-return]


def effective_mode(own: CompileMode, default: CompileMode) -> CompileMode:
    """An SVI's own mode, else that of the setting, else the default."""
    if own is not None:
        return own
    return default if _COMPILE is None else _COMPILE
