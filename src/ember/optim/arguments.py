"""Options per parameter: a dictionary for all, or a function of the parameter's name."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any

from ember.errors import OptimizerError
from ember.optim.rules.clipping import Clipping
from ember.params import module_from_param_with_module_name, normalize_param_name, user_param_name

Options = dict[str, Any] | Callable[..., dict[str, Any]]

_CLIP_FIELDS = {"clip_norm": "norm", "clip_value": "value", "clip_global_norm": "global_norm"}


def checked_options(options: Options, what: str) -> Options:
    """A copy of a dictionary, or the callable itself.

    Raises:
        AssertionError: if ``options`` is neither.
    """
    if callable(options):
        return options
    if not isinstance(options, dict):
        raise AssertionError(f"{what} must be function that returns defaults or a defaults dictionary")
    return dict(options)


def parameter_count(function: Callable[..., Any]) -> int:
    """How many arguments a callable of options takes.

    >>> parameter_count(lambda name: {"lr": 0.1})
    1
    """
    return len(inspect.signature(function).parameters)


def _frames_of_ember() -> int:
    frame: FrameType | None = sys._getframe(2)
    level = 2
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("ember."):
        frame, level = frame.f_back, level + 1
    return level


def warn_if_two_arguments(options: Options) -> None:
    """Warn about functions of module name and parameter name, which miss the full name."""
    if callable(options) and parameter_count(options) != 1:
        warnings.warn(
            "optim_args with two arguments (module_name, param_name) is deprecated; "
            "take one, the full parameter name such as 'net.layer.weight'",
            DeprecationWarning,
            stacklevel=_frames_of_ember(),
        )


def options_for(options: Options, name: str | None, what: str) -> dict[str, Any]:
    """The options of one parameter.

    Args:
        options: a dictionary, or a function of the full name, or of module name and parameter name.
        name: the parameter's name in its store; None for a tensor that is in no store.
        what: ``"optim"`` or ``"clip"``, for messages.

    Raises:
        AssertionError: if the function does not return a dictionary.
        OptimizerError: if a function is to be asked about a tensor without a name.
    """
    if not callable(options):
        return options
    if name is None:
        raise OptimizerError(
            f"{what}_args is a function of the parameter's name, but one of the parameters is in no "
            f"parameter store; register it with param() or module(), or give {what}_args as a dictionary"
        )
    if parameter_count(options) == 1:
        result: Any = options(normalize_param_name(name))
    else:
        result = options(module_from_param_with_module_name(name), user_param_name(name))
    if not isinstance(result, dict):
        raise AssertionError(
            f"per-param {what} arg must return defaults dictionary (parameter {name!r}: {result!r})"
        )
    return result


def checked_clip(clip: dict[str, Any]) -> Clipping:
    """Clipping options as a record.

    Raises:
        TypeError: for an unknown key.
    """
    for key in clip:
        if key not in _CLIP_FIELDS:
            raise TypeError(
                f"PyroOptim._clip_grad() got an unexpected keyword argument {key!r}; "
                f"clip_args takes {', '.join(_CLIP_FIELDS)}"
            )
    return Clipping(**{_CLIP_FIELDS[key]: float(value) for key, value in clip.items() if value is not None})
