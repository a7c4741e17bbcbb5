"""A base for univariate families, whose parameters all have the shape of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from torch import Size
from torch.distributions.utils import broadcast_all

from ember.distributions.torch_distribution import TorchDistribution


class ElementwiseDistribution(TorchDistribution):
    """A univariate family: broadcasts its parameters, and expands by expanding each of them.

    Subclasses name their parameters in ``_tensors``, in the order in which they pass them on, and anything else that a copy
    needs in ``_settings``.
    """

    _tensors: ClassVar[tuple[str, ...]]
    _settings: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *parameters: Any, validate_args: bool | None = None) -> None:
        values: Any = broadcast_all(*parameters)
        for name, value in zip(self._tensors, values, strict=True):
            setattr(self, name, value)
        super().__init__(values[0].shape, validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the parameters."""
        family = next(kind for kind in type(self).__mro__ if "_tensors" in vars(kind))
        if type(self).__init__ is family.__init__:  # type: ignore[misc]
            family = type(self)
        new = self._get_checked_instance(family, _instance)
        batch_shape = Size(batch_shape)
        for name in self._tensors:
            setattr(new, name, getattr(self, name).expand(batch_shape))
        for name in self._settings:
            setattr(new, name, getattr(self, name))
        return self._completed(new, batch_shape)
