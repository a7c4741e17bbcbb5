"""What a rung of the ladder is."""

from __future__ import annotations

from typing import Protocol

from ember.fit.state import State


class Stage(Protocol):
    """One family, tried."""

    @property
    def name(self) -> str:
        """What records call it."""

    def applies(self, state: State) -> bool:
        """Whether it can help here."""

    def rows(self, state: State) -> int:
        """Rows of the density that it will ask for, about."""

    def overhead(self, state: State) -> float:
        """Seconds that it takes besides, about."""

    def run(self, state: State) -> None:
        """Add to the state."""
