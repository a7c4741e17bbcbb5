"""Operators element by element that are one expression each."""

from __future__ import annotations

from ember.capture.native.lowering.elementwise import Kind, arg, elementwise, fn
from ember.capture.native.lowering.workspace import Lower
from ember.capture.native.values.expressions import Expression, op

_x, _y, _alpha, _value = arg("self"), arg("other"), arg("alpha"), arg("value")
_grad, _out = arg("grad_output"), arg("output")
_weight, _end, _limit = arg("weight"), arg("end"), arg("threshold")
_promoted = arg("self", Kind.PROMOTED), arg("other", Kind.PROMOTED)
_truths = arg("self", Kind.BOOL), arg("other", Kind.BOOL)
_LERP = fn("pick", fn("fabs", _weight) < 0.5, _x + _weight * (_end - _x), _end - (_end - _x) * (1 - _weight))

_OF_ONE = {
    **{
        f"{name}.default": name for name in ("acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh")
    },
    **{
        f"{name}.default": name for name in ("digamma", "erf", "erfc", "erfinv", "exp", "exp2", "expm1", "i0")
    },
    **{
        f"{name}.default": name
        for name in ("lgamma", "log", "log10", "log1p", "log2", "sigmoid", "sin", "sinc")
    },
    **{f"{name}.default": name for name in ("sinh", "sqrt", "tan", "tanh")},
    **{f"special_{name}.default": name for name in ("i0e", "i1", "i1e", "log_ndtr", "ndtri", "erfcx")},
}
"""Functions of ``self``, by the names that they have in C."""
_OF_TWO = {
    "atan2.default": "atan2",
    "copysign.Scalar": "copysign",
    "copysign.Tensor": "copysign",
    "fmod.Scalar": "fmod",
    "fmod.Tensor": "fmod",
    "hypot.default": "hypot",
    "igamma.default": "igamma",
    "igammac.default": "igammac",
    "logaddexp.default": "logaddexp",
    "maximum.default": "max",
    "minimum.default": "min",
    "remainder.Scalar": "remainder",
    "remainder.Tensor": "remainder",
}
"""Functions of ``self`` and ``other``."""
EXPRESSIONS: dict[str, Expression] = {
    **{row: fn(name, _x) for row, name in _OF_ONE.items()},
    **{row: fn(name, _x, _y) for row, name in _OF_TWO.items()},
    **{f"{name}.Scalar": op(name, *_promoted) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    **{f"{name}.Tensor": op(name, *_promoted) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    **{f"bitwise_{name}.Scalar": op(name, _x, _y) for name in ("and", "or", "xor")},
    **{f"bitwise_{name}.Tensor": op(name, _x, _y) for name in ("and", "or", "xor")},
    **{f"logical_{name}.default": op(name, *_truths) for name in ("and", "or", "xor")},
    "add.Scalar": _x + _alpha * _y,
    "add.Tensor": _x + _alpha * _y,
    "addcdiv.default": _x + _value * (arg("tensor1") / arg("tensor2")),
    "addcmul.default": _x + _value * arg("tensor1") * arg("tensor2"),
    "clamp_max.Tensor": fn("min", _x, arg("max")),
    "clamp_max.default": fn("min", _x, arg("max")),
    "clamp_min.Tensor": fn("max", _x, arg("min")),
    "clamp_min.default": fn("max", _x, arg("min")),
    "div.Scalar": _x / _y,
    "div.Tensor": _x / _y,
    "frac.default": _x - fn("trunc", _x),
    "isnan.default": op("ne", _promoted[0], _promoted[0]),
    "leaky_relu.default": fn("pick", _x > 0, _x, arg("negative_slope") * _x),
    "lerp.Scalar": _LERP,
    "lerp.Tensor": _LERP,
    "logical_not.default": op("not", _truths[0]),
    "mul.Scalar": _x * _y,
    "mul.Tensor": _x * _y,
    "neg.default": -_x,
    "polygamma.default": fn("polygamma", arg("n", Kind.LONG), _x),
    "pow.Scalar": fn("pow", _x, arg("exponent")),
    "pow.Tensor_Tensor": fn("pow", _x, arg("exponent")),
    "reciprocal.default": 1 / _x,
    "relu.default": fn("max", _x, 0),
    "rsqrt.default": 1 / fn("sqrt", _x),
    "rsub.Scalar": _y - _alpha * _x,
    "rsub.Tensor": _y - _alpha * _x,
    "sigmoid_backward.default": _grad * (1 - _out) * _out,
    "sub.Scalar": _x - _alpha * _y,
    "sub.Tensor": _x - _alpha * _y,
    "tanh_backward.default": _grad * (1 - _out * _out),
    "threshold_backward.default": fn("pick", _x <= _limit, 0, _grad),
}
ROWS: dict[str, Lower] = {name: elementwise(notation) for name, notation in EXPRESSIONS.items()}
