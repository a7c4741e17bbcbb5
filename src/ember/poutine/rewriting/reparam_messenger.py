"""Rewriting sample sites into auxiliary sites and a function of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor

from ember.errors import ReparamError
from ember.poutine.messenger import Handled, Messenger, process_by
from ember.poutine.runtime import effectful
from ember.poutine.site import Site, as_site


class Reparameteriser(Protocol):
    """What rewrites a site; see :class:`ember.infer.reparam.reparam.Reparam`."""

    args_kwargs: Any

    def apply(self, msg: Any) -> Any:
        """Run the auxiliary statements, and say what is left of the site."""


_SEEN = ("name", "fn", "value", "is_observed")
"""What a reparameteriser sees of a site."""

Config = Mapping[str, Reparameteriser | None] | Callable[[Any], Reparameteriser | None]


@effectful(type="get_init_messengers")
def _get_init_messengers() -> list[Messenger]:
    """The enclosing handlers that give sites their initial values; they answer messages of this type."""
    return []


class ReparamHandler(Handled):
    """A function under a reparameterising handler, whose arguments reparameterisers can read."""

    msngr: ReparamMessenger

    def __call__(self, *args: object, **kwargs: object) -> Any:
        outer = self.msngr._args_kwargs
        self.msngr._args_kwargs = args, kwargs
        try:
            return super().__call__(*args, **kwargs)
        finally:
            self.msngr._args_kwargs = outer


class ReparamMessenger(Messenger):
    """Replaces sample sites by auxiliary sites, of which the site's value is then a function.

    Reparameterisers that read the model's arguments need ``poutine.reparam`` as a decorator.

    Args:
        config: a dict from site names to reparameterisers, or a function from a site to one or None, such as
            a strategy of :mod:`ember.infer.reparam.strategies`.

    Raises:
        AssertionError: for another ``config``.
        ReparamError: (an AssertionError) at sites whose reparameteriser does not fit.

    References:
        M. I. Gorinova, D. Moore, M. D. Hoffman (2019), "Automatic reparameterisation of probabilistic
        programs".

    >>> import ember
    >>> from ember.infer.reparam import LocScaleReparam
    >>> def model():
    ...     return ember.sample("z", ember.distributions.Normal(1.0, 2.0))
    >>> changed = ember.poutine.reparam(model, config={"z": LocScaleReparam(0.0)})
    >>> [name for name in ember.poutine.trace(changed).get_trace().nodes if name.startswith("z")]
    ['z_decentered', 'z']
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        if not (isinstance(config, Mapping) or callable(config)):
            raise ReparamError(
                "poutine.reparam expects as config a dict {site name: reparameteriser} or a function of a site, "
                f"got {config!r}"
            )
        self.config = config
        self._args_kwargs: tuple[tuple[Any, ...], dict[str, Any]] | None = None

    def is_repeatable(self) -> bool:
        """No: reparameterisers may keep what they please."""
        return False

    def __call__(self, fn: Callable[..., Any]) -> ReparamHandler:
        if not callable(fn):
            raise ValueError(f"{fn!r} is not callable, did you mean to pass it as a keyword arg?")
        return ReparamHandler(self, fn)

    def _reparam_of(self, msg: Site) -> Any:
        config = self.config
        reparam = config.get(msg.name) if isinstance(config, Mapping) else config(msg)
        if reparam is not None and (isinstance(reparam, type) or not hasattr(reparam, "apply")):
            raise ReparamError(
                f"the config of poutine.reparam gives {reparam!r} for site {msg.name!r}; expected None or an instance "
                "of a Reparam, such as LocScaleReparam()"
            )
        return reparam

    def _pyro_sample(self, msg: Site) -> None:
        if msg.is_subsample:
            return
        reparam = self._reparam_of(msg)
        if reparam is None:
            return
        # Initial values are those of the model's own sites, so the handlers outside of this one that give them act now.
        process_by(_get_init_messengers(), msg)

        reparam.args_kwargs = self._args_kwargs
        try:
            new = as_site(reparam.apply(Site({key: msg[key] for key in _SEEN})))
        finally:
            reparam.args_kwargs = None

        _check_value(msg, new.value, reparam)
        msg.fn, msg.value, msg.is_observed = new.fn, new.value, new.is_observed


def _check_value(msg: Site, value: Tensor | None, reparam: object) -> None:
    old = msg.value
    if value is None or old is None or value is old:
        return
    if value.shape != old.shape:
        raise ReparamError(
            f"at site {msg.name!r}, {type(reparam).__name__} changed the shape of the value from {tuple(old.shape)} "
            f"to {tuple(value.shape)}; its apply() must return a value of the original shape"
        )
    if getattr(old, "_pyro_custom_init", True):
        warnings.warn(
            f"At sample({msg.name!r},...), {type(reparam).__name__} does not commute with initialization; "
            "falling back to default initialization.",
            RuntimeWarning,
            stacklevel=2,
        )
