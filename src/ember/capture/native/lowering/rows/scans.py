"""Operators that go along one dim, element after element: running sums and products, an extreme with its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ember.capture.native.lowering.elementwise import copy
from ember.capture.native.lowering.library import FLOATS, library_call
from ember.capture.native.lowering.reductions import reduce
from ember.capture.native.lowering.refs import Ref
from ember.capture.native.lowering.rows.external import call_torch
from ember.capture.native.lowering.workspace import Lower, OpCall, Outcome, Workspace, wrapped
from ember.capture.native.values.layout import Dims, contiguous
from ember.capture.recording.meta import Meta

aten = torch.ops.aten
_SUMMED = (*FLOATS, torch.int64)
_WHOLE = (torch.bool, torch.int32, torch.uint8)
_COMPARED = (*FLOATS, torch.int64, torch.bool)


def _cumsum(low: Workspace, call: OpCall) -> Outcome:
    a, meta = call.ref("self"), call.meta
    if a.dtype in _WHOLE and meta.dtype is torch.int64 and a.numel and a.shape:
        fresh = Meta(meta.dtype, a.shape, contiguous(a.shape), 0, -1, "cpu")
        a = low.placed(copy(low, call, a, fresh), fresh)
    if not (a.numel and a.shape and a.dtype == meta.dtype and a.dtype in _SUMMED):
        return call_torch(low, call, aten.cumsum.default)
    return _scan(low, call, "cumsum", a)


def _cumprod(low: Workspace, call: OpCall) -> Outcome:
    a = call.ref("self")
    if not (a.numel and a.shape and a.dtype == call.meta.dtype and a.dtype in FLOATS):
        return call_torch(low, call, aten.cumprod.default)
    return _scan(low, call, "cumprod", a)


def _scan(low: Workspace, call: OpCall, function: str, a: Ref) -> Outcome:
    dim = wrapped(call.integer("dim"), len(a.shape))
    shape, strides, to = (_last(dims, dim) for dims in (a.shape, a.strides, call.meta.stride))
    a = replace(a, shape=shape, strides=strides)
    outputs = [(call.meta, to)]
    return library_call(
        low, call, function, inputs=[a], outputs=outputs, numbers=shape[-1:], batch=shape[:-1]
    )[0]


def _extreme(rule: str) -> Lower:
    """The values are reduced; a function of its own finds the first places where they are, if somebody reads those."""

    def lower(low: Workspace, call: OpCall) -> Outcome:
        a, (_, place) = call.ref("self"), call.all_metas
        values = reduce(low, call, rule, a)
        if not (a.numel and a.shape and a.dtype in _COMPARED and place is not None):
            by_torch = call_torch(low, call, getattr(aten, rule).dim)
            assert isinstance(by_torch, Sequence)
            return [values, by_torch[1]]
        dim = wrapped(call.integer("dim"), len(a.shape))
        outputs = [(place, _without(place.stride, dim, len(a.shape)))]
        a = replace(a, shape=_last(a.shape, dim), strides=_last(a.strides, dim))
        found = library_call(
            low,
            call,
            f"place_of_{rule}",
            inputs=[a],
            outputs=outputs,
            numbers=a.shape[-1:],
            batch=a.shape[:-1],
        )
        return [values, found[0]]

    return lower


def _last(dims: Sequence[int], dim: int) -> Dims:
    """The dims with one of them last."""
    return (*dims[:dim], *dims[dim + 1 :], dims[dim])


def _without(strides: Dims, dim: int, rank: int) -> Dims:
    """Strides of a result over all dims but one, which it may have kept."""
    return strides if len(strides) < rank else (*strides[:dim], *strides[dim + 1 :])


ROWS: dict[str, Lower] = {
    "cumsum.default": _cumsum,
    "cumprod.default": _cumprod,
    "max.dim": _extreme("max"),
    "min.dim": _extreme("min"),
}
