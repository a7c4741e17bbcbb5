"""All parameters of a fit as one row of numbers, to be noted, averaged and put back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ember.capture.signals import Unbroken
from ember.errors import OptimizerError
from ember.optim import PyroOptim
from ember.optim.rates import scale_rates
from ember.params.param_store import ParamStoreDict

_OWN_DECAY = {
    "Adagrad": "divides it by the square root of all gradients so far",
    "AdagradRMSProp": "decays it by the number of steps",
    "ASGD": "decays it by the number of steps",
    "Rprop": "adapts a step size of each parameter instead",
}


class Parameters:
    """The stepped parameters of a store, unconstrained, each tensor once.

    Args:
        optimizer: what steps them.
        store: where they are.
    """

    def __init__(self, optimizer: PyroOptim, store: Callable[[], ParamStoreDict]) -> None:
        self._optimizer = optimizer
        self._store = store

    def leaves(self) -> dict[str, Tensor]:
        """The unconstrained leaves by name, in the order of the store."""
        store = self._store()
        with store.active():
            stepped = self._optimizer.stepped_names()
        found: dict[str, Tensor] = {}
        known: set[int] = set()
        for name in store:
            if name in stepped:
                constrained: Any = store[name]
                leaf: Tensor = constrained.unconstrained()
                if id(leaf) not in known:
                    known.add(id(leaf))
                    found[name] = leaf
        return found

    def read(self) -> Tensor:
        """A copy of all, flat, ``(P,)``."""
        leaves = self.leaves().values()
        return torch.cat([leaf.detach().reshape(-1) for leaf in leaves]) if leaves else torch.zeros(0)

    def write(self, row: Tensor) -> None:
        """Put numbers in their place, all of them or, if Ctrl-C comes, all of them before it."""
        leaves = list(self.leaves().values())
        parts = torch.split(row, [leaf.numel() for leaf in leaves])
        with Unbroken() as changing, torch.no_grad():
            changing.begin()
            for leaf, part in zip(leaves, parts, strict=True):
                leaf.copy_(part.reshape(leaf.shape))

    def labels(self) -> list[str]:
        """A label for each entry."""
        return [
            name if leaf.numel() == 1 else f"{name}[{','.join(map(str, _place(i, leaf.shape)))}]"
            for name, leaf in self.leaves().items()
            for i in range(leaf.numel())
        ]

    def rates(self) -> dict[str, float]:
        """The learning rate of each."""
        with self._store().active():
            return self._optimizer.get_lr()

    def scale_rates(self, factor: float) -> None:
        """Multiply all rates."""
        with Unbroken() as changing:
            changing.begin()
            scale_rates(self._optimizer, factor)

    def check_rates(self) -> None:
        """See whether the rate of each is one that stays as it is set.

        Raises:
            OptimizerError: names the optimizer, and what there is instead; or there are no parameters.
        """
        if not self._optimizer.records:
            raise OptimizerError(
                'until="converged" watches parameters, and neither the model nor the guide has any: nothing is trained\n'
                "The way out: ember.param or an autoguide, or svi.verdict alone for a guide that is finished."
            )
        for record in self._optimizer.records:
            kind = record.kind.__name__
            why = _why_not(kind, record.options)
            if why:
                raise OptimizerError(
                    f'until="converged" needs a rate that stays as it is set, and {kind} {why} (at parameter {record.name!r})\n'
                    "The way out: Adam, ClippedAdam with lrd=1, RMSprop or SGD, which it halves itself when that is worth it."
                )


def _why_not(kind: str, options: Any) -> str | None:
    if "lr" not in options:
        return "has none"
    if options.get("lrd", 1.0) != 1.0:
        return f"decays it in every step, lrd={options['lrd']}"
    if options.get("lr_decay", 0.0):
        return f"decays it in every step, lr_decay={options['lr_decay']}"
    return _OWN_DECAY.get(kind)


def _place(index: int, shape: torch.Size) -> list[int]:
    place = []
    for size in reversed(shape):
        place.append(index % size)
        index //= size
    return place[::-1]


__all__ = ["Parameters"]
