"""A weight of the divergence from the prior that grows during a fit."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ember.errors import ModelError
from ember.infer.step.training.callback import Callback, State, Training
from ember.poutine.messenger import Messenger
from ember.poutine.site import Site


class KLWeight(Messenger):
    """Multiplies the log densities of latent sites, in model and guide, by a weight that is a tensor.

    Args:
        weight: a scalar; it may be changed in place, and captured steps see that.

    Raises:
        ModelError: when a guide runs inside of it, for sites without pathwise derivatives: their gradients
            would be wrong.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = weight

    def _process_message(self, msg: Site) -> None:
        if not msg.is_latent or msg.is_subsample:
            return
        if msg.value is None and not msg.has_rsample:
            raise ModelError(
                f"site {msg.name!r} is drawn from {type(msg.fn).__name__}, which has no pathwise derivative: its gradient "
                "comes from the score function, which a weight of its log density would change. Annealing is for "
                "reparameterised guides"
            )
        msg.scale = msg.scale * self.weight


class Annealing(Callback):
    """Multiplies the divergence of the guide from the prior by a weight that grows to 1.

    The loss of a step is then ``-E[log p(data | z)] + weight * KL`` (Bowman et al., 2016; Sønderby et al.,
    2016). The loss of validation data has weight 1. The weight is a tensor: a new weight needs no new
    capture.

    Args:
        steps: the number of steps after which the weight is 1.
        start: the weight of the first steps, 0 or more.
        every: how many steps have the same weight; these may be one native call.
        weight: the weight as a function of the number of steps taken, in the place of the straight line.
            ``steps`` and ``start`` are not used then.

    Raises:
        ModelError: if ``steps`` is below 1, or ``start`` is negative. During a fit: if the guide draws a
            latent site that has no pathwise derivative, such as a discrete one.

    >>> from ember.train import Annealing
    >>> annealing = Annealing(steps=1000, start=0.1)
    >>> annealing.weight_at(0), annealing.weight_at(500), annealing.weight_at(5000)
    (0.1, 0.55, 1.0)
    """

    def __init__(
        self,
        steps: int = 1000,
        start: float = 0.0,
        every: int = 10,
        weight: Callable[[int], float] | None = None,
    ) -> None:
        if steps < 1 or not start >= 0:
            raise ModelError(f"steps must be >= 1 and start >= 0, got {steps} and {start}")
        self.every = every
        self._line = (start, steps)
        self._given = weight
        self._weight = torch.tensor(self.weight_at(0))
        self.handler = KLWeight(self._weight)

    def weight_at(self, step: int) -> float:
        """Return the weight after ``step`` steps."""
        if self._given is not None:
            return float(self._given(step))
        start, steps = self._line
        return start + (1.0 - start) * min(1.0, step / steps)

    def begin(self, training: Training) -> None:
        """Set the first weight."""
        self._weight.fill_(self.weight_at(training.step))

    def after_steps(self, training: Training) -> None:
        """Set the weight of the next steps."""
        self._weight.fill_(self.weight_at(training.step))

    def load_state_dict(self, state: State) -> None:
        """Set the weight where the fit goes on."""
        self._weight.fill_(state["weight"])

    def state_dict(self) -> State:
        """Return the weight."""
        return {"weight": self._weight.item()}
