"""Each row of the table of operators gives torch's numbers: at edges, broadcast, on views of all kinds, in every dtype."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ember.capture.native import pipeline
from ember.capture.native.lowering.rows import TABLE
from ember.capture.native.lowering.walk import Lower
from ember.capture.native.torch_side import generator
from ember.capture.native.values.unsupported import UnsupportedError
from tests.capture.native.lowering import row_examples
from tests.capture.native.lowering.compared import compare
from tests.capture.native.lowering.row_examples import Example, overload
from tests.capture.native.programs import (
    QUICK,
    Compiled,
    assert_same,
    check,
    flags,
    recorded,
    source_of,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*resized since it had shape.*")
USED: set[str] = set()
"""Rows that lowered an example so far; the last test looks at all."""
f32, f64 = torch.float32, torch.float64


class Noting(dict[str, Lower]):
    """The table, noting which rows are used."""

    def get(self, name, default=None):  # type: ignore[override]
        USED.add(name)
        return super().get(name, default)

    def __getitem__(self, name):
        USED.add(name)
        return super().__getitem__(name)


@pytest.fixture(autouse=True)
def _noting(monkeypatch):
    monkeypatch.setattr(pipeline, "TABLE", Noting(TABLE))


DTYPES = [f32, f64, torch.int64, torch.int32, torch.bool]


@pytest.fixture
def quick():
    with flags(*QUICK):
        yield


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.usefixtures("quick")
def test_operators_element_by_element_at_edges(dtype):
    compare(row_examples.edge_examples(dtype))


@pytest.mark.usefixtures("quick")
def test_bytes_are_computed_or_refused():
    taken = []
    for example in row_examples.edge_examples(torch.uint8):
        tensors = example.tensors
        graph = recorded(example, tensors)
        try:
            source_of(graph, [*tensors, *graph.lifted])
        except UnsupportedError as refusal:
            assert "uint8" in str(refusal)
        else:
            taken.append(example)
    assert len(taken) > 100
    compare(taken)


@pytest.mark.usefixtures("quick")
def test_operators_element_by_element_on_views_and_mixed_dtypes():
    compare(row_examples.layout_examples())


def test_functions_in_vector_code():
    """At the flags that programs are compiled with, over enough elements."""
    examples = row_examples.edge_examples(f64)
    functions = [example for example in examples if len(example.args) == 1]
    compare(Example(e.name, (e.tensors[0].repeat(9),), {}) for e in functions)


@pytest.mark.parametrize("dtype", [f64, f32, torch.int64, torch.bool], ids=str)
@pytest.mark.usefixtures("quick")
def test_other_operators(dtype):
    examples = [example.of(dtype) for example in row_examples.rest()]
    # Sums and products of matrices in float32: torch's own order of summation has this error.
    compare([example for example in examples if example.runs()], (3e-6, 2e-5) if dtype is f32 else None)


@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
def test_draws(dtype):
    compare(row_examples.draws(dtype), (1e-10, 1e-12) if dtype is f64 else (1e-5, 1e-6))


def test_draws_where_torch_has_another_stream(monkeypatch):
    """As torch with MKL on some processors: such draws are torch's own."""
    monkeypatch.setattr(
        generator, "sampler_differences", lambda: frozenset({"exponential", "bernoulli_scalar"})
    )

    def drawn(flat: list[Tensor]) -> list[Tensor]:
        flat[0].exponential_(2.0)
        return [
            torch.empty(5).exponential_(),
            torch.empty(4).bernoulli_(0.25),
            torch.bernoulli(flat[0], 0.5),
            torch.rand(3),
        ]

    compiled = check(drawn, torch.zeros(3), steps=2)
    assert "ember_exponential" not in compiled.program.source
    assert "ember_bernoulli" not in compiled.program.source


@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
def test_draws_in_place(dtype):
    p = torch.linspace(0.1, 0.9, 4, dtype=dtype)

    def filled(flat: list[Tensor]) -> list[Tensor]:
        outputs = []
        for name, args in row_examples.FILLS:
            for shape in ((), (3,), (16,), (5, 7), (0,)):
                outputs.append(overload(name)(torch.empty(shape, dtype=dtype), *args))
            # Into a part of what comes in, and over all of it.
            overload(name)(flat[0][1:3], *args)
        overload(row_examples.FILLS[0][0])(flat[1], 0.25)
        outputs.append(torch.empty(4, dtype=torch.bool).bernoulli_(0.4))
        return [*outputs, torch.zeros(2, 4, dtype=dtype).bernoulli_(p)]

    inputs = [torch.zeros(4, 3, dtype=dtype), torch.zeros(20, dtype=dtype)]
    compiled = Compiled(filled, inputs)
    for steps in (1, 3):
        close = (1e-10, 1e-12) if dtype is f64 else (1e-5, 1e-6)
        assert_same(compiled.outcome(inputs, steps), compiled.expected(inputs, steps), [], close)


def test_a_failed_decomposition_raises_as_torch_does():
    def factor(flat: list[Tensor]) -> list[Tensor]:
        return [torch.linalg.cholesky(flat[0] + 0.0)]

    compiled = check(factor, torch.eye(3) * 2)
    with pytest.raises(torch.linalg.LinAlgError, match="not positive-definite"):
        compiled.program([-torch.eye(3), *compiled.graph.lifted])
    assert_same(compiled.outcome([torch.eye(3)]), compiled.expected([torch.eye(3)]))


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize(
    "bad", [[-1.0, 2.0, 1.0], [0.0, 0.0, 0.0], [float("nan"), 1.0, 1.0], [float("inf"), 1.0, 1.0]]
)
def test_weights_that_torch_refuses_raise_its_error(bad, replacement):
    def drawn(flat: list[Tensor]) -> list[Tensor]:
        return [torch.multinomial(flat[0], 2, replacement), torch.rand(2)]

    good = torch.tensor([[0.2, 0.5, 0.3], [3.0, 0.0, 1.0]])
    compiled = check(drawn, good, steps=2)
    assert "ember_multinomial" in compiled.program.source
    wrong = torch.stack([good[0], torch.tensor(bad)])
    with pytest.raises(RuntimeError) as expected:
        drawn([wrong])
    with pytest.raises(RuntimeError) as found:
        compiled.program([wrong, *compiled.graph.lifted])
    assert str(found.value) == str(expected.value)
    assert_same(compiled.outcome([good]), compiled.expected([good]))


def test_too_few_categories_without_replacement_are_left_to_torch():
    def drawn(flat: list[Tensor]) -> list[Tensor]:
        return [torch.multinomial(flat[0], 2).sort(-1).values, torch.rand(2)]

    compiled = check(drawn, torch.tensor([0.2, 0.5, 0.3]))
    few = [torch.tensor([0.0, 1.0, 0.0])]
    try:
        expected = compiled.expected(few)
    except RuntimeError:
        with pytest.raises(RuntimeError):
            compiled.program([*few, *compiled.graph.lifted])
    else:
        assert_same(compiled.outcome(few), expected)


def test_categories_of_a_model_are_drawn_in_c():
    def drawn(flat: list[Tensor]) -> list[Tensor]:
        categorical = torch.distributions.Categorical(logits=flat[0], validate_args=False)
        return [categorical.sample(), categorical.sample((3,))]

    compiled = check(drawn, torch.randn(4, 5, generator=torch.Generator().manual_seed(0)))
    assert "ember_multinomial" in compiled.program.source


def test_memory_without_content():
    def filled(flat: list[Tensor]) -> list[Tensor]:
        (x,) = flat
        empties = [torch.empty(3, 2), torch.empty_like(x), x.new_empty(2), torch.empty(2, 0), torch.empty(())]
        empties += [torch.empty_strided((2, 3), (1, 2)), x.new_empty_strided((2, 3), (1, 2))]
        return [empty.fill_(number) for number, empty in enumerate(empties)]

    check(filled, torch.ones(2, 3).t())


def test_every_row_has_an_example():
    assert sorted(set(TABLE) - USED) == []
