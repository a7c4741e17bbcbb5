"""Attributes that wrapping distributions take from the one they wrap."""

from __future__ import annotations

from typing import Any


class DelegatedRsample:
    """``has_rsample`` of a wrapper: that of its base, unless ``has_rsample_`` has set it on the wrapper."""

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        override = instance.__dict__.get("has_rsample")
        return instance.base_dist.has_rsample if override is None else override

    def __set__(self, instance: object, value: bool) -> None:
        instance.__dict__["has_rsample"] = value
