"""Calls of functions of the C headers, which see a tensor as a pointer and its strides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ember.capture.native.lowering.refs import Ref, layout
from ember.capture.native.lowering.workspace import OpCall, Workspace
from ember.capture.native.values.calls import LibraryCall, Operator, Result
from ember.capture.native.values.dtypes import Number
from ember.capture.native.values.layout import Dims
from ember.capture.recording.meta import Meta

FLOATS = (torch.float32, torch.float64)


def library_call(
    low: Workspace,
    call: OpCall,
    function: str,
    *,
    inputs: Sequence[Ref],
    outputs: Sequence[tuple[Meta, Dims]],
    numbers: tuple[Number, ...],
    batch: Dims = (),
    fallback: Operator | None = None,
) -> Sequence[Result]:
    """What a function fills. Tensors have the dims of the batch first; outputs come with the strides by which it sees them."""
    made = LibraryCall(
        function=function,
        dtypes=(inputs[0].dtype,),
        numbers=numbers,
        fallback=fallback,
        batch=batch,
        layouts=tuple(strides for _, strides in outputs),
        inputs=tuple(map(low.held, inputs)),
        input_dims=tuple(ref.shape for ref in inputs),
    )
    layouts = [(meta.dtype, meta.shape, meta.stride, strides) for meta, strides in outputs]
    made = low.once(made, function, batch, numbers, layouts)
    if made.outputs:
        return made.outputs
    for meta, _ in outputs:
        to = layout(meta.shape, meta.stride)
        made.result(meta.dtype, to.dims, to.strides, origin=call.origin)
    return made.outputs


def matrices_over(ref: Ref, batch: Dims) -> Ref:
    """A tensor of matrices, broadcast to a batch of them."""
    over = ref.over((*batch, *ref.shape[-2:]))
    return replace(ref, shape=(*batch, *ref.shape[-2:]), strides=(*over[: len(batch)], *ref.strides[-2:]))
