"""Where enumerated values go: dims to the left of all plates, and an id for each."""

from __future__ import annotations

import math
import threading
from collections.abc import Collection

from ember.errors import ModelError


class EnumAllocator(threading.local):
    """Hands out dims for parallel enumeration, counted from the right, each with an id that is never used again.

    A global dim belongs to one site for good. A local dim, for a site inside :func:`~ember.poutine.markov`, is free again for
    sites that do not see this one. Every thread has dims of its own.
    """

    next_available_dim: float = -math.inf
    next_available_id: int = 0
    leftmost_dim: int = 0
    """The leftmost dim that was ever handed out, global or local; 0 if none was."""

    def __init__(self) -> None:
        self.dim_to_id: dict[int, int] = {}
        """The global dims in use."""

    def set_first_available_dim(self, first_available_dim: float) -> None:
        """Start anew with this dim, which is left of all plates; the dims to its left are taken as well."""
        assert first_available_dim < 0, first_available_dim
        self.next_available_dim = first_available_dim
        self.next_available_id = 0
        self.leftmost_dim = 0
        self.dim_to_id = {}

    def go_on(self) -> None:
        """Leave all dims that were handed out to their sites, for a program whose values come from the one before."""
        self.next_available_dim = min(self.next_available_dim, self.leftmost_dim - 1)

    def allocate(self, scope_dims: Collection[int] | None = None) -> tuple[int, int]:
        """A dim and its id.

        Args:
            scope_dims: for a local dim, the dims that it must not be; None for a global dim.

        Raises:
            ValueError: if it is not known how many dims belong to plates.
        """
        if self.next_available_dim == -math.inf:
            raise ModelError(
                "max_plate_nesting must be set to a finite value for parallel enumeration "
                "(first_available_dim of poutine.enum, if there is no objective)"
            )
        dim, unique_id = int(self.next_available_dim), self.next_available_id
        self.next_available_id += 1
        if scope_dims is None:
            self.next_available_dim = dim - 1
            self.dim_to_id[dim] = unique_id
        else:
            while dim in scope_dims:
                dim -= 1
        self.leftmost_dim = min(self.leftmost_dim, dim)
        return dim, unique_id

    def state(self) -> tuple[float, int, int, dict[int, int]]:
        """What :meth:`restore` takes back."""
        return self.next_available_dim, self.next_available_id, self.leftmost_dim, dict(self.dim_to_id)

    def restore(self, state: tuple[float, int, int, dict[int, int]]) -> None:
        """Go back to an earlier state."""
        self.next_available_dim, self.next_available_id, self.leftmost_dim, self.dim_to_id = state


ENUM_DIMS = EnumAllocator()
