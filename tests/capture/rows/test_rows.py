"""Functions of one row, run over many: against a plain loop of Python, under changes, failures, draws and threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import ember
from ember import capture, settings, tree
from ember.capture.rows import function as row_function
from tests.capture.native import random_graphs

X = torch.randn(7, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
GROUP = torch.tensor([0, 2, 1, 1, 0, 2, 2])


def by_loop(function: Callable[..., Any], *rows: Tensor) -> Any:
    results = [function(*row) for row in zip(*rows, strict=True)]
    return tree.join(torch.stack, results)


def nested(b: Tensor) -> dict[str, Any]:
    return {"sum": b.sum(), "pair": (b, b[:2] * 2), "count": (b > 0).sum(), "positive": b > 0}


def kernel(b: Tensor) -> Tensor:
    distance = (X[:, None, 0] - X[None, :, 0]) ** 2
    covariance = b[0].exp() * torch.exp(-distance * b[1].exp()) + torch.eye(7)
    factor = torch.linalg.cholesky(covariance)
    whitened = torch.linalg.solve_triangular(factor, X[:, 1:2], upper=False)
    return -0.5 * (whitened**2).sum() - factor.diagonal().log().sum()


def recursion(b: Tensor) -> Tensor:
    level, total = b[0], torch.zeros(())
    for x in X[:, 0]:
        level = torch.tanh(level + b[1] * x)
        total = total + level**2
    return total


def slope(b: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        leaf = b.detach().requires_grad_()
        value = ((X @ leaf).tanh()[GROUP] * leaf[GROUP]).sum()
        (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


FUNCTIONS: dict[str, Callable[[Tensor], Any]] = {
    "product": lambda b: X @ b,
    "gathered": lambda b: b[GROUP] - X.sum(-1),
    "first": lambda b: b[0] * X.sum(),  # these mean something else of a batch of rows
    "mean": lambda b: b - b.mean(0),
    "sorted": lambda b: b.sort().values,
    "scattered": lambda b: torch.zeros(3).index_add(0, GROUP, X @ b),
    "outer": lambda b: b[:, None] * b,
    "constant": lambda b: X.sum() + 0 * b.sum(),
    "itself": lambda b: b,
    "counted": lambda b: sum(1 for x in X[:, 0] if x > 0) * b,
    "masked": lambda b: (X[X[:, 0] > 0] @ b).sum(),
    "nested": nested,
    "kernel": kernel,
    "recursion": recursion,
    "slope": slope,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gives_what_a_loop_gives(name: str) -> None:
    function = FUNCTIONS[name]
    u = torch.randn(9, 3)
    rows = capture.rows(function, backend="native")
    found = rows(u)
    assert rows.backend == "native", rows.explain()
    torch.testing.assert_close(found, by_loop(function, u))
    with settings.context(threads=3):
        torch.testing.assert_close(rows(u), found, rtol=0, atol=0)
    one = rows(u[4:5])
    torch.testing.assert_close(one, tree.map_tensors(lambda t: t[4:5], found), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:.*non-writable.*")
@pytest.mark.parametrize("number", range(6))
def test_random_functions(number: int) -> None:
    """Some inputs have rows, others are shared; eight functions in one program."""
    graphs = [random_graphs.Graph(7000 + 100 * number + k) for k in range(8)]
    per_graph = [random_graphs.inputs(4, 7000 + 100 * number + k) for k in range(8)]
    varied = [_row_inputs(graph, 5) for graph in per_graph]

    def function(rows: Any, shared: Any) -> Any:
        outputs = []
        for graph, own, others in zip(graphs, rows, shared, strict=True):
            outputs.append(graph([*(t.clone() for t in own), *(t.clone() for t in others)]))
        return outputs

    shared = [inputs[2:] for inputs in per_graph]
    expected = []
    torch.manual_seed(0)
    for index in range(5):
        expected.append(function([[t[index] for t in own] for own in varied], shared))
    state = torch.get_rng_state()
    torch.manual_seed(0)
    rows = capture.rows(function, in_dims=(0, None))
    found = rows(varied, shared)
    assert rows.backend == "native", rows.explain()
    torch.testing.assert_close(found, tree.join(torch.stack, expected), equal_nan=True)
    assert torch.equal(state, torch.get_rng_state())


def _row_inputs(inputs: list[Tensor], count: int) -> list[Tensor]:
    """The first two, other ones for each row."""
    return [torch.stack([_varied(t.contiguous(), k) for k in range(count)]) for t in inputs[:2]]


def _varied(tensor: Tensor, k: int) -> Tensor:
    if tensor.dtype is torch.bool:
        return tensor.logical_xor(torch.tensor(bool(k % 2)))
    return tensor * (k + 1) if tensor.dtype is torch.int64 else tensor * (0.7 + 0.2 * k)


# ---- what rows share ------------------------------------------------------------------------------------------------


def test_data_changed_in_place_are_seen() -> None:
    data = torch.arange(6.0).reshape(3, 2)
    rows = capture.rows(lambda b: (torch.linalg.inv(data.T @ data + torch.eye(2)) @ b, data @ b))
    u = torch.randn(4, 2)
    rows(u)
    for change in (lambda: data.mul_(2), lambda: data.data.add_(1), lambda: data.numpy().__setitem__(0, 5.0)):
        change()
        expected = u @ torch.linalg.inv(data.T @ data + torch.eye(2)).T, u @ data.T
        torch.testing.assert_close(rows(u), expected)
        assert rows.backend == "native"


def test_what_a_function_reads_is_watched() -> None:
    options = {"power": 2}
    scale = torch.tensor(3.0)

    def function(b: Tensor) -> Tensor:
        return scale * b ** options["power"]

    rows = capture.rows(function)
    u = torch.randn(4, 2)
    torch.testing.assert_close(rows(u), 3 * u**2)
    options["power"] = 3
    torch.testing.assert_close(rows(u), 3 * u**3)
    scale = torch.tensor(5.0)
    torch.testing.assert_close(rows(u), 5 * u**3)
    assert rows.backend == "native"


def test_values_that_python_asks_of_data_are_watched() -> None:
    data = torch.tensor([1.0, -1.0, 2.0])
    rows = capture.rows(lambda b: b * int((data > 0).sum()) if data[0] > 0 else -b)
    u = torch.randn(4, 2)
    torch.testing.assert_close(rows(u), 2 * u)
    data[0] = -3.0
    torch.testing.assert_close(rows(u), -u)
    data[0] = 3.0
    torch.testing.assert_close(rows(u), 2 * u)
    assert rows.backend == "native"


def test_arguments_may_be_shared() -> None:
    rows = capture.rows(lambda b, more, power: more["x"] @ b**power, in_dims=(0, None, None))
    u = torch.randn(4, 3)
    for power in (1, 2):
        for x in (X, X[:4], X.T.contiguous().T):
            torch.testing.assert_close(rows(u, {"x": x}, power), u**power @ x.T)
            assert rows.backend == "native"


def test_other_shapes_and_dtypes_are_other_programs() -> None:
    rows = capture.rows(lambda b: b.exp().sum())
    for u in (torch.randn(3, 2), torch.randn(3, 4), torch.randn(3, 2, 2), torch.randn(3, 2).float()):
        torch.testing.assert_close(rows(u), u.exp().flatten(1).sum(-1))
        assert rows.backend == "native"
    strided = torch.randn(2, 5).T
    torch.testing.assert_close(rows(strided), strided.exp().sum(-1))


def test_numbers_that_go_on_changing_are_left_to_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_function, "_MOST_PROGRAMS", 3)
    rows = capture.rows(lambda b, k: b * k, in_dims=(0, None))
    u = torch.randn(2, 2)
    for k in range(5):
        torch.testing.assert_close(rows(u, float(k)), k * u)
    assert rows.backend == "python" and "other in call after call" in rows.explain()


# ---- what is left to Python -----------------------------------------------------------------------------------------


def test_a_branch_on_a_value_is_left_to_python() -> None:
    rows = capture.rows(lambda b: b.sum() if b[0] > 0 else -b)
    with pytest.raises(ValueError, match="all rows must have results of the same shapes"):
        rows(torch.tensor([[1.0, 2.0], [-1.0, 2.0]]))
    rows = capture.rows(lambda b: b if b[0] > 0 else -b)
    u = torch.randn(5, 2)
    torch.testing.assert_close(rows(u), torch.where(u[:, :1] > 0, u, -u))
    assert rows.backend == "python" and "asks for the value of a tensor" in rows.explain()


def test_what_changes_a_tensor_is_left_to_python() -> None:
    count = torch.zeros(())

    def function(b: Tensor) -> Tensor:
        count.add_(1)
        return b * count

    rows = capture.rows(function)
    u = torch.ones(3, 1)
    first = rows(u)
    assert rows.backend == "python" and "changes a tensor in place" in rows.explain()
    torch.testing.assert_close(first[1:] - first[:-1], torch.ones(2, 1))


def test_what_changes_itself_is_left_to_python() -> None:
    seen: list[int] = []

    def function(b: Tensor) -> Tensor:
        seen.append(1)
        return b * len(seen)

    rows = capture.rows(function)
    found = rows(torch.ones(3, 1))
    assert rows.backend == "python" and "as it runs" in rows.explain()
    torch.testing.assert_close(found[1:] - found[:-1], torch.ones(2, 1))


def test_python_alone() -> None:
    rows = capture.rows(lambda b: X @ b, compile=False)
    u = torch.randn(2, 3)
    torch.testing.assert_close(rows(u), u @ X.T)
    assert rows.explain() == "python, row by row: compile=False"


def test_the_interpreter() -> None:
    rows = capture.rows(slope, backend="interpreter")
    u = torch.randn(3, 3)
    torch.testing.assert_close(rows(u), by_loop(slope, u))
    assert rows.backend == "interpreter"


# ---- rows that fail -------------------------------------------------------------------------------------------------


def factor(rho: Tensor) -> Tensor:
    return torch.linalg.cholesky(torch.eye(2) + rho * torch.tensor([[0.0, 1.0], [1.0, 0.0]]))


def picked(index: Tensor) -> Tensor:
    return X[index, 0]


@pytest.mark.parametrize(
    ("function", "rows", "bad", "error"),
    [
        (factor, torch.tensor([0.1, 2.0, 0.3, 0.4, 3.0]), [1, 4], torch.linalg.LinAlgError),
        (picked, torch.tensor([1, 9, 0, 3, -20]), [1, 4], IndexError),
    ],
)
@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_a_row_that_fails_changes_no_other(
    function: Any, rows: Tensor, bad: Any, error: Any, backend: Any
) -> None:
    like = function(rows[0])
    captured = capture.rows(function, instead=lambda _: torch.full_like(like, torch.nan), backend=backend)
    found = captured(rows)
    assert captured.backend == backend
    good = [k for k in range(5) if k not in bad]
    torch.testing.assert_close(found[good], by_loop(function, rows[good]))
    assert bool(found[bad].isnan().all())
    strict = capture.rows(function, backend=backend)
    with pytest.raises(error) as raised:
        strict(rows)
    assert any("at row 1" in note for note in raised.value.__notes__)


def test_validation_is_looked_at_in_each_row() -> None:
    def function(scale: Tensor) -> Tensor:
        return ember.distributions.Gamma(scale, 1.0).log_prob(torch.tensor(0.5))

    rows = capture.rows(function, instead=lambda error: torch.tensor(-torch.inf))
    u = torch.tensor([1.0, -0.5, 2.0])
    found = rows(u)
    assert rows.backend == "native" and found[1] == -torch.inf
    torch.testing.assert_close(
        found[[0, 2]], torch.distributions.Gamma(u[[0, 2]], 1.0).log_prob(torch.tensor(0.5))
    )


def test_wrong_calls_are_named() -> None:
    rows = capture.rows(lambda a, b: a + b)
    with pytest.raises(ValueError, match="the same first dim"):
        rows(torch.zeros(3), torch.zeros(4))
    with pytest.raises(ValueError, match="the same first dim"):
        rows(1.0, 2.0)
    with pytest.raises(ValueError, match="in_dims must hold 0 and None only"):
        capture.rows(lambda a: a, in_dims=(1,))
    with pytest.raises(ValueError, match="2 entries, but there are 1"):
        capture.rows(lambda a: a, in_dims=(0, None))(torch.zeros(3))
    with pytest.raises(ValueError, match="no rows"):
        rows(torch.zeros(0, 2), torch.zeros(0, 2))
    with pytest.raises(ValueError, match="no rows"):
        capture.rows(lambda: torch.zeros(()))(num_rows=0)
    with pytest.raises(ValueError, match=r"\[\]\n(.|\n)*num_rows=\.\.\. says how many"):
        capture.rows(lambda: torch.zeros(()))()
    with pytest.raises(ValueError, match=r"\(3,\), \(3,\)\] and num_rows=4"):
        rows(torch.zeros(3), torch.zeros(3), num_rows=4)


# ---- draws and threads ----------------------------------------------------------------------------------------------


def test_draws_row_by_row() -> None:
    def function(scale: Tensor) -> Tensor:
        return scale * torch.randn(3) + torch.rand(())

    u = torch.rand(6)
    torch.manual_seed(3)
    expected, state = by_loop(function, u), torch.get_rng_state
    after = state()
    rows = capture.rows(function)
    for threads in (1, 4):
        torch.manual_seed(3)
        with settings.context(threads=threads):
            torch.testing.assert_close(rows(u), expected)
        assert torch.equal(state(), after) and rows.backend == "native"


@pytest.mark.parametrize("backend", ["native", "interpreter", "inductor", "python"])
def test_as_many_rows_as_are_asked_for(backend: Any) -> None:
    """Without an argument that has rows: draws are made row by row, and what is shared is there in each row."""

    def function() -> dict[str, Tensor]:
        return {
            "drawn": X[:, 0] + torch.randn(7),
            "gamma": torch.distributions.Gamma(2.0, 1.0).sample(),
            "X": X,
        }

    torch.manual_seed(3)
    expected = tree.join(torch.stack, [function() for _ in range(5)])
    after = torch.get_rng_state()
    compiled = {"compile": False} if backend == "python" else {"backend": backend}
    rows = capture.rows(function, **compiled)
    torch.manual_seed(3)
    found = rows(num_rows=5)
    torch.testing.assert_close(found, expected)
    assert torch.equal(torch.get_rng_state(), after) and rows.backend == backend
    assert len(rows(num_rows=2)["X"]) == 2


def test_a_number_of_rows_beside_arguments() -> None:
    rows = capture.rows(lambda b, x: b.sum() + x, in_dims=(0, None))
    assert rows(torch.ones(3, 2), torch.tensor(1.0), num_rows=3).tolist() == [3.0] * 3
    nothing = capture.rows(lambda draws, x: x + sum(draws.values()), in_dims=(0, None))
    assert nothing({}, torch.tensor(1.0), num_rows=3).tolist() == [1.0] * 3


def test_the_same_numbers_by_any_number_of_threads() -> None:
    rows = capture.rows(lambda b: (slope(b), kernel(b)))
    u = torch.randn(5000, 3)
    rows(u)
    assert rows.backend == "native"
    wanted = rows(u)
    for threads in (2, 3, 16, 40):
        with settings.context(threads=threads):
            for _ in range(2):
                torch.testing.assert_close(rows(u), wanted, rtol=0, atol=0)


def test_several_threads_of_python_may_call() -> None:
    rows = capture.rows(lambda b, x: x @ b, in_dims=(0, None))
    u, wrong = torch.randn(200, 3), []

    def call(k: int) -> None:
        for _ in range(20):
            if not torch.allclose(rows(u, k * X), k * u @ X.T):
                wrong.append(k)

    threads = [threading.Thread(target=call, args=(k,)) for k in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
