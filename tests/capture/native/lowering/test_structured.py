"""Products with triangles of Cholesky factors that need no product: torch's numbers, and which programs have none."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from tests.capture.native.programs import QUICK, Compiled, assert_same, flags

TOLERANCE = (1e-9, 1e-10)
N = 40


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with flags(*QUICK):
        yield


def inputs(n: int = N, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """A matrix that has a factor, three columns, a few of them at once, and any matrix."""
    generator = torch.Generator().manual_seed(n)
    root, other = torch.randn(2, n, n, dtype=dtype, generator=generator)
    y, g, d = torch.randn(3, n, 1, dtype=dtype, generator=generator)
    return [root @ root.t() / n + torch.eye(n, dtype=dtype), y, g, d, torch.randn(n, 4, dtype=dtype), other]


Parts = tuple[Tensor, Tensor, Tensor, list[Tensor]]


def parts(flat: list[Tensor]) -> Parts:
    """The factor, ``z`` with ``L z = y``, ``u`` with ``L' u = g``, and the inputs."""
    a, y, g, *_ = flat
    factor = torch.linalg.cholesky(a)
    z = torch.linalg.solve_triangular(factor, y, upper=False)
    return factor, z, torch.linalg.solve_triangular(factor.mT, g, upper=True), flat


def on_diagonal(numbers: Tensor) -> Tensor:
    return torch.ops.aten.diagonal_backward.default(numbers[:, 0], [len(numbers)] * 2, 0, 0, 1)


def many(p: Parts) -> Tensor:
    """``u z'`` for several columns."""
    factor, _, _, flat = p
    z = torch.linalg.solve_triangular(factor, flat[4], upper=False)
    return torch.linalg.solve_triangular(factor.mT, z * 2, upper=True) @ z.mT


SHORT: dict[str, Callable[[Parts], Tensor]] = {
    "density": lambda p: p[0].mT @ (on_diagonal(1 / p[0].diagonal()[:, None]) + (-(p[2] @ p[1].mT)).tril()),
    "an outer product": lambda p: p[0].mT @ (p[2] @ p[1].mT),
    "of a column that solves nothing": lambda p: p[0].mT @ (p[3][3] @ p[1].mT),
    "scaled": lambda p: p[0].mT @ (0.5 * (p[2] @ p[1].mT).tril() * 3 + -(p[1] @ p[2].mT)),
    "several columns": lambda p: p[0].mT @ many(p).tril(),
    "a diagonal": lambda p: p[0].mT @ on_diagonal(p[3][3]),
}
"""What is left of these, below the diagonal, is no product of two large matrices."""
LONG: dict[str, Callable[[Parts], Tensor]] = {
    "any matrix": lambda p: p[0].mT @ p[3][5],
    "with any matrix": lambda p: p[0].mT @ (p[3][5] + p[2] @ p[1].mT),
    "the lower triangle": lambda p: p[0] @ (p[2] @ p[1].mT),
    "without its diagonal": lambda p: p[0].mT @ (p[2] @ p[1].mT).tril(-1),
    "another diagonal": lambda p: (
        p[0].mT @ torch.ops.aten.diagonal_backward.default(p[3][3][1:, 0], [N, N], -1, 0, 1)
    ),
    "an upper triangle": lambda p: p[0].mT @ (p[2] @ p[1].mT).triu(),
}


def products(compiled: Compiled) -> int:
    return compiled.program.source.count("ember_call_product(E")


@pytest.mark.parametrize("diagonal", [0, -1, 1])
@pytest.mark.parametrize("name", [*SHORT, *LONG])
def test_lower_triangle_of_a_product(name, diagonal):
    product = {**SHORT, **LONG}[name]

    def program(flat: list[Tensor]) -> list[Tensor]:
        return [product(parts(flat)).tril(diagonal)]

    given = inputs()
    compiled = Compiled(program, given)
    assert_same(compiled.outcome(given, 2), compiled.expected(given, 2), tolerance=TOLERANCE)
    assert (products(compiled) == 0) is (name in SHORT and diagonal <= 0)


@pytest.mark.parametrize("n", [2, 3, 31, 33])
@pytest.mark.parametrize("name", SHORT)
def test_all_sizes(name, n):
    given = inputs(n)
    compiled = Compiled(lambda flat: [SHORT[name](parts(flat)).tril()], given)
    assert_same(compiled.outcome(given), compiled.expected(given), tolerance=TOLERANCE)


def test_a_matrix_that_was_written_to_is_another():
    def program(flat: list[Tensor]) -> list[Tensor]:
        factor, z, u, _ = parts(flat)
        outer = (u @ z.mT).tril()
        outer[3, 1] = 5.0
        changed = (factor.mT @ outer).tril()
        factor[0, 5] = 2.0
        return [changed, (factor.mT @ (u @ z.mT)).tril(), factor.tril()]

    given = inputs()
    compiled = Compiled(program, given)
    assert_same(compiled.outcome(given), compiled.expected(given), tolerance=TOLERANCE)
    assert products(compiled) == 2


def test_gradient_of_a_gaussian_density():
    """By torch's own backward pass, as a captured step has it."""

    def program(flat: list[Tensor]) -> list[Tensor]:
        a, y = (one.detach().requires_grad_() for one in flat[:2])
        with torch.enable_grad():
            factor = torch.linalg.cholesky(a)
            normal = torch.distributions.MultivariateNormal(
                torch.zeros_like(y[:, 0]), scale_tril=factor, validate_args=False
            )
            return list(torch.autograd.grad(normal.log_prob(y[:, 0]), [a, y]))

    given = inputs()
    compiled = Compiled(program, given)
    assert_same(compiled.outcome(given), compiled.expected(given), tolerance=TOLERANCE)
    assert products(compiled) == 0
    inverse = torch.linalg.inv(given[0])
    alpha = inverse @ given[1]
    torch.testing.assert_close(
        compiled.outcome(given)[0], (alpha @ alpha.mT - inverse) / 2, rtol=1e-9, atol=1e-9
    )
