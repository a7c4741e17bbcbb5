"""Transforms that own parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions.transforms import ComposeTransform

from ember.distributions.cached_under import CachedUnder
from ember.distributions.transform_state import (
    CopyableTransform,
    clear_cache,
    picklable,
    without_cached_values,
)


class TransformModule(CopyableTransform, torch.nn.Module):
    """A transform that is a module, so that its parameters are found and trained; flows derive from it.

    What is cached is forgotten when a parameter has changed since, so that a training loop on the same data
    needs no ``clear_cache()``.
    """

    _cached_under: CachedUnder | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)

    def __call__(self, x: Tensor) -> Any:
        """The image of ``x``."""
        if self._cache_size == 0:
            return self._call(x)  # type: ignore[no-untyped-call]
        last: tuple[Any, Any] = self._cached_x_y
        y = last[1]
        if last[0] is not x or not self._is_fresh():
            y = self._call(x)  # type: ignore[no-untyped-call]
            self._cache(x, y)
        return y

    def _inv_call(self, y: Tensor) -> Any:
        if self._cache_size == 0:
            return self._inverse(y)  # type: ignore[no-untyped-call]
        last: tuple[Any, Any] = self._cached_x_y
        x = last[0]
        if last[1] is not y or not self._is_fresh():
            x = self._inverse(y)  # type: ignore[no-untyped-call]
            self._cache(x, y)
        return x

    def _is_fresh(self) -> bool:
        return self._cached_under is not None and self._cached_under.holds(self)

    def _cache(self, x: Tensor, y: Tensor) -> None:
        # Not by setattr, which looks for parameters first.
        self.__dict__.update(_cached_x_y=(x, y), _cached_under=CachedUnder.now(self))

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        state.pop("_cached_under", None)
        return state

    def __hash__(self) -> int:
        # Transform defines __eq__, which removes the hash that modules are looked up by.
        return super(torch.nn.Module, self).__hash__()


class ComposeTransformModule(ComposeTransform, torch.nn.ModuleList):
    """A chain of transforms that registers those of its parts that are modules.

    >>> from torch.distributions.transforms import ExpTransform
    >>> import torch
    >>> from ember.distributions import ComposeTransformModule
    >>> round(ComposeTransformModule([ExpTransform(), ExpTransform().inv])(torch.ones(1)).item(), 5)
    1.0
    """

    def __init__(self, parts: Sequence[Any], cache_size: int = 0) -> None:
        super().__init__(parts, cache_size=cache_size)  # type: ignore[arg-type]
        for part in parts:
            if isinstance(part, torch.nn.Module):
                self.append(part)

    def __hash__(self) -> int:
        return super(torch.nn.Module, self).__hash__()

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[no-untyped-call]
        return without_cached_values(state | {"parts": [picklable(part) for part in self.parts]})

    def with_cache(self, cache_size: int = 1) -> ComposeTransformModule:
        """Return the same chain with another size of cache."""
        if cache_size == self._cache_size:
            return self
        return ComposeTransformModule(self.parts, cache_size=cache_size)

    def clear_cache(self) -> None:
        """Forget what this chain and its parts have cached."""
        if self._cache_size == 1:
            self._cached_x_y = None, None
        for part in self.parts:
            clear_cache(part)
