"""Quick proofs that a tensor satisfies a constraint: one reduction and one scalar read.

torch's own check makes a boolean tensor the size of the value and reduces that. The checks here only
ever answer "surely valid"; in any other case the caller asks torch, whose answer and error text then stand.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import lazy_property
from torch.nn import Parameter

from ember.capture.recording.value_guard import is_recording
from ember.torch_private.jit import jit_tracing_state

#: Exact types whose operators are torch's; subclasses (functorch wrappers, user types) go torch's way.
PLAIN_TENSORS = frozenset({Tensor, Parameter})

_NUMBER = (int, float)
_LARGEST = 1e30  # beyond any count, and finite, so that infinity is left to torch
_Dependent: Any = type(constraints.dependent)


def _plain(value: Tensor) -> Tensor:
    return value.detach() if value.requires_grad else value


def _no_nan(_: object, value: Tensor) -> bool:
    if value.numel() == 1:
        x = value.item()
    else:
        # A sum over values of both infinities is NaN as well: then torch decides.
        x = _plain(value).sum().item()
    return x == x


def _lowest(value: Tensor) -> float:
    return value.item() if value.numel() == 1 else _plain(value).min().item()


def _highest(value: Tensor) -> float:
    return value.item() if value.numel() == 1 else _plain(value).max().item()


def _bound(bound: Any) -> float:
    """A bound as a number; NaN, which no comparison accepts, if it is not one number."""
    if isinstance(bound, (int, float)):
        return bound
    if type(bound) in PLAIN_TENSORS and bound.numel() == 1:
        return float(bound.item())
    return math.nan


def _greater_than(constraint: Any, value: Tensor) -> bool:
    return _bound(constraint.lower_bound) < _lowest(value)


def _greater_than_eq(constraint: Any, value: Tensor) -> bool:
    return _bound(constraint.lower_bound) <= _lowest(value)


def _less_than(constraint: Any, value: Tensor) -> bool:
    return _highest(value) < _bound(constraint.upper_bound)


def _interval(constraint: Any, value: Tensor) -> bool:
    return _bound(constraint.lower_bound) <= _lowest(value) and _highest(value) <= _bound(
        constraint.upper_bound
    )


def _boolean(_: object, value: Tensor) -> bool:
    # Clamping turns infinities into numbers, rounding fractions; NaN is never equal to itself.
    value = _plain(value)
    return value.dtype is torch.bool or torch.equal(value.clamp(0, 1).round(), value)


def _integers_between(low: Tensor | float, high: Tensor | float, value: Tensor) -> bool:
    if not (isinstance(low, _NUMBER) and isinstance(high, _NUMBER)):
        return False
    value = _plain(value)
    whole = not value.is_floating_point() or torch.equal(value.round(), value)
    return whole and bool(low <= _lowest(value)) and bool(_highest(value) <= high)


def _integer_interval(constraint: Any, value: Tensor) -> bool:
    return _integers_between(constraint.lower_bound, constraint.upper_bound, value)


def _integer_greater_than(constraint: Any, value: Tensor) -> bool:
    return _integers_between(constraint.lower_bound, _LARGEST, value)


def _independent(constraint: Any, value: Tensor) -> bool:
    if value.dim() < constraint.event_dim:
        return False
    return is_surely_valid(constraint.base_constraint, value)


_CHECKS: dict[type, Callable[[Any, Tensor], bool]] = {
    type(constraints.real): _no_nan,
    constraints.greater_than: _greater_than,
    constraints.greater_than_eq: _greater_than_eq,
    constraints.less_than: _less_than,
    constraints.interval: _interval,
    constraints.independent: _independent,
    type(constraints.boolean): _boolean,
    constraints.integer_interval: _integer_interval,
    type(constraints.nonnegative_integer): _integer_greater_than,
}


def is_surely_valid(constraint: object, value: Tensor) -> bool:
    """Whether every element of ``value`` provably satisfies ``constraint``; False also means "not known"."""
    check = _CHECKS.get(type(constraint))
    if check is None or type(value) not in PLAIN_TENSORS or value.numel() == 0:
        return False
    if jit_tracing_state() is not None or is_recording():
        return False  # reading a number would warn in other words than torch's check; a recording notes what torch's asks
    return check(constraint, value)


def arguments_are_surely_valid(dist: Any) -> bool:
    """Whether every argument of a distribution provably satisfies its ``arg_constraints``."""
    if is_recording():
        return False
    try:
        table = dist.arg_constraints
    except NotImplementedError:
        return False  # torch warns about it
    kind = type(dist)
    plan = _PLANS.get(kind)
    if plan is None or plan[0] is not table:
        # Most classes have one table for all instances; then what to look at is worked out once.
        plan = (table, _plan(kind, table))
        if table is vars(kind).get("arg_constraints") or table is getattr(kind, "arg_constraints", None):
            _PLANS[kind] = plan
    attributes = dist.__dict__
    for name, constraint, check, may_be_absent in plan[1]:
        value = attributes.get(name)
        if value is None:
            if may_be_absent:
                continue  # computed from another argument, and not checked by torch either
            value = getattr(dist, name)
        if check is None or type(value) not in PLAIN_TENSORS or value.numel() == 0:
            return False
        if not check(constraint, value):
            return False
    return True


_Check = tuple[str, Any, Callable[[Any, Tensor], bool] | None, bool]
_PLANS: dict[type, tuple[Any, list[_Check]]] = {}


def _plan(kind: type, table: dict[str, Any]) -> list[_Check]:
    return [
        (
            name,
            constraint,
            _CHECKS.get(type(constraint)),
            isinstance(getattr(kind, name, None), lazy_property),
        )
        for name, constraint in table.items()
        if not isinstance(constraint, _Dependent)
    ]


def sample_is_surely_valid(
    dist: Any, value: Tensor, batch_shape: torch.Size, event_shape: torch.Size
) -> bool:
    """Whether ``value`` provably has the distribution's shape, which is given, and lies in its support."""
    if type(value) not in PLAIN_TENSORS:
        return False
    if value.shape != batch_shape + event_shape and not _fits(value.shape, batch_shape, event_shape):
        return False
    try:
        return is_surely_valid(dist.support, value)
    except NotImplementedError:
        return False


def _fits(shape: torch.Size, batch_shape: torch.Size, event_shape: torch.Size) -> bool:
    if shape[len(shape) - len(event_shape) :] != event_shape:
        return False
    expected = batch_shape + event_shape
    return all(i == j or i == 1 or j == 1 for i, j in zip(reversed(shape), reversed(expected), strict=False))


class Checking(Protocol):
    """What torch's distributions have that decides about checks."""

    _validate_args: bool

    def _validate_sample(self, value: Any) -> None:
        """Raise if a value does not fit."""


def unchecked(fn: Any) -> Any:
    """A copy of a distribution that does not check values."""
    new = copy.copy(fn)
    set_checks(new, False)
    return new


def set_checks(fn: Checking, on: bool) -> None:
    """Let a distribution check values from now on, or not."""
    fn._validate_args = on


def checks_values(fn: Checking | type[Checking]) -> bool:
    """Whether a distribution, or a family of them, checks values."""
    return bool(fn._validate_args)


def check_value(fn: Checking, value: Tensor) -> None:
    """Check a value, whether or not the distribution does so by itself; a distribution of another kind checks nothing.

    Raises:
        ValueError: if the shape does not fit, or the value is outside of the support.
    """
    if hasattr(fn, "_validate_sample"):
        fn._validate_sample(value)
