"""The distributions of the steps of a process as one distribution of its whole path."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Size, Tensor

from ember.distributions import constraints, typed_torch
from ember.distributions.delta import Delta
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch_distribution import Independent, MaskedDistribution, TorchDistribution
from ember.distributions.unit import Unit

# Ways to name one parameter; a distribution that has been asked for the others keeps them all. The cheapest comes first.
_SAME = (
    ("logits", "probs"),
    ("gate", "gate_logits"),
    ("scale_tril", "covariance_matrix", "precision_matrix"),
)


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
    batch_shape = _batch_shape(steps)
    parts = [apart(step) for step in steps]
    known = [part for part in parts if part is not None]
    first = known[0] if known else None
    if first is None or len(known) < len(parts) or any(part.key != first.key for part in known):
        return _Beside(steps, batch_shape).to_event(1)
    columns = zip(*[part.tensors for part in known], strict=True)
    tensors = [_parameter(column, right) for column, right in zip(columns, first.rights, strict=True)]
    return first.together(tensors, batch_shape)


def repeated(fn: Any, times: int) -> Any:
    """The joint distribution of ``times`` independent values."""
    part = apart(fn)
    if part is None:
        return over_time([fn] * times)
    tensors = [
        tensor.unsqueeze(-(1 + right)) for tensor, right in zip(part.tensors, part.rights, strict=True)
    ]
    return part.together(tensors, Size((*fn.batch_shape, times)))


def along_time(tensors: Sequence[Tensor], right: int) -> Tensor:
    """Tensors of the steps as one, with the dim of time in front of the ``right`` rightmost dims."""
    if len({tensor.shape for tensor in tensors}) > 1:
        tensors = typed_torch.broadcast_tensors(*tensors)
    return torch.stack(tuple(tensors), -(1 + right))


@dataclass(frozen=True)
class Apart:
    """A distribution as tensors, and what makes it of others like them."""

    key: Hashable
    """Equal for distributions that differ in their tensors only."""
    tensors: list[Tensor]
    rights: list[int]
    """For each tensor, how many of its rightmost dims lie in one event."""
    build: Callable[[list[Tensor]], Any]

    def together(self, tensors: list[Tensor], batch_shape: Size) -> Any:
        """The distribution of a path, of tensors with a dim of time; ``batch_shape`` ends in that dim."""
        made = self.build(tensors)
        return (made if made.batch_shape == batch_shape else made.expand(batch_shape)).to_event(1)


def apart(fn: Any) -> Apart | None:
    """A distribution taken apart; None if its tensors alone do not make it."""
    part = _RULES.get(type(fn), _family)(fn)
    if part is None or "has_rsample" not in fn.__dict__:
        return part
    has_rsample: bool = fn.has_rsample

    def build(tensors: list[Tensor]) -> Any:
        made = part.build(tensors)
        made.has_rsample = has_rsample
        return made

    return replace(part, key=(part.key, has_rsample), build=build)


def _independent(fn: Any) -> Apart | None:
    dims: int = fn.reinterpreted_batch_ndims
    base = apart(fn.base_dist)
    if base is None:
        return None
    build = base.build
    return Apart(
        (Independent, dims, base.key),
        base.tensors,
        [right + dims for right in base.rights],
        lambda tensors: Independent(build(tensors), dims),
    )


def _masked(fn: Any) -> Apart | None:
    base, mask = apart(fn.base_dist), fn.applied_mask
    if base is None:
        return None
    build = base.build
    if isinstance(mask, bool):
        key: Hashable = (MaskedDistribution, mask, base.key)
        return replace(base, key=key, build=lambda tensors: MaskedDistribution(build(tensors), mask))
    return Apart(
        (MaskedDistribution, base.key),
        [*base.tensors, mask],
        [*base.rights, 0],
        lambda tensors: MaskedDistribution(build(tensors[:-1]), tensors[-1]),
    )


def _delta(fn: Any) -> Apart:
    dims: int = fn.event_dim
    return Apart(
        (Delta, dims),
        [fn.v, fn.log_density],
        [dims, 0],
        lambda tensors: Delta(tensors[0], tensors[1], event_dim=dims),
    )


def _unit(fn: Any) -> Apart:
    return Apart(Unit, [fn.log_factor], [0], lambda tensors: Unit(tensors[0], validate_args=False))


def _family(fn: Any) -> Apart | None:
    """By parameters, where these alone make the family."""
    kind, table = type(fn), fn.arg_constraints
    names = _given_names(fn, [name for name in inspect.signature(kind).parameters if name != "validate_args"])
    if not names or not all(name in table for name in names):
        return None
    tensors = [getattr(fn, name) for name in names]
    if not all(isinstance(tensor, Tensor) for tensor in tensors):
        return None
    try:
        rights = [table[name].event_dim for name in names]
    except NotImplementedError:
        return None
    batch_dims = len(fn.batch_shape)
    if any(tensor.dim() - right > batch_dims for tensor, right in zip(tensors, rights, strict=True)):
        return None  # its constraints do not tell the dims of an event
    # What was given for this one; None where it follows the setting for all.
    checks: bool | None = vars(fn).get("_validate_args")

    def build(tensors: list[Tensor]) -> Any:
        return kind(**dict(zip(names, tensors, strict=True)), validate_args=checks)

    return Apart((kind, names), tensors, rights, build)


def _given_names(fn: Any, arguments: Sequence[str]) -> tuple[str, ...]:
    """Arguments that make the distribution again; none if it does not keep all of them."""
    kind, names = type(fn), []
    for argument in arguments:
        others = next((same for same in _SAME if argument in same), (argument,))
        kept = [
            name
            for name in others
            if vars(fn).get(name) is not None
            or (len(others) == 1 and isinstance(getattr(kind, name, None), property))
        ]
        if not kept:
            return ()
        names.append(kept[0])
    return tuple(dict.fromkeys(names))


def _parameter(values: Sequence[Tensor], right: int) -> Tensor:
    """A parameter of all steps; where it is one and the same it gets a dim of size 1."""
    if all(value is values[0] for value in values):
        return values[0].unsqueeze(-(1 + right))
    return along_time(values, right)


_RULES: dict[type, Callable[[Any], Apart | None]] = {
    Independent: _independent,
    MaskedDistribution: _masked,
    Delta: _delta,
    Unit: _unit,
}


def _batch_shape(steps: Sequence[Any]) -> Size:
    """That of all steps, with the dim of time on the right."""
    events = {tuple(step.event_shape) for step in steps}
    if len(events) > 1:
        raise ValueError(f"the event shape differs between steps: {', '.join(map(str, sorted(events)))}")
    return Size((*broadcast_shape(*{step.batch_shape for step in steps}), len(steps)))


class _Beside(TorchDistribution):
    """Steps of any families, one by one."""

    arg_constraints: dict[str, Any] = {}

    def __init__(self, steps: Sequence[Any], batch_shape: Size) -> None:
        own = batch_shape[:-1]
        self.steps = [step if step.batch_shape == own else step.expand(own) for step in steps]
        self.has_rsample = all(step.has_rsample for step in steps)
        super().__init__(batch_shape, steps[0].event_shape, validate_args=False)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """That of the first step."""
        return self.steps[0].support  # type: ignore[no-any-return]

    def _of_steps(self, value: Callable[[Any], Tensor]) -> Tensor:
        return along_time([value(step) for step in self.steps], self.event_dim)

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """One draw of each step."""
        return self._of_steps(lambda step: step.sample(Size(sample_shape)))

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """One draw of each step."""
        return self._of_steps(lambda step: step.rsample(Size(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """The log densities of the steps, side by side."""
        values = value.unbind(-(1 + self.event_dim))
        return along_time([step.log_prob(part) for step, part in zip(self.steps, values, strict=True)], 0)

    @property
    def mean(self) -> Tensor:
        """The means of the steps."""
        return self._of_steps(lambda step: step.mean)

    @property
    def variance(self) -> Tensor:
        """The variances of the steps."""
        return self._of_steps(lambda step: step.variance)
