"""Contraction: the right numbers in log space, the order of the pairs, and sharing."""

from __future__ import annotations

import itertools
import math
import random

import opt_einsum
import pytest
import torch
from opt_einsum import shared_intermediates

from ember.ops.einsum import contract, contract_expression, torch_log
from ember.ops.einsum.elimination_order import elimination_steps
from ember.ops.einsum.tensordot import Tensordot
from ember.ops.logspace import logmatmulexp, logsumexp

LOG = "ember.ops.einsum.torch_log"
INF = torch.inf

EQUATIONS = [
    "a->",
    "a->a",
    "ab->ba",
    "ab,b->",
    "ab,bc->ac",
    "ab,bc->",
    "ba,cb->ca",
    "aij,jkb->kbi",
    "a,b->ba",
    ",a->a",
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("equation", EQUATIONS)
def test_log_einsum_is_the_log_of_einsum(equation: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    sizes = dict(zip("abcijk", [2, 3, 4, 1, 5, 2], strict=True))
    operands = [
        torch.randn([sizes[d] for d in dims], dtype=dtype) for dims in equation.split("->")[0].split(",")
    ]
    expected = torch.einsum(equation, [x.exp() for x in operands]).log()
    for actual in (torch_log.einsum(equation, *operands), contract(equation, *operands, backend=LOG)):
        assert actual.dtype == dtype and all(actual is not x for x in operands)
        torch.testing.assert_close(actual, expected)


def test_repeated_letters_are_a_diagonal() -> None:
    x = torch.randn(3, 4, 3)
    torch.testing.assert_close(torch_log.einsum("aba->b", x), x.diagonal(dim1=0, dim2=2).logsumexp(1))
    torch.testing.assert_close(
        torch_log.einsum("aba,b->a", x, x[0, :, 0]), (x.diagonal(dim1=0, dim2=2).T + x[0, :, 0]).logsumexp(1)
    )


@pytest.mark.parametrize("pairs", [1, 10**9], ids=["matrices", "table"])
def test_zeros_are_zeros_with_gradient_zero(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_log, "_FEW", pairs)
    monkeypatch.setattr(torch_log, "_NOT_MANY", 0)
    x = torch.tensor([[0.0, -INF], [-INF, -INF], [-2.0, -INF]], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([[-1.0, -INF, 3.0], [5.0, 2.0, 1.0]], dtype=torch.float64, requires_grad=True)
    result = torch_log.einsum("ab,bc->ac", x, y)
    assert torch.equal(result.isfinite(), torch.tensor([[1, 0, 1], [0, 0, 0], [1, 0, 1]], dtype=torch.bool))
    torch.testing.assert_close(result[2], torch.tensor([-3.0, -INF, 1.0], dtype=torch.float64))
    finite = result.isfinite()
    first = torch.autograd.grad(result[finite].sum(), (x, y), create_graph=True)
    assert torch.equal(first[0], torch.tensor([[2.0, 0.0], [0.0, 0.0], [2.0, 0.0]], dtype=torch.float64))
    assert bool((first[1][1] == 0).all())
    second = torch.autograd.grad(sum(g.pow(2).sum() for g in first), (x, y))
    assert all(bool(g.isfinite().all()) for g in second)
    # The sum of nothing but zeros passes nothing on, not NaN.
    for g in torch.autograd.grad(torch_log.einsum("ab,bc->ac", x, y)[1].sum(), (x, y)):
        assert bool((g == 0).all())


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e30])
def test_large_numbers_do_not_overflow(scale: float) -> None:
    x, y = torch.randn(3, 4) * scale, torch.randn(4, 2) * scale
    expected = (x.double().unsqueeze(-1) + y.double()).logsumexp(1)
    torch.testing.assert_close(torch_log.einsum("ab,bc->ac", x, y).double(), expected, rtol=1e-5, atol=1e-5)


def test_maxima_that_do_not_meet_are_no_loss() -> None:
    # Each factor is near zero where the other one is large: in float32, exponentials of either would underflow.
    x, y = torch.tensor([0.0, -1000.0]), torch.tensor([-1000.0, 0.0])
    torch.testing.assert_close(torch_log.einsum("a,a->", x, y), torch.tensor(-1000.0 + math.log(2)))
    joined = logmatmulexp(x[None] / 3, y[:, None] / 3)
    torch.testing.assert_close(joined, torch.tensor([[-1000.0 / 3 + math.log(2)]]))


def test_large_products_go_through_matrices_and_agree() -> None:
    torch.manual_seed(0)
    x, y = 30 * torch.randn(3, 80, 90), 30 * torch.randn(90, 3, 100)
    actual = torch_log.einsum("iab,bic->cia", x, y)
    expected = (x.transpose(0, 1).unsqueeze(-1) + y.transpose(0, 1)).logsumexp(2).permute(2, 1, 0)
    torch.testing.assert_close(actual, expected)


def test_logsumexp_of_nothing() -> None:
    assert torch.equal(logsumexp(torch.zeros(2, 0), (1,)), torch.tensor([-INF, -INF]))
    x = torch.randn(2)
    assert logsumexp(x, ()) is x


def test_orders_of_random_contractions_give_the_sum() -> None:
    rng = random.Random(0)
    torch.manual_seed(0)
    for _ in range(300):
        inputs = ["".join(rng.sample("abcdef", rng.randint(0, 3))) for _ in range(rng.randint(1, 7))]
        letters = sorted(set("".join(inputs)))
        output = "".join(rng.sample(letters, rng.randint(0, min(3, len(letters)))))
        sizes = {d: rng.randint(1, 3) for d in letters}
        operands = [torch.rand([sizes[d] for d in dims], dtype=torch.float64) for dims in inputs]
        equation = ",".join(inputs) + "->" + output
        actual = contract(equation, *operands, backend="torch")
        torch.testing.assert_close(actual, torch.einsum(equation, *operands))
        assert max(len(step.operands) for step in elimination_steps(inputs, output, sizes)) <= 2


def test_a_chain_costs_the_square_of_its_states_and_a_star_no_more() -> None:
    def letters(k: int) -> str:
        return opt_einsum.get_symbol(k)

    size = {letters(k): 7 for k in range(300)}
    chain = [letters(k) + letters(k + 1) for k in range(200)] + [letters(k) for k in range(200)]
    star = ["a" + letters(k) for k in range(30, 200)]
    for inputs in (chain, star):
        for step in elimination_steps(inputs, "", size):
            assert len(set(step.equation) - set(",->")) <= 2


def test_steps_grow_as_the_chain_does() -> None:
    def steps(length: int) -> list[str]:
        letters = [opt_einsum.get_symbol(k) for k in range(length + 1)]
        inputs = [x + y for x, y in itertools.pairwise(letters)] + letters
        return [s.equation for s in elimination_steps(inputs, "", dict.fromkeys(letters, 3))]

    counts = [len(steps(length)) for length in (10, 20, 30, 1000)]
    assert counts[1] - counts[0] == counts[2] - counts[1]
    assert counts[3] - counts[2] == 97 * (counts[1] - counts[0])


def test_the_work_of_finding_an_order_grows_as_the_graph_does(monkeypatch: pytest.MonkeyPatch) -> None:
    import heapq

    def pushes(inputs: list[str]) -> int:
        calls = []
        with monkeypatch.context() as patch:
            push = heapq.heappush
            patch.setattr(heapq, "heappush", lambda heap, item: (calls.append(item), push(heap, item))[1])
            elimination_steps(inputs, "", dict.fromkeys("".join(inputs), 3))
        return len(calls)

    names = [opt_einsum.get_symbol(k) for k in range(2001)]
    for shape in (list(map("".join, itertools.pairwise(names))), [names[0] + other for other in names[1:]]):
        assert pushes(shape) <= 3 * (pushes(shape[:1000]) + 2)


def test_results_are_shared_between_contractions_in_any_order_of_operands() -> None:
    x, y = torch.randn(2, 3), torch.randn(3, 4)
    with shared_intermediates() as cache:
        first = contract("ab,bc->ac", x, y, backend=LOG)
        assert contract("bc,ab->ac", y, x, backend=LOG) is first
        assert contract("ab,bc->ac", x, y.clone(), backend=LOG) is not first
    assert {key[0] for key in cache} == {"einsum", "tensor"}
    assert contract("ab,bc->ac", x, y, backend=LOG) is not first


def test_opt_einsum_takes_the_modules_as_backends() -> None:
    x, y, z = torch.randn(2, 3), torch.randn(3, 4), torch.randn(4)
    for backend, expected in ((LOG, "logsumexp"), ("ember.ops.einsum.torch_marginal", "logsumexp")):
        actual = opt_einsum.contract("ab,bc,c->a", x, y, z, backend=backend)
        table = x[:, :, None] + y + z
        torch.testing.assert_close(actual, getattr(table, expected)((1, 2)))


def test_what_is_no_plain_equation_of_tensors_goes_to_opt_einsum() -> None:
    x, y = torch.randn(2, 3), torch.randn(3, 4)
    torch.testing.assert_close(contract("...b,bc->...c", x, y, backend="torch"), x @ y)
    torch.testing.assert_close(contract("ab,bc", x, y, backend="torch"), x @ y)
    numbers = contract("ab,bc->ac", x.numpy(), y.numpy())
    torch.testing.assert_close(torch.as_tensor(numbers), x @ y)


def test_orders_are_remembered_unless_told_otherwise() -> None:
    assert contract_expression("ab->a", (2, 3)) is contract_expression("ab->a", (2, 3))
    assert contract_expression("ab->a", (2, 3)) is not contract_expression("ab->a", (2, 4))
    assert contract_expression("ab->a", (2, 3), cache_path=False) is not contract_expression("ab->a", (2, 3))


def test_an_output_tensor_is_filled() -> None:
    out = torch.zeros(2)
    assert contract("ab->a", torch.ones(2, 3), backend="torch", out=out) is out
    assert out.tolist() == [3.0, 3.0]


@pytest.mark.parametrize(
    ("equation", "words"),
    [("ab,bc->", "Size of label 'b'"), ("ab->", "2 tensors"), ("abc,ab->", "letters 'abc'")],
)
def test_shapes_that_do_not_fit_the_equation_are_refused(equation: str, words: str) -> None:
    operands = [torch.ones(2, 3), torch.ones(4, 5)]
    with pytest.raises(ValueError, match=words if "2" not in words else "1 tensors, but there are 2"):
        contract(equation, *operands, backend="torch")


@pytest.mark.parametrize("axes", [0, 1, 2, ([0], [1]), ([1, 0], [0, 1]), (1, 0), ([-1], [-2])])
def test_tensordot(axes: object) -> None:
    x, y = torch.randn(3, 3), torch.randn(3, 3)
    plain = tuple([a] if isinstance(a, int) else a for a in axes) if isinstance(axes, tuple) else axes
    torch.testing.assert_close(Tensordot(torch.einsum)(x, y, axes), torch.tensordot(x, y, plain))
