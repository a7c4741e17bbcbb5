"""Operators of torch as objects: their class, what implements them, what they are made of, and who is asked before them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from ember.torch_private.entry import Entry, entry_point

_UNSEEN = "nothing: without it operators cannot be recorded, so that steps run eagerly"

HasKernel = Callable[[str, Any], bool]
KeyOf = Callable[[str], object]
Decompositions = Mapping[Any, Callable[..., object]]


class _NoDispatchMode:
    """Stands for torch's class; recording is refused before it is entered."""


def _no_kernel(name: str, key: object) -> bool:
    return False


def _no_key(device: str) -> object:
    return None


def _has_both_kinds(call: HasKernel) -> bool:
    composite = "CompositeImplicitAutograd"
    return call("aten::reshape", composite) and not call("aten::mul.Tensor", composite)


if TYPE_CHECKING:
    from torch._ops import OpOverload as OpOverload
    from torch.utils._python_dispatch import TorchDispatchMode as TorchDispatchMode
else:
    OpOverload = entry_point(
        Entry(
            "torch._ops.OpOverload",
            lambda kind: isinstance(torch.ops.aten.add.Tensor, kind),
            type(torch.ops.aten.add.Tensor),
            "the class of torch.ops.aten.add.Tensor",
        )
    )
    TorchDispatchMode = entry_point(
        Entry(
            "torch.utils._python_dispatch.TorchDispatchMode",
            lambda kind: isinstance(kind, type) and hasattr(kind, "__enter__") and hasattr(kind, "__exit__"),
            _NoDispatchMode,
            _UNSEEN,
            needed=True,
        )
    )

has_kernel: HasKernel = entry_point(
    Entry[HasKernel](
        "torch._C._dispatch_has_kernel_for_dispatch_key", _has_both_kinds, _no_kernel, _UNSEEN, needed=True
    )
)
"""Whether an operator has an implementation of its own for a dispatch key."""

key_of_device: KeyOf = entry_point(
    Entry[KeyOf](
        "torch._C._dispatch_key_for_device",
        lambda call: has_kernel("aten::add.out", call("cpu")),
        _no_key,
        _UNSEEN,
        needed=True,
    )
)
plain_dispatch: object = entry_point(
    Entry[object](
        "torch._C._disabled_torch_dispatch_impl",
        lambda found: found is torch.nn.Parameter.__torch_dispatch__,
        torch.Tensor.__torch_dispatch__,
        "that of torch.Tensor",
    )
)
"""The ``__torch_dispatch__`` of classes that leave operators as they are."""


def decompositions() -> Decompositions:
    """Operators as functions of simpler ones, read when a program first needs one; torch takes long to import them.

    An operator that neither has a row nor stands here is computed by torch itself.
    """
    table, _ = _DECOMPOSITIONS.find()
    return table


_DECOMPOSITIONS: Entry[Decompositions] = Entry(
    "torch._decomp.decomposition_table",
    lambda table: len(table) > 0,
    {},
    "more calls of torch from compiled steps",
)
