"""Dual averaging: a number is tuned until the mean of noisy observations is zero.

References:
    Y. Nesterov (2009), "Primal-dual subgradient methods for convex problems".
    M. D. Hoffman, A. Gelman (2014), "The No-U-Turn Sampler", section 3.2.
"""

from __future__ import annotations

from typing import Any

__all__ = ["DualAveraging"]


class DualAveraging:
    """Finds ``x`` where noisy gradients ``g`` are zero in the mean.

    Args:
        prox_center: what ``x`` shrinks to.
        t0: early steps count less, the larger it is.
        kappa: how fast early steps are forgotten, from one half to one.
        gamma: how strongly ``x`` shrinks.

    >>> tuned = DualAveraging(prox_center=0.5)
    >>> tuned.step(0.1)
    >>> [round(x, 4) for x in tuned.get_state()]
    [0.3182, 0.3182]
    """

    def __init__(
        self, prox_center: float = 0, t0: float = 10, kappa: float = 0.75, gamma: float = 0.05
    ) -> None:
        self.prox_center = prox_center
        self.t0 = t0
        self.kappa = kappa
        self.gamma = gamma
        self.reset()

    def reset(self) -> None:
        """Begin again; the present ``x`` stays until the next step."""
        self._x_avg: Any = 0
        self._g_avg: Any = 0
        self._t = 0

    def step(self, g: Any) -> None:
        """Take one gradient."""
        self._t += 1
        share = 1 / (self._t + self.t0)
        self._g_avg = (1 - share) * self._g_avg + share * g
        self._x_t = self.prox_center - self._t**0.5 / self.gamma * self._g_avg
        weight = self._t**-self.kappa
        self._x_avg = (1 - weight) * self._x_avg + weight * self._x_t

    def get_state(self) -> tuple[Any, Any]:
        """The present ``x``, and the average of those so far."""
        return self._x_t, self._x_avg
