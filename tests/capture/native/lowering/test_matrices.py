"""Linear algebra of small matrices: torch's numbers and errors, at all sizes, on views of all kinds; and which calls are C."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from ember.capture.native.torch_side import externs
from ember.capture.native.torch_side.torch_interface import function_address
from tests.capture.native.lowering.compared import compare
from tests.capture.native.lowering.row_examples import Example, example, random
from tests.capture.native.programs import QUICK, Compiled, assert_same, check, flags

f32, f64 = torch.float32, torch.float64


def triangular() -> Iterator[Example]:
    """Systems with triangular matrices, of sizes around those that C solves."""
    for n, m in (
        (1, 1),
        (1, 4),
        (2, 7),
        (6, 40),
        (10, 1),
        (16, 16),
        (32, 33),
        (33, 2),
        (40, 1),
        (40, 35),
        (70, 3),
        (600, 1),
        (0, 2),
        (2, 0),
    ):
        views_of_a = (_well_posed(n), _well_posed(n).t(), _well_posed(2 * n)[::2, ::2])
        views_of_b = (random(n, m), random(m, n).t(), random(n, 2 * m)[:, ::2], random(n, 1).expand(n, m))
        for a, b in zip(itertools.cycle(views_of_a), views_of_b):
            for upper, unit in itertools.product((False, True), (False, True)):
                name, kwargs = "linalg_solve_triangular.default", {"upper": upper, "unitriangular": unit}
                yield example(name, a, b, **kwargs)
                yield example(name, a, b.t(), **kwargs, left=False)
    a, b = torch.stack([_well_posed(5) for _ in range(6)]).reshape(2, 3, 5, 5), random(2, 3, 5, 4)
    for left, right in ((a, b), (a, b[0]), (a[0, 0], b), (a[:, :1], b[0]), (a.mT, b[..., ::2])):
        yield example("linalg_solve_triangular.default", left, right, upper=False)
        yield example("linalg_solve_triangular.default", left, right.mT, upper=True, left=False)
    for zero in (torch.zeros(3, 3, dtype=torch.float64), torch.full((3, 3), math.nan, dtype=torch.float64)):
        yield example("linalg_solve_triangular.default", zero, random(3, 2), upper=False)


def cholesky() -> Iterator[Example]:
    """Factors of matrices, of sizes around those that C factors; the other half of a matrix is not read."""
    for n in (0, 1, 2, 7, 8, 9, 31, 32, 33, 70):
        root = _well_posed(n)
        whole = root @ root.t()
        stack = torch.stack([whole, 2 * whole, whole.flip(0, 1)])
        views = (
            whole,
            whole.t(),
            whole.tril(),
            whole.triu(),
            stack,
            stack.transpose(0, 1).contiguous().transpose(0, 1),
        )
        for a, upper in itertools.product((*views, whole.expand(2, 3, n, n)), (False, True)):
            if not (a is views[2] and upper) and not (a is views[3] and not upper):
                yield example("linalg_cholesky_ex.default", a, upper=upper)


def _well_posed(n: int) -> Tensor:
    """A matrix whose triangles have inverses that are not large."""
    return random(n, n) / max(n, 1) ** 0.5 + 2 * torch.eye(n, dtype=torch.float64)


@pytest.fixture
def quick() -> Iterator[None]:
    with flags(*QUICK):
        yield


@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
@pytest.mark.parametrize("examples", [triangular, cholesky])
@pytest.mark.usefixtures("quick")
def test_same_numbers(examples, dtype):
    close = (1e-11, 1e-12) if dtype is f64 else (2e-4, 2e-5)
    compare((example.of(dtype) for example in examples()), close)


def gradients(function, *tensors: Tensor) -> list[Tensor]:
    """What a function of tensors gives, and the gradients of its sum."""
    with torch.enable_grad():
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        out = function(*leaves)
        return [out.detach(), *torch.autograd.grad(out.sum(), leaves)]


def log_density(loc: Tensor, root: Tensor, x: Tensor) -> Tensor:
    normal = torch.distributions.MultivariateNormal(loc, scale_tril=root.tril(), validate_args=False)
    return normal.log_prob(x)


def of_covariance(root: Tensor, x: Tensor) -> Tensor:
    eye = torch.eye(root.shape[-1], dtype=root.dtype)
    factor = torch.linalg.cholesky(root @ root.mT + eye)
    solved = torch.linalg.solve_triangular(factor, x.unsqueeze(-1), upper=False)
    return solved.square().sum() + factor.diagonal(dim1=-2, dim2=-1).log().sum() * 2


@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
@pytest.mark.parametrize("n", [1, 3, 17, 32, 33])
def test_gradients(n, dtype):
    root = (random(n, n) / max(n, 1) ** 0.5 + 2 * torch.eye(n, dtype=f64)).to(dtype)
    inputs = [random(n).to(dtype), root, random(9, n).to(dtype)]

    def both(flat: list[Tensor]) -> list[Tensor]:
        loc, root, x = flat
        many = torch.stack([root, root + 1])
        return [
            *gradients(log_density, loc, root, x),
            *gradients(log_density, loc, root, x[0]),
            *gradients(of_covariance, root, x[0]),
            *gradients(of_covariance, many, x[:2]),
        ]

    compiled = Compiled(both, inputs)
    close = (1e-10, 1e-11) if dtype is f64 else (1e-3, 1e-4)
    assert_same(compiled.outcome(inputs), compiled.expected(inputs), [], close)
    assert ("if (extern_" in compiled.program.source) == (n > 32)


def test_flags_of_vector_code_and_many_columns():
    """The shapes of 500 rows with a covariance of 6: columns in blocks of lanes, the last one not full."""
    inputs = [random(6), _well_posed(6), random(500, 6)]
    compiled = Compiled(lambda flat: gradients(log_density, *flat), inputs)
    assert_same(compiled.outcome(inputs), compiled.expected(inputs), [], (1e-11, 1e-11))
    assert "if (extern_" not in compiled.program.source


BAD = {
    "negative": -torch.eye(4, dtype=f64),
    "indefinite": torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=f64),
    "nan": torch.full((3, 3), math.nan, dtype=f64),
    "of many rows": torch.diag(torch.ones(40, dtype=f64).index_fill(0, torch.tensor(37), -1.0)),
    "one of a batch": torch.stack(
        [torch.eye(3, dtype=f64), -torch.eye(3, dtype=f64), torch.eye(3, dtype=f64)]
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_without_a_factor_torch_raises_its_error(kind):
    bad = BAD[kind]
    good = torch.eye(bad.shape[-1], dtype=f64).expand(bad.shape).clone()

    def factor(flat: list[Tensor]) -> list[Tensor]:
        drawn = torch.rand(2)
        flat[1].add_(1)
        return [torch.linalg.cholesky(flat[0] + 0.0), drawn]

    count = torch.zeros(2)
    compiled = check(factor, good, count)
    with pytest.raises(torch.linalg.LinAlgError) as expected:
        torch.linalg.cholesky(bad)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with pytest.raises(torch.linalg.LinAlgError) as error:
        compiled.program([bad, count, *compiled.graph.lifted])
    assert str(error.value) == str(expected.value)
    assert torch.equal(count, torch.zeros(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert_same(compiled.outcome([good, count]), compiled.expected([good, count]))


@pytest.mark.parametrize("kind", BAD)
def test_info_of_a_factor_that_nobody_checks(kind):
    bad = BAD[kind]

    def factor(flat: list[Tensor]) -> list[Tensor]:
        return [torch.linalg.cholesky_ex(flat[0] + 0.0).info]

    good = torch.eye(bad.shape[-1], dtype=f64).expand(bad.shape).clone()
    compiled = check(factor, good)
    assert_same(compiled.outcome([bad]), compiled.expected([bad]))


@pytest.mark.parametrize("there", [True, False], ids=["by LAPACK", "by the operator"])
def test_functions_of_lapack_and_torch_without_them(there, monkeypatch):
    asked: list[str] = []

    def address(name: str) -> int:
        asked.append(name)
        return function_address(name) if there else 0

    monkeypatch.setattr(externs, "function_address", address)
    root, b = _well_posed(40), random(40, 35)

    def solved(flat: list[Tensor]) -> list[Tensor]:
        factor = torch.linalg.cholesky(flat[0] @ flat[0].mT)
        return [factor, torch.linalg.solve_triangular(factor, flat[1], upper=False)]

    check(solved, root, b)
    assert {"dpotrf_", "dtrsm_"} <= set(asked)


def test_large_systems_lie_by_rows_and_by_columns():
    """As torch solves them: on the left, on the right, and as their transposed."""
    a, b = _well_posed(70), random(70, 50)
    batch = torch.stack([a, a.t()])
    examples = []
    for right in (b, b.t().contiguous().t(), b[:, ::2], b.expand(2, 70, 50)):
        for upper, unit in itertools.product((False, True), (False, True)):
            kwargs = {"upper": upper, "unitriangular": unit}
            for left in (a, a.t(), batch):
                examples.append(example("linalg_solve_triangular.default", left, right, **kwargs))
                turned = example("linalg_solve_triangular.default", left, right.mT, **kwargs, left=False)
                examples.append(turned)
    compare(examples, (1e-10, 1e-11))


@pytest.mark.parametrize("n", [5, 40])
def test_equal_calls_are_made_once(n):
    a = _well_posed(n) @ _well_posed(n).t()

    def twice(flat: list[Tensor]) -> list[Tensor]:
        (a,) = flat
        first = torch.linalg.cholesky(a)
        again = torch.linalg.cholesky_ex(a).L
        again.mul_(2)  # what is made once is not shared by those who write to it
        a.add_(1)
        return [first, again, torch.linalg.cholesky(a)]

    compiled = check(twice, a)
    made = "ember_cholesky_f64(" if n < 33 else "if (extern_"
    assert compiled.program.source.count(made) == 2


def test_extrema_along_a_dim_are_loops_where_nobody_reads_their_indices():
    x = random(4, 6)
    x[2, 3] = math.nan

    def values(flat: list[Tensor]) -> list[Tensor]:
        (x,) = flat
        return [x.min(1)[0], x.max(0)[0], (x == x).min(-1)[0], (x > 9).max(-1, keepdim=True)[0]]

    source = check(values, x).program.source
    assert "extern_" not in source and "place_of_" not in source
    source = check(lambda flat: [*flat[0].min(1), *(flat[0] > 0).max(0)], x).program.source
    assert (
        "extern_" not in source and "ember_place_of_min_f64(" in source and "ember_place_of_max_b8(" in source
    )


@pytest.mark.parametrize("dtype", [f32, f64, torch.int64], ids=str)
def test_running_sums_round_as_in_torch(dtype):
    x = (random(3, 40) * 100).to(dtype)
    compiled = Compiled(lambda flat: [flat[0].cumsum(d) for d in (0, 1)], [x])
    assert_same(compiled.outcome([x]), compiled.expected([x]), [], (0.0, 0.0))
    assert "extern_" not in compiled.program.source
