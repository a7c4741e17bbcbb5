"""What an update rule is: a record of options, a record of state, and two pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

Rate = float | Tensor
"""A learning rate: a number, or a float64 scalar that a schedule changes from outside."""
Spread = Callable[[Tensor], Tensor]
"""From one number a parameter to one an entry, where the parameters of a rule lie in one flat buffer."""
O_contra = TypeVar("O_contra", contravariant=True)
O = TypeVar("O")  # noqa: E741
S = TypeVar("S", bound="tuple[Tensor | None, ...]")


class Update(Protocol[O_contra, S]):
    """One step of a rule. Changes none of its arguments."""

    def __call__(
        self, params: Tensor, grads: Tensor, state: S, options: O_contra, spread: Spread = ...
    ) -> tuple[Tensor, S]:
        """The new parameters, and the new state."""


class NoState(NamedTuple):
    """Of rules that remember nothing."""


@dataclass(frozen=True)
class Rule(Generic[O, S]):
    """An update rule.

    ``update`` takes parameters of any shape. A flat buffer with many parameters is one of them: the numbers of the state that
    belong to a parameter as a whole (``numbers``) are vectors then, and ``spread`` brings them to its entries.
    """

    options: type[O]
    """A frozen dataclass, whose fields are keys of torch's ``param_groups``."""
    state: type[S]
    """A NamedTuple, whose fields are keys of torch's ``state``; None for what the options do not need."""
    init: Callable[[Tensor, O], S]
    """The state of a parameter that has not been stepped."""
    update: Update[O, S]
    numbers: tuple[str, ...] = ("step",)
    """Which fields of the state hold one number a parameter."""
    next_rate: Callable[[Rate, O], Rate] | None = None
    """The learning rate of a step, from that of the step before, where the rule itself changes it."""
    facts: Callable[[Tensor, Mapping[str, Any], Tensor], Mapping[str, Any]] | None = None
    """Options that follow from a parameter itself. One that has any is updated by itself, all others entry by entry."""

    def options_of(self, group: Mapping[str, Any], **changes: object) -> O:
        """The options in torch's form as a record."""
        known = {field.name: group[field.name] for field in fields(self.options) if field.name in group}  # type: ignore[arg-type]
        return self.options(**{**known, **changes})

    def facts_of(
        self, param: Tensor, group: Mapping[str, Any], recorded: Tensor | None = None
    ) -> Mapping[str, Any]:
        """Options that follow from the parameter itself.

        Args:
            param: the parameter.
            group: its options in torch's form.
            recorded: what stands for the parameter in a step that is recorded.
        """
        return {} if self.facts is None else self.facts(param, group, param if recorded is None else recorded)

    def state_of(self, values: Mapping[str, Tensor]) -> S:
        """The state in torch's form as a record."""
        return self.state(**{key: values.get(key) for key in self.fields})

    def missing(self, values: Mapping[str, Tensor]) -> list[str]:
        """Keys of the state that every step needs, and that are not there."""
        optional: Mapping[str, object] = self.state._field_defaults  # type: ignore[attr-defined]
        return [key for key in self.fields if key not in optional and key not in values]

    @property
    def fields(self) -> tuple[str, ...]:
        """Keys of the state in torch's form."""
        names: tuple[str, ...] = self.state._fields  # type: ignore[attr-defined]
        return names


def same(numbers: Tensor) -> Tensor:
    """The spread of a single parameter: its numbers stand for all entries."""
    return numbers


def count(param: Tensor) -> Tensor:
    """A step count of zero, as torch keeps it.

    >>> count(torch.zeros(3))
    tensor(0.)
    """
    default = torch.get_default_dtype()
    dtype = torch.float64 if default == torch.float64 else torch.float32
    return torch.zeros((), dtype=dtype, device=param.device)


def spread_to(numbers: Tensor, like: Tensor, spread: Spread) -> Tensor:
    """Numbers of parameters, computed in float64, in the dtype of the entries and for each of them.

    torch takes such numbers as Python's floats, which are rounded to the entries' dtype in the same place.
    """
    return spread(numbers.to(like.dtype))


def directions(params: Tensor, grads: Tensor, weight_decay: float = 0.0, maximize: bool = False) -> Tensor:
    """The gradient to descend: of the objective or its negative, with an L2 penalty."""
    grads = -grads if maximize else grads
    return grads.add(params, alpha=weight_decay) if weight_decay != 0 else grads


def shrunk(params: Tensor, lr: Rate, weight_decay: float) -> Tensor:
    """Parameters after decoupled weight decay."""
    if weight_decay == 0:
        return params
    factor = 1 - lr * weight_decay
    return params * (factor.to(params.dtype) if isinstance(factor, Tensor) else factor)


def moved(params: Tensor, along: Tensor, lr: Rate) -> Tensor:
    """``params - lr * along``. With a number as the rate torch's kernel rounds once, with a tensor twice."""
    if isinstance(lr, Tensor):
        return params - along * lr.to(params.dtype)
    return torch.add(params, along, alpha=-lr)


def over(number: Rate, numbers: Tensor) -> Tensor:
    """A quotient rounded once, as of Python's floats; torch multiplies a number by the reciprocal."""
    above = number if isinstance(number, Tensor) else torch.full_like(numbers, number)
    return above / numbers


def moved_by_quotient(params: Tensor, above: Tensor, below: Tensor, sizes: Tensor, spread: Spread) -> Tensor:
    """``params + sizes * above / below``, in the order in which torch's kernel rounds; a size for each parameter, in float64."""
    return params + (above * spread_to(sizes, params, spread)) / below


def averaged_square(squares: Tensor, values: Tensor, decay: float) -> Tensor:
    """A running mean of squares."""
    return torch.addcmul(squares * decay, values, values, value=1 - decay)
