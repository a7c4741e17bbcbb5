"""What an objective is asked for: one frozen record, read by all of its parts."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """The settings that all objectives have; :class:`ember.infer.ELBO` says what they mean."""

    num_particles: int = 1
    max_plate_nesting: float = math.inf
    """With the plate of particles, if there is one."""
    vectorize_particles: bool = False
    strict_enumeration_warning: bool = True
    retain_graph: bool | None = None
    tail_adaptive_beta: float = -1.0

    @property
    def particle_plates(self) -> int:
        """How many plates the particles take."""
        return particle_plates(self.num_particles, self.vectorize_particles)


def particle_plates(num_particles: int, vectorize_particles: bool) -> int:
    """How many plates the particles take: 1 if they are drawn in one run, and are several."""
    return 1 if vectorize_particles and num_particles > 1 else 0


def nesting_by_old_name(
    max_plate_nesting: float, max_iarange_nesting: float | None, stacklevel: int
) -> float:
    """How deep plates are nested, by either name of the argument; the old one warns."""
    if max_iarange_nesting is None:
        return max_plate_nesting
    warnings.warn(
        "max_iarange_nesting is deprecated; use max_plate_nesting instead",
        DeprecationWarning,
        stacklevel=stacklevel + 1,
    )
    return max_iarange_nesting
