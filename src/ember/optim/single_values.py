"""Single values of a saved state: numbers that are numbers, tensors of the right shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ember.errors import OptimizerError
from ember.optim.arguments import check_value

Constructor = Callable[..., Any]


def alike(saved: object, now: object) -> bool:
    """Whether a scheduler's saved value can stand where it has another now: numbers for numbers.

    >>> alike([0.1], [0.2]), alike(["0.1"], [0.2]), alike(float("nan"), 1)
    (True, False, False)
    """
    if isinstance(now, (list, tuple)) and now and all(isinstance(each, (int, float)) for each in now):
        return isinstance(saved, (list, tuple)) and all(alike(each, 0.0) for each in saved)
    if isinstance(now, (int, float)) and not isinstance(now, bool):
        numbers = _numbers_in(saved)
        return len(numbers) == 1 and not isinstance(saved, (list, tuple)) and not math.isnan(numbers[0])
    return True


WAY_OUT = "Mend it, or take {name!r} out of the dictionary: its optimizer then starts anew"


def short(value: object) -> str:
    """A value for a message."""
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)


def has(name: str, key: str, value: object) -> str:
    """What a message about an option or entry begins with."""
    return f"the saved state of parameter {name!r} has {key}={short(value)}"


def _numbers_in(value: object) -> list[float]:
    if isinstance(value, Tensor):
        return [float(number) for number in value.detach().flatten().tolist()] if value.numel() == 1 else []
    if isinstance(value, (list, tuple)):
        return [float(number) for number in value if isinstance(number, (int, float))]
    return [float(value)] if isinstance(value, (int, float)) else []


def check_number(name: str, key: str, value: object) -> None:
    """A learning rate is one finite number, and nothing is NaN.

    Raises:
        OptimizerError: if it is otherwise.
    """
    wrong = [number for number in _numbers_in(value) if math.isnan(number)]
    if key in ("lr", "initial_lr"):
        single = isinstance(value, (int, float)) or (isinstance(value, Tensor) and value.numel() == 1)
        if wrong or not single or math.isinf(_numbers_in(value)[0]):
            raise OptimizerError(
                f"{has(name, key, value)}. A learning rate is one finite number. {WAY_OUT.format(name=name)}"
            )
    if wrong:
        raise OptimizerError(f"{has(name, key, value)}. It is no number. {WAY_OUT.format(name=name)}")


def check_kind(name: str, kind: Constructor, key: str, value: object, default: object) -> None:
    """An option is of the kind of its default.

    Raises:
        OptimizerError: if it is otherwise.
    """
    try:
        check_value(kind, key, value, default)
        if isinstance(default, bool) and not isinstance(value, (bool, int)):
            raise TypeError(f"the option {key!r} must be True or False, got {value!r}")
    except TypeError as error:
        raise OptimizerError(f"{has(name, key, value)}: {error}. {WAY_OUT.format(name=name)}") from error


def wrong_number(key: str, value: object, shape: torch.Size | None) -> Iterator[str]:
    """What is wrong with an entry of one number a parameter; ``shape`` if it may have one number an entry."""
    of_entries = isinstance(value, Tensor) and shape is not None and value.shape == shape
    single = isinstance(value, (int, float)) or (isinstance(value, Tensor) and value.numel() == 1)
    if isinstance(value, bool) or not (single or of_entries):
        yield f"has {key}={short(value)}, which must be one number"
    elif single and not (math.isfinite(number := _numbers_in(value)[0]) and number >= 0):
        yield f"has {key}={number!r}, which must be finite and not negative"


def wrong_tensor(key: str, value: object, shape: torch.Size, of: str) -> Iterator[str]:
    """What is wrong with an entry of one number an entry of the parameter, whose shape is that ``of`` something."""
    if not isinstance(value, Tensor):
        yield f"has {key}={value!r}, which must be a tensor"
    elif value.shape != shape:
        yield f"has {key} of shape {tuple(value.shape)}, but {of} has shape {tuple(shape)}"
    elif not (value.is_floating_point() or value.is_complex()):
        yield f"has {key} of {value.dtype}, which must be of a floating-point type"
