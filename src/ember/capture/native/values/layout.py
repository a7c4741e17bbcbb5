"""Sizes and strides."""

from __future__ import annotations

Dims = tuple[int, ...]


def sorted_dims(shape: Dims, strides: Dims) -> list[int]:
    """The dims of more than one element, widest stride first."""
    return sorted((i for i, size in enumerate(shape) if size != 1), key=lambda i: -strides[i])


def contiguous(shape: Dims) -> Dims:
    """Strides of a dense row-major array."""
    strides = [1] * len(shape)
    for i in range(len(shape) - 2, -1, -1):
        strides[i] = strides[i + 1] * max(shape[i + 1], 1)
    return tuple(strides)


def reach(offset: int, dims: Dims, strides: Dims) -> tuple[int, int] | None:
    """The lowest and the highest place that is walked; None if there is none."""
    if 0 in dims:
        return None
    spans = [(size - 1) * stride for size, stride in zip(dims, strides, strict=True)]
    return offset + sum(min(span, 0) for span in spans), offset + sum(max(span, 0) for span in spans)
