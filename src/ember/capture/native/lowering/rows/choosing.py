"""Operators element by element whose expression depends on their arguments or on the dtype."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ember.capture.native.lowering.elementwise import A, B, C, D, Operands, chosen, full, function, pointwise
from ember.capture.native.lowering.refs import Memory, Ref
from ember.capture.native.lowering.workspace import Lower, OpCall, Workspace
from ember.capture.native.values.arrays import Value
from ember.capture.native.values.expressions import COPY, Expression, op


def _operands(call: OpCall, *names: str) -> Operands:
    """Arguments in the dtype of the result."""
    return [(call[name], call.meta.dtype) for name in names]


def _pow(low: Workspace, call: OpCall) -> Value:
    exponent, dtype = call["exponent"], call.meta.dtype
    powers: dict[float, Expression] = {2: A * A, 3: A * A * A, 1: COPY}
    if dtype.is_floating_point:
        root = function("sqrt", dtype, A)
        powers |= {0.5: root, -1: 1 / A, -0.5: 1 / root, -2: 1 / (A * A)}
    if exponent in powers:
        return pointwise(low, call, powers[exponent], _operands(call, "self"))
    return pointwise(low, call, function("pow", dtype, A, B), _operands(call, "self", "exponent"))


def _bitwise_not(low: Workspace, call: OpCall) -> Value:
    name = "not" if call.meta.dtype is torch.bool else "invert"
    return pointwise(low, call, op(name, A), _operands(call, "self"))


def _clamp(low: Workspace, call: OpCall) -> Value:
    clamped: Expression = A
    given = [name for name in ("min", "max") if call[name] is not None]
    for name, bound in zip(given, (B, C), strict=False):
        clamped = function("max" if name == "min" else "min", call.meta.dtype, clamped, bound)
    return pointwise(low, call, clamped, _operands(call, "self", *given))


def _divided(low: Workspace, call: OpCall, mode: str | None) -> Value:
    dtype = call.meta.dtype
    if mode is None:
        whole = A / B
    elif mode == "trunc" and dtype.is_floating_point:
        whole = function("trunc", dtype, A / B)
    else:
        whole = function(f"{mode}_divide", dtype, A, B)
    return pointwise(low, call, whole, _operands(call, "self", "other"))


def _div_mode(low: Workspace, call: OpCall) -> Value:
    return _divided(low, call, call["rounding_mode"])


def _floor_divide(low: Workspace, call: OpCall) -> Value:
    return _divided(low, call, "floor")


def _gelu(low: Workspace, call: OpCall) -> Value:
    dtype = call.meta.dtype
    if call["approximate"] == "tanh":
        bent = function("tanh", dtype, 0.79788456080286535588 * (A + 0.044715 * A * A * A))
    else:
        bent = function("erf", dtype, A * 0.70710678118654752440)
    return pointwise(low, call, 0.5 * A * (1 + bent), _operands(call, "self"))


def _softplus(low: Workspace, call: OpCall) -> Value:
    whole = function("softplus", call.meta.dtype, A, B, C)
    return pointwise(low, call, whole, _operands(call, "self", "beta", "threshold"))


def _softplus_backward(low: Workspace, call: OpCall) -> Value:
    dtype = call.meta.dtype
    slope = D * function("sigmoid", dtype, A * B)
    whole = function("pick", dtype, A * B > C, D, slope)
    return pointwise(low, call, whole, _operands(call, "self", "beta", "threshold", "grad_output"))


def _choice(condition: str, yes: str, no: str) -> Lower:
    """One of two values."""

    def lower(low: Workspace, call: OpCall) -> Value:
        operands = [(call[condition], torch.bool), *_operands(call, yes, no)]
        return pointwise(low, call, chosen(call.meta.dtype, A, B, C), operands)

    return lower


def _abs(low: Workspace, call: OpCall) -> Value:
    # The functions for integers have the same name.
    return pointwise(low, call, function("fabs", call.meta.dtype, A), _operands(call, "self"))


def _to_whole(name: str) -> Lower:
    """A rounding, which leaves integers as they are."""

    def lower(low: Workspace, call: OpCall) -> Value:
        dtype = call.meta.dtype
        whole = function(name, dtype, A) if dtype.is_floating_point else COPY
        return pointwise(low, call, whole, _operands(call, "self"))

    return lower


def _sign(low: Workspace, call: OpCall) -> Value:
    dtype = call.meta.dtype
    whole = COPY if dtype is torch.bool else function("sign", dtype, A)
    return pointwise(low, call, whole, _operands(call, "self"))


def _isinf(low: Workspace, call: OpCall) -> Value:
    dtype = call.ref("self").dtype
    if not dtype.is_floating_point:
        return full(low, call, False)
    return pointwise(low, call, function("isinf", dtype, A), [(call["self"], dtype)])


def _log_sigmoid_forward(low: Workspace, call: OpCall) -> Sequence[Value]:
    value = pointwise(low, call, function("log_sigmoid", call.meta.dtype, A), _operands(call, "self"))
    # The second output is scratch for torch's own backward operator.
    return [value, full(low, call, 0)]


def _log_sigmoid_backward(low: Workspace, call: OpCall) -> Value:
    whole = B * function("sigmoid", call.meta.dtype, -A)
    return pointwise(low, call, whole, _operands(call, "self", "grad_output"))


def _times_log(name: str) -> Lower:
    """``x`` times a logarithm of ``y``: zero where ``x`` is zero, NaN where ``y`` is. The logarithm is a value of its own, which
    is computed where ``y`` is, and not again where a density or a gradient takes it."""

    def lower(low: Workspace, call: OpCall) -> Value:
        meta = call.meta
        log = pointwise(low, call, function(name, meta.dtype, A), _operands(call, "other"))
        known = Ref(Memory(log), 0, meta.shape, meta.stride, meta.dtype)
        is_zero = op("and", op("eq", A, 0), op("eq", B, B))
        whole = function("pick", meta.dtype, is_zero, 0, A * C)
        return pointwise(low, call, whole, [*_operands(call, "self", "other"), (known, meta.dtype)])

    return lower


ROWS: dict[str, Lower] = {
    "abs.default": _abs,
    "bitwise_not.default": _bitwise_not,
    "ceil.default": _to_whole("ceil"),
    "clamp.Tensor": _clamp,
    "clamp.default": _clamp,
    "div.Scalar_mode": _div_mode,
    "div.Tensor_mode": _div_mode,
    "floor.default": _to_whole("floor"),
    "floor_divide.Scalar": _floor_divide,
    "floor_divide.default": _floor_divide,
    "gelu.default": _gelu,
    "isinf.default": _isinf,
    "log_sigmoid_backward.default": _log_sigmoid_backward,
    "log_sigmoid_forward.default": _log_sigmoid_forward,
    "masked_fill.Scalar": _choice("mask", "value", "self"),
    "masked_fill.Tensor": _choice("mask", "value", "self"),
    "pow.Tensor_Scalar": _pow,
    "round.default": _to_whole("round"),
    "sgn.default": _sign,
    "sign.default": _sign,
    "softplus.default": _softplus,
    "softplus_backward.default": _softplus_backward,
    "special_xlog1py.default": _times_log("log1p"),
    "trunc.default": _to_whole("trunc"),
    "where.self": _choice("condition", "self", "other"),
    "xlogy.Scalar_Other": _times_log("log"),
    "xlogy.Scalar_Self": _times_log("log"),
    "xlogy.Tensor": _times_log("log"),
}
