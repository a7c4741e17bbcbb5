"""Operators that are called in torch, with the program's own memory for their arguments and results."""

from __future__ import annotations

from dataclasses import replace

import torch

from ember.capture.native.lowering.refs import Ref, layout
from ember.capture.native.lowering.workspace import Lower, OpCall, Outcome, Workspace
from ember.capture.native.torch_side import generator
from ember.capture.native.values.calls import Argument, LibraryCall, Operator, Result, Slot, TorchCall
from ember.capture.native.values.unsupported import UnsupportedError
from ember.torch_private.operators import OpOverload

_LINEAR_ALGEBRA = (
    "_linalg_det.default",
    "_linalg_eigh.default",
    "_linalg_slogdet.default",
    "_linalg_solve_ex.default",
    "_linalg_svd.default",
    "cholesky_inverse.default",
    "cholesky_solve.default",
    "linalg_householder_product.default",
    "linalg_inv_ex.default",
    "linalg_ldl_factor_ex.default",
    "linalg_ldl_solve.default",
    "linalg_lu.default",
    "linalg_lu_factor_ex.default",
    "linalg_lu_solve.default",
    "linalg_matrix_exp.default",
    "linalg_qr.default",
    "lu_unpack.default",
    "triangular_solve.default",
)
_ALONG_A_DIM = (
    "argmax.default",
    "argmin.default",
    "cummax.default",
    "cummin.default",
    "kthvalue.default",
    "logcumsumexp.default",
    "median.default",
    "median.dim",
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
EXTERNAL = (*_LINEAR_ALGEBRA, *_ALONG_A_DIM, *_LAYERS, *_SPECIAL, *_INDICES)


def external(name: str) -> Lower:
    """A row that calls torch."""
    packet, _, overload = name.partition(".")
    op: OpOverload = getattr(getattr(torch.ops.aten, packet), overload)
    return lambda low, call: call_torch(low, call, op)


def call_torch(low: Workspace, call: OpCall, op: OpOverload, draws: bool = False) -> Outcome:
    """Values for the results of an operator that torch computes."""
    if draws and not generator.engine().direct:
        raise UnsupportedError(f"the sampler {call.name} beside a copy of the generator's state")
    torch_runs, refs = operator(call, op)
    made = TorchCall(
        operator=torch_runs, inputs=tuple(map(low.held, refs)), input_dims=tuple(ref.shape for ref in refs)
    )
    if draws:
        low.draws.append(made)
    else:
        made = low.once(made, op, torch_runs.arguments, torch_runs.named, torch_runs.shapes)
    if not made.outputs:
        for meta in call.all_metas:
            if meta is not None:
                to = layout(meta.shape, meta.stride)
                made.result(meta.dtype, to.dims, to.strides, origin=call.origin)
    filled = iter(made.outputs)
    # Some have no value, such as the gradient of a layer's data, which nobody asks for.
    results: list[Result | None] = [None if meta is None else next(filled) for meta in call.all_metas]
    return results if isinstance(call.metas, tuple) else results[0]


def operator(call: OpCall, op: OpOverload) -> tuple[Operator, list[Ref]]:
    """What torch runs, and the tensors that it reads."""
    refs: list[Ref] = []
    arguments = [_template(call[a.name], refs) for a in op._schema.arguments if not a.kwarg_only]
    named = {a.name: _template(call[a.name], refs) for a in op._schema.arguments if a.kwarg_only}
    shapes = tuple(None if meta is None else (meta.shape, meta.stride) for meta in call.all_metas)
    return Operator(op, arguments, named, shapes), refs


def by_torch(low: Workspace, call: OpCall, op: OpOverload) -> Outcome:
    """For operators that have neither a row nor a decomposition."""
    if call.metas is None:
        raise _missing(low, call)
    return call_torch(low, call, op, torch.Tag.nondeterministic_seeded in op.tags)


def _check_errors(low: Workspace, call: OpCall) -> None:
    """The call whose ``info`` is looked at raises by itself."""
    source = call.ref("info").memory.value
    made = source.call if isinstance(source, Result) else None
    if isinstance(made, LibraryCall) and made.fallback is not None:
        made.fallback = _raising(low, call, made.fallback)
    elif isinstance(made, TorchCall):
        made.operator = _raising(low, call, made.operator)
    else:
        raise _missing(low, call)


def _raising(low: Workspace, call: OpCall, runs: Operator) -> Operator:
    if not any(a.name == "check_errors" for a in runs.op._schema.arguments if a.kwarg_only):
        raise UnsupportedError(f"the operator {call.name} after {runs.op}, at {low.origin}")
    return replace(runs, named={**runs.named, "check_errors": True})


def _missing(low: Workspace, call: OpCall) -> UnsupportedError:
    where = f", at {low.origin}" if low.origin else ""
    return UnsupportedError(f"the operator {call.name}{where}")


def _template(value: object, refs: list[Ref]) -> Argument:
    if isinstance(value, Ref):
        refs.append(value)
        return Slot(len(refs) - 1)
    if isinstance(value, list):
        return [_template(item, refs) for item in value]
    if isinstance(value, torch.Generator):
        raise UnsupportedError("a generator of the program's own")
    return value


ROWS: dict[str, Lower] = {
    **{name: external(name) for name in EXTERNAL},
    "_linalg_check_errors.default": _check_errors,
}
