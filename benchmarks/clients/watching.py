"""Losses and times of steps, seen from outside: the library takes them."""

from __future__ import annotations

import time
from typing import Any

import pyro.infer


class Steps:
    """All steps that are taken in a ``with`` block."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.seconds: list[float] = []
        """Of the processor: one thread works, and others on the machine do not count."""
        self.svis: list[Any] = []
        """Each of those that took a step, once."""

    def __enter__(self) -> Steps:
        self._own = own = pyro.infer.SVI.step

        def step(svi: Any, *args: Any, **kwargs: Any) -> Any:
            if not any(svi is known for known in self.svis):
                self.svis.append(svi)
            started = time.process_time()
            loss = own(svi, *args, **kwargs)
            self.seconds.append(time.process_time() - started)
            self.losses.append(float(loss))
            return loss

        pyro.infer.SVI.step = step
        return self

    def __exit__(self, *error: object) -> None:
        pyro.infer.SVI.step = self._own

    def explained(self) -> list[str]:
        """What Ember says about these steps; nothing under Pyro."""
        if pyro.infer.SVI.__module__.partition(".")[0] == "pyro":
            return []
        from ember.capture import explain

        return [str(explain(svi)) for svi in self.svis]
