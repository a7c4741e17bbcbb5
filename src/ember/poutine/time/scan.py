"""The loop over time as a statement of the model language."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor

from ember import tree
from ember.capture.recording.value_guard import is_recording
from ember.distributions import typed_torch
from ember.distributions.validation import values_unchecked
from ember.errors import ModelError
from ember.poutine.time.at_once import Begun, again_at_once, all_at_once
from ember.poutine.time.rows import FIRST_STEPS, Rows
from ember.poutine.time.scan_messenger import ScanMessenger

Carry = TypeVar("Carry")


def scan(
    f: Callable[[Carry, Any], tuple[Carry, Any]], init: Carry, xs: Any = None, length: int | None = None
) -> tuple[Carry, Any]:
    """Loop over time: ``carry, y = f(carry, x)`` for each ``x`` of ``xs``.

    Sites of the steps are sites of the whole path: the statements ``sample("z", ...)`` of all steps are one
    site ``"z"`` for what is outside of the loop: guides, traces, ``condition``, ``replay``, ``Predictive``.
    Its value has a dim of time in front of its event dims, and its log density is the sum over the steps.

    Args:
        f: a step. It has the same sites each time it is called, and returns the carry for the next step and
            an output.
        init: the carry of the first step: tensors or numbers, nested as you like.
        xs: inputs, tensors with the steps along dim 0, nested as you like; None if there are none.
        length: the number of steps; needed without ``xs``.

    Returns:
        The carry after the last step, and the outputs of all steps, with the steps along dim 0.

    Shapes:
        value of a site: ``plates + (steps,) + event_shape``; without plates, the steps are dim 0.

    Raises:
        ValueError: (a ModelError) if ``xs`` and ``length`` do not fit, the carry changes its shape, or a site
            does not have the same place, shape or observation in each step.

    >>> import torch, ember
    >>> import ember.distributions as dist
    >>> def step(level, x):
    ...     level = ember.sample("level", dist.Normal(level, 0.1))
    ...     ember.sample("x", dist.Normal(level, 1.0), obs=x)
    ...     return level, level
    >>> trace = ember.poutine.trace(lambda x: ember.scan(step, torch.tensor(0.0), x)).get_trace(torch.zeros(5))
    >>> trace.nodes["level"]["value"].shape, trace.nodes["level"]["fn"].log_prob(torch.zeros(5)).shape
    (torch.Size([5]), torch.Size([]))
    """
    rows, size = _inputs(xs, length)
    # In a program, a path is checked as a whole, when it is put together: checks of each step would keep all of it alive.
    unchecked = values_unchecked if is_recording() else nullcontext
    with ScanMessenger(size) as loop:
        begun = Begun(loop, rows, [_told_apart(init)], [])
        shapes: Any = None
        for time in range(size):
            at_once = all_at_once(f, begun) if time == FIRST_STEPS else None
            if at_once is not None:
                break
            carry = begun.carries[-1]
            x = begun.input([row[time] for row in begun.inputs])
            with unchecked():
                result = f(carry, x)
            new, output = _pair(result, time)
            shapes = _check_carry(carry, new, shapes, time)
            begun.carries.append(new)
            begun.outputs.append(output)
            loop.finish_step()
        at_once = at_once or again_at_once(f, begun)
    loop.close()
    return (begun.carries[-1], tree.join(_stacked, begun.outputs)) if at_once is None else at_once


def _inputs(xs: Any, length: int | None) -> tuple[Any, int]:
    """The inputs with rows in the place of tensors, and the number of steps."""
    inputs = [] if xs is None else tree.leaves(xs)
    for leaf in inputs:
        if not isinstance(leaf, Tensor) or not leaf.dim():
            raise ModelError(
                f"scan: xs holds {leaf!r}; expected tensors with the steps along dim 0, such as torch.as_tensor(...)"
            )
    sizes = {len(leaf) for leaf in inputs}
    if len(sizes) > 1:
        raise ModelError(f"scan: the tensors in xs have different sizes at dim 0, {sorted(sizes)}")
    size = sizes.pop() if sizes else length
    if size is None:
        raise ModelError("scan: without xs the number of steps is not known; give length=")
    if length is not None and length != size:
        raise ModelError(f"scan: length={length}, but xs has {size} steps; leave length out")
    if size < 1:
        raise ModelError(f"scan: there are {size} steps; expected at least one")
    return tree.map_tensors(Rows, xs), size


def _told_apart(init: Any) -> Any:
    """The first carry with each tensor once: a carry is known by its tensors, and ``(zero, zero)`` has two."""
    known: set[int] = set()

    def alone(tensor: Tensor) -> Tensor:
        if id(tensor) in known:
            return tensor.view_as(tensor)
        known.add(id(tensor))
        return tensor

    return tree.map_tensors(alone, init)


def _pair(result: Any, time: int) -> tuple[Any, Any]:
    if isinstance(result, tuple) and len(result) == 2:
        return result
    raise ModelError(
        f"scan: step {time} returned {type(result).__name__}; expected the pair (carry, output), as in `return carry, None`"
    )


def _check_carry(old: Any, new: Any, shapes: Any, time: int) -> Any:
    """The shapes of a carry, checked against those of the step before. The initial one need but broadcast to them."""
    if tree.structure(old) != tree.structure(new):
        raise ModelError(
            f"scan: step {time} took a carry of the structure {_text(old)} and returned {_text(new)}; "
            "return a carry of the same structure"
        )
    found = [_kind(leaf) for leaf in tree.leaves(new)]
    if shapes is None:
        for first, leaf in zip(tree.leaves(old), tree.leaves(new), strict=True):
            if isinstance(first, Tensor) and isinstance(leaf, Tensor) and not _fits(first, leaf):
                raise ModelError(
                    f"scan: step 0 took a carry of {_kind(first)} and returned {_kind(leaf)}; "
                    "give init a shape that broadcasts to that of the carry, and the same dtype"
                )
    elif shapes != found:
        raise ModelError(
            f"scan: the carry has other shapes after step {time} than before: {found} instead of {shapes}; "
            "return a carry of the same shapes and dtypes in each step"
        )
    return found


def _kind(leaf: object) -> str:
    return f"{leaf.dtype} {tuple(leaf.shape)}" if isinstance(leaf, Tensor) else type(leaf).__name__


def _text(value: object) -> str:
    return str(tree.map_leaves(_kind, value))


def _fits(first: Tensor, leaf: Tensor) -> bool:
    try:
        return (
            first.dtype == leaf.dtype and typed_torch.broadcast_shapes(first.shape, leaf.shape) == leaf.shape
        )
    except RuntimeError:
        return False


def _stacked(parts: list[Any]) -> Any:
    if all(part is None for part in parts):
        return None
    return torch.stack([torch.as_tensor(part) for part in parts])
