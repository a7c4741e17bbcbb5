"""Constraints, and the maps onto them from unconstrained space."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, tensor
from torch.testing import assert_close

from ember.distributions import biject_to, constraints, transform_to

OURS = {
    "corr_matrix": "CorrMatrix()",
    "integer": "Integer",
    "ordered_vector": "OrderedVector()",
    "positive_ordered_vector": "PositiveOrderedVector()",
    "softplus_lower_cholesky": "SoftplusLowerCholesky()",
    "softplus_positive": "SoftplusPositive(lower_bound=0.0)",
    "sphere": "Sphere",
    "unit_lower_cholesky": "UnitLowerCholesky()",
}

# A constraint with the shape of an unconstrained value that maps to it.
TARGETS: list[tuple[Any, tuple[int, ...]]] = [
    (constraints.real, ()),
    (constraints.real_vector, (3,)),
    (constraints.positive, ()),
    (constraints.nonnegative, ()),
    (constraints.greater_than(2.0), ()),
    (constraints.greater_than_eq(-2.0), ()),
    (constraints.less_than(-1.0), ()),
    (constraints.unit_interval, ()),
    (constraints.interval(-1.0, 3.0), ()),
    (constraints.half_open_interval(-1.0, 3.0), ()),
    (constraints.simplex, (3,)),
    (constraints.lower_cholesky, (3, 3)),
    (constraints.positive_definite, (3, 3)),
    (constraints.corr_cholesky, (3,)),
    (constraints.corr_matrix, (3,)),
    (constraints.ordered_vector, (4,)),
    (constraints.positive_ordered_vector, (4,)),
    (constraints.softplus_positive, ()),
    (constraints.softplus_lower_cholesky, (3, 3)),
    (constraints.sphere, (3,)),
    (constraints.unit_lower_cholesky, (3, 3)),
    (constraints.independent(constraints.positive, 1), (3,)),
    (constraints.independent(constraints.ordered_vector, 1), (2, 3)),
]
IDS = [repr(c) for c, _ in TARGETS]


def unconstrained(shape: tuple[int, ...], seed: int, scale: float) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn((2, *shape), generator=generator, dtype=torch.double)


def test_all_of_torchs_constraints_are_here() -> None:
    for name in torch.distributions.constraints.__all__:
        assert name in constraints.__all__
        assert getattr(constraints, name) is getattr(torch.distributions.constraints, name)
    assert set(constraints.__all__) - set(torch.distributions.constraints.__all__) == {
        *OURS,
        "corr_cholesky_constraint",
        "zero_sum",
    }
    assert biject_to is torch.distributions.biject_to and transform_to is torch.distributions.transform_to


@pytest.mark.parametrize("name", sorted(OURS))
def test_ours_are_singletons(name: str) -> None:
    constraint = getattr(constraints, name)
    assert repr(constraint) == OURS[name]
    assert pickle.loads(pickle.dumps(constraint)) is constraint
    assert copy.deepcopy(constraint) is constraint
    assert constraint.is_discrete is (name == "integer")


@pytest.mark.parametrize(("constraint", "shape"), TARGETS, ids=IDS)
@pytest.mark.parametrize("registry", [transform_to, biject_to], ids=["transform_to", "biject_to"])
@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 1.2))
@settings(max_examples=10, deadline=None)
def test_round_trip(registry: Any, constraint: Any, shape: tuple[int, ...], seed: int, scale: float) -> None:
    try:
        transform = registry(constraint)
    except NotImplementedError:
        assert registry is biject_to
        assert type(constraint).__name__ in {
            "_LowerCholesky",
            "_PositiveDefinite",
            "_SoftplusLowerCholesky",
            "_Sphere",
            "_UnitLowerCholesky",
        }
        return
    x = unconstrained(shape, seed, scale)
    y = transform(x)
    assert constraint.check(y).shape == (2,)
    assert constraint.check(y).all()
    assert transform.forward_shape(x.shape) == y.shape
    assert transform.inverse_shape(y.shape) == x.shape
    again = transform(transform.inv(y))
    assert_close(again, y, rtol=1e-5, atol=1e-6)
    if registry is biject_to:
        assert transform.bijective
        assert_close(transform.inv(y), x, rtol=1e-4, atol=1e-5)


FREE: dict[str, Any] = {
    # Coordinates that are free within the constrained set, to take Jacobian determinants in.
    "_CorrMatrix": lambda y: y[..., [1, 2, 2], [0, 0, 1]],
    "_CorrCholesky": lambda y: y[..., [1, 2, 2], [0, 0, 1]],
    "_Simplex": lambda y: y[..., :-1],
}


@pytest.mark.parametrize(("constraint", "shape"), TARGETS, ids=IDS)
def test_jacobians(constraint: Any, shape: tuple[int, ...]) -> None:
    try:
        transform = biject_to(constraint)
    except NotImplementedError:
        return
    x = unconstrained(shape, 0, 0.7)[0]
    free = FREE.get(type(constraint).__name__, lambda y: y)
    jacobian = torch.autograd.functional.jacobian(lambda x: free(transform(x)).reshape(-1), x)
    expected = jacobian.reshape(x.numel(), x.numel()).slogdet().logabsdet
    assert_close(transform.log_abs_det_jacobian(x, transform(x)).sum(), expected)


@pytest.mark.parametrize(("constraint", "shape"), TARGETS, ids=IDS)
def test_transforms_of_constraints_pickle(constraint: Any, shape: tuple[int, ...]) -> None:
    transform = transform_to(constraint)
    x = unconstrained(shape, 0, 1.0)
    for twin in (pickle.loads(pickle.dumps(transform)), copy.deepcopy(transform)):
        assert_close(twin(x), transform(x))
        assert_close(twin.inv(transform(x)), transform.inv(transform(x)))


@pytest.mark.parametrize(
    ("constraint", "value", "valid"),
    [
        (constraints.integer, [-2.0, 0.0, 0.5], [True, True, False]),
        (constraints.sphere, [[0.6, 0.8], [0.6, 0.81], [0.0, 0.0]], [True, False, False]),
        (constraints.ordered_vector, [[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]], [True, False, False]),
        (constraints.ordered_vector, [[3.0]], [True]),
        (constraints.positive_ordered_vector, [[0.5, 1.0], [0.0, 1.0], [2.0, 1.0]], [True, False, False]),
        (constraints.softplus_positive, [0.0, 1.0], [False, True]),
        (constraints.corr_matrix, [[[1.0, 0.5], [0.5, 1.0]]], [True]),
        (constraints.corr_matrix, [[[1.0, 0.5], [0.5, 2.0]], [[1.0, 1.5], [1.5, 1.0]]], [False, False]),
        (
            constraints.unit_lower_cholesky,
            [[[1.0, 0.0], [3.0, 1.0]], [[1.0, 1.0], [3.0, 1.0]]],
            [True, False],
        ),
        (constraints.unit_lower_cholesky, [[[2.0, 0.0], [3.0, 1.0]]], [False]),
        (
            constraints.softplus_lower_cholesky,
            [[[2.0, 0.0], [3.0, 1.0]], [[-1.0, 0.0], [3.0, 1.0]]],
            [True, False],
        ),
    ],
)
def test_check(constraint: Any, value: Any, valid: list[bool]) -> None:
    assert constraint.check(tensor(value)).tolist() == valid


def test_a_scalar_is_no_ordered_vector() -> None:
    assert not constraints.ordered_vector.check(tensor(1.0))


def test_zero_normalizes_to_the_first_unit_vector() -> None:
    x = torch.zeros(2, 3, requires_grad=True)
    y = transform_to(constraints.sphere)(x)
    assert_close(y, tensor([[1.0, 0.0, 0.0]] * 2))
    y.sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [2, 10, 50])
def test_cholesky_factors_of_correlations_pass_their_own_check(n: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    for scale in (0.1, 1.0, 3.0):
        x = scale * torch.randn(20, n * (n - 1) // 2, dtype=dtype)
        y = transform_to(constraints.corr_cholesky)(x)
        norms = y.norm(dim=-1)
        assert_close(norms, torch.ones_like(norms), atol=1e-4, rtol=0)
