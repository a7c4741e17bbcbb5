"""``tensordot`` out of an einsum: what opt_einsum asks of a backend besides einsum itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

__all__ = ["EINSUM_SYMBOLS_BASE", "Tensordot"]

EINSUM_SYMBOLS_BASE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

Axes = int | tuple[int | Sequence[int], int | Sequence[int]]


def _listed(axes: int | Sequence[int], rank: int) -> list[int]:
    return [axis % rank for axis in ([axes] if isinstance(axes, int) else axes)]


class Tensordot:
    """``tensordot(x, y, axes)`` by way of a function ``einsum(equation, x, y)``.

    ``axes`` is as in :func:`torch.tensordot`: a number of dims, or the dims of ``x`` and those of ``y``; an int stands for
    one dim.

    >>> import torch
    >>> Tensordot(torch.einsum)(torch.ones(2, 3), torch.ones(3, 4), axes=1).shape
    torch.Size([2, 4])
    """

    def __init__(self, einsum: Callable[..., Tensor]) -> None:
        self.einsum = einsum

    def __call__(self, x: Tensor, y: Tensor, axes: Axes = 2) -> Tensor:
        rank = x.dim()
        if isinstance(axes, int):
            left, right = list(range(rank - axes, rank)), list(range(axes))
        else:
            left, right = _listed(axes[0], rank), _listed(axes[1], y.dim())
        x_dims = EINSUM_SYMBOLS_BASE[:rank]
        shared = {theirs: x_dims[ours] for ours, theirs in zip(left, right, strict=True)}
        fresh = iter(EINSUM_SYMBOLS_BASE[rank:])
        y_dims = "".join(shared[axis] if axis in shared else next(fresh) for axis in range(y.dim()))
        summed = {x_dims[axis] for axis in left}
        output = "".join(symbol for symbol in x_dims + y_dims if symbol not in summed)
        return self.einsum(f"{x_dims},{y_dims}->{output}", x, y)
