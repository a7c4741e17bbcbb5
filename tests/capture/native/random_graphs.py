"""Random functions of tensors: chains of operators, views, writes in place, gathers, draws; with several outputs."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[[list[Tensor]], None]
SHAPES: tuple[tuple[int, ...], ...] = (
    (),
    (1,),
    (3,),
    (2, 3),
    (3, 2),
    (4, 1),
    (2, 3, 4),
    (3, 3),
    (0, 3),
    (5,),
)


def inputs(count: int, seed: int) -> list[Tensor]:
    """Tensors of several shapes and layouts, in float64 but for some of int64 and bool."""
    rng = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        shape = rng.choice(SHAPES)
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
        kind = rng.randrange(6)
        if kind == 0 and len(shape) > 1:
            x = torch.randn(shape[::-1], generator=generator, dtype=torch.float64).permute(
                *range(len(shape) - 1, -1, -1)
            )
        elif kind == 1 and shape:
            x = torch.randn((*shape[:-1], 2 * shape[-1]), generator=generator, dtype=torch.float64)[..., ::2]
        elif kind == 2:
            x = (x * 4).long()
        elif kind == 3:
            x = x > 0
        made.append(x)
    return made


class Graph:
    """One random function; every call does the same."""

    def __init__(self, seed: int, length: int = 14) -> None:
        self.seed = seed
        self.length = length

    def __call__(self, flat: list[Tensor]) -> list[Tensor]:
        rng = random.Random(self.seed)
        pool = list(flat)
        for _ in range(self.length):
            rng.choice(_MOVES)(rng, pool)
        # Old and new, views among them, and some twice.
        outputs = [rng.choice(pool) for _ in range(4)]
        return [*outputs, outputs[0], pool[-1]]


def _floating(rng: random.Random, pool: list[Tensor]) -> Tensor:
    found = [t for t in pool if t.dtype is torch.float64]
    return rng.choice(found) if found else torch.ones(3, dtype=torch.float64)


def _unary(rng: random.Random, pool: list[Tensor]) -> None:
    x = rng.choice(pool)
    if x.dtype is torch.bool:
        pool.append(rng.choice((torch.logical_not, lambda t: t.double(), lambda t: t.long(), torch.sum))(x))
    elif x.dtype is torch.int64:
        pool.append(
            rng.choice(
                (
                    torch.abs,
                    torch.neg,
                    lambda t: t // 3,
                    lambda t: t % 3,
                    lambda t: t > 0,
                    lambda t: t.double().exp(),
                )
            )(x).clamp(max=5)
        )
    else:
        functions = (torch.sin, torch.tanh, torch.sigmoid, torch.neg, torch.abs, torch.square, torch.relu)
        others = (lambda t: t.clamp(-1, 1), lambda t: t * 2 + 1, lambda t: 1 - t, torch.clone)
        pool.append(rng.choice((*functions, *others))(x))


def _binary(rng: random.Random, pool: list[Tensor]) -> None:
    x, y = rng.choice(pool), rng.choice(pool)
    try:
        torch.broadcast_shapes(x.shape, y.shape)
    except RuntimeError:
        return
    if torch.bool in (x.dtype, y.dtype):
        pool.append(torch.where(x > 0, y, y + 1).double().tanh())
        return
    functions = (torch.add, torch.sub, torch.maximum, torch.minimum, torch.gt, torch.eq, torch.mul)
    result = rng.choice(functions)(x, y)
    pool.append(result.clamp(-3, 3) if result.dtype is not torch.bool else result)


def _reduce(rng: random.Random, pool: list[Tensor]) -> None:
    x = rng.choice(pool)
    if not x.dim() or not x.numel():
        pool.append(x.sum())
        return
    dim, keep = rng.randrange(x.dim()), rng.random() < 0.4
    if x.dtype is torch.bool:
        pool.append(rng.choice((torch.any, torch.all, torch.sum))(x, dim, keepdim=keep))
        return
    functions = [torch.sum, torch.amax, torch.amin, torch.prod]
    if x.dtype is torch.float64:
        functions += [torch.mean, torch.logsumexp, torch.cumsum, torch.softmax]
    function = rng.choice(functions)
    pool.append(
        function(x, dim) if function in (torch.cumsum, torch.softmax) else function(x, dim, keepdim=keep)
    )
    if rng.random() < 0.2:
        pool.append(x.sum())


def _view(rng: random.Random, pool: list[Tensor]) -> None:
    x = rng.choice(pool)
    kind = rng.randrange(9)
    if kind == 0 and x.dim() > 1:
        pool.append(x.transpose(0, -1))
    elif kind == 1 and x.dim():
        dim = rng.randrange(x.dim())
        start = rng.randrange(x.shape[dim] + 1)
        pool.append(x[(slice(None),) * dim + (slice(start, None, rng.choice((1, 1, 2))),)])
    elif kind == 2 and x.dim() and x.shape[0]:
        pool.append(x[rng.randrange(x.shape[0])])
    elif kind == 3:
        pool.append(x.unsqueeze(rng.randrange(x.dim() + 1)))
    elif kind == 4 and 1 in x.shape:
        pool.append(x.expand(*(3 if n == 1 else n for n in x.shape)))
    elif kind == 5:
        pool.append(x.reshape(-1))
    elif kind == 6 and x.dim() > 1 and x.shape[0] == x.shape[1]:
        pool.append(x.diagonal())
    elif kind == 7 and x.dim() and x.shape[-1] > 1 and x.numel() and x.is_contiguous():
        pool.append(x.as_strided((2, x.shape[-1] - 1), (1, 1), x.storage_offset()))
    elif kind == 8 and x.dim():
        pool.extend(x.unbind(0)[:2])


def _may_be_written(x: Tensor) -> bool:
    reach = 0
    for size, stride in sorted(zip(x.shape, x.stride(), strict=True), key=lambda pair: pair[1]):
        if size > 1 and stride <= reach:
            return False
        reach += (size - 1) * stride
    return True


def _write(rng: random.Random, pool: list[Tensor]) -> None:
    x = rng.choice(pool)
    if not _may_be_written(x):
        return
    y = rng.choice(pool)
    kind = rng.randrange(8)
    fits = tuple(torch.broadcast_shapes(x.shape, y.shape)) == tuple(x.shape) if _agree(x, y) else False
    if x.dtype is not torch.float64:
        if fits and kind < 4 and not _overlap(x, y):
            x.copy_(y)
        elif x.dtype is torch.int64 and kind == 4:
            x.add_(1).clamp_(-9, 9)
        return
    if fits and kind < 2 and not _overlap(x, y):
        x.copy_(y)
    elif fits and kind < 4 and not _overlap(x, y) and y.dtype is torch.float64:
        x.mul_(0.5).add_(y, alpha=0.25).clamp_(-3, 3)
    elif kind == 4:
        x.zero_()
    elif kind == 5:
        x.mul_(0.5).sub_(0.1)
    elif kind == 6 and x.dim() and x.shape[0] > 1:
        x[1:] = x[:-1].clone() if rng.random() < 0.5 else 0.3
    elif kind == 7:
        x.fill_(rng.choice((0.0, 1.0, -2.5)))


def _agree(x: Tensor, y: Tensor) -> bool:
    try:
        torch.broadcast_shapes(x.shape, y.shape)
    except RuntimeError:
        return False
    return True


def _overlap(x: Tensor, y: Tensor) -> bool:
    """Memory of the same storage, which torch refuses or leaves undefined unless it is the very same view."""
    return x.untyped_storage().data_ptr() == y.untyped_storage().data_ptr()


def _product(rng: random.Random, pool: list[Tensor]) -> None:
    x, y = _floating(rng, pool), _floating(rng, pool)
    if x.dim() == 2 and y.dim() in (1, 2) and x.shape[1] == y.shape[0]:
        pool.append((x @ y).clamp(-3, 3))
    elif x.dim() == 1 and y.shape == x.shape:
        pool.append(torch.dot(x, y).tanh())
    elif x.dim() == 2:
        pool.append((x.t() @ x).tanh())
    elif x.dim() == 3:
        pool.append(torch.bmm(x, x.transpose(1, 2)).tanh())


def _index(rng: random.Random, pool: list[Tensor]) -> None:
    x = _floating(rng, pool)
    if not x.dim() or not x.shape[0]:
        return
    n = x.shape[0]
    index = torch.tensor([rng.randrange(-n, n) for _ in range(4)])
    kind = rng.randrange(7)
    if kind == 0:
        pool.append(x[index])
    elif kind == 1:
        pool.append(
            torch.zeros(x.shape, dtype=x.dtype).index_put((index,), torch.tanh(x[index]), accumulate=True)
        )
    elif kind == 2:
        pool.append(torch.cat([x, x * 2]))
    elif kind == 3:
        pool.append(torch.stack([x, x.sin()], -1))
    elif kind == 4 and x.dim() > 1:
        pool.append(
            x.gather(
                0,
                index.abs().clamp(max=n - 1).reshape(-1, *[1] * (x.dim() - 1))[:, :1].expand(4, *x.shape[1:]),
            )
        )
    elif kind == 5 and x.dim() > 1:
        pool.append(rng.choice((torch.tril, torch.triu))(x))
    elif kind == 6 and _may_be_written(x):
        x[index % n] = 0.25


def _draw(rng: random.Random, pool: list[Tensor]) -> None:
    x = _floating(rng, pool)
    kind = rng.randrange(4)
    if kind == 0:
        pool.append(torch.randn(x.shape, dtype=x.dtype) + x)
    elif kind == 1:
        torch.rand(3)  # not used, but drawn
    elif kind == 2:
        pool.append(torch.bernoulli(x.sigmoid()))
    elif kind == 3 and x.is_contiguous():
        x.uniform_(-1, 1)


def _swap(rng: random.Random, pool: list[Tensor]) -> None:
    x, y = _floating(rng, pool), _floating(rng, pool)
    if x.shape == y.shape and not _overlap(x, y) and _may_be_written(x) and _may_be_written(y):
        kept = x.clone()
        x.copy_(y)
        y.copy_(kept)
        pool.append(kept)


_MOVES: tuple[Callable[[random.Random, list[Tensor]], None], ...] = (
    *(_unary,) * 3,
    *(_binary,) * 4,
    *(_reduce,) * 3,
    *(_view,) * 4,
    *(_write,) * 5,
    _product,
    *(_index,) * 2,
    _draw,
    _swap,
)
