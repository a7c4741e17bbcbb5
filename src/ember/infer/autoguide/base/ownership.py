"""Whose parameters are under a guide's names, when several guides of one name are fitted in one process."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, MutableMapping
from typing import Any

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from ember.nn.leaves import as_parameter
from ember.nn.module import PyroModule, root_name
from ember.params.param_store import get_param_store

_MAKERS: MutableMapping[Tensor, weakref.ref[PyroModule]] = WeakTensorKeyDictionary()


def claim(leaves: list[Tensor], guide: PyroModule) -> PyroModule | None:
    """Note that a guide has made leaves of the active store.

    Returns:
        Another guide that has made one of them before, if it is still in use.
    """
    store, other = get_param_store(), None
    for leaf in leaves:
        if store.param_name(leaf) is None:
            continue
        maker = _MAKERS.setdefault(leaf, weakref.ref(guide))()
        if maker is not None and maker is not guide:
            other = maker
    return other


def _places(guide: PyroModule) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Where a guide holds its leaves: the module's dictionary, the key in it, and the name in the store."""
    for path, part in guide.named_modules():
        for key, leaf in part._parameters.items():
            if leaf is not None:
                name = key.removesuffix("_unconstrained")
                yield part._parameters, key, ".".join(filter(None, (root_name(guide), path, name)))


def take_over(guide: PyroModule) -> None:
    """Let a guide hold the leaves that the active store has under its names."""
    store = get_param_store()
    for leaves, key, name in list(_places(guide)):
        stored = store.leaf(name)
        if stored is not None:
            leaves[key] = as_parameter(name, stored, store.constraint(name))


class FirstLeaf:
    """A leaf by which a guide tells whether the active store has its own parameters. It is looked at in every call.

    Args:
        guide: after its first call.
    """

    def __init__(self, guide: PyroModule) -> None:
        self._place: tuple[dict[str, Any], str] | None = None
        self._name = ""
        for leaves, key, name in _places(guide):
            self._place, self._name = (leaves, key), name
            break

    def is_displaced(self, guide: PyroModule) -> bool:
        """Whether the active store has a leaf of that name that another guide has made."""
        if self._place is None:
            return False
        leaves, key = self._place
        store, own = get_param_store(), leaves.get(key)
        if own is None or store.param_name(own) is not None or self._name not in store:
            return False
        maker = _MAKERS.get(store[self._name].unconstrained())  # type: ignore[attr-defined]
        return maker is not None and maker() is not guide
