"""Declarations of a module's attributes: learnable (:class:`PyroParam`) and random (:class:`PyroSample`)."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from ember.distributions import constraints


class Holder(Protocol):
    """What a declaration needs of the module that it is read from; :class:`PyroModule` is one."""

    def _pyro_declares(self, name: str) -> bool:
        """Whether the instance itself has declared an attribute of that name."""

    def _pyro_draw(self, name: str, prior: object) -> Tensor:
        """The value of a random attribute."""

    def __getattr__(self, name: str) -> Tensor:
        """The value of an attribute that the instance declares itself."""


def _name_in(owner: type, declaration: object) -> str:
    """The name under which a class has a declaration."""
    for part in owner.__mro__:
        for name, value in vars(part).items():
            if value is declaration:
                return name
    raise AttributeError(f"{owner.__name__} does not have the declaration {declaration!r}")


class PyroParam(NamedTuple):
    """Declares a learnable attribute of a :class:`PyroModule`, as :func:`ember.param` declares a parameter.

    Args:
        init_value: the first value, or a callable that is asked for it when the attribute is set. None when
            used as a decorator.
        constraint: where the values lie. The module holds the unconstrained value as the parameter
            ``<name>_unconstrained``.
        event_dim: how many rightmost dims are no batch dims, for subsampling by plates; all if None.

    It can decorate a method, which then gives the first value at the first use of the attribute.

    >>> import torch
    >>> from ember.distributions import constraints
    >>> from ember.nn import PyroModule
    >>> from ember.nn import PyroParam
    >>> class Scale(PyroModule):
    ...     @PyroParam(constraint=constraints.positive)
    ...     def sd(self):
    ...         return torch.tensor(2.0)
    >>> module = Scale()
    >>> module.loc = PyroParam(torch.zeros(()))
    >>> module.sd.item(), [name for name, _ in module.named_parameters()]
    (2.0, ['loc_unconstrained', 'sd_unconstrained'])
    """

    init_value: torch.Tensor | Callable[..., Any] | None = None
    constraint: Constraint = constraints.real
    event_dim: int | None = None

    def __get__(self, obj: Holder | None, obj_type: type) -> Any:
        if obj is None:
            return self
        init = self.init_value
        name = getattr(init, "__name__", "")
        if inspect.getattr_static(obj_type, name, None) is not self:
            name = _name_in(obj_type, self)
        if not obj._pyro_declares(name):
            value = functools.partial(init, obj) if callable(init) else init
            setattr(obj, name, self._replace(init_value=value))
        return obj.__getattr__(name)

    def __call__(self, init_value: torch.Tensor | Callable[..., Any]) -> Self:
        assert self.init_value is None, "this declaration has an initial value already"
        return self._replace(init_value=init_value)


@dataclass(frozen=True)
class PyroSample:
    """Declares a random attribute of a :class:`PyroModule`, as :func:`ember.sample` declares a site.

    Args:
        prior: a distribution, or a function of the module that returns a distribution, or a tensor that
            follows from other attributes.

    It can decorate a method that is such a function.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> from ember.nn import PyroModule
    >>> from ember.nn import PyroSample
    >>> class Line(PyroModule):
    ...     @PyroSample
    ...     def slope(self):
    ...         return dist.Normal(0.0, 1.0)
    ...     def forward(self, x):
    ...         return self.slope * x + self.offset
    >>> line = Line()
    >>> line.offset = PyroSample(dist.Delta(torch.tensor(0.5)))
    >>> list(ember.poutine.trace(line).get_trace(torch.ones(3)).stochastic_nodes)
    ['slope', 'offset']
    """

    prior: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", None)
        if not hasattr(self.prior, "sample"):
            required = [p for p in inspect.signature(self.prior).parameters.values() if p.default is p.empty]
            assert len(required) == 1, "prior should take the single argument 'self'"

    def __set_name__(self, owner: type, name: str) -> None:
        object.__setattr__(self, "name", name)

    def __get__(self, obj: Holder | None, obj_type: type) -> Any:
        if obj is None:
            return self
        name: str | None = self.__dict__["name"]
        if name is None:
            name = _name_in(obj_type, self)
            object.__setattr__(self, "name", name)
        if obj._pyro_declares(name):
            return obj.__getattr__(name)  # this instance has a declaration of its own
        return obj._pyro_draw(name, self.prior)
