"""Guides with a location and a scale for each entry of the packed vector."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ember.distributions import constraints
from ember.infer.autoguide.base.guide import Program, check_init_scale
from ember.infer.autoguide.base.initialization import InitFn, init_to_median
from ember.infer.autoguide.packed.continuous import AutoContinuous
from ember.nn.module import PyroParam


class ScaledGuide(AutoContinuous):
    """Base of the normal distributions over the packed vector whose parameters are ``loc``, ``scale`` and perhaps more."""

    scale_constraint: Any = constraints.softplus_positive

    def __init__(
        self,
        model: Program,
        init_loc_fn: InitFn = init_to_median,
        init_scale: float = 0.1,
        *,
        create_plates: Program | None = None,
    ) -> None:
        check_init_scale(init_scale)
        super().__init__(model, init_loc_fn, create_plates=create_plates)
        self._init_scale = init_scale

    def _setup_prototype(self, *args: object, **kwargs: object) -> None:
        super()._setup_prototype(*args, **kwargs)
        start = self._init_loc()
        self.loc: Any = nn.Parameter(start)
        self.scale: Any = PyroParam(torch.full_like(start, self._init_scale), self.scale_constraint)
