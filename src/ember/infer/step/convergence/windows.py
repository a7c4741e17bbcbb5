"""The stretch at the end of a run whose iterates look most like draws of one distribution."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ember.infer.step.convergence.diagnostics import split_r_hat

FRACTIONS = (0.95, 0.7625, 0.575, 0.3875, 0.2)
"""Lengths of the windows, of the whole run: five, from 95 % to 20 % (Welandawe et al., 2022)."""
_FEWEST_ROWS = 20


@dataclass(frozen=True)
class Window:
    """The last iterates of a run."""

    start: int
    """The first row that belongs to it."""
    r_hat: Tensor
    """Split R-hat of each parameter, ``(P,)``."""

    @property
    def worst(self) -> float:
        """The largest R-hat."""
        return float(self.r_hat.max()) if self.r_hat.numel() else 1.0


def best_window(rows: Tensor, limit: float) -> Window | None:
    """The longest window in which the R-hat of all parameters is below the limit; else the one where the largest is smallest.

    Args:
        rows: iterates in order, ``(n, P)``.
        limit: of R-hat.

    Returns:
        None if there are too few iterates to tell.
    """
    found: Window | None = None
    for fraction in FRACTIONS:
        size = int(fraction * len(rows))
        if size < _FEWEST_ROWS:
            break
        window = Window(len(rows) - size, split_r_hat(rows[-size:]))
        if window.worst < limit:
            return window
        if found is None or window.worst < found.worst:
            found = window
    return found


__all__ = ["FRACTIONS", "Window", "best_window"]
