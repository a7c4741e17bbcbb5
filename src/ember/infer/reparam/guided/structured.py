"""Models in the coordinates of a structured guide that was fitted before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from torch import Tensor

from ember.infer.autoguide.dependent.structured import AutoStructured
from ember.infer.reparam.reparam import Reparam, ReparamMessage, ReparamResult, deterministic_result
from ember.poutine.handlers import condition, mask
from ember.poutine.handlers import reparam as reparam_handler
from ember.poutine.messenger import Messenger
from ember.poutine.plates.plate_messenger import block_plate
from ember.poutine.runtime import get_mask
from ember.poutine.site import Site


class _Unscored(Messenger):
    """Leaves the densities of sites out: the model's own density, in new coordinates, is all there is."""

    def _pyro_sample(self, msg: Site) -> None:
        msg.fn = msg.fn.mask(False)


class StructuredReparam(Reparam):
    """Samples the standard normal variables behind an ``AutoStructured`` guide, at its sites ``<name>_aux``.

    As :class:`NeuTraReparam` does with one vector; sites that the guide treats as points are fixed there. All
    sites share one instance, and the model must have the same sites in every run.

    Args:
        guide: a fitted ``AutoStructured`` guide. Its parameters are frozen.

    Raises:
        TypeError: for another guide.
        NotImplementedError: at observed sites.
    """

    def __init__(self, guide: Any) -> None:
        if not isinstance(guide, AutoStructured):
            raise TypeError(f"StructuredReparam expected an AutoStructured guide, but got {type(guide)}")
        self.guide: Any = guide.requires_grad_(False)
        self.deltas: dict[str, Any] = {}
        """The present run's point masses that no site has taken yet."""

    def _reparam_config(self, site: Site) -> StructuredReparam | None:
        return self if site.name in self.guide.prototype_trace else None

    def reparam(self, fn: Callable[..., Any] | None = None) -> Any:
        """``fn`` with the guide's sites reparameterised; a handler if ``fn`` is None."""
        handler = reparam_handler(config=self._reparam_config)
        return handler if fn is None else reparam_handler(fn, config=self._reparam_config)

    def apply(self, msg: ReparamMessage) -> ReparamResult:
        """Sample the guide's auxiliary sites at the first site, and put each site where they say."""
        name, fn = msg.name, msg.fn
        if name not in self.guide.prototype_trace.nodes:
            return {"fn": fn, "value": msg.value, "is_observed": msg.is_observed}
        self._refuse_observed(name, msg.is_observed)
        if name not in self.deltas:
            with ExitStack() as stack:
                stack.enter_context(_Unscored())
                for plate in self.guide.plates.values():
                    stack.enter_context(block_plate(dim=plate.dim, strict=False))
                self.deltas = self.guide.get_deltas()
        point = self.deltas.pop(name)
        if get_mask() is False:
            return {"fn": point, "value": point.v, "is_observed": True}
        # The guide's point carries the volume of the auxiliary variables in units of the value; here it is the other way round.
        return deterministic_result(point.v, point.event_dim, fn.log_prob(point.v) - point.log_density)

    def transform_samples(
        self, aux_samples: Mapping[str, Tensor], save_params: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """Return the sites' values from values of the auxiliary sites.

        Args:
            aux_samples: values by auxiliary site, batched on the left.
            save_params: the sites wanted; all if None.
        """
        with condition(data=aux_samples), mask(mask=False):
            deltas = self.guide.get_deltas(save_params)
        return {name: delta.v for name, delta in deltas.items()}
