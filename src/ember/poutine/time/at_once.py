"""All steps of a loop at once, where the values of its sites are known and each step's carry is made of them.

In a Markov model the carry is the state: what a step takes over is the value of a site of the step before, and not computed.
With the values at hand, all carries are then known before any step has run, and one run of the step with a dim of time in
front of every tensor (:func:`torch.vmap`) does the work of the loop. A carry that is computed has to be computed step by step;
all else that a step does can still be done at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Size, Tensor

from ember import tree
from ember.capture.recording.value_guard import is_recording
from ember.distributions.over_time import Apart, along_time, apart
from ember.distributions.validation import values_unchecked
from ember.errors import ModelError
from ember.poutine.time.carries import Column, NotAtOnceError, Source, carries_over_time, sources_of
from ember.poutine.time.path import Path
from ember.poutine.time.rows import Rows
from ember.poutine.time.scan_messenger import ScanMessenger

FEWEST_STEPS = 8
# Between one step and many at once, products of matrices are rounded differently.
_RTOL, _ATOL = 1e-3, 1e-5

Step = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Begun:
    """What the first steps of a loop have come to."""

    loop: ScanMessenger
    xs: Any
    """The inputs, with rows in the place of tensors."""
    carries: list[Any]
    """What each step took, and what the last one left."""
    outputs: list[Any]

    @property
    def inputs(self) -> list[Rows]:
        """The inputs one by one."""
        return [leaf for leaf in tree.leaves(self.xs) if leaf is not None]

    def input(self, leaves: Sequence[Tensor]) -> Any:
        """What a step takes, made of these."""
        return tree.with_leaves(self.xs, leaves) if leaves else None

    def sources(self, step: int) -> list[Source]:
        """Where the carry comes from that a step has left."""
        return sources_of(
            self.loop.paths, step, [rows[step] for rows in self.inputs], *self.carries[step : step + 2]
        )


@dataclass(frozen=True)
class _SiteOverTime:
    part: Apart
    batch_shape: Size
    """In each step."""


def all_at_once(f: Step, begun: Begun) -> tuple[Any, Any] | None:
    """The last carry and all outputs, when the paths of the loop are settled; None where the steps have to run one by one.

    Raises:
        ModelError: if the step depends on more than what it takes.
    """
    return _tried(f, begun, _handed_on)


def again_at_once(f: Step, begun: Begun) -> tuple[Any, Any] | None:
    """The same after the last step, where a program is recorded: of the single steps, only what makes the carry stays in it."""
    return _tried(f, begun, _computed) if is_recording() else None


@dataclass(frozen=True)
class _Carries:
    columns: list[Column]
    last: list[Tensor]
    sources: list[Source] | None
    """None where they are computed."""


def _tried(f: Step, begun: Begun, carries: Callable[[Begun], _Carries]) -> tuple[Any, Any] | None:
    loop = begun.loop
    if loop.length < FEWEST_STEPS or not all(path.is_known for path in loop.paths.values()):
        return None
    if not all(leaf is None or isinstance(leaf, Tensor) for leaf in tree.leaves(begun.outputs[-1])):
        return None
    try:
        return _run(f, begun, carries(begun))
    except ModelError:
        raise
    except (NotAtOnceError, RuntimeError, ValueError, TypeError, UserWarning):
        # Whatever is wrong with the step itself comes up again when it runs alone.
        return None


def _handed_on(begun: Begun) -> _Carries:
    sources = begun.sources(1)
    if begun.sources(0) != sources:
        raise NotAtOnceError
    inputs = [rows.whole for rows in begun.inputs]
    columns, last = carries_over_time(begun.carries, sources, _values(begun.loop.paths), inputs)
    return _Carries(columns, last, sources)


def _computed(begun: Begun) -> _Carries:
    rows = [tree.leaves(carry) for carry in begun.carries]
    if not all(isinstance(leaf, Tensor) for row in rows for leaf in row):
        raise NotAtOnceError
    columns = [Column(along_time(column, column[-1].dim())) for column in zip(*rows[:-1], strict=True)]
    return _Carries(columns, rows[-1], None)


def _values(paths: dict[str, Path]) -> dict[str, Tensor]:
    return {name: path.given.whole for name, path in paths.items() if path.given is not None}


def _run(f: Step, begun: Begun, carries: _Carries) -> tuple[Any, Any]:
    paths, length = begun.loop.paths, begun.loop.length
    inputs, values = [rows.whole for rows in begun.inputs], _values(paths)
    columns = carries.columns
    found: dict[str, _SiteOverTime] = {}

    def step(row: list[Tensor], taken: list[Tensor], given: dict[str, Tensor]) -> Any:
        carry, x = tree.with_leaves(begun.carries[-1], taken), begun.input(row)
        inner = ScanMessenger(1, {name: path.of_one_step(given.get(name)) for name, path in paths.items()})
        with inner:
            new, output = f(carry, x)
            inner.finish_step()
        known = carries.sources
        if known is not None and sources_of(inner.paths, 0, row, carry, new) != known:
            raise NotAtOnceError
        if tree.structure(output) != tree.structure(begun.outputs[-1]):
            raise NotAtOnceError
        return [_tensors_of(path, found) for path in inner.paths.values()], tree.tensors(output)

    dims = (
        [0] * len(inputs),
        [None if column.is_fixed else 0 for column in columns],
        dict.fromkeys(values, 0),
    )
    # What runs under vmap cannot be looked at; it is checked when the paths are made.
    with values_unchecked(), warnings.catch_warnings():
        # An operator that torch would take step by step all the same.
        warnings.filterwarnings("error", message=".*batching rule")
        sites, outputs = torch.vmap(step, in_dims=dims)(inputs, [column.values for column in columns], values)
    if not is_recording():
        _compare(begun, found, sites, outputs)
    for path, tensors in zip(paths.values(), sites, strict=True):
        _settle(path, found[path.site.name], length, *tensors)
    return tree.with_leaves(begun.carries[-1], carries.last), tree.with_tensors(begun.outputs[-1], outputs)


def _tensors_of(path: Path, found: dict[str, _SiteOverTime]) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    fn = path.fns[0]
    part = apart(fn)
    if part is None:
        raise NotAtOnceError
    found[path.site.name] = _SiteOverTime(replace(part, tensors=[]), fn.batch_shape)
    observed = [torch.as_tensor(value) for value in path.observations]
    return part.tensors, torch.as_tensor(path.values[0]), observed


def _settle(
    path: Path,
    site: _SiteOverTime,
    length: int,
    tensors: Sequence[Tensor],
    value: Tensor,
    observations: Sequence[Tensor],
) -> None:
    part = site.part
    placed = [tensor.movedim(0, -(1 + right)) for tensor, right in zip(tensors, part.rights, strict=True)]
    fn = part.together(placed, Size((*site.batch_shape, length)))
    dim = -fn.event_dim
    path.settle(fn, value.movedim(0, dim), [observed.movedim(0, dim) for observed in observations])


def _compare(
    begun: Begun, found: dict[str, _SiteOverTime], sites: Sequence[Any], outputs: Sequence[Tensor]
) -> None:
    """A step that does not follow from what it takes, such as one that counts its calls, shows in the first steps.

    Raises:
        ModelError: if so. It cannot go on one by one either, now that it has been called once more.
    """
    for time, output in enumerate(begun.outputs):
        _check_close("an output", time, zip(tree.tensors(output), outputs, strict=True))
        for (name, path), (tensors, value, _) in zip(begun.loop.paths.items(), sites, strict=True):
            plain = apart(path.fns[time])
            if plain is None or plain.key != found[name].part.key:
                raise NotAtOnceError
            _check_close(f"site {name!r}", time, zip(plain.tensors, tensors, strict=True))
            _check_close(f"site {name!r}", time, [(torch.as_tensor(path.values[time]), value)])


def _check_close(what: str, time: int, pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
    if not all(_is_close(one, whole[time]) for one, whole in pairs):
        raise ModelError(
            f"scan: {what} is another in step {time} when the step runs again with the same carry and input; the function of a "
            "step must depend on these alone. Give what differs between steps as xs, and draw with ember.sample"
        )


def _is_close(one: Tensor, other: Tensor) -> bool:
    one, other = one.detach(), other.detach()
    if not one.is_floating_point() or not one.numel():
        return bool((one == other).all())
    size = one.abs().nan_to_num(0.0, 0.0).max()
    return torch.allclose(other, one, rtol=_RTOL, atol=_ATOL * float(size) + _ATOL, equal_nan=True)
