"""The frames that plates put on sites, one a plate."""

from __future__ import annotations

from typing import NamedTuple

from ember.poutine.traced_sizes import as_int


class CondIndepStackFrame(NamedTuple):
    """One plate around a site, equal to another of the same name, dim, size and counter.

    In a sequential plate, ``dim`` is None and ``counter`` counts the iterations. ``full_size`` is the size before subsampling.
    """

    name: str
    dim: int | None
    size: int
    counter: int
    full_size: int | None = None

    @property
    def vectorized(self) -> bool:
        """Whether the plate's rows lie along a dim."""
        return self.dim is not None

    def _key(self) -> tuple[str, int | None, int, int]:
        return self.name, self.dim, as_int(self.size), self.counter

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CondIndepStackFrame) and self._key() == other._key()

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._key())

    def __str__(self) -> str:
        return self.name
