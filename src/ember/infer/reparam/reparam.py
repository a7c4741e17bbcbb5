"""The interface of reparameterisers, and what they share."""

from __future__ import annotations

import warnings
from typing import Any, NoReturn, TypedDict

import torch
from torch import Tensor

from ember import distributions as dist
from ember.distributions.shapes import sum_rightmost
from ember.errors import ReparamError
from ember.poutine.site import Site

ReparamMessage = Site
"""What a reparameteriser sees of a site: ``name``, ``fn``, ``value`` (an observed or an initial one) and ``is_observed``."""


class ReparamResult(TypedDict):
    """What stands at the site afterwards."""

    fn: Any
    value: Tensor | None
    is_observed: bool


class Reparam:
    """Base of reparameterisers, which rewrite a site into auxiliary sites; subclasses define :meth:`apply`.

    An initial value of the site is mapped to initial values of the auxiliary sites.
    """

    args_kwargs: tuple[tuple[Any, ...], dict[str, Any]] | None = None
    """The model's arguments, while :meth:`apply` runs under ``poutine.reparam`` as a decorator."""

    def apply(self, msg: ReparamMessage) -> ReparamResult:
        """Run the auxiliary ``sample`` statements, and say what is left of the site itself."""
        warnings.warn(
            "Reparam.__call__() is deprecated in favor of .apply(); "
            "new subclasses should implement .apply().",
            DeprecationWarning,
            stacklevel=2,
        )
        fn, value = self(msg.name, msg.fn, msg.value)
        return {"fn": fn, "value": value, "is_observed": msg.value is None and value is not None}

    def __call__(self, name: str, fn: Any, obs: Tensor | None) -> tuple[Any, Tensor | None]:
        """Deprecated form of :meth:`apply`, for subclasses that still define it."""
        raise NotImplementedError(f"{type(self).__name__} defines neither apply() nor __call__()")

    def _unwrap(self, fn: Any) -> tuple[Any, int]:
        """The distribution inside of ``Independent``, and the number of event dims outside."""
        event_dim = fn.event_dim
        while isinstance(fn, torch.distributions.Independent):
            fn = fn.base_dist
        return fn, event_dim

    def _wrap(self, fn: Any, event_dim: int) -> Any:
        """``fn`` with batch dims turned into event dims, up to ``event_dim`` of them."""
        fn = as_ember(fn)
        if fn.event_dim < event_dim:
            fn = fn.to_event(event_dim - fn.event_dim)
        assert fn.event_dim == event_dim, f"expected {event_dim} event dims, got {fn.event_dim}"
        return fn

    def _require(self, name: str, fn: Any, kind: type, instead: str = "") -> None:
        """Check the family of a site's distribution."""
        if not isinstance(fn, kind):
            raise ReparamError(
                f"at site {name!r}, {type(self).__name__} expected a {kind.__name__} distribution, got "
                f"{type(fn).__name__}; {instead or 'configure another reparameteriser for this site, or none'}"
            )

    def _refuse_observed(self, name: str, is_observed: bool) -> None:
        if is_observed:
            _refuse(name, self)


def _refuse(name: str, reparam: Reparam) -> NoReturn:
    raise NotImplementedError(
        f"At sample({name!r},...), {type(reparam).__name__} does not support observe statements. "
        "Leave observed sites out of the config of poutine.reparam."
    )


def deterministic_result(value: Tensor, event_dim: int, log_density: Any = None) -> ReparamResult:
    """A site that only records a value, or adds a log density."""
    if log_density is None:
        fn: Any = dist.Delta(value, event_dim=event_dim).mask(False)
    else:
        fn = dist.Delta(value, log_density=log_density, event_dim=event_dim)
    return {"fn": fn, "value": value, "is_observed": True}


def sum_event(log_density: Tensor, event_dim: int) -> Tensor:
    """Sum an elementwise log density over the event dims."""
    result: Tensor = sum_rightmost(log_density, event_dim)
    return result


def as_ember(fn: Any) -> Any:
    """torch's distributions inside of transformed ones as Ember's, which ``sample`` statements need."""
    if isinstance(fn, dist.Distribution):
        return fn
    if isinstance(fn, torch.distributions.Independent):
        return dist.Independent(as_ember(fn.base_dist), fn.reinterpreted_batch_ndims)
    family = getattr(dist, type(fn).__name__, None)
    if family is None or not issubclass(family, type(fn)):
        raise ReparamError(
            f"Ember has no distribution {type(fn).__name__}, the base of a transformed distribution"
        )
    # One of the alternatives (probs, logits) is enough; those not given are made on demand.
    given = {k: v for k, v in vars(fn).items() if k in fn.arg_constraints}
    return family(**(given or {k: getattr(fn, k) for k in fn.arg_constraints}), validate_args=False)
