"""What Ember adds to torch's distributions, and the wrappers that it needs: independent, masked, expanded.

The four classes make each other (``mask`` returns a :class:`MaskedDistribution`, which is a
:class:`TorchDistribution`, which has ``mask``), so they live in one module.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self, cast

import torch
from torch import Size, Tensor

from ember.distributions import constraints
from ember.distributions.delegation import DelegatedRsample
from ember.distributions.distribution import Distribution
from ember.distributions.expansion import check_expansion, draw_expanded
from ember.distributions.fast_checks import arguments_are_surely_valid, sample_is_surely_valid
from ember.distributions.masking import scale_and_mask
from ember.distributions.old_names import OldNames
from ember.distributions.score_parts import ScoreParts
from ember.distributions.shapes import broadcast_shape, sum_rightmost
from ember.distributions.validation import VALUE_CHECKS

_EMPTY = Size()
_torch_base = torch.distributions.Distribution


class TorchDistributionMixin(Distribution, OldNames):
    """Pyro's interface for a class that already derives from :class:`torch.distributions.Distribution`.

    Put it after the torch class: ``class Mine(torch.distributions.Normal, TorchDistributionMixin)``. For a
    distribution of your own, derive from :class:`TorchDistribution`.
    """

    # Declared for type checkers only: torch's base class, earlier in the MRO, has them.
    batch_shape: Any
    event_shape: Any

    def __call__(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw a value, by ``rsample`` if the instance has it, else by ``sample``.

        Shapes:
            result: ``sample_shape + batch_shape + event_shape``.
        """
        if self.has_rsample:
            return cast(Tensor, self.rsample(sample_shape))  # type: ignore[attr-defined]
        return self.sample(sample_shape)

    @property
    def event_dim(self) -> int:
        """The number of dims of one event."""
        return len(self.event_shape)

    def shape(self, sample_shape: Sequence[int] = Size()) -> Size:
        """The shape of ``self(sample_shape)``: ``sample_shape + batch_shape + event_shape``."""
        return cast(Size, Size(sample_shape) + self.batch_shape + self.event_shape)

    @classmethod
    def infer_shapes(cls, **arg_shapes: tuple[int, ...]) -> tuple[Any, Any]:
        """``(batch_shape, event_shape)`` of an instance, from the shapes of its arguments.

        Raises:
            NotImplementedError: for multivariate families that do not override this.

        >>> from ember.distributions import Normal
        >>> Normal.infer_shapes(loc=(3, 1), scale=(2,))
        (torch.Size([3, 2]), torch.Size([]))
        """
        if cls.support.event_dim > 0:  # type: ignore[attr-defined]
            raise NotImplementedError(f"{cls.__name__}.infer_shapes() is not implemented")
        table = cls.arg_constraints  # type: ignore[attr-defined]
        batch_shapes = [
            shape[: len(shape) - table.get(name, constraints.real).event_dim]
            for name, shape in arg_shapes.items()
        ]
        return Size(broadcast_shape(*batch_shapes)), Size()

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Any:
        """This distribution with its batch dims expanded to ``batch_shape``."""
        return ExpandedDistribution(self, Size(batch_shape))

    def expand_by(self, sample_shape: Sequence[int]) -> WrappedDistribution:
        """Add ``sample_shape`` to the left of ``batch_shape``."""
        batch_shape = Size(sample_shape) + self.batch_shape
        try:
            return cast(WrappedDistribution, self.expand(batch_shape))
        except NotImplementedError:
            return cast(WrappedDistribution, TorchDistributionMixin.expand(self, batch_shape))

    def to_event(self, reinterpreted_batch_ndims: int | None = None) -> WrappedDistribution:
        """Turn the rightmost batch dims into event dims.

        Args:
            reinterpreted_batch_ndims: how many; None for all. A negative number turns event dims, which an
                earlier call made, back into batch dims.

        Raises:
            ValueError: if there are not so many dims.

        >>> import torch, ember
        >>> d = ember.distributions.Normal(torch.zeros(2, 3), 1.0).to_event(1)
        >>> d.batch_shape, d.event_shape
        (torch.Size([2]), torch.Size([3]))
        """
        n = len(self.batch_shape) if reinterpreted_batch_ndims is None else reinterpreted_batch_ndims
        base: Any = self
        while isinstance(base, torch.distributions.Independent):
            n += base.reinterpreted_batch_ndims
            base = base.base_dist
        if n < 0:
            raise ValueError(f"Cannot remove event dimensions from {type(self)}")
        result = base if n == 0 else Independent(base, n)
        if base is not self and "has_rsample" in self.__dict__:
            # The flag was set on the wrapper that is taken off here; the base may be shared, so it is copied.
            result = copy.copy(result) if n == 0 else result
            result.has_rsample = self.__dict__["has_rsample"]
        return result

    def mask(self, mask: bool | Tensor) -> WrappedDistribution:
        """Mask the log density by a bool, or by a tensor that broadcasts with ``batch_shape``."""
        return MaskedDistribution(self, mask)


class WrappedDistribution(_torch_base, TorchDistributionMixin):  # type: ignore[misc]
    """Stands between a torch family and torch's base class in the MRO of Ember's classes.

    It validates quickly (see ``fast_checks``) and lets ``expand`` keep what was set by ``has_rsample_``.
    """

    def __init__(
        self, batch_shape: Size = _EMPTY, event_shape: Size = _EMPTY, validate_args: bool | None = None
    ) -> None:
        self._batch_shape = batch_shape
        self._event_shape = event_shape
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args and VALUE_CHECKS.on and not arguments_are_surely_valid(self):
            _torch_base.__init__(self, batch_shape, event_shape, validate_args)  # checks in full, and raises
        else:
            super(_torch_base, self).__init__()

    def _completed(self, new: Any, batch_shape: Size, event_shape: Size = _EMPTY) -> Self:
        """An expanded instance that has its own attributes: give it shapes, unchecked, and this one's wish for checks."""
        WrappedDistribution.__init__(new, batch_shape, event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return cast(Self, new)

    def _validate_sample(self, value: Tensor) -> None:
        if VALUE_CHECKS.on and not sample_is_surely_valid(self, value, self._batch_shape, self._event_shape):
            super()._validate_sample(value)

    def _get_checked_instance(self, cls: type, _instance: object = None) -> Any:
        new = super()._get_checked_instance(cls, _instance)  # type: ignore[no-untyped-call]
        if "has_rsample" in self.__dict__:
            new.__dict__["has_rsample"] = self.__dict__["has_rsample"]
        return new


class TorchDistribution(WrappedDistribution):
    """Base class for new distributions over tensors.

    Define ``sample`` (or ``rsample``, with ``has_rsample = True``), ``log_prob``, ``arg_constraints`` and
    ``support``, and call ``super().__init__(batch_shape, event_shape)``. Discrete families may add
    ``enumerate_support`` with ``has_enumerate_support = True``. ``expand`` works without being defined.

    Shapes:
        sample: ``sample_shape + batch_shape + event_shape``.
        log_prob: ``sample_shape + batch_shape``.
    """

    expand = TorchDistributionMixin.expand


class Independent(torch.distributions.Independent, WrappedDistribution):  # type: ignore[override, type-arg]
    """Reinterprets batch dims of a distribution as event dims; :meth:`to_event` makes it.

    Validation is switched by the base distribution's flag.

    >>> import torch, ember
    >>> ember.distributions.Normal(torch.zeros(3), 1.0).to_event(1).log_prob(torch.zeros(3)).shape
    torch.Size([])
    """

    has_rsample = DelegatedRsample()

    @classmethod
    def infer_shapes(cls, **arg_shapes: object) -> tuple[Any, Any]:
        """Not possible: the shapes depend on the base distribution."""
        raise NotImplementedError("Independent.infer_shapes() depends on the base distribution")

    @property
    def _validate_args(self) -> bool:
        return bool(self.base_dist._validate_args)

    @_validate_args.setter
    def _validate_args(self, value: bool) -> None:
        self.base_dist._validate_args = value

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the base's log density, summed over the reinterpreted dims."""
        return sum_rightmost(self.base_dist.log_prob(value), self.reinterpreted_batch_ndims)  # type: ignore[no-any-return]

    def score_parts(self, x: Tensor, *args: Any, **kwargs: Any) -> ScoreParts:
        """Return the base's score parts, summed over the reinterpreted dims."""
        base_method = getattr(type(self.base_dist), "score_parts", Distribution.score_parts)
        if base_method is Distribution.score_parts or "has_rsample" in self.__dict__:
            return super().score_parts(x, *args, **kwargs)
        parts = base_method(self.base_dist, x, *args, **kwargs)
        return ScoreParts(*(sum_rightmost(part, self.reinterpreted_batch_ndims) for part in parts))

    def conjugate_update(self, other: Any) -> tuple[Any, Any]:
        """Update the base; see :meth:`Distribution.conjugate_update`."""
        n = self.reinterpreted_batch_ndims
        base: Any = self.base_dist
        updated, log_normalizer = base.conjugate_update(other.to_event(-n))
        return updated.to_event(n), sum_rightmost(log_normalizer, n)


class MaskedDistribution(TorchDistribution):
    """A distribution whose log density is 0 where a mask is False; sampling does not change.

    With ``mask is False`` the base's ``log_prob``, ``score_parts`` and KL divergence are never computed.

    Args:
        base_dist: a distribution.
        mask: a bool, or a tensor that broadcasts with the batch shape; both are expanded to a common shape.

    >>> import torch, ember
    >>> ember.distributions.Normal(0.0, 1.0).mask(torch.tensor([True, False])).log_prob(torch.zeros(2))
    tensor([-0.9189,  0.0000])
    """

    arg_constraints: dict[str, Any] = {}
    has_rsample = DelegatedRsample()

    def __init__(self, base_dist: Any, mask: bool | Tensor) -> None:
        if isinstance(mask, bool):
            self._mask: bool | Tensor = mask
        else:
            batch_shape = Size(broadcast_shape(mask.shape, base_dist.batch_shape))
            if mask.shape != batch_shape:
                mask = mask.expand(batch_shape)
            if base_dist.batch_shape != batch_shape:
                base_dist = base_dist.expand(batch_shape)
            self._mask = mask.bool()
        self.base_dist = base_dist
        super().__init__(base_dist.batch_shape, base_dist.event_shape)

    @property
    def applied_mask(self) -> bool | Tensor:
        """Where the log density counts; of the batch shape, if it is a tensor."""
        return self._mask

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the base and the mask."""
        new, batch_shape = self._get_checked_instance(MaskedDistribution, _instance), Size(batch_shape)
        new.base_dist = self.base_dist.expand(batch_shape)
        new._mask = self._mask.expand(batch_shape) if isinstance(self._mask, Tensor) else self._mask
        return self._completed(new, batch_shape, self.event_shape)

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]
        """As the base."""
        return bool(self.base_dist.has_enumerate_support)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """As the base."""
        return self.base_dist.support  # type: ignore[no-any-return]

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """As the base."""
        return self.base_dist.sample(sample_shape)  # type: ignore[no-any-return]

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """As the base."""
        return self.base_dist.rsample(sample_shape)  # type: ignore[no-any-return]

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the base's log density where the mask is True, else 0."""
        if self._mask is False:
            shape = broadcast_shape(self.base_dist.batch_shape, value.shape[: value.dim() - self.event_dim])
            return torch.zeros((), device=value.device).expand(shape)
        return scale_and_mask(self.base_dist.log_prob(value), mask=self._mask)  # type: ignore[no-any-return]

    def score_parts(self, value: Tensor) -> ScoreParts:
        """The base's score parts, masked but for the score function: the value was drawn all the same."""
        if self._mask is False:
            return super().score_parts(value)
        if "has_rsample" not in self.__dict__:
            parts = self.base_dist.score_parts(value)
        else:
            log_prob, is_path = self.base_dist.log_prob(value), self.has_rsample
            parts = ScoreParts(log_prob, 0, log_prob) if is_path else ScoreParts(log_prob, log_prob, 0)
        return parts.scale_and_mask(mask=self._mask)  # type: ignore[no-any-return]

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """As the base."""
        return self.base_dist.enumerate_support(expand=expand)  # type: ignore[no-any-return]

    @property
    def mean(self) -> Tensor:
        """As the base."""
        return self.base_dist.mean  # type: ignore[no-any-return]

    @property
    def variance(self) -> Tensor:
        """As the base."""
        return self.base_dist.variance  # type: ignore[no-any-return]

    def conjugate_update(self, other: Any) -> tuple[Any, Any]:
        """Update the base; the normaliser is masked."""
        updated, log_normalizer = self.base_dist.conjugate_update(other)
        return updated.mask(self._mask), scale_and_mask(log_normalizer, mask=self._mask)


class ExpandedDistribution(TorchDistribution):
    """Expands the batch shape of a distribution that cannot expand its own parameters.

    Draws are independent along the new dims. ``expand`` changes the instance and returns it.

    Args:
        base_dist: a distribution.
        batch_shape: a shape that the base's batch shape broadcasts to.

    Raises:
        ValueError: if ``batch_shape`` would shrink a dim or drop one.
    """

    arg_constraints: dict[str, Any] = {}
    has_rsample = DelegatedRsample()

    def __init__(self, base_dist: Any, batch_shape: Sequence[int] = Size()) -> None:
        self.base_dist = base_dist
        super().__init__(base_dist.batch_shape, base_dist.event_shape)
        self.expand(batch_shape)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand further, in place."""
        new_shape = Size(batch_shape)
        check_expansion(self._batch_shape, new_shape)
        self._batch_shape = new_shape
        return self

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]
        """As the base."""
        return bool(self.base_dist.has_enumerate_support)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """As the base."""
        return self.base_dist.support  # type: ignore[no-any-return]

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw without gradients, independently along the expanded dims."""
        return draw_expanded(self, self.base_dist.sample, sample_shape)  # type: ignore[no-any-return]

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw with pathwise gradients, independently along the expanded dims."""
        return draw_expanded(self, self.base_dist.rsample, sample_shape)  # type: ignore[no-any-return]

    def _log_prob_shape(self, value: Tensor) -> tuple[int, ...]:
        return broadcast_shape(self._batch_shape, value.shape[: value.dim() - self.event_dim])

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the base's log density, expanded."""
        return self.base_dist.log_prob(value).expand(self._log_prob_shape(value))  # type: ignore[no-any-return]

    def score_parts(self, value: Tensor) -> ScoreParts:
        """Return the base's score parts, expanded."""
        if "has_rsample" in self.__dict__:
            return super().score_parts(value)
        shape, parts = self._log_prob_shape(value), self.base_dist.score_parts(value)
        return ScoreParts(*(p.expand(shape) if isinstance(p, Tensor) else p for p in parts))

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Return the base's support, with dims of the expanded batch."""
        values = self.base_dist.enumerate_support(expand=False)
        size, event_shape = values.shape[:1], self.event_shape
        values = values.reshape(size + (1,) * len(self._batch_shape) + event_shape)
        return values.expand(size + self._batch_shape + event_shape) if expand else values  # type: ignore[no-any-return]

    @property
    def mean(self) -> Tensor:
        """The base's mean, expanded."""
        return self.base_dist.mean.expand(self._batch_shape + self.event_shape)  # type: ignore[no-any-return]

    @property
    def variance(self) -> Tensor:
        """The base's variance, expanded."""
        return self.base_dist.variance.expand(self._batch_shape + self.event_shape)  # type: ignore[no-any-return]

    def conjugate_update(self, other: Any) -> tuple[Any, Any]:
        """Update the base and expand the result."""
        updated, log_normalizer = self.base_dist.conjugate_update(other)
        return updated.expand(self._batch_shape), log_normalizer.expand(self._batch_shape)
