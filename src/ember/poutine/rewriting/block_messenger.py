"""Hiding sites from the handlers outside."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from ember.poutine.messenger import Messenger
from ember.poutine.site import Site


class _HideByTable:
    """Decides by names and types. What is given narrows the default of hiding everything."""

    def __init__(
        self,
        hide_all: bool,
        expose_all: bool,
        hide: Collection[str] | None,
        expose: Collection[str] | None,
        hide_types: Collection[str] | None,
        expose_types: Collection[str] | None,
    ) -> None:
        assert not (hide_all and expose_all), "cannot hide and expose a site"
        assert set(hide or ()).isdisjoint(expose or ()), "cannot hide and expose a site"
        assert set(hide_types or ()).isdisjoint(expose_types or ()), "cannot hide and expose a site type"
        # In this order: a list of what to expose means that all else is hidden, even beside a list of what to hide.
        if hide is not None:
            hide_all = False
        if expose is not None:
            hide_all = True
        if hide_types is not None:
            hide_all = False
        if expose_types is not None:
            hide_all = True
        self.hide_all = hide_all
        self.hide, self.expose = hide or (), expose or ()
        self.hide_types, self.expose_types = hide_types or (), expose_types or ()

    def __call__(self, msg: Site) -> bool:
        kind = "observe" if msg.type == "sample" and msg.is_observed else msg.type
        if msg.name in self.hide or kind in self.hide_types:
            return True
        return self.hide_all and msg.name not in self.expose and kind not in self.expose_types


class _Not:
    def __init__(self, fn: Callable[[Site], Any]) -> None:
        self.fn = fn

    def __call__(self, msg: Site) -> bool:
        return not self.fn(msg)


class BlockMessenger(Messenger):
    """Hides sites from the handlers outside; without arguments, all of them.

    Args:
        hide_fn: a function from a site to True for those to hide; the other arguments are ignored then.
        expose_fn: a function from a site to True for those to expose; the other arguments are ignored then.
        hide_all: hide what nothing else decides.
        expose_all: expose what nothing else decides.
        hide: names to hide.
        expose: names to expose; all others are hidden.
        hide_types: types to hide (``"sample"`` means latent sites, ``"observe"`` observed ones).
        expose_types: types to expose; all others are hidden.

    Raises:
        ValueError: if both functions are given.
        AssertionError: if a name or type is both hidden and exposed.

    >>> import ember
    >>> def model():
    ...     ember.sample("a", ember.distributions.Normal(0.0, 1.0))
    ...     ember.sample("b", ember.distributions.Normal(0.0, 1.0))
    >>> trace = ember.poutine.trace(ember.poutine.block(model, hide=["a"])).get_trace()
    >>> "a" in trace.nodes, "b" in trace.nodes
    (False, True)
    """

    def __init__(
        self,
        hide_fn: Callable[[Site], Any] | None = None,
        expose_fn: Callable[[Site], Any] | None = None,
        hide_all: bool = True,
        expose_all: bool = False,
        hide: Collection[str] | None = None,
        expose: Collection[str] | None = None,
        hide_types: Collection[str] | None = None,
        expose_types: Collection[str] | None = None,
    ) -> None:
        super().__init__()
        if hide_fn is not None and expose_fn is not None:
            raise ValueError("Only specify one of hide_fn or expose_fn")
        self.hide_fn: Callable[[Site], Any]
        if hide_fn is not None:
            self.hide_fn = hide_fn
        elif expose_fn is not None:
            self.hide_fn = _Not(expose_fn)
        else:
            self.hide_fn = _HideByTable(hide_all, expose_all, hide, expose, hide_types, expose_types)

    def hides(self, site: Site) -> bool:
        """Whether the handlers outside of this one do not see a site."""
        return bool(self.hide_fn(site))

    def _process_message(self, msg: Site) -> None:
        msg.stop = bool(self.hide_fn(msg))
