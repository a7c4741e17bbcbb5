"""How an SVI is set up, for type checkers too: whether its steps are captured (the setting ``compile``), and what they return."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar

from ember import settings
from ember.capture.choice import BackendName
from ember.params.param_store import ParamStoreDict

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    Loss = TypeVarWithDefault("Loss", default=float)
else:
    Loss = TypeVar("Loss")

CompileMode = bool | Literal["auto"] | None

_COMPILE: CompileMode = None


class Options(TypedDict, total=False):
    """The options of an SVI that are given by keyword."""

    compile: CompileMode
    backend: BackendName | None
    param_store: ParamStoreDict | Literal["own"] | None


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
