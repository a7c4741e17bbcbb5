"""A reference posterior's model in NumPyro, and how it is sampled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Program(NamedTuple):
    """The model, the sites that its sampler moves to other coordinates, how long its chains are, whether the mass
    matrix is dense, and how far from zero chains start in unconstrained coordinates; 0 is near the medians of the
    priors."""

    model: Callable[..., None]
    reparam: Mapping[str, Any] = {}
    draws: int = 10_000
    accept: float = 0.9
    dense: bool = False
    radius: float = 2.0
