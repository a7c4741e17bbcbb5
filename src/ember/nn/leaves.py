"""The unconstrained leaf of an attribute, in step with the parameter store.

A module keeps its leaves as :class:`torch.nn.Parameter`; the store keeps the same objects under the attributes' full names.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import transform_to
from torch.distributions.constraints import Constraint

from ember.distributions import is_validation_enabled
from ember.errors import ParameterError
from ember.ops.provenance import detach_provenance
from ember.params.param_store import get_param_store
from ember.poutine.runtime import effectful

_OWNED = "_ember_in_module"


def constrained(leaf: Tensor, constraint: Constraint) -> Tensor:
    """The value of a leaf; ``value.unconstrained()`` is the leaf."""
    value: Tensor = transform_to(constraint)(leaf)
    value.unconstrained = weakref.ref(leaf)  # type: ignore[attr-defined]
    return value


def new_leaf(name: str, init: Tensor | float | Callable[[], Any], constraint: Constraint) -> nn.Parameter:
    """A leaf for an initial value.

    Raises:
        ParameterError: if the value lies where the constraint has no inverse (checked unless validation is off).
    """
    with torch.no_grad():
        value = detach_provenance(init() if callable(init) else init)
        value = torch.as_tensor(value).detach()
        leaf = transform_to(constraint).inv(value)
        if is_validation_enabled() and bool(torch.isnan(leaf).any()) and not bool(torch.isnan(value).any()):
            raise ParameterError(
                f"parameter {name!r}: the initial value {value} is outside its constraint {constraint}"
            )
        return nn.Parameter(leaf)


def assign(leaf: Tensor, value: Tensor, constraint: Constraint) -> None:
    """Give an existing leaf the value of a constrained tensor."""
    with torch.no_grad():
        new = transform_to(constraint).inv(value.detach())
        if new.shape == leaf.shape and new.dtype == leaf.dtype and new.device == leaf.device:
            # In the same memory: compiled steps hold on to it.
            leaf.data.copy_(new)
        else:
            leaf.data = new


def _put(name: str, leaf: Tensor, constraint: Constraint) -> None:
    get_param_store().set_state({"params": {name: leaf}, "constraints": {name: constraint}})


def as_parameter(name: str, leaf: Tensor, constraint: Constraint) -> nn.Parameter:
    """A leaf of the store as a Parameter, which takes its place in the store if it was none."""
    if not isinstance(leaf, nn.Parameter):
        leaf = nn.Parameter(leaf.detach())
        _put(name, leaf, constraint)
    return leaf


def synchronized(name: str, own: Any, constraint: Constraint) -> Any:
    """The store's leaf of that name, a Parameter; if it has none, it gets the module's own."""
    store = get_param_store()
    stored = store.leaf(name)
    if stored is own:
        return own
    if stored is None:
        _put(name, own, constraint)
        return own
    return as_parameter(name, stored, store.constraint(name))


def adopted(name: str, own: Tensor) -> Tensor:
    """What an unconstrained parameter of a module should be: the store's leaf of that name, if that is nobody else's.

    A leaf that came into the store by loading or by assignment is for the module to use. One that another module has put
    there stays that module's: two roots may well have attributes of the same name.
    """
    store = get_param_store()
    stored = store.leaf(name)
    if stored is not None and stored is not own:
        if getattr(stored, _OWNED, False) or stored.shape != own.shape:
            return own
        own = as_parameter(name, stored, store.constraint(name))
    if isinstance(own, nn.Parameter):
        setattr(own, _OWNED, True)
    return own


def strip(parameter: Tensor) -> None:
    """Take off what belongs to this process only, before a module is pickled."""
    for key in ("unconstrained", _OWNED):
        parameter.__dict__.pop(key, None)


def local_param(
    name: str, value: Tensor, constraint: Constraint, event_dim: int | None, *args: Tensor
) -> Tensor:
    """A ``param`` statement for handlers' sake, about a value that no store has."""
    statement: Callable[..., Tensor] = effectful(type="param")(lambda *_, **__: value)
    return statement(name, *args, constraint=constraint, event_dim=event_dim, name=name)
