"""Batches of data as arguments of steps: rows of tensors in memory, or whatever a loader yields."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

from ember import tree
from ember.capture.native.torch_side.permutation import permute
from ember.errors import ModelError
from ember.infer.step.function import Args, Kwargs

Device = torch.device | str | int | None


@dataclass(frozen=True)
class Span:
    """Steps of one kind, which come one after the other."""

    args: Args
    kwargs: Kwargs
    rows: int | None
    """How many rows of data each step sees; None where that cannot be told."""
    count: int = 1
    share: float = 1.0
    """Which part of the rows of a step they are, where others see the rest."""
    seek: Callable[[int], None] = lambda done: None
    """Called with the number of steps of the span taken so far, before the next ones are."""


@dataclass
class Shard:
    """The part of each batch that one of several processes sees."""

    rank: int
    world: int
    seed: int
    """What the order of all processes is drawn from, epoch by epoch."""

    def part(self, size: int) -> tuple[int, int]:
        """Where this process's rows of a batch begin, and how many there are."""
        each, more = divmod(size, self.world)
        if not each:
            raise ModelError(
                f"a batch of {size} rows cannot be divided between {self.world} processes: give drop_last=True, or another "
                "batch_size"
            )
        return self.rank * each + min(self.rank, more), each + (self.rank < more)


class Batches(Protocol):
    """Where the arguments of steps come from."""

    size: int | None
    """The number of all rows; None if it is not known."""
    steps: int | None
    """Steps in an epoch; None if that is not known."""
    is_whole: bool
    """Whether each step sees all rows: there are no epochs then, and steps follow without end."""

    def epoch(self, skip: int = 0) -> Iterator[Span]:
        """The steps of one pass over the data, in a new order, without the first ``skip`` steps."""

    def begin_at(self, epoch: int) -> None:
        """The next pass is the one of this number."""


@dataclass(frozen=True)
class Rows:
    """An argument in the place of all others: each step takes the next rows by itself, so that many steps are one native call."""

    columns: tuple[Args, Kwargs]
    order: Tensor
    position: Tensor
    """Where in the order the next rows begin; a step moves it on."""
    span: Tensor
    """Which of the rows from there: 0, 1, ... up to the number of rows of a step."""
    stride: Tensor
    """How far a step moves on."""

    def first(self) -> tuple[Args, Kwargs]:
        """The arguments of the first step, once more."""
        return self._at(self.order.index_select(0, self.span))

    def _at(self, rows: Tensor) -> tuple[Args, Kwargs]:
        return tree.map_tensors(
            lambda column: column.index_select(0, rows) if column.dim() else column, self.columns
        )

    def next(self) -> tuple[Args, Kwargs]:
        """The arguments of the next step."""
        batch = self._at(self.order.index_select(0, self.position + self.span))
        self.position.add_(self.stride)
        return batch


def given_to(program: Callable[..., Any]) -> Callable[..., Any]:
    """A program that takes rows in the place of its arguments, too."""

    def called(*args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], Rows):
            args, kwargs = args[0].next()
        return program(*args, **kwargs)

    return called


def as_arguments(batch: object) -> tuple[Args, Kwargs]:
    """A tuple or list as positional arguments, a mapping as keyword arguments, anything else as the one argument.

    >>> as_arguments({"x": 1}), as_arguments([1, 2]), as_arguments("all")
    (((), {'x': 1}), ((1, 2), {}), (('all',), {}))
    """
    if isinstance(batch, Mapping):
        return (), dict(batch)
    if isinstance(batch, (list, tuple)) and not hasattr(batch, "_fields"):
        return tuple(batch), {}
    return (batch,), {}


def rows_of(arguments: tuple[Args, Kwargs]) -> int | None:
    """The length of all tensors, where they have one and the same; numbers do not count."""
    lengths = {len(tensor) for tensor in tree.tensors(arguments) if tensor.dim()}
    return lengths.pop() if len(lengths) == 1 else None


def moved(arguments: tuple[Args, Kwargs], device: Device) -> tuple[Args, Kwargs]:
    """The same on a device."""
    if device is None:
        return arguments
    return tree.map_tensors(lambda tensor: tensor.to(device, non_blocking=True), arguments)


class InMemory:
    """Takes batches of rows from tensors in memory, as :meth:`ember.infer.SVI.fit` does with tensors.

    Args:
        data: a tensor, or a tuple, mapping or dataclass of tensors with the same number of rows, along dim 0.
            Numbers are kept as they are.
        batch_size: rows of a step; all if None.
        shuffle: draw a new order for each epoch, by ``torch.randperm``.
        drop_last: leave out a last, smaller batch.
        device: where the data are to be.
        shard: the part of each batch that is taken, where several processes fit together.

    Raises:
        ModelError: if the tensors have different numbers of rows, or none; if ``batch_size`` is below 1, or
            below the number of processes.

    >>> import torch
    >>> from ember.train import InMemory  # each span: rows of a batch, and how many batches there are
    >>> batches = InMemory(torch.arange(10), batch_size=4, shuffle=False)
    >>> [(span.rows, span.count) for span in batches.epoch()]
    [(4, 2), (2, 1)]
    """

    def __init__(
        self,
        data: object,
        batch_size: int | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
        device: Device = None,
        shard: Shard | None = None,
    ) -> None:
        self.columns = moved(as_arguments(data), device)
        rows = rows_of(self.columns)
        if not rows:
            shapes = [tuple(tensor.shape) for tensor in tree.tensors(self.columns)]
            raise ModelError(
                f"data in memory are tensors with one row an observation, all of the same length >= 1; got shapes {shapes}"
            )
        if batch_size is not None and batch_size < 1:
            raise ModelError(f"batch_size must be >= 1, got {batch_size}")
        self.size: int | None = rows
        self._rows = rows
        self.batch_size = min(rows if batch_size is None else batch_size, rows)
        self.is_whole = self.batch_size == rows and shard is None
        self.shuffle = shuffle
        full, rest = divmod(rows, self.batch_size)
        self._parts = [(self.batch_size, full), *([(rest, 1)] if rest and not drop_last else [])]
        self.steps: int | None = sum(count for _, count in self._parts)
        on = tree.tensors(self.columns)[0].device
        self._order = torch.arange(rows, device=on)
        self._position = torch.zeros((), dtype=torch.int64, device=on)
        self._shard = shard
        self._epoch = 0
        parts = {size: (0, size) if shard is None else shard.part(size) for size, _ in self._parts}
        self._spans = {
            size: (torch.arange(first, first + count, device=on), torch.tensor(size, device=on))
            for size, (first, count) in parts.items()
        }

    def epoch(self, skip: int = 0) -> Iterator[Span]:
        """Yield the steps of one pass over the data, without the first ``skip`` steps."""
        if self.is_whole:
            yield Span(*self.columns, self._rows, sys.maxsize)
            return
        if self.shuffle:
            self._draw_order()
        first = 0
        for size, count in self._parts:
            start = max(skip * self.batch_size, first)
            left = count - (start - first) // size
            if left > 0:
                rows = len(self._spans[size][0])
                taken = self._taken(size)
                yield Span((taken,), {}, rows, left, rows / size, self._seek_from(start, size))
            first += size * count
        self._epoch += 1

    def begin_at(self, epoch: int) -> None:
        """Set the number of the next epoch; processes that fit together draw its order from it."""
        self._epoch = epoch

    def _draw_order(self) -> None:
        """A new order; drawn on the CPU, so that a seed means the same order on every device."""
        if self._shard is None:
            permute(self._order)
            return
        # Apart from all streams that noise is drawn from.
        own = torch.Generator().manual_seed(self._shard.seed + 1_000_003 * self._epoch)
        self._order.copy_(torch.randperm(self._rows, generator=own))

    def in_order(self) -> Iterator[Span]:
        """Yield the batches as slices, in the order of the rows."""
        for start in range(0, self._rows, self.batch_size):
            part: tuple[Args, Kwargs] = tree.map_tensors(
                lambda column: column[start : start + self.batch_size] if column.dim() else column,  # noqa: B023
                self.columns,
            )
            yield Span(*part, min(self.batch_size, self._rows - start))

    def _taken(self, size: int) -> Rows:
        return Rows(self.columns, self._order, self._position, *self._spans[size])

    def _seek_from(self, start: int, size: int) -> Callable[[int], None]:
        def seek(done: int) -> None:
            self._position.fill_(start + done * size)

        return seek


class Loaded:
    """What an iterable yields, such as a :class:`torch.utils.data.DataLoader`: one step a batch.

    Args:
        loader: it is iterated once an epoch.
        size: the number of all rows, where the loader does not say it.
        device: where the tensors of each batch are moved.
        share: which part of the rows of a step a batch is, where other processes see the rest.
    """

    is_whole = False

    def __init__(
        self,
        loader: Iterable[object],
        size: int | None = None,
        device: Device = None,
        share: float = 1.0,
    ) -> None:
        self._share = share
        self._loader = loader
        self._device = device
        self.size = _size_of(loader) if size is None else size
        try:
            self.steps: int | None = len(loader)  # type: ignore[arg-type]
        except TypeError:
            self.steps = None

    def epoch(self, skip: int = 0) -> Iterator[Span]:
        """See :class:`Batches`."""
        for batch in islice(self._loader, skip, None):
            arguments = moved(as_arguments(batch), self._device)
            yield Span(*arguments, rows_of(arguments), share=self._share)

    def begin_at(self, epoch: int) -> None:
        """Nothing: the loader knows its order."""

    in_order = epoch


def _size_of(loader: object) -> int | None:
    sampler = getattr(loader, "sampler", None)
    try:
        if isinstance(sampler, DistributedSampler):
            return len(sampler.dataset)  # type: ignore[arg-type]
        if sampler is not None:
            return len(sampler)
        if isinstance(loader, list):
            counts = [rows_of(as_arguments(batch)) for batch in loader]
            return None if None in counts else sum(count for count in counts if count is not None)
    except TypeError:  # a sampler without a length
        return None
    return None


def is_in_memory(data: object) -> bool:
    """Whether data are tensors, rather than a loader of batches: a tensor, or a tuple, mapping or dataclass.

    >>> is_in_memory((torch.zeros(3), torch.ones(3))), is_in_memory([torch.zeros(3), torch.ones(3)])
    (True, False)
    """
    return isinstance(data, (Tensor, tuple, Mapping)) or is_dataclass(data)


def batches_of(
    data: object,
    batch_size: int | None = None,
    shuffle: bool = True,
    drop_last: bool = False,
    size: int | None = None,
    device: Device = None,
    shard: Shard | None = None,
) -> InMemory | Loaded:
    """Batches of a tensor, or of a tuple, mapping or dataclass of tensors; or of an iterable of batches.

    Raises:
        ModelError: if there is nothing to iterate over, or ``batch_size`` is given for a loader, which has
            its own.
    """
    if is_in_memory(data):
        return InMemory(data, batch_size, shuffle, drop_last, device, shard)
    if not isinstance(data, Iterable):
        raise ModelError(f"a fit needs tensors or an iterable of batches, got {type(data).__name__}")
    if batch_size is not None:
        raise ModelError(
            f"batch_size={batch_size} is for tensors in memory: a {type(data).__name__} makes its own batches. Give tensors "
            "as a tuple, or set the batch size of the loader."
        )
    return Loaded(data, size, device, 1.0 if shard is None else 1.0 / shard.world)


__all__ = [
    "Batches",
    "InMemory",
    "Loaded",
    "Rows",
    "Span",
    "as_arguments",
    "batches_of",
    "given_to",
    "is_in_memory",
    "rows_of",
]
