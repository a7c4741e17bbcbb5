"""Constraints as plain data, so that saved parameters load under ``weights_only=True``.

A constraint becomes its class name and its constructor's arguments, constraints among them encoded likewise. One that is not a
class of :mod:`ember.distributions.constraints` is kept as it is: such a file needs ``allow_pickle=True``.
"""

from __future__ import annotations

import inspect
import reprlib
from types import NoneType
from typing import Any

import torch
from torch.distributions.constraints import Constraint

from ember.distributions import constraints
from ember.errors import SaveFileError

_TAG = "constraint"


def encode(constraint: Constraint) -> Any:
    """``{"constraint": class name, "args": {...}}``, or the constraint itself if it is not one of ours."""
    cls = type(constraint)
    if _class_named(cls.__name__) is not cls:
        return constraint
    args = {name: _read(constraint, name) for name in _arguments(cls)}
    return {
        _TAG: cls.__name__,
        "args": {name: _encode_arg(arg) for name, arg in args.items() if arg is not NotImplemented},
    }


def decode(spec: Any) -> Constraint:
    """The constraint that :func:`encode` described.

    Raises:
        SaveFileError: if the description is malformed or names an unknown class.
    """
    if isinstance(spec, Constraint):
        return _canonical(spec)
    if not isinstance(spec, dict) or set(spec) != {_TAG, "args"} or not isinstance(spec["args"], dict):
        raise SaveFileError(f"malformed constraint in saved parameters: {reprlib.repr(spec)}")
    cls = _class_named(spec[_TAG])
    if cls is None:
        raise SaveFileError(f"unknown constraint {reprlib.repr(spec[_TAG])} in saved parameters")
    args = {name: _decode_arg(arg) for name, arg in spec["args"].items()}
    try:
        return _canonical(cls(**args))
    except Exception as error:  # whatever a constructor says to arguments that it was not made for
        raise SaveFileError(
            f"malformed constraint in saved parameters: {reprlib.repr(spec)} ({error})"
        ) from error


def _arguments(cls: type[Constraint]) -> list[str]:
    if cls.__init__ is object.__init__:
        return []
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    return [parameter.name for parameter in parameters if parameter.kind in kinds]


def _read(constraint: Constraint, name: str) -> Any:
    try:
        return getattr(constraint, name)
    except NotImplementedError:  # ``dependent`` leaves open whether it is discrete, and of which event dim
        return NotImplemented


def _encode_arg(arg: Any) -> Any:
    if isinstance(arg, Constraint):
        return encode(arg)
    if isinstance(arg, (list, tuple)):
        return [_encode_arg(item) for item in arg]
    return arg.detach() if isinstance(arg, torch.Tensor) else arg


def _decode_arg(arg: Any) -> Any:
    if isinstance(arg, (dict, Constraint)):
        return decode(arg)
    if isinstance(arg, (list, tuple)):
        return [_decode_arg(item) for item in arg]
    if not isinstance(arg, (int, float, torch.Tensor, str, NoneType)):
        raise SaveFileError(f"a constraint has no argument of type {type(arg).__name__}")
    if isinstance(arg, (float, torch.Tensor)) and bool(torch.as_tensor(arg).isnan().any()):
        raise SaveFileError("an argument of a constraint is not a number")
    return arg


def _canonical(constraint: Constraint) -> Constraint:
    # Programs compare with ``is``: a constraint without arguments is the one instance that the module names.
    for value in vars(constraints).values():
        if type(value) is type(constraint) and not _arguments(type(value)):
            return value
    return constraint


def _class_named(name: Any) -> type[Constraint] | None:
    if not isinstance(name, str):
        return None
    for home in (constraints, torch.distributions.constraints):
        found = getattr(home, name, None)
        if isinstance(found, type) and issubclass(found, Constraint):
            return found
    return None
