"""Samplers, one row each: those whose draws C repeats, from torch's own generator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from ember.capture.native.lowering.elementwise import A, B, C, full, pointwise
from ember.capture.native.lowering.refs import Ref, layout
from ember.capture.native.lowering.rows.external import call_torch, operator
from ember.capture.native.lowering.workspace import Lower, OpCall, Outcome, Workspace
from ember.capture.native.torch_side import generator
from ember.capture.native.values.arrays import Value
from ember.capture.native.values.calls import Operator, SamplerCall
from ember.capture.native.values.dtypes import DTYPES, Number
from ember.capture.native.values.layout import contiguous
from ember.capture.native.values.unsupported import UnsupportedError
from ember.capture.recording.meta import Meta

aten = torch.ops.aten
_FLOATS = (torch.float32, torch.float64)


def _checked(call: OpCall, any_order: bool = False) -> Meta:
    """The layout of what is drawn: row by row, or in ``any_order`` of dims, which torch fills in the order of memory."""
    if call.arguments.get("generator") is not None:
        raise UnsupportedError("a generator of the program's own")
    meta = call.meta
    whole = layout(meta.shape, meta.stride)
    fits = whole.strides == contiguous(whole.dims) if any_order else _lies_row_by_row(meta)
    if math.prod(meta.shape) and not fits:
        raise UnsupportedError("random numbers drawn into memory that does not lie row by row")
    if meta.dtype not in DTYPES or not DTYPES[meta.dtype].sampled:
        raise UnsupportedError(f"random numbers of dtype {meta.dtype}")
    return meta


def _lies_row_by_row(meta: Meta) -> bool:
    dense = contiguous(meta.shape)
    return all(n == 1 or s == d for n, s, d in zip(meta.shape, meta.stride, dense, strict=True))


def _sampled(
    low: Workspace,
    call: OpCall,
    function: str,
    numbers: tuple[Number, ...],
    *,
    refs: Sequence[Ref] = (),
    dtypes: tuple[torch.dtype, ...] | None = None,
    scratch: tuple[int, torch.dtype] | None = None,
    fallback: Operator | None = None,
) -> Value:
    """What a sampler of the C headers draws, from tensors laid out row by row. ``scratch`` says how much it works in."""
    made = SamplerCall(
        function=function,
        dtypes=dtypes or (call.meta.dtype,),
        numbers=numbers,
        fallback=fallback,
        inputs=tuple(map(low.dense, refs)),
        input_dims=tuple(ref.shape for ref in refs),
    )
    to = layout(call.meta.shape, call.meta.stride)
    drawn = made.result(call.meta.dtype, to.dims, to.strides, origin=call.origin)
    if scratch is not None:
        count, dtype = scratch
        made.scratch = made.result(dtype, (count,), (1,), origin=call.origin)
    low.draws.append(made)
    return drawn


def _by_torch(low: Workspace, call: OpCall) -> Outcome:
    """A draw by a call of torch, where torch's own stream is another one here."""
    given = {"self": low.placed(full(low, call, 0), call.meta)}
    op = {"exponential_.default": aten.exponential.default}.get(call.name, aten.bernoulli.p)
    return call_torch(low, replace(call, arguments={**call.arguments, **given}), op, draws=True)


def _draw(function: str, *names: str, default: tuple[float, ...] = ()) -> Lower:
    """A row for ``ember_<function>(generator, out, count, *numbers)``; the numbers are arguments of the operator, or given."""

    def lower(low: Workspace, call: OpCall) -> Outcome:
        meta = _checked(call, any_order=True)
        if function in generator.sampler_differences():
            return _by_torch(low, call)
        numbers = tuple(float(call[name]) for name in names) or default
        # Normals come in blocks only where they lie row by row.
        one_by_one = function == "normal" and not _lies_row_by_row(meta)
        name = "normal_serial" if one_by_one else function
        return _sampled(low, call, name, (math.prod(meta.shape), *numbers))

    return lower


def _bernoulli(p_name: str) -> Lower:
    def lower(low: Workspace, call: OpCall) -> Outcome:
        p = call[p_name]
        meta = _checked(call, any_order=not isinstance(p, Ref))
        count = math.prod(meta.shape)
        if not isinstance(p, Ref):
            if "bernoulli_scalar" in generator.sampler_differences():
                return _by_torch(low, call)
            return _sampled(low, call, "bernoulli_scalar", (count, float(p)))
        if p.dtype not in _FLOATS:
            raise UnsupportedError(f"a probability of dtype {p.dtype}")
        if p.shape != meta.shape:
            p = Ref(p.memory, p.offset, meta.shape, p.over(meta.shape), p.dtype)
        return _sampled(low, call, "bernoulli", (count,), refs=[p], dtypes=(p.dtype, meta.dtype))

    return lower


def _randint(low: Workspace, call: OpCall) -> Value:
    meta = _checked(call)
    begin, end = call.arguments.get("low", 0), call.integer("high")
    if meta.dtype != torch.int64:
        raise UnsupportedError(f"randint of dtype {meta.dtype}")
    return _sampled(low, call, "randint", (math.prod(meta.shape), int(begin or 0), int(end)))


def _subset(low: Workspace, call: OpCall) -> Value:
    bits = call.ref("bits")
    table = 4
    while table < 2 * bits.numel:
        table *= 2
    numbers = (bits.numel, call.integer("size"), table)
    return _sampled(low, call, "subset", numbers, refs=[bits], scratch=(2 * table, torch.int64))


def _randperm(low: Workspace, call: OpCall) -> Value:
    meta = _checked(call)
    if meta.dtype != torch.int64:
        raise UnsupportedError(f"randperm of dtype {meta.dtype}")
    return _sampled(low, call, "randperm", (math.prod(meta.shape),))


def _normal_of(low: Workspace, call: OpCall) -> Value:
    """``normal`` with tensors: standard draws, scaled and shifted."""
    meta = _checked(call)
    noise = low.placed(_sampled(low, call, "normal", (math.prod(meta.shape), 0.0, 1.0)), meta)
    operands = [(operand, meta.dtype) for operand in (noise, call.operand("std"), call.operand("mean"))]
    return pointwise(low, call, A * B + C, operands)


def _by_element(function: str, *names: str) -> Lower:
    """A row for samplers with a tensor of parameters for each element."""

    def lower(low: Workspace, call: OpCall) -> Value:
        meta = _checked(call)
        refs = [call.ref(name) for name in names]
        if any(ref.dtype != meta.dtype or ref.shape != meta.shape for ref in refs):
            raise UnsupportedError(f"{call.name} with parameters of another dtype or shape")
        return _sampled(low, call, function, (math.prod(meta.shape),), refs=refs)

    return lower


def _dirichlet(low: Workspace, call: OpCall) -> Value:
    ref, count = call.ref("self"), math.prod(_checked(call).shape)
    width = ref.shape[-1]
    rows = count // max(width, 1)
    return _sampled(low, call, "dirichlet", (rows, width), refs=[ref], scratch=(rows * width, torch.float64))


def _multinomial(low: Workspace, call: OpCall) -> Outcome:
    """Categories by their weights. Weights that torch may refuse are left to torch, which then raises its error."""
    _checked(call)
    ref, draws = call.ref("self"), call.integer("num_samples")
    race = not call.flag("replacement") or draws == 1
    if not ref.numel or ref.dtype not in _FLOATS or not generator.engine().direct:
        return call_torch(low, call, aten.multinomial.default, draws=True)
    if race and ("exponential" in generator.sampler_differences() or not _row_by_row(ref)):
        return call_torch(low, call, aten.multinomial.default, draws=True)
    width = ref.shape[-1]
    instead, refs = operator(call, aten.multinomial.default)
    return _sampled(
        low,
        call,
        "multinomial_race" if race else "multinomial",
        (ref.numel // width, width, draws),
        refs=refs,
        dtypes=(ref.dtype,),
        scratch=(width, ref.dtype),
        fallback=instead,
    )


def _row_by_row(ref: Ref) -> bool:
    """Whether torch draws for the elements of a matrix in their order: it goes by memory."""
    if len(ref.shape) < 2 or ref.shape[0] == 1:
        return True
    width = ref.shape[1]
    return ref.strides[0] >= width and (width == 1 or ref.strides[1] == 1)


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
    "multinomial.default": _multinomial,
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
    "ember::subset.default": _subset,
    "uniform_.default": _draw("uniform", "from", "to"),
}
