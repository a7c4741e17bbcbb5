"""Fixing parameter values from outside."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from torch import Tensor

from ember.poutine.messenger import Messenger
from ember.poutine.name_check import NameCheck
from ember.poutine.site import Site


class SubstituteMessenger(Messenger):
    """Gives the named parameters the values in ``data``; warns about names that no parameter has.

    Args:
        data: values by name; for parameters of modules, the part of the name after ``$$$``.
    """

    def __init__(self, data: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.data = data
        self._values: dict[str, Tensor] = {}
        self._names = NameCheck("data", data)

    def __enter__(self) -> Self:
        self._values = {}
        self._names.start()
        return super().__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._values = {}
        super().__exit__(exc_type, exc_value, traceback)
        # Last: where warnings are errors, it must not leave the handler behind on the stack.
        self._names.finish(exc_type)

    def _pyro_param(self, msg: Site) -> None:
        name = msg["name"]
        key = self._names.look_up(name)
        if key is not None:
            msg["value"] = self._values.setdefault(name, self.data[key])
