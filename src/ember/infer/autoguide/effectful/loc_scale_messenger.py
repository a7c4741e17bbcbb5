"""What messenger guides with a location and a scale for each site share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ember.distributions import constraints
from ember.infer.autoguide.base.guide import Program, check_init_scale
from ember.infer.autoguide.base.initialization import InitFn, init_to_feasible, init_to_mean
from ember.infer.autoguide.base.naming import deep_getattr
from ember.infer.autoguide.effectful.messenger import AutoMessenger
from ember.nn.module import PyroParam

DEFAULT_INIT: InitFn = init_to_mean(fallback=init_to_feasible)


class LocScaleMessenger(AutoMessenger):
    """Base of guides whose parameters of a site ``x`` are ``locs.x`` and ``scales.x``, in unconstrained space.

    Args:
        model: the model.
        init_loc_fn: where the sites start.
        init_scale: the first scale of all.
        amortized_plates: names of plates whose rows share parameters.

    Raises:
        ValueError: for an improper ``init_scale``.
    """

    def __init__(
        self,
        model: Program,
        *,
        init_loc_fn: InitFn = DEFAULT_INIT,
        init_scale: float = 0.1,
        amortized_plates: tuple[str, ...] = (),
    ) -> None:
        check_init_scale(init_scale)
        super().__init__(model, amortized_plates=amortized_plates)
        self.init_loc_fn = init_loc_fn
        self._init_scale = init_scale

    def _first_loc(self, start: Tensor) -> Tensor:
        """The first location of a site that is to start there."""
        return start

    def _get_params(self, name: str, prior: Any) -> Any:
        """The parameters of a site; inside plates, the rows that they have chosen."""
        if not self._has("locs", name):
            start, event_dim = self._start(self.init_loc_fn, name, prior)
            self._declare("locs", name, PyroParam(self._first_loc(start), event_dim=event_dim))
            self._declare_scale(name, start, event_dim)
        return deep_getattr(self.locs, name), deep_getattr(self.scales, name)

    def _declare_scale(self, name: str, start: Tensor, event_dim: int) -> None:
        scale = torch.full_like(start, self._init_scale)
        self._declare("scales", name, PyroParam(scale, constraints.positive, event_dim))
