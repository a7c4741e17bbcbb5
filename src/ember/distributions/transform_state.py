"""Pickling, copying and forgetting for torch's transforms, done from outside.

torch drops ``_inv`` of every transform when it is pickled or copied, and with it all of an inverse: the copy
of ``ExpTransform().inv`` is empty. Here inverses are replaced by a subclass that keeps its transform.
"""

from __future__ import annotations

import copy
from typing import Any, cast

from torch.distributions.transforms import (
    CatTransform,
    ComposeTransform,
    IndependentTransform,
    StackTransform,
    Transform,
    _InverseTransform,
)


class InverseTransform(_InverseTransform):
    """The inverse of a transform, as torch makes it, that survives pickling and copying."""

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state["_inv"] = picklable(cast(Transform, self._inv))
        return without_cached_values(state)


class CopyableTransform(Transform):
    """A transform that pickles and copies without its cache, and whose inverse does so too."""

    def __getstate__(self) -> dict[str, Any]:
        return without_cached_values(super().__getstate__())  # type: ignore[no-untyped-call]

    @property
    def inv(self) -> Transform:
        """The inverse transform."""
        if self._inv is None:
            self._inv = InverseTransform(self)
        return self._inv

    def clear_cache(self) -> None:
        """Forget the cached value and its image."""
        if self._cache_size == 1:
            self._cached_x_y = None, None


def without_cached_values(state: dict[str, Any]) -> dict[str, Any]:
    """The state of a transform less what it has cached, which is part of a graph of gradients."""
    if "_cached_x_y" in state:
        state["_cached_x_y"] = None, None
    return state


def picklable(transform: Transform) -> Transform:
    """The transform itself or, if it is or contains an inverse, an equal one that can be pickled and copied.

    >>> import pickle, torch
    >>> from torch.distributions.transforms import ExpTransform
    >>> from ember.distributions.transforms import picklable
    >>> pickle.loads(pickle.dumps(picklable(ExpTransform().inv)))(torch.ones(1))
    tensor([0.])
    """
    if type(transform) is _InverseTransform:
        return InverseTransform(cast(Transform, transform._inv))
    for kind, field in _PARTS.items():
        if type(transform) is kind:
            old: Any = getattr(transform, field)
            new: Any = [picklable(t) for t in old] if isinstance(old, list) else picklable(old)
            same = new is old or (
                isinstance(old, list) and all(a is b for a, b in zip(new, old, strict=True))
            )
            if same:
                return transform
            transform = copy.copy(transform)
            setattr(transform, field, new)
    return transform


_PARTS: dict[type, str] = {
    ComposeTransform: "parts",
    IndependentTransform: "base_transform",
    CatTransform: "transforms",
    StackTransform: "transforms",
}


def clear_cache(transform: Transform) -> None:
    """Forget the value and image that a transform, or any part of it, has cached."""
    method = getattr(transform, "clear_cache", None)
    if method is not None:
        method()
        return
    if transform._cache_size == 1:
        transform._cached_x_y = None, None
    if isinstance(transform, _InverseTransform):
        clear_cache(cast(Transform, transform._inv))
    for field in ("parts", "transforms", "base_transform"):
        parts = getattr(transform, field, ())
        for part in parts if isinstance(parts, list) else [parts] if parts else []:
            clear_cache(part)
