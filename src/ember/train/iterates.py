"""Parameters over the steps."""

from __future__ import annotations

import torch
from torch import Tensor

from ember.infer.step.training.callback import Callback, State, Training


class Iterates(Callback):
    """Keeps the constrained values of all parameters every so many steps, for :func:`ember.report.traces`.

    Args:
        every: steps from one iterate to the next.

    Attributes:
        steps: how many steps had been taken at each iterate.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> from ember.train import Iterates
    >>> def model(x):
    ...     with ember.plate("rows", len(x)):
    ...         ember.sample("x", dist.Normal(ember.param("loc", torch.tensor(0.0)), 1.0), obs=x)
    >>> def guide(x): ...
    >>> iterates = Iterates(every=10)
    >>> svi = ember.infer.SVI(model, guide, ember.optim.Adam({"lr": 0.1}), ember.infer.Trace_ELBO())
    >>> _ = svi.fit(torch.ones(5), steps=100, callbacks=[iterates], progress=False)
    >>> iterates.steps[-1], iterates.params["loc"].shape
    (100, torch.Size([10]))
    """

    def __init__(self, every: int = 10) -> None:
        self.every = every
        self.steps: list[int] = []
        self._kept: list[dict[str, Tensor]] = []

    @property
    def params(self) -> dict[str, Tensor]:
        """The iterates of each parameter, shape ``(len(steps), *shape)``.

        Parameters that were not there at the first iterate are left out.
        ``ember.summary({name: value[None] for name, value in iterates.params.items()}, by_chain=True)`` says
        whether they have settled.
        """
        if not self._kept:
            return {}
        return {name: torch.stack([row[name] for row in self._kept]) for name in self._kept[0]}

    def begin(self, training: Training) -> None:
        """Forget an earlier fit."""
        self.steps, self._kept = [], []

    def after_steps(self, training: Training) -> None:
        """Keep one more iterate."""
        self.steps.append(training.step)
        self._kept.append(training.fitted.fitted_params())

    def state_dict(self) -> State:
        """Return all iterates and their steps."""
        return {"steps": list(self.steps), "kept": [dict(row) for row in self._kept]}

    def load_state_dict(self, state: State) -> None:
        """Go on from the iterates that were saved."""
        self.steps, self._kept = list(state["steps"]), [dict(row) for row in state["kept"]]
