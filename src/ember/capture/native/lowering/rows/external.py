"""Operators that are called in torch, with the program's own memory for their arguments and results."""

from __future__ import annotations

from typing import Any

import torch

from ember.capture.native.lowering.refs import Ref
from ember.capture.native.lowering.table import layout
from ember.capture.native.lowering.walk import Lower, Lowering, OpCall
from ember.capture.native.torch_side import generator
from ember.capture.native.values.arrays import Access, Call, Constant, Result, Slot, UnsupportedError

_LINEAR_ALGEBRA = (
    "_linalg_det.default",
    "_linalg_eigh.default",
    "_linalg_slogdet.default",
    "_linalg_solve_ex.default",
    "_linalg_svd.default",
    "bmm.default",
    "cholesky_inverse.default",
    "cholesky_solve.default",
    "linalg_cholesky_ex.default",
    "linalg_householder_product.default",
    "linalg_inv_ex.default",
    "linalg_ldl_factor_ex.default",
    "linalg_ldl_solve.default",
    "linalg_lu.default",
    "linalg_lu_factor_ex.default",
    "linalg_lu_solve.default",
    "linalg_matrix_exp.default",
    "linalg_qr.default",
    "linalg_solve_triangular.default",
    "lu_unpack.default",
    "mm.default",
    "triangular_solve.default",
)
_ALONG_A_DIM = (
    "argmax.default",
    "argmin.default",
    "cummax.default",
    "cummin.default",
    "cumprod.default",
    "cumsum.default",
    "kthvalue.default",
    "logcumsumexp.default",
    "max.dim",
    "median.default",
    "median.dim",
    "min.dim",
    "scatter_reduce.two",
    "searchsorted.Tensor",
    "sort.default",
    "sort.stable",
    "topk.default",
)
_LAYERS = (
    "_adaptive_avg_pool2d.default",
    "_adaptive_avg_pool2d_backward.default",
    "_cdist_backward.default",
    "_cdist_forward.default",
    "_scaled_dot_product_flash_attention_for_cpu.default",
    "_scaled_dot_product_flash_attention_for_cpu_backward.default",
    "avg_pool2d.default",
    "avg_pool2d_backward.default",
    "convolution.default",
    "convolution_backward.default",
    "max_pool2d_with_indices.default",
    "max_pool2d_with_indices_backward.default",
)
_SPECIAL = (
    "_dirichlet_grad.default",
    "_standard_gamma_grad.default",
    "special_zeta.default",
    "special_modified_bessel_i0.default",
    "special_modified_bessel_i1.default",
    "trace.default",
)
_INDICES = (
    "tril_indices.default",
    "triu_indices.default",
)
_SAMPLERS = (
    "binomial.default",
    "multinomial.default",
    "poisson.default",
)
EXTERNAL = (*_LINEAR_ALGEBRA, *_ALONG_A_DIM, *_LAYERS, *_SPECIAL, *_INDICES, *_SAMPLERS)


def external(name: str, *, draws: bool = False) -> Lower:
    """A row that calls torch."""

    def lower(low: Lowering, call: OpCall) -> Any:
        return call_torch(low, call, _overload(name), draws)

    return lower


def call_torch(low: Lowering, call: OpCall, op: Any, draws: bool = False) -> Any:
    """Values for the results of an operator that torch computes."""
    if draws and not generator.engine().direct:
        raise UnsupportedError(f"the sampler {call.name} beside a copy of the generator's state")
    refs: list[Ref] = []
    arguments = [_template(call.arguments[a.name], refs) for a in op._schema.arguments if not a.kwarg_only]
    named = {a.name: _template(call.arguments[a.name], refs) for a in op._schema.arguments if a.kwarg_only}
    inputs = []
    for ref in refs:
        if isinstance(ref.memory.value, Constant):
            inputs.append(low.dense(ref))
        else:
            inputs.append(Access(ref.memory.value, ref.offset, ref.strides))
    made = Call("torch", tuple(inputs), tuple(ref.shape for ref in refs), (op, arguments, named), draws)
    if draws:
        low.draws.append(made)
    metas = call.metas if isinstance(call.metas, tuple) else (call.metas,)
    results: list[Result | None] = []
    for meta in metas:
        if meta is None:
            # Such as the gradient of a layer's data, which nobody asks for.
            made.shapes.append(None)
            results.append(None)
            continue
        _, dims, strides = layout(meta)
        made.shapes.append((tuple(meta.shape), tuple(meta.stride)))
        results.append(Result(meta.dtype, dims, strides, origin=call.origin, call=made))
    made.outputs = [result for result in results if result is not None]
    return results if isinstance(call.metas, tuple) else results[0]


def by_torch(low: Lowering, call: OpCall, op: Any) -> Any:
    """For operators that have neither a row nor a decomposition."""
    if call.metas is None:
        raise UnsupportedError(f"the operator {call.name}, at {low.origin}")
    return call_torch(low, call, op, torch.Tag.nondeterministic_seeded in op.tags)


def _check_errors(low: Lowering, call: OpCall) -> None:
    """The call whose ``info`` is looked at raises by itself."""
    source = call["info"].memory.value
    made = source.call if isinstance(source, Result) else None
    if made is None or made.name != "torch":
        raise UnsupportedError(f"the operator {call.name}, at {low.origin}")
    op, positional, named = made.attributes
    if not any(argument.name == "check_errors" for argument in op._schema.arguments if argument.kwarg_only):
        raise UnsupportedError(f"the operator {call.name} after {op}, at {low.origin}")
    made.attributes = (op, positional, {**named, "check_errors": True})


def _template(value: Any, refs: list[Ref]) -> Any:
    if isinstance(value, Ref):
        refs.append(value)
        return Slot(len(refs) - 1)
    if isinstance(value, list):
        return [_template(item, refs) for item in value]
    if isinstance(value, torch.Generator):
        raise UnsupportedError("a generator of the program's own")
    return value


def _overload(name: str) -> Any:
    packet, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, packet), overload)


ROWS: dict[str, Lower] = {
    name: external(name, draws=name in _SAMPLERS)
    for name in EXTERNAL
    if name not in ("mm.default", "bmm.default")
}
ROWS["_linalg_check_errors.default"] = _check_errors
