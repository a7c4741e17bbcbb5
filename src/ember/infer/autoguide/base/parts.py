"""Guides as parts of a larger guide, which is their master."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any, Self

from ember.infer.autoguide.base.own_parameters import OwnParameters


class Part(OwnParameters):
    """A guide that may be a part of another one."""

    def __init__(self, name: str = "") -> None:
        super().__init__(name=name)
        self.master: Callable[[], Self | None] | None = None

    def is_part(self) -> bool:
        return self.master is not None

    def own_parts(self) -> None:
        """Become the master of all parts: after a copy, they have none."""
        for part in self._parts():
            part._update_master(weakref.ref(self))

    def _parts(self) -> Iterator[Part]:
        for part in self.modules():
            if part is not self and isinstance(part, Part):
                yield part

    def _update_master(self, master_ref: Callable[[], Any]) -> None:
        self.master = master_ref
        for part in self._parts():
            part.master = master_ref

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Part):
            value._update_master(weakref.ref(self) if self.master is None else self.master)
        super().__setattr__(name, value)
