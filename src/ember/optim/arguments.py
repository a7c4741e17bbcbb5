"""Options per parameter: a dictionary for all, or a function of the parameter's name."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from numbers import Real
from typing import Any, ParamSpec, TypeVar

from torch.optim import SGD, Optimizer

from ember.caller import stacklevel
from ember.errors import OptimizerError
from ember.optim.rules.clipping import Clipping
from ember.params import module_from_param_with_module_name, normalize_param_name, user_param_name

Options = dict[str, Any] | Callable[..., dict[str, Any]]

P = ParamSpec("P")
T = TypeVar("T")

_CLIP_FIELDS = {"clip_norm": "norm", "clip_value": "value", "clip_global_norm": "global_norm"}


def checked_options(options: object, what: str) -> Options:
    """A copy of a dictionary, or the callable itself.

    Raises:
        AssertionError: if ``options`` is neither.
    """
    if callable(options):
        return options
    if not isinstance(options, dict):
        way_out = (
            f"write {{'lr': {options!r}}}" if isinstance(options, Real) else "write for example {'lr': 0.01}"
        )
        raise AssertionError(
            f"{what} must be function that returns defaults or a defaults dictionary, got {options!r}: {way_out}"
        )
    return dict(options)


def options_in_a_dictionary(factory: Callable[P, T]) -> Callable[P, T]:
    """Let a factory of optimizers say how options are given, where they come as keywords.

    >>> @options_in_a_dictionary
    ... def Adam(optim_args): ...
    >>> Adam(lr=0.1)
    Traceback (most recent call last):
    TypeError: Adam takes its options in one dictionary, got the keyword lr: write Adam({'lr': 0.1})
    """
    known = frozenset(inspect.signature(factory).parameters)

    @functools.wraps(factory)
    def made(*args: P.args, **kwargs: P.kwargs) -> T:
        foreign = {name: value for name, value in kwargs.items() if name not in known}
        if foreign:
            given = dict(args[0]) if args and isinstance(args[0], dict) else {}
            shown = ", ".join(f"{name!r}: {value!r}" for name, value in {**given, **foreign}.items())
            raise TypeError(
                f"{factory.__name__} takes its options in one dictionary, got the keyword {', '.join(foreign)}: "
                f"write {factory.__name__}({{{shown}}})"
            )
        return factory(*args, **kwargs)

    return made


@functools.lru_cache(maxsize=64)
def parameters_of(constructor: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """What a class of optimizers takes beside the parameters."""
    return dict(list(inspect.signature(constructor).parameters.items())[1:])


def check_values(constructor: Callable[..., Any], options: dict[str, Any]) -> None:
    """Compare options with what an optimizer's class takes, before its arithmetic fails on them.

    Warns about plain gradient steps at torch's default rate, which has nothing to do with the loss at hand.

    Raises:
        TypeError: for an option that the class lacks, or a value of another kind than its default.
    """
    if not (isinstance(constructor, type) and issubclass(constructor, Optimizer)):
        return
    parameters = parameters_of(constructor)  # type: ignore[arg-type]  # classes can be hashed
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for name, value in options.items():
        if name not in parameters:
            raise TypeError(
                f"{constructor.__name__}.__init__() got an unexpected keyword argument {name!r}: "
                f"its options are {', '.join(parameters)}"
            )
        check_value(constructor, name, value, parameters[name].default)
    if constructor is SGD and "lr" not in options:
        warnings.warn(
            "SGD without a learning rate takes torch's default, lr=0.001: say which one is meant, {'lr': 0.001}",
            UserWarning,
            stacklevel=stacklevel(),
        )


def check_value(constructor: Callable[..., Any], name: str, value: object, default: object) -> None:
    """Compare an option with its default.

    Raises:
        TypeError: for another kind of value.
    """
    what = f"the option {name!r} of {constructor.__name__} must be"
    if isinstance(default, tuple):
        if not (isinstance(value, (tuple, list)) and len(value) == len(default)):
            raise TypeError(f"{what} {len(default)} numbers, got {value!r}: write {{{name!r}: {default!r}}}")
    elif type(default) in (int, float) and isinstance(value, (str, list, tuple, dict)):
        raise TypeError(f"{what} a number, got {value!r}: write for example {{{name!r}: {default!r}}}")


def parameter_count(function: Callable[..., Any]) -> int:
    """How many arguments a callable of options takes.

    >>> parameter_count(lambda name: {"lr": 0.1})
    1
    """
    return len(inspect.signature(function).parameters)


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
