"""Guides made of parts, each for some of the sites."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ember.errors import ModelError
from ember.infer.autoguide.base.data_sites import children_of, left_to_the_model
from ember.infer.autoguide.base.guide import AutoGuide, Program
from ember.poutine.messenger import Messenger
from ember.poutine.site import Site, site_is_subsample
from ember.poutine.trace_struct import Trace


class AutoGuideList(AutoGuide, nn.ModuleList):
    """Joins guides, each made from the model with the sites of the others hidden.

    Parts are added by :meth:`append`, or as attributes of any name. Plates are made once, for all parts.

    Args:
        model: the whole model.
        create_plates: see :class:`AutoGuide`.

    Raises:
        ValueError: at the first call, if two parts have a site in common, or none has a site (discrete sites,
            which may be enumerated in the model, excepted).

    >>> import ember
    >>> from ember.infer.autoguide import AutoDelta, AutoNormal
    >>> from ember.infer.autoguide import AutoGuideList
    >>> def model():
    ...     ember.sample("x", ember.distributions.Normal(0.0, 1.0))
    ...     ember.sample("y", ember.distributions.Normal(0.0, 1.0))
    >>> guide = AutoGuideList(model)
    >>> guide.append(AutoDelta(ember.poutine.block(model, expose=["x"])))
    >>> guide.append(AutoNormal(ember.poutine.block(model, expose=["y"])))
    >>> sorted(guide())
    ['x', 'y']
    """

    _parts_checked = False
    _ownership: _Ownership | None = None

    def _check_prototype(self, part_trace: Trace) -> None:
        own = self._prototype()
        for name, part_site in part_trace.iter_stochastic_nodes():
            if self._ownership is not None:
                self._ownership.claim(name)
            if name not in own.nodes:
                raise ModelError(
                    f"a part of this AutoGuideList has the site {name!r}, which its model does not have: make the list and its "
                    "parts from the same model"
                )
            self_site = own.nodes[name]
            same = part_site.fn.shape() == self_site.fn.shape() if hasattr(part_site.fn, "shape") else True
            assert same and part_site.value.shape == self_site.value.shape, (
                f"site {name!r} has shape {tuple(part_site.value.shape)} in a part of this AutoGuideList, but "
                f"{tuple(self_site.value.shape)} in its model"
            )

    def append(self, part: AutoGuide | Callable[..., Any]) -> None:  # type: ignore[override]
        """Add a part.

        Args:
            part: a guide, or a function that is one, which is wrapped in an :class:`AutoCallable`.

        Raises:
            RuntimeError: if the part is in a list already.
        """
        if not isinstance(part, AutoGuide):
            part = AutoCallable(self.model, part)
        if part.master is not None:
            raise RuntimeError(f"The module `{self._pyro_name}` is already added.")
        setattr(self, str(len(self)), part)

    def add(self, part: AutoGuide | Callable[..., Any]) -> None:
        """Deprecated: use :meth:`append`."""
        warnings.warn(
            "The method `.add` has been deprecated in favor of `.append`.", DeprecationWarning, stacklevel=2
        )
        self.append(part)

    def _draw_checked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Tensor]:
        """Draw the sites of all parts for the first time, and see that each has one owner."""
        result: dict[str, Tensor] = {}
        resumed = self._has_parameters()
        owners: dict[str, str] = {}
        try:
            for key, part in self._modules.items():
                assert part is not None
                self._ownership = _Ownership(key, owners)
                with self._ownership:
                    result.update(part(*args, **kwargs))
        finally:
            self._ownership = None
        missing = [
            name for name, site in self._latent_sites() if name not in owners and not _is_enumerable(site)
        ]
        if missing and owners and resumed:
            data = left_to_the_model(missing, children_of(self.model, args, kwargs))
            missing = [name for name in missing if name not in data]
        if missing:
            raise ModelError(
                f"no part of this AutoGuideList has the sites {missing}: append a guide for them, such as "
                f"AutoNormal(poutine.block(model, expose={missing}))"
            )
        return result

    def forward(self, *args: object, **kwargs: object) -> dict[str, Tensor]:
        """Draw the sites of all parts.

        Returns:
            The constrained values by name.
        """
        self.ensure_prototype(args, kwargs)
        self._create_plates(*args, **kwargs)
        if not self._parts_checked:
            try:
                result = self._draw_checked(args, kwargs)
            except ModelError:
                self.prototype_trace = None
                raise
            self._parts_checked = True
            return result
        drawn: dict[str, Tensor] = {}
        for part in self:
            drawn.update(part(*args, **kwargs))
        return drawn

    def mask_like(self, model_trace: Trace, guide_trace: Trace) -> None:
        """Mask the terms of all parts that are automatic guides."""
        for part in self._parts():
            if part.master is not None and part.prototype_trace is not None:
                part.mask_like(model_trace, guide_trace)

    def median(self, *args: object, **kwargs: object) -> dict[str, Tensor]:
        """Return the medians of all parts."""
        result: dict[str, Tensor] = {}
        for part in self:
            result.update(part.median(*args, **kwargs))  # type: ignore[operator]
        return result

    def quantiles(self, quantiles: Any, *args: object, **kwargs: object) -> dict[str, Tensor]:
        """Return the quantiles of all parts."""
        result: dict[str, Tensor] = {}
        for part in self:
            result.update(part.quantiles(quantiles, *args, **kwargs))  # type: ignore[operator]
        return result


class _Ownership(Messenger):
    """Notes which part has which sites, before any handler around the guide sees them."""

    def __init__(self, part: str, owners: dict[str, str]) -> None:
        super().__init__()
        self.part, self.owners = part, owners

    def _pyro_sample(self, msg: Site) -> None:
        if not msg.is_auxiliary and not site_is_subsample(msg):
            self.claim(msg.name)

    def claim(self, name: str) -> None:
        """Note that a site is this part's.

        Raises:
            ValueError: if it is another's.
        """
        owner = self.owners.setdefault(name, self.part)
        if owner != self.part:
            raise ModelError(
                f"parts {owner!r} and {self.part!r} of this AutoGuideList both have the site {name!r}: hide it from one of "
                f"them, poutine.block(model, hide=[{name!r}])"
            )


def _is_enumerable(site: Any) -> bool:
    return bool(site.enumeration or getattr(site.fn, "has_enumerate_support", False))


def _no_median(*args: object, **kwargs: object) -> dict[str, Tensor]:
    return {}


class AutoCallable(AutoGuide):
    """Makes a function that draws some sites a part of an :class:`AutoGuideList`.

    Args:
        model: the model.
        guide: takes the model's arguments; may return a dict of values by name, or None.
        median: takes them too, and returns a dict of medians by name.

    >>> import torch, ember
    >>> from ember.infer.autoguide import AutoCallable
    >>> def model():
    ...     ember.sample("x", ember.distributions.Normal(0.0, 1.0))
    >>> def guide():
    ...     ember.sample("x", ember.distributions.Delta(ember.param("x_loc", torch.tensor(0.5))))
    >>> AutoCallable(model, guide)(), AutoCallable(model, guide).median()
    ({}, {})
    """

    def __init__(self, model: Program, guide: Program, median: Program = _no_median) -> None:
        super().__init__(model)
        self._guide = guide
        self.median = median  # type: ignore[method-assign]

    def forward(self, *args: object, **kwargs: object) -> dict[str, Tensor]:
        """Run the function.

        Returns:
            What it returns, or an empty dict.
        """
        result: dict[str, Tensor] | None = self._guide(*args, **kwargs)
        return {} if result is None else result
