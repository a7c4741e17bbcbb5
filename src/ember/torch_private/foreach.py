"""Operators over lists of tensors: one call for many, as torch's own optimizers make it. Without them: a loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from ember.torch_private.entry import Entry, entry_point


class InPlace(Protocol):
    """Changes each of some tensors by the value at its place, or by one number."""

    def __call__(self, tensors: Sequence[Tensor], values: Sequence[Tensor], /) -> object: ...


class InPlaceByNumber(Protocol):
    """Changes each of some tensors by one number."""

    def __call__(self, tensors: Sequence[Tensor], value: float, /) -> object: ...


class Norms(Protocol):
    """The norm of each of some tensors."""

    def __call__(self, tensors: Sequence[Tensor], /) -> Sequence[Tensor]: ...


class FiniteCheck(Protocol):
    """Multiplies tensors by a number, and writes 1 to ``found`` if any element is not finite."""

    def __call__(self, tensors: Sequence[Tensor], found: Tensor, scale: Tensor, /) -> object: ...


def _copy_each(tensors: Sequence[Tensor], values: Sequence[Tensor], /) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)


def _multiply_each(tensors: Sequence[Tensor], values: Sequence[Tensor], /) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.mul_(value)


def _at_least(tensors: Sequence[Tensor], value: float, /) -> None:
    for tensor in tensors:
        tensor.clamp_(min=value)


def _at_most(tensors: Sequence[Tensor], value: float, /) -> None:
    for tensor in tensors:
        tensor.clamp_(max=value)


def _norms(tensors: Sequence[Tensor], /) -> list[Tensor]:
    return [torch.linalg.vector_norm(tensor) for tensor in tensors]


def _find_non_finite(tensors: Sequence[Tensor], found: Tensor, scale: Tensor, /) -> None:
    for tensor in tensors:
        found.copy_(torch.maximum(found, (~torch.isfinite(tensor).all()).to(found.dtype)))
        tensor.mul_(scale.reshape(()))


def _one(value: float) -> Tensor:
    return torch.full((1,), value, dtype=torch.float32, device="cpu")


def _changes(call: object, before: float, by: object, after: float) -> bool:
    tensor = _one(before)
    with torch.no_grad():
        call([tensor], by)  # type: ignore[operator]
    return bool(tensor.item() == after)


def _sees_infinity(call: FiniteCheck) -> bool:
    found, values = _one(0.0), [_one(1.0), _one(float("inf"))]
    call(values[:1], found, _one(1.0))
    before = found.item()
    call(values, found, _one(1.0))
    return before == 0.0 and found.item() == 1.0


foreach_copy_: InPlace = entry_point(
    Entry[InPlace](
        "torch._foreach_copy_",
        lambda call: _changes(call, 1.0, [_one(2.0)], 2.0),
        _copy_each,
        "copies one by one",
    )
)
foreach_mul_: InPlace = entry_point(
    Entry[InPlace](
        "torch._foreach_mul_",
        lambda call: _changes(call, 3.0, [_one(2.0)], 6.0),
        _multiply_each,
        "products one by one",
    )
)
foreach_clamp_min_: InPlaceByNumber = entry_point(
    Entry[InPlaceByNumber](
        "torch._foreach_clamp_min_",
        lambda call: _changes(call, 1.0, 2.0, 2.0),
        _at_least,
        "clamping one by one",
    )
)
foreach_clamp_max_: InPlaceByNumber = entry_point(
    Entry[InPlaceByNumber](
        "torch._foreach_clamp_max_",
        lambda call: _changes(call, 3.0, 2.0, 2.0),
        _at_most,
        "clamping one by one",
    )
)
foreach_norm: Norms = entry_point(
    Entry[Norms](
        "torch._foreach_norm", lambda call: call([_one(-3.0)])[0].item() == 3.0, _norms, "norms one by one"
    )
)
non_finite_check_and_unscale_: FiniteCheck = entry_point(
    Entry[FiniteCheck](
        "torch._amp_foreach_non_finite_check_and_unscale_",
        _sees_infinity,
        _find_non_finite,
        "torch.isfinite, one by one",
    )
)
