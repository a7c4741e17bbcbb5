"""Fixing parameter values from outside."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ember.poutine.site import Site
from ember.poutine.values.name_check import NamedParamMessenger


class SubstituteMessenger(NamedParamMessenger):
    """Gives the named parameters the values in ``data``; warns about names that no parameter has.

    Args:
        data: values by name; for parameters of modules, the part of the name after ``$$$``.
    """

    def __init__(self, data: Mapping[str, Tensor]) -> None:
        super().__init__("data", data)
        self.data = data

    def _pyro_param(self, msg: Site) -> None:
        name = msg.name
        key = self._names.look_up(name)
        if key is not None:
            msg.value = self._settled.setdefault(name, self.data[key])
