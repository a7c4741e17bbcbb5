"""Small functions of tensors and plates that programs of Pyro's ``contrib`` use."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ember.primitives import plate


def _spans(sizes: Mapping[str, int]) -> Iterator[tuple[str, slice]]:
    start = 0
    for name, size in sizes.items():
        yield name, slice(start, start + size)
        start += size


def get_indices(
    labels: Iterable[str], sizes: Mapping[str, int] | None = None, tensors: Mapping[str, Tensor] | None = None
) -> Tensor:
    """Where some parts are in a vector that is all parts one after the other.

    Args:
        labels: the parts.
        sizes: the length of each part, in order; or
        tensors: tensors whose first dims are these lengths.

    Raises:
        ValueError: if neither is given.

    >>> get_indices(["b"], sizes={"a": 2, "b": 3})
    tensor([2, 3, 4])
    """
    if sizes is None:
        if tensors is None:
            raise ValueError("get_indices needs sizes or tensors")
        sizes = {name: tensor.shape[0] for name, tensor in tensors.items()}
    wanted = set(labels)
    places = [
        place for name, span in _spans(sizes) if name in wanted for place in range(span.start, span.stop)
    ]
    return torch.tensor(places) if places else torch.tensor([])


def tensor_to_dict(
    sizes: Mapping[str, int], tensor: Tensor, subset: Iterable[str] | None = None
) -> dict[str, Tensor]:
    """The parts of a tensor along its last dim.

    Args:
        sizes: the length of each part, in order.
        tensor: its last dim is all of them.
        subset: the parts wanted; all if None.

    >>> tensor_to_dict({"a": 1, "b": 2}, torch.tensor([1.0, 2.0, 3.0]))["b"]
    tensor([2., 3.])
    """
    wanted = set(sizes if subset is None else subset)
    return {name: tensor[..., span] for name, span in _spans(sizes) if name in wanted}


def rmm(A: Tensor, B: Tensor) -> Tensor:
    """The product of matrices, over the last two dims."""
    return torch.matmul(A, B)


def rmv(A: Tensor, b: Tensor) -> Tensor:
    """The product of matrix and vector: last two dims of the one, last dim of the other."""
    return torch.matmul(A, b.unsqueeze(-1)).squeeze(-1)


def rvv(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of vectors, over the last dim."""
    return torch.matmul(a.unsqueeze(-2), b.unsqueeze(-1)).squeeze(-2).squeeze(-1)


def lexpand(A: Tensor, *dimensions: int) -> Tensor:
    """The tensor repeated along new dims on the left."""
    return A.expand(tuple(dimensions) + A.shape)


def rexpand(A: Tensor, *dimensions: int) -> Tensor:
    """The tensor repeated along new dims on the right."""
    return A.reshape(A.shape + (1,) * len(dimensions)).expand(A.shape + tuple(dimensions))


def rdiag(v: Tensor) -> Tensor:
    """Diagonal matrices of the vectors along the last dim."""
    return torch.diag_embed(v)


def rtril(M: Tensor, diagonal: int = 0, upper: bool = False) -> Tensor:
    """The lower triangle of the last two dims.

    Args:
        M: square matrices.
        diagonal: the highest diagonal that is kept.
        upper: transpose the result.
    """
    lower = torch.tril(M, diagonal=diagonal)
    return lower.transpose(-1, -2) if upper else lower


def iter_plates_to_shape(shape: Sequence[int]) -> Iterator[plate]:
    """Plates for the dims of a batch shape, the rightmost first; each takes the next free dim when it is entered."""
    for i, size in enumerate(reversed(shape)):
        yield plate(f"plate_{i}", size)


def check_no_weakref(obj: Any, path: str = "", avoid_ids: set[int] | None = None) -> None:
    """Look for weak references in nested lists, tuples, sets, dicts and attributes.

    Args:
        obj: where to look.
        path: what the error calls it.
        avoid_ids: ids of objects to leave out.

    Raises:
        ValueError: if there is one; says where.
    """
    seen = set() if avoid_ids is None else avoid_ids.copy()
    _look(obj, path, seen)


def _look(obj: Any, path: str, seen: set[int]) -> None:
    if isinstance(obj, weakref.ref):
        raise ValueError(f"Weakref found at {path}")
    seen.add(id(obj))
    if isinstance(obj, list | tuple | set):
        inside: Iterable[tuple[Any, Any]] = enumerate(obj)
    elif isinstance(obj, dict):
        inside = obj.items()
    else:
        inside = vars(obj).items() if hasattr(obj, "__dict__") else ()
    for key, value in inside:
        if id(value) not in seen:
            _look(value, f"{path}[{key}]", seen)
