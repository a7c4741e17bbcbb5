"""How long a step of a program takes, roughly, without running it: within a factor of two or three for most loops.

The table of costs counts a number at a time. Loops that become vector code do several at once, calls of torch take what their
products of matrices take, and normals come one by one where they must be torch's to the bit.
"""

from __future__ import annotations

import math

import torch

from ember.capture.native.loops.structure import Nest, Step, Store, items_of
from ember.capture.native.values.arrays import Reduce, Take, Value
from ember.capture.native.values.calls import Call, HeaderCall, SamplerCall, TorchCall
from ember.capture.native.values.costs import TORCH_CALL, cost

_FASTER = {torch.float32: 8.0, torch.float64: 4.0}
"""Than a number at a time is a loop of vector code."""
_BEGUN = 10.0
"""What a loop takes before its first element."""
_PIECE = 1.0
"""Of a place that an index leads to, or a copied element."""
_PRODUCT = 0.02
"""Of two numbers in a product of large matrices, and adding it up; float64 twice that."""
_DRAW = {torch.float32: 2.0, torch.float64: 16.0}
_MATRICES = (
    "mm",
    "bmm",
    "addmm",
    "baddbmm",
    "mv",
    "dot",
    "linalg_",
    "cholesky",
    "triangular_solve",
    "convolution",
)


def nanoseconds(step: Step) -> float:
    """Of one step of a program."""
    if isinstance(step, TorchCall):
        return TORCH_CALL + _products(step) + _elements(step)
    if isinstance(step, SamplerCall):
        return _BEGUN + sum(out.numel * _DRAW.get(out.dtype, 3.0) for out in step.outputs)
    if isinstance(step, HeaderCall):
        # A small matrix: its columns are too short for whole vectors.
        return _BEGUN + 5 * _products(step) + _elements(step)
    if isinstance(step, Call):
        return _BEGUN + _PIECE * sum(math.prod(dims) for dims in step.input_dims)
    nests = [step] if isinstance(step, Nest) else step.nests
    return sum(map(_of_nest, nests))


def _of_nest(nest: Nest) -> float:
    values = [item for item in items_of(nest) if isinstance(item, Value)]
    computed = sum(map(cost, values))
    walks = sum(isinstance(item, Take) for item in values)
    scattered = [item for item in nest.items if isinstance(item, Store) and item.part.walks]
    if not nest.dims or scattered:
        return _BEGUN + computed + _PIECE * len(scattered) * math.prod(nest.dims)
    widest = max(
        (item.dtype for item in values if item.dtype in _FASTER),
        key=lambda d: d.itemsize,
        default=torch.float32,
    )
    added = sum(isinstance(item, Reduce) for item in values)
    return _BEGUN * (1 + added) + computed / _FASTER[widest] + 0.5 * walks * math.prod(nest.dims)


def _products(call: Call) -> float:
    """How long the products of matrices in a call take: a product of n x k and k x m adds up n k m numbers."""
    if isinstance(call, TorchCall) and not call.operator.op._schema.name.partition("::")[2].startswith(
        _MATRICES
    ):
        return 0.0
    sizes = [math.prod(dims) for dims in call.input_dims if len(dims) > 1][:2]
    sizes += [call.outputs[0].numel]
    single = call.outputs[0].dtype is torch.float32
    return math.pow(math.prod(sizes), 1.5 / len(sizes)) * _PRODUCT * (1 if single else 2)


def _elements(call: Call) -> float:
    return _PIECE * sum(out.numel for out in call.outputs)
