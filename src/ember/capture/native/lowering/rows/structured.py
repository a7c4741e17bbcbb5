"""Linear algebra that what is known of matrices makes shorter; rows of other files, which note what they make.

The gradient of a Cholesky factor ``L`` by its matrix begins with the lower triangle of ``L' G``, ``G`` being the gradient by
``L`` (Murray 2016, "Differentiation of the Cholesky decomposition"): of order n^3. For a Gaussian density, ``G`` is ``-u z'``
below and on the diagonal, where ``z`` solves ``L z = y`` and ``u`` solves ``L' u = g``, and the diagonal that comes of the
determinant. ``L'`` is zero below its diagonal, so that the lower triangle of ``L' tril(u z')`` is that of ``(L' u) z'``; and
``L' u`` is ``g``. No product of matrices is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ember.capture.native.lowering.elementwise import chosen, copy, index_value, pointwise
from ember.capture.native.lowering.facts import (
    Diagonal,
    Fact,
    Product,
    Solution,
    Sum,
    Triangle,
    matrix,
    scaled,
)
from ember.capture.native.lowering.refs import Memory, Ref
from ember.capture.native.lowering.rows import linear, matrices, shapes
from ember.capture.native.lowering.rows import pointwise as elements
from ember.capture.native.lowering.workspace import Lower, OpCall, Outcome, Workspace
from ember.capture.native.values.arrays import Value
from ember.capture.native.values.dtypes import Number
from ember.capture.native.values.expressions import Expression, Index, Operand, op
from ember.capture.native.values.layout import contiguous
from ember.capture.recording.meta import Meta

FEW = 8
"""A product with so many times fewer columns than rows costs little beside one of two whole matrices."""
MANY = 2
"""With more columns than so many times the rows, the product that is left costs more than the one that is saved."""

Note = Callable[[Workspace, OpCall], Fact | None]


def _noting(row: Lower, note: Note) -> Lower:
    """A row that notes what is known of its first result."""

    def lower(low: Workspace, call: OpCall) -> Outcome:
        made = row(low, call)
        value = made[0] if isinstance(made, list | tuple) else made
        fact = note(low, call) if isinstance(value, Value) else None
        if fact is not None:
            assert isinstance(value, Value)
            low.facts.note(value, call.meta.shape, call.meta.stride, fact)
        return made

    return lower


def _factor(low: Workspace, call: OpCall) -> Fact:
    return Triangle(lower=not call.flag("upper"))


def _solved(low: Workspace, call: OpCall) -> Fact | None:
    plain = call.flag("left") and not call.flag("unitriangular")
    return Solution(call.ref("self"), call.ref("B"), call.flag("upper")) if plain else None


def _product(second: str) -> Note:
    def note(low: Workspace, call: OpCall) -> Fact | None:
        left, right = matrix(call.ref("self")), matrix(call.ref(second))
        return None if left is None or right is None else Product(left, right)

    return note


def _times(factor: Callable[[OpCall], Number | Ref]) -> Note:
    def note(low: Workspace, call: OpCall) -> Fact | None:
        number, terms = factor(call), low.facts.terms(call.ref("self"))
        return None if isinstance(number, Ref) or not terms else Sum(scaled(terms, number))

    return note


def _lower_triangle(low: Workspace, call: OpCall) -> Fact | None:
    terms = () if call.integer("diagonal") else low.facts.terms(call.ref("self"))
    return Sum(terms) if terms else None


def _added(low: Workspace, call: OpCall) -> Fact | None:
    other, factor = call.operand("other"), call.operand("alpha")
    if isinstance(other, Ref) and not isinstance(factor, Ref) and other.numel == call.ref("self").numel:
        one, two = low.facts.terms(call.ref("self")), low.facts.terms(other)
        return Sum((*one, *scaled(two, factor))) if one and two else None
    return None


def _on_diagonal(low: Workspace, call: OpCall) -> Fact | None:
    rank = len(call.meta.shape)
    dims = {call.dim("dim1", rank), call.dim("dim2", rank)}
    grad = call.ref("grad_output")
    main = rank == 2 and dims == {0, 1} and call.integer("offset") == 0
    return Sum((Diagonal(grad),)) if main else None


def _triangle(low: Workspace, call: OpCall) -> Outcome:
    """The lower triangle; that of a product with an upper triangle by the terms of the other matrix, where these are known."""
    if call.integer("diagonal") >= 0 and low.facts.is_triangle(call.ref("self"), lower=True):
        return copy(low, call, call.ref("self"))
    product = low.facts.of(call.ref("self"))
    if (
        isinstance(product, Product)
        and product.factor == 1
        and len(call.meta.shape) == 2
        and call.integer("diagonal") <= 0
    ):
        made = _of_terms(low, call, product.left, low.facts.terms(product.right))
        if made is not None:
            return made
    return shapes.ROWS["tril.default"](low, call)


def _of_terms(low: Workspace, call: OpCall, left: Ref, terms: tuple[Product | Diagonal, ...]) -> Value | None:
    """The lower triangle of ``left`` times the sum of some terms, if ``left`` is zero below its diagonal."""
    n, dtype = call.meta.shape[-1], call.meta.dtype
    if left.shape != (n, n) or not terms or not low.facts.is_triangle(left, lower=False):
        return None
    whole: Expression | None = None
    operands: list[Ref | Number] = []

    def operand(one: Ref | Number) -> Expression:
        operands.append(one)
        return Operand(len(operands) - 1)

    for term in terms:
        if isinstance(term, Diagonal):
            on_diagonal = replace(left, shape=(n, 1), strides=(sum(left.strides), 0))
            numbers = replace(term.numbers, shape=(n, 1), strides=(term.numbers.strides[-1], 0))
            both = _column(low, call, on_diagonal, numbers, term.factor)
            one = chosen(dtype, op("eq", Index(0), Index(1)), operand(both), 0)
        else:
            first = _times_left(low, call, left, term)
            if first is None:
                return None
            one = _product_of(low, call, first, term, operand)
        whole = one if whole is None else whole + one
    assert whole is not None
    kept = Index(1) - Index(0) <= call.integer("diagonal")
    return index_value(low, call, chosen(dtype, kept, whole, 0), [(one, dtype) for one in operands])


def _times_left(low: Workspace, call: OpCall, left: Ref, term: Product) -> Ref | None:
    """``left`` times the first matrix of a product: what that solves for, or a product with a few columns."""
    rows, columns = term.left.shape
    solved = low.facts.of(term.left)
    if isinstance(solved, Solution) and solved.upper and columns <= MANY * rows:
        over, right = matrix(solved.matrix), matrix(solved.right)
        if over is not None and right is not None and _same(over, left):
            return right
    if columns * FEW > rows:
        return None
    made = linear.ROWS["mm.default"](low, _mm(call, left, term.left))
    assert isinstance(made, Value)
    return Ref(Memory(made), 0, (rows, columns), contiguous((rows, columns)), call.meta.dtype)


def _product_of(
    low: Workspace, call: OpCall, left: Ref, term: Product, operand: Callable[[Ref | Number], Expression]
) -> Expression:
    """An element of a product, which is made first if it is more than one of a column and a row."""
    if left.shape[1] == 1:
        column = left if term.factor == 1 else _column(low, call, left, term.factor)
        return operand(column) * operand(term.right)
    made = linear.ROWS["mm.default"](low, _mm(call, left, term.right))
    assert isinstance(made, Value)
    shape = (left.shape[0], term.right.shape[1])
    element = operand(Ref(Memory(made), 0, shape, contiguous(shape), call.meta.dtype))
    return element if term.factor == 1 else operand(term.factor) * element


def _column(low: Workspace, call: OpCall, *factors: Ref | Number) -> Ref:
    """A column of numbers, the product of some: made once, not at each element of a matrix."""
    shape, dtype = (call.meta.shape[-1], 1), call.meta.dtype
    meta = Meta(dtype, shape, contiguous(shape), 0, -1, "cpu")
    whole: Expression = Operand(0)
    for k in range(1, len(factors)):
        whole = whole * Operand(k)
    made = pointwise(low, call, whole, [(factor, dtype) for factor in factors], meta)
    return Ref(Memory(made), 0, shape, contiguous(shape), dtype)


def _mm(call: OpCall, left: Ref, right: Ref) -> OpCall:
    shape = (left.shape[0], right.shape[1])
    meta = Meta(call.meta.dtype, shape, contiguous(shape), 0, -1, "cpu")
    return OpCall("mm.default", {"self": left, "mat2": right}, meta, call.origin)


def _same(one: Ref, other: Ref) -> bool:
    """Whether two tensors are one."""
    return one.memory.value is other.memory.value and (one.offset, one.shape, one.strides) == (
        other.offset,
        other.shape,
        other.strides,
    )


_NOTED: Mapping[str, tuple[Mapping[str, Lower], Note]] = {
    "add.Tensor": (elements.ROWS, _added),
    "bmm.default": (linear.ROWS, _product("mat2")),
    "diagonal_backward.default": (shapes.ROWS, _on_diagonal),
    "linalg_cholesky_ex.default": (matrices.ROWS, _factor),
    "linalg_solve_triangular.default": (matrices.ROWS, _solved),
    "mm.default": (linear.ROWS, _product("mat2")),
    "mul.Scalar": (elements.ROWS, _times(lambda call: call.operand("other"))),
    "mul.Tensor": (elements.ROWS, _times(lambda call: call.operand("other"))),
    "neg.default": (elements.ROWS, _times(lambda call: -1)),
}
ROWS: dict[str, Lower] = {
    **{name: _noting(rows[name], note) for name, (rows, note) in _NOTED.items()},
    "tril.default": _noting(_triangle, _lower_triangle),
}
