"""Operators element by element, one row each."""

from __future__ import annotations

import torch

from ember.capture.native.lowering import table
from ember.capture.native.lowering.walk import Lower, Lowering, OpCall
from ember.capture.native.values.arrays import Value

_LERP = "@pick(@fabs({weight}) < 0.5, {self} + {weight} * ({end} - {self}), {end} - ({end} - {self}) * (1 - {weight}))"
_EXPRESSIONS = {
    "acos.default": "@acos({self})",
    "acosh.default": "@acosh({self})",
    "add.Scalar": "{self} + {alpha} * {other}",
    "add.Tensor": "{self} + {alpha} * {other}",
    "addcdiv.default": "{self} + {value} * ({tensor1} / {tensor2})",
    "addcmul.default": "{self} + {value} * {tensor1} * {tensor2}",
    "asin.default": "@asin({self})",
    "asinh.default": "@asinh({self})",
    "atan.default": "@atan({self})",
    "atan2.default": "@atan2({self}, {other})",
    "atanh.default": "@atanh({self})",
    "bitwise_and.Scalar": "{self} & {other}",
    "bitwise_and.Tensor": "{self} & {other}",
    "bitwise_or.Scalar": "{self} | {other}",
    "bitwise_or.Tensor": "{self} | {other}",
    "bitwise_xor.Scalar": "{self} ^ {other}",
    "bitwise_xor.Tensor": "{self} ^ {other}",
    "clamp_max.Tensor": "@min({self}, {max})",
    "clamp_max.default": "@min({self}, {max})",
    "clamp_min.Tensor": "@max({self}, {min})",
    "clamp_min.default": "@max({self}, {min})",
    "copysign.Scalar": "@copysign({self}, {other})",
    "copysign.Tensor": "@copysign({self}, {other})",
    "cos.default": "@cos({self})",
    "cosh.default": "@cosh({self})",
    "digamma.default": "@digamma({self})",
    "div.Scalar": "{self} / {other}",
    "div.Tensor": "{self} / {other}",
    "eq.Scalar": "{self:p} == {other:p}",
    "eq.Tensor": "{self:p} == {other:p}",
    "erf.default": "@erf({self})",
    "erfc.default": "@erfc({self})",
    "erfinv.default": "@erfinv({self})",
    "exp.default": "@exp({self})",
    "exp2.default": "@exp2({self})",
    "expm1.default": "@expm1({self})",
    "fmod.Scalar": "@fmod({self}, {other})",
    "fmod.Tensor": "@fmod({self}, {other})",
    "frac.default": "{self} - @trunc({self})",
    "ge.Scalar": "{self:p} >= {other:p}",
    "ge.Tensor": "{self:p} >= {other:p}",
    "gt.Scalar": "{self:p} > {other:p}",
    "gt.Tensor": "{self:p} > {other:p}",
    "hypot.default": "@hypot({self}, {other})",
    "i0.default": "@i0({self})",
    "special_i0e.default": "@i0e({self})",
    "special_i1.default": "@i1({self})",
    "special_i1e.default": "@i1e({self})",
    "special_log_ndtr.default": "@log_ndtr({self})",
    "special_ndtri.default": "@ndtri({self})",
    "special_erfcx.default": "@erfcx({self})",
    "igamma.default": "@igamma({self}, {other})",
    "igammac.default": "@igammac({self}, {other})",
    "isnan.default": "({self:p} != {self:p})",
    "le.Scalar": "{self:p} <= {other:p}",
    "le.Tensor": "{self:p} <= {other:p}",
    "leaky_relu.default": "@pick({self} > 0, {self}, {negative_slope} * {self})",
    "lerp.Scalar": _LERP,
    "lerp.Tensor": _LERP,
    "lgamma.default": "@lgamma({self})",
    "log.default": "@log({self})",
    "log10.default": "@log10({self})",
    "log1p.default": "@log1p({self})",
    "log2.default": "@log2({self})",
    "logaddexp.default": "@logaddexp({self}, {other})",
    "logical_and.default": "({self:bool} & {other:bool})",
    "logical_not.default": "(!{self:bool})",
    "logical_or.default": "({self:bool} | {other:bool})",
    "logical_xor.default": "({self:bool} ^ {other:bool})",
    "lt.Scalar": "{self:p} < {other:p}",
    "lt.Tensor": "{self:p} < {other:p}",
    "maximum.default": "@max({self}, {other})",
    "minimum.default": "@min({self}, {other})",
    "mul.Scalar": "{self} * {other}",
    "mul.Tensor": "{self} * {other}",
    "ne.Scalar": "{self:p} != {other:p}",
    "ne.Tensor": "{self:p} != {other:p}",
    "neg.default": "-{self}",
    "polygamma.default": "@polygamma({n:long}, {self})",
    "pow.Scalar": "@pow({self}, {exponent})",
    "pow.Tensor_Tensor": "@pow({self}, {exponent})",
    "reciprocal.default": "1 / {self}",
    "relu.default": "@max({self}, 0)",
    "remainder.Scalar": "@remainder({self}, {other})",
    "remainder.Tensor": "@remainder({self}, {other})",
    "rsqrt.default": "1 / @sqrt({self})",
    "rsub.Scalar": "{other} - {alpha} * {self}",
    "rsub.Tensor": "{other} - {alpha} * {self}",
    "sigmoid.default": "@sigmoid({self})",
    "sigmoid_backward.default": "{grad_output} * (1 - {output}) * {output}",
    "sin.default": "@sin({self})",
    "sinc.default": "@sinc({self})",
    "sinh.default": "@sinh({self})",
    "sqrt.default": "@sqrt({self})",
    "sub.Scalar": "{self} - {alpha} * {other}",
    "sub.Tensor": "{self} - {alpha} * {other}",
    "tan.default": "@tan({self})",
    "tanh.default": "@tanh({self})",
    "tanh_backward.default": "{grad_output} * (1 - {output} * {output})",
    "threshold_backward.default": "@pick({self} <= {threshold}, 0, {grad_output})",
    "xlogy.Scalar_Other": "@xlogy({self}, {other})",
    "xlogy.Scalar_Self": "@xlogy({self}, {other})",
    "xlogy.Tensor": "@xlogy({self}, {other})",
    "special_xlog1py.default": "@xlog1py({self}, {other})",
}


def _pow(low: Lowering, call: OpCall) -> Value:
    exponent, dtype = call["exponent"], call.meta.dtype
    powers: dict[float, str] = {2: "({0} * {0})", 3: "({0} * {0} * {0})", 1: "{0}"}
    if dtype.is_floating_point:
        powers |= {
            0.5: "ember_sqrt_%s({0})",
            -1: "1 / {0}",
            -0.5: "1 / ember_sqrt_%s({0})",
            -2: "1 / ({0} * {0})",
        }
    if exponent in powers:
        expression = powers[exponent].replace("%s", table.suffix(dtype))
        return table.pointwise(low, call, expression, [(call["self"], dtype)])
    expression = f"ember_pow_{table.suffix(dtype)}({{0}}, {{1}})"
    return table.pointwise(low, call, expression, [(call["self"], dtype), (exponent, dtype)])


def _bitwise_not(low: Lowering, call: OpCall) -> Value:
    expression = "(!{0})" if call.meta.dtype is torch.bool else "~{0}"
    return table.pointwise(low, call, expression, [(call["self"], call.meta.dtype)])


def _clamp(low: Lowering, call: OpCall) -> Value:
    dtype = call.meta.dtype
    suffix = table.suffix(dtype)
    expression, operands = "{0}", [(call["self"], dtype)]
    for name, function in (("min", "max"), ("max", "min")):
        if call[name] is not None:
            operands.append((call[name], dtype))
            expression = f"ember_{function}_{suffix}({expression}, {{{len(operands) - 1}}})"
    return table.pointwise(low, call, expression, operands)


def _div_mode(low: Lowering, call: OpCall) -> Value:
    dtype, mode = call.meta.dtype, call["rounding_mode"]
    suffix = table.suffix(dtype)
    if mode is None:
        expression = "{0} / {1}"
    elif mode == "trunc" and dtype.is_floating_point:
        expression = f"ember_trunc_{suffix}({{0}} / {{1}})"
    else:
        expression = f"ember_{mode}_divide_{suffix}({{0}}, {{1}})"
    return table.pointwise(low, call, expression, [(call["self"], dtype), (call["other"], dtype)])


def _floor_divide(low: Lowering, call: OpCall) -> Value:
    call.arguments["rounding_mode"] = "floor"
    return _div_mode(low, call)


def _gelu(low: Lowering, call: OpCall) -> Value:
    dtype = call.meta.dtype
    suffix = table.suffix(dtype)
    if call["approximate"] == "tanh":
        inner = "0.79788456080286535588 * ({0} + 0.044715 * {0} * {0} * {0})"
        expression = f"0.5 * {{0}} * (1 + ember_tanh_{suffix}({inner}))"
    else:
        expression = f"0.5 * {{0}} * (1 + ember_erf_{suffix}({{0}} * 0.70710678118654752440))"
    return table.pointwise(low, call, expression, [(call["self"], dtype)])


def _softplus(low: Lowering, call: OpCall) -> Value:
    dtype = call.meta.dtype
    operands = [(call[name], dtype) for name in ("self", "beta", "threshold")]
    return table.pointwise(low, call, f"ember_softplus_{table.suffix(dtype)}({{0}}, {{1}}, {{2}})", operands)


def _softplus_backward(low: Lowering, call: OpCall) -> Value:
    dtype = call.meta.dtype
    suffix = table.suffix(dtype)
    expression = (
        f"ember_pick_{suffix}({{0}} * {{1}} > {{2}}, {{3}}, {{3}} * ember_sigmoid_{suffix}({{0}} * {{1}}))"
    )
    operands = [(call[name], dtype) for name in ("self", "beta", "threshold", "grad_output")]
    return table.pointwise(low, call, expression, operands)


def _choice(condition: str, yes: str, no: str) -> Lower:
    """One of two values. In floating point both are computed, which lets a loop become vector code."""

    def lower(low: Lowering, call: OpCall) -> Value:
        dtype = call.meta.dtype
        floating = dtype in (torch.float32, torch.float64)
        expression = (
            f"ember_pick_{table.suffix(dtype)}({{0}}, {{1}}, {{2}})" if floating else "({0} ? {1} : {2})"
        )
        return table.pointwise(
            low, call, expression, [(call[condition], torch.bool), (call[yes], dtype), (call[no], dtype)]
        )

    return lower


def _abs(low: Lowering, call: OpCall) -> Value:
    # The functions for integers have the same name.
    dtype = call.meta.dtype
    return table.pointwise(low, call, f"ember_fabs_{table.suffix(dtype)}({{0}})", [(call["self"], dtype)])


def _to_whole(function: str) -> Lower:
    """A rounding, which leaves integers as they are."""

    def lower(low: Lowering, call: OpCall) -> Value:
        dtype = call.meta.dtype
        expression = f"ember_{function}_{table.suffix(dtype)}({{0}})" if dtype.is_floating_point else "{0}"
        return table.pointwise(low, call, expression, [(call["self"], dtype)])

    return lower


def _sign(low: Lowering, call: OpCall) -> Value:
    dtype = call.meta.dtype
    expression = "{0}" if dtype is torch.bool else f"ember_sign_{table.suffix(dtype)}({{0}})"
    return table.pointwise(low, call, expression, [(call["self"], dtype)])


def _isinf(low: Lowering, call: OpCall) -> Value:
    dtype = call["self"].dtype
    if not dtype.is_floating_point:
        return table.full(low, call, False)
    return table.pointwise(low, call, f"ember_isinf_{table.suffix(dtype)}({{0}})", [(call["self"], dtype)])


def _log_sigmoid_forward(low: Lowering, call: OpCall) -> list[Value]:
    dtype = call.meta.dtype
    value = table.pointwise(
        low, call, f"ember_log_sigmoid_{table.suffix(dtype)}({{0}})", [(call["self"], dtype)]
    )
    # The second output is scratch for torch's own backward operator.
    buffer = table.full(low, call, 0)
    return [value, buffer]


def _log_sigmoid_backward(low: Lowering, call: OpCall) -> Value:
    dtype = call.meta.dtype
    expression = f"{{1}} * ember_sigmoid_{table.suffix(dtype)}(-{{0}})"
    return table.pointwise(low, call, expression, [(call["self"], dtype), (call["grad_output"], dtype)])


ROWS: dict[str, Lower] = {
    **{name: table.elementwise(text) for name, text in _EXPRESSIONS.items()},
    "abs.default": _abs,
    "ceil.default": _to_whole("ceil"),
    "floor.default": _to_whole("floor"),
    "isinf.default": _isinf,
    "round.default": _to_whole("round"),
    "sgn.default": _sign,
    "sign.default": _sign,
    "trunc.default": _to_whole("trunc"),
    "bitwise_not.default": _bitwise_not,
    "clamp.Tensor": _clamp,
    "clamp.default": _clamp,
    "div.Scalar_mode": _div_mode,
    "div.Tensor_mode": _div_mode,
    "floor_divide.Scalar": _floor_divide,
    "floor_divide.default": _floor_divide,
    "gelu.default": _gelu,
    "log_sigmoid_backward.default": _log_sigmoid_backward,
    "log_sigmoid_forward.default": _log_sigmoid_forward,
    "masked_fill.Scalar": _choice("mask", "value", "self"),
    "masked_fill.Tensor": _choice("mask", "value", "self"),
    "pow.Tensor_Scalar": _pow,
    "softplus.default": _softplus,
    "softplus_backward.default": _softplus_backward,
    "where.self": _choice("condition", "self", "other"),
}
