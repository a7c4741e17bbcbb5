"""What a caller of :func:`ember.fit` asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Any

from ember.errors import ModelError
from ember.fit.decentred import Decentred, decentred
from ember.ops.in_double import InDouble

Program = Callable[..., Any]
_SEEDS = 1 << 53  # a thousand for each, one a stage, and all of them 64-bit words
FAMILIES = ("auto", "mean-field", "full-rank", "low-rank", "skewed", "mixture", "flow")


def name_of(program: Program) -> str:
    """What a program is called: a function's name, or an object's class."""
    return str(getattr(program, "__name__", type(program).__name__))


@dataclass(frozen=True)
class Asked:
    """The arguments of one fit; see :func:`ember.fit`.

    Raises:
        ValueError: for a value that cannot be; says which there are.
    """

    model: Program
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    guide: str | Program
    draws: int
    seed: int
    budget: float
    progress: bool
    audit: bool

    def __post_init__(self) -> None:
        if not callable(self.model):
            raise ModelError(f"model must be a function or module, got {type(self.model).__name__}")
        if isinstance(self.guide, str) and self.guide not in FAMILIES:
            raise ModelError(
                f"guide must be one of {', '.join(map(repr, FAMILIES))}, or a guide; got {self.guide!r}"
            )
        if not _is_whole(self.draws) or self.draws < 1:
            raise ModelError(f"draws must be a positive integer, got {self.draws!r}")
        if not _is_whole(self.seed) or abs(self.seed) >= _SEEDS:
            raise ModelError(f"seed must be an integer below 2 ** 53, got {self.seed!r}")
        for name in ("draws", "seed"):  # of NumPy, perhaps, which torch does not take
            object.__setattr__(self, name, int(getattr(self, name)))
        if not (isinstance(self.budget, (int, float)) and self.budget > 0 and not math.isnan(self.budget)):
            raise ModelError(f"budget must be a positive number of seconds, got {self.budget!r}")

    @property
    def name(self) -> str:
        """What the model is called."""
        return name_of(self.model)

    @cached_property
    def decentred(self) -> Decentred | None:
        """The model in noise coordinates; None if no latent site has a prior that depends on others."""
        with InDouble():  # as the density is
            return decentred(self.model, self.args, dict(self.kwargs))


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
