"""Samplers, one row each: those whose draws C repeats, from torch's own generator."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from ember.capture.native.lowering import table
from ember.capture.native.lowering.refs import Ref
from ember.capture.native.lowering.rows.external import call_torch
from ember.capture.native.lowering.walk import Lower, Lowering, OpCall
from ember.capture.native.torch_side import generator
from ember.capture.native.values.arrays import UnsupportedError, Value, contiguous

aten = torch.ops.aten
_OUT = {torch.float32: "f32", torch.float64: "f64", torch.int64: "i64", torch.bool: "b8"}


def _checked(call: OpCall) -> Any:
    """The layout of what is drawn: torch fills row by row only what lies so."""
    if call.arguments.get("generator") is not None:
        raise UnsupportedError("a generator of the program's own")
    meta = call.meta
    dense = contiguous(meta.shape)
    if math.prod(meta.shape) and any(
        n != 1 and s != d for n, s, d in zip(meta.shape, meta.stride, dense, strict=True)
    ):
        raise UnsupportedError("random numbers drawn into memory that does not lie row by row")
    if meta.dtype not in _OUT:
        raise UnsupportedError(f"random numbers of dtype {meta.dtype}")
    return meta


def _count(meta: Any) -> int:
    return math.prod(meta.shape)


def _by_torch(low: Lowering, call: OpCall) -> Value:
    """A draw by a call of torch, where torch's own stream is another one here."""
    given = {"self": low.placed(table.full(low, call, 0), call.meta)}
    op = {"exponential_.default": aten.exponential.default}.get(call.name, aten.bernoulli.p)
    drawn: Value = call_torch(low, replace(call, arguments={**call.arguments, **given}), op, draws=True)
    return drawn


def _draw(function: str, *names: str, default: tuple[Any, ...] = ()) -> Lower:
    """A row for ``ember_<function>(generator, out, count, *numbers)``; the numbers are arguments of the operator, or given."""

    def lower(low: Lowering, call: OpCall) -> Value:
        meta = _checked(call)
        if function in generator.sampler_differences():
            return _by_torch(low, call)
        numbers = tuple(float(call[name]) for name in names) or default
        drawn = table.called(
            low, call, f"ember_{function}_{_OUT[meta.dtype]}", [], (_count(meta), *numbers), draws=True
        )
        return drawn[0]

    return lower


def _bernoulli(p_name: str) -> Lower:
    def lower(low: Lowering, call: OpCall) -> Value:
        meta = _checked(call)
        p = call[p_name]
        if not isinstance(p, Ref):
            if "bernoulli_scalar" in generator.sampler_differences():
                return _by_torch(low, call)
            attributes = (_count(meta), float(p))
            return table.called(
                low, call, f"ember_bernoulli_scalar_{_OUT[meta.dtype]}", [], attributes, draws=True
            )[0]
        source = p if p.shape == tuple(meta.shape) else _expanded(p, tuple(meta.shape))
        kind = {torch.float32: "f32", torch.float64: "f64"}.get(p.dtype)
        if kind is None:
            raise UnsupportedError(f"a probability of dtype {p.dtype}")
        name = f"ember_bernoulli_{kind}_{_OUT[meta.dtype]}"
        return table.called(low, call, name, [source], (_count(meta),), draws=True)[0]

    return lower


def _expanded(ref: Ref, shape: tuple[int, ...]) -> Ref:
    return Ref(ref.memory, ref.offset, shape, ref.over(shape), ref.dtype)


def _randint(low: Lowering, call: OpCall) -> Value:
    meta = _checked(call)
    begin, end = call.arguments.get("low", 0), call["high"]
    if meta.dtype != torch.int64:
        raise UnsupportedError(f"randint of dtype {meta.dtype}")
    return table.called(
        low, call, "ember_randint_i64", [], (_count(meta), int(begin or 0), int(end)), draws=True
    )[0]


def _randperm(low: Lowering, call: OpCall) -> Value:
    meta = _checked(call)
    if meta.dtype != torch.int64:
        raise UnsupportedError(f"randperm of dtype {meta.dtype}")
    return table.called(low, call, "ember_randperm_i64", [], (_count(meta),), draws=True)[0]


def _normal_of(low: Lowering, call: OpCall) -> Value:
    """``normal`` with tensors: standard draws, scaled and shifted."""
    meta = _checked(call)
    name = f"ember_normal_{_OUT[meta.dtype]}"
    drawn = table.called(low, call, name, [], (_count(meta), 0.0, 1.0), draws=True)[0]
    dtype = meta.dtype
    noise = low.placed(drawn, meta)
    return table.pointwise(
        low, call, "{0} * {1} + {2}", [(noise, dtype), (call["std"], dtype), (call["mean"], dtype)]
    )


def _by_element(function: str, *names: str) -> Lower:
    """A row for samplers with a tensor of parameters for each element."""

    def lower(low: Lowering, call: OpCall) -> Value:
        meta = _checked(call)
        refs = [call[name] for name in names]
        if any(ref.dtype != meta.dtype or ref.shape != tuple(meta.shape) for ref in refs):
            raise UnsupportedError(f"{call.name} with parameters of another dtype or shape")
        name = f"ember_{function}_{_OUT[meta.dtype]}"
        return table.called(low, call, name, refs, (_count(meta),), draws=True)[0]

    return lower


def _dirichlet(low: Lowering, call: OpCall) -> Value:
    meta = _checked(call)
    ref: Ref = call["self"]
    width = ref.shape[-1]
    rows = _count(meta) // max(width, 1)
    name = f"ember_dirichlet_{_OUT[meta.dtype]}"
    return table.called(low, call, name, [ref], (rows, width), draws=True, scratch=rows * width)[0]


ROWS: dict[str, Lower] = {
    "_sample_dirichlet.default": _dirichlet,
    "_standard_gamma.default": _by_element("standard_gamma", "self"),
    "bernoulli.default": _bernoulli("self"),
    "bernoulli.p": _bernoulli("p"),
    "bernoulli_.Tensor": _bernoulli("p"),
    "bernoulli_.float": _bernoulli("p"),
    "binomial.default": _by_element("binomial", "count", "prob"),
    "cauchy_.default": _draw("cauchy", "median", "sigma"),
    "exponential_.default": _draw("exponential", "lambd"),
    "geometric_.default": _draw("geometric", "p"),
    "log_normal_.default": _draw("log_normal", "mean", "std"),
    "normal.Tensor_Tensor": _normal_of,
    "normal.Tensor_float": _normal_of,
    "normal.float_Tensor": _normal_of,
    "normal_.default": _draw("normal", "mean", "std"),
    "normal_functional.default": _draw("normal", "mean", "std"),
    "poisson.default": _by_element("poisson", "self"),
    "rand.default": _draw("rand"),
    "rand_like.default": _draw("rand"),
    "randint.default": _randint,
    "randint.low": _randint,
    "randn.default": _draw("normal", default=(0.0, 1.0)),
    "randn_like.default": _draw("normal", default=(0.0, 1.0)),
    "randperm.default": _randperm,
    "uniform_.default": _draw("uniform", "from", "to"),
}
