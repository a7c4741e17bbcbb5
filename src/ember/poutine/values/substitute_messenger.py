"""Fixing parameter values from outside."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ember.poutine.site import Site
from ember.poutine.values.name_check import NamedParamMessenger


class SubstituteMessenger(NamedParamMessenger):
    """Gives the named parameters the values in ``data``; warns about names that no parameter has.

    Args:
        data: constrained values by name; for parameters of modules, the part of the name after ``$$$``.

    >>> import torch, ember
    >>> def model():
    ...     return ember.param("loc", torch.tensor(0.0))
    >>> ember.poutine.substitute(model, data={"loc": torch.tensor(5.0)})()
    tensor(5.)
    """

    def __init__(self, data: Mapping[str, Tensor]) -> None:
        super().__init__("data", data)
        self.data = data

    def _pyro_param(self, msg: Site) -> None:
        name = msg.name
        key = self._names.look_up(name)
        if key is not None:
            msg.value = self._settled.setdefault(name, self.data[key])
