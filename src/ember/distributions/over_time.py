"""The distributions of the steps of a process as one distribution of its whole path."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Size, Tensor

from ember.distributions import constraints
from ember.distributions.delta import Delta
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch_distribution import Independent, MaskedDistribution, TorchDistribution
from ember.distributions.unit import Unit

# Ways to name one parameter; a distribution that has been asked for the others keeps them all. The cheapest comes first.
_SAME = (("logits", "probs"), ("scale_tril", "covariance_matrix", "precision_matrix"))


def over_time(steps: Sequence[Any]) -> Any:
    """The joint distribution of one value for each step, independent given the parameters of the steps.

    Where all steps are of one family, their parameters are put side by side, and densities are computed for all steps at once.

    Args:
        steps: distributions of one event shape, whose batch shapes broadcast.

    Shapes:
        result: batch shape as the steps', event shape ``(len(steps),) + event_shape``.

    Raises:
        ValueError: if event or batch shapes do not fit.

    >>> from ember.distributions import Normal
    >>> path = over_time([Normal(torch.zeros(3), 1.0), Normal(torch.ones(3), 1.0)])
    >>> path.batch_shape, path.event_shape
    (torch.Size([3]), torch.Size([2]))
    """
    return _beside(steps, 0).to_event(1)


def along_time(tensors: Sequence[Tensor], right: int) -> Tensor:
    """Tensors of the steps as one, with the dim of time in front of the ``right`` rightmost dims."""
    if len({tensor.shape for tensor in tensors}) > 1:
        tensors = torch.broadcast_tensors(*tensors)
    return torch.stack(tuple(tensors), -(1 + right))


def _beside(steps: Sequence[Any], right: int) -> Any:
    """One distribution with a dim of time in its batch shape, in front of its ``right`` rightmost dims."""
    rule = _RULES.get(type(steps[0]), _of_family)
    alike = all(type(step) is type(steps[0]) for step in steps)
    result = rule(steps, right) if alike else None
    if result is None:
        result = _Beside(steps, right)
    wanted = _shape_beside(steps, right)
    if result.batch_shape != wanted:
        result = result.expand(wanted)
    if "has_rsample" in steps[0].__dict__:
        result.has_rsample = steps[0].has_rsample
    return result


def _shape_beside(steps: Sequence[Any], right: int) -> Size:
    shape = broadcast_shape(*{step.batch_shape for step in steps})
    if len({step.event_shape for step in steps}) > 1:
        listed = sorted({tuple(step.event_shape) for step in steps})
        raise ValueError(f"the event shape differs between steps: {', '.join(map(str, listed))}")
    at = len(shape) - right
    return Size((*shape[:at], len(steps), *shape[at:]))


def _independent(steps: Sequence[Any], right: int) -> Any:
    dims: int = steps[0].reinterpreted_batch_ndims
    if any(step.reinterpreted_batch_ndims != dims for step in steps):
        return None
    return Independent(_beside([step.base_dist for step in steps], right + dims), dims)


def _masked(steps: Sequence[Any], right: int) -> Any:
    base = _beside([step.base_dist for step in steps], right)
    masks = [step.applied_mask for step in steps]
    if all(mask is masks[0] for mask in masks) and isinstance(masks[0], bool):
        return MaskedDistribution(base, masks[0])
    full = [torch.as_tensor(m).expand(step.batch_shape) for m, step in zip(masks, steps, strict=True)]
    return MaskedDistribution(base, along_time(full, right))


def _delta(steps: Sequence[Any], right: int) -> Any:
    dims: int = steps[0].event_dim
    if any(step.event_dim != dims for step in steps):
        return None
    values = _parameter([step.v for step in steps], right + dims)
    return Delta(values, _parameter([step.log_density for step in steps], right), event_dim=dims)


def _unit(steps: Sequence[Any], right: int) -> Any:
    return Unit(_parameter([step.log_factor for step in steps], right), validate_args=False)


def _of_family(steps: Sequence[Any], right: int) -> Any:
    """By parameters, where these alone make the family; else None."""
    first = steps[0]
    table = first.arg_constraints
    arguments = list(inspect.signature(type(first)).parameters)
    if not set(arguments) <= {*table, "validate_args"}:
        return None
    names = _given_names(first, table)
    columns = {name: [vars(step).get(name) for step in steps] for name in names}
    if not names or not all(isinstance(value, Tensor) for column in columns.values() for value in column):
        return None
    try:
        event_dims = {name: table[name].event_dim for name in names}
    except NotImplementedError:
        return None
    tensors = {name: _parameter(columns[name], right + event_dims[name]) for name in names}
    result = type(first)(**tensors, validate_args=False)
    # Arguments were checked when the steps were made; values are checked as there.
    result._validate_args = first._validate_args
    return result if result.event_shape == first.event_shape else None


def _given_names(step: Any, table: dict[str, Any]) -> list[str]:
    names = [name for name in table if name in vars(step)]
    for same in _SAME:
        present = [name for name in same if name in names]
        names = [name for name in names if name not in present[1:]]
    return names


def _parameter(values: Sequence[Tensor], right: int) -> Tensor:
    """A parameter of all steps; where it is one and the same it gets a dim of size 1."""
    if all(_is_same(value, values[0]) for value in values):
        return values[0].unsqueeze(-(1 + right))
    return along_time(values, right)


def _is_same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are one, or the same view of one."""
    return one is other or (
        one._base is not None
        and one._base is other._base
        and one.requires_grad == other.requires_grad
        and (one.shape, one.stride(), one.storage_offset())
        == (other.shape, other.stride(), other.storage_offset())
    )


_RULES: dict[type, Callable[[Sequence[Any], int], Any]] = {
    Independent: _independent,
    MaskedDistribution: _masked,
    Delta: _delta,
    Unit: _unit,
}


class _Beside(TorchDistribution):
    """Steps of any families, one by one."""

    arg_constraints: dict[str, Any] = {}

    def __init__(self, steps: Sequence[Any], right: int) -> None:
        self.steps = tuple(steps)
        self.right = right
        self.has_rsample = all(step.has_rsample for step in steps)
        shape = _shape_beside(steps, right)
        super().__init__(shape, steps[0].event_shape, validate_args=False)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """That of the first step."""
        return self.steps[0].support  # type: ignore[no-any-return]

    def _drawn(self, draw: Callable[[Any], Tensor]) -> Tensor:
        return along_time([draw(step) for step in self.steps], self.right + self.event_dim)

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """One draw of each step."""
        return self._drawn(lambda step: step.sample(Size(sample_shape)))

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """One draw of each step."""
        return self._drawn(lambda step: step.rsample(Size(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """The log densities of the steps, side by side."""
        values = value.unbind(-(1 + self.right + self.event_dim))
        logs = [step.log_prob(part) for step, part in zip(self.steps, values, strict=True)]
        return along_time(logs, self.right)

    @property
    def mean(self) -> Tensor:
        """The means of the steps."""
        return self._drawn(lambda step: step.mean)

    @property
    def variance(self) -> Tensor:
        """The variances of the steps."""
        return self._drawn(lambda step: step.variance)
