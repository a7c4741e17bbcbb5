"""Writes through views: what is seen by whom afterwards, as torch has it; and what cannot be written is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ember.capture import capture
from ember.capture.native.program import NativeProgram
from ember.capture.native.values.unsupported import UnsupportedError
from ember.errors import CaptureError
from tests.capture.native.programs import Compiled, Function, assert_same, check


def transposed(flat: list[Tensor]) -> list[Tensor]:
    flat[0].t()[1] = flat[1][:3]
    return [flat[0] * 2]


def view_of_a_view(flat: list[Tensor]) -> list[Tensor]:
    inner = flat[0][1:][:, ::2].t()
    before = inner * 1.0
    inner.add_(10)
    return [inner, before, flat[0].sum(0), flat[0][2]]


def slice_then_base(flat: list[Tensor]) -> list[Tensor]:
    flat[0][0].mul_(2)
    first = flat[0] + 0
    flat[0][:, 1].sub_(first[:, 0])
    return [first, flat[0].sum(), flat[0][0, 1]]


def expanded(flat: list[Tensor]) -> list[Tensor]:
    wide = flat[1].expand(3, 4)
    before = wide.sum()
    flat[1].mul_(3)
    return [before, wide, wide.sum(0), wide + flat[0]]


def overlapping_copy(flat: list[Tensor]) -> list[Tensor]:
    x = flat[1]
    x[1:] = x[:-1].clone()
    x[:2].copy_(x[2:])
    return [x]


def two_views_in_one_expression(flat: list[Tensor]) -> list[Tensor]:
    x = flat[0]
    x[0].add_(x[1] * x[2])
    x[1] = x[0] - x[:, 0].sum()
    return [x[0] * x[1] + x[2]]


def strided(flat: list[Tensor]) -> list[Tensor]:
    x = flat[0].clone(memory_format=torch.contiguous_format)
    windows = x.view(-1).as_strided((5, 4), (2, 1))
    before = windows.sum(1)
    x.view(-1).as_strided((3,), (4,), 1).fill_(7.0)
    return [before, windows, x, x.as_strided((2, 2), (4, 2), 1)]


def sizes_zero_and_one(flat: list[Tensor]) -> list[Tensor]:
    x = flat[0]
    x[3:].add_(1)
    x[:, 4:].copy_(torch.ones(3, 0))
    x[1:2, 2:3].mul_(5)
    x[2:3].copy_(x[1:2] * 2)
    return [x[3:], x[1:2, 2:3], x[:, :0].sum(0), x[:0].sum(0), torch.cat([x[3:], x])]


def swapped(flat: list[Tensor]) -> list[Tensor]:
    a, b = flat[0], flat[2]
    old = a.clone()
    a.copy_(b)
    b.copy_(old)
    return [a - b, old]


def rotated(flat: list[Tensor]) -> list[Tensor]:
    a, b, c = flat[0], flat[2], flat[3]
    first = a.clone()
    a.copy_(b)
    b.copy_(c)
    c.copy_(first)
    c.add_(1)
    return [a, b, c]


def old_content_elsewhere(flat: list[Tensor]) -> list[Tensor]:
    a, b = flat[0], flat[2]
    old = a.clone()
    a.add_(1)
    b.copy_(old)
    a.mul_(b)
    return [old, a.clone(), b]


def read_after_write(flat: list[Tensor]) -> list[Tensor]:
    a = flat[0]
    before = a.sum(0)
    rows = a.t() @ a
    a.sub_(0.1 * (before + rows.sum()))
    return [before, rows, a.sum(1), a.max()]


def gathered_while_written(flat: list[Tensor]) -> list[Tensor]:
    a, index = flat[0], flat[4]
    taken = a[index]
    a.copy_(taken * 2 + a)
    return [taken, a[index[0]]]


def put(flat: list[Tensor]) -> list[Tensor]:
    a, index = flat[0], flat[4]
    a.index_put_((index,), torch.ones(3, 4), accumulate=True)
    first = a.clone()
    a[torch.tensor([2, 2, 2]), torch.tensor([0, 0, 1])] = torch.tensor([1.0, 2.0, 3.0])
    a.index_add_(0, index, first)
    a.scatter_add_(1, torch.zeros(3, 2, dtype=torch.int64), first)
    a.t()[0].index_fill_(0, torch.tensor([1]), 0.5)
    return [first, a]


def fills(flat: list[Tensor]) -> list[Tensor]:
    a = flat[0]
    before = a.mean()
    a[1:].normal_()
    a[0].uniform_(1.0, 2.0)
    flat[1].exponential_(2.0)
    return [before, a * 2, torch.rand(2)]


def only_its_content(flat: list[Tensor]) -> list[Tensor]:
    """Outputs that are inputs, constants, the same twice."""
    constant = torch.zeros(2, 2)
    return [flat[0], flat[0], flat[1], constant, constant, flat[0].t(), torch.ones(3)[1:], torch.empty(0)]


def constants_written(flat: list[Tensor]) -> list[Tensor]:
    zeros = torch.zeros(3, 4)
    zeros[1] = flat[1]
    zeros[:, 2] += 1
    flat[0].zero_()
    flat[0][0].fill_(2.0)
    flat[2].fill_(3.0)
    flat[3].fill_(3.0)
    return [zeros, zeros.t()[2], torch.ones(3).mul_(2), flat[0] + 1]


def truth_and_integers(flat: list[Tensor]) -> list[Tensor]:
    index = flat[4]
    mask = index > 0
    mask.logical_not_()
    both = mask + mask
    index.add_(mask)
    index.index_fill_(0, mask.long().sum().clamp(max=2), 9)
    return [mask, both, both.sum(), index * mask, both.double().mul_(both)]


def columns_and_rows(flat: list[Tensor]) -> list[Tensor]:
    a = flat[0] * flat[2]
    return [a.sum(0), a.sum(1), a.sum(), a.amax(0), a.amin(1), a.prod(0), (a > 0).any(1), (a > 0).sum(0), a]


FUNCTIONS: tuple[Function, ...] = (
    transposed,
    view_of_a_view,
    slice_then_base,
    expanded,
    overlapping_copy,
    two_views_in_one_expression,
    strided,
    sizes_zero_and_one,
    swapped,
    rotated,
    old_content_elsewhere,
    read_after_write,
    gathered_while_written,
    put,
    fills,
    only_its_content,
    constants_written,
    truth_and_integers,
    columns_and_rows,
)


@pytest.fixture(autouse=True)
def _float64(float64):
    """In double precision."""


def inputs(layout: str = "rows") -> list[Tensor]:
    a, c, d = (torch.linspace(-1, number, 12).reshape(3, 4) for number in (1.0, 2.0, 0.7))
    if layout == "columns":
        a, d = (x.t().contiguous().t() for x in (a, d))
    elif layout == "gaps":
        a, c = (torch.cat([x, x], 1).as_strided((3, 4), (8, 2)) for x in (a, c))
    return [a, torch.tensor([0.5, -2.0, 3.0, 0.25]), c, d, torch.tensor([2, 0, 2])]


@pytest.mark.parametrize("layout", ["rows", "columns", "gaps"])
def test_writes_through_views(layout):
    """Each function on inputs of its own, all in one program: one step and several in a row."""

    # Draws go to memory that lies row by row, or are refused.
    functions = [function for function in FUNCTIONS if layout == "rows" or function is not fills]
    labels: list[str] = []

    def every(flat: list[Tensor]) -> list[Tensor]:
        outputs: list[Tensor] = []
        labels.clear()
        for number, function in enumerate(functions):
            results = function(flat[5 * number : 5 * number + 5])
            outputs += results
            labels.extend([function.__name__] * len(results))
        return outputs

    flat = [tensor for _ in functions for tensor in inputs(layout)]
    compiled = Compiled(every, flat)
    for steps in (1, 2, 5):
        assert_same(compiled.outcome(flat, steps), compiled.expected(flat, steps), labels)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_alone(function):
    """The function's own first output is the loss, and no other function keeps values alive."""
    flat = inputs()
    graph = capture(lambda given: [function(given)[0].sum().double(), *function(given)], flat)
    program = NativeProgram(graph, [*flat, *graph.lifted])
    mine, theirs = inputs(), inputs()
    for _ in range(3):
        torch.manual_seed(0)
        expected = [function(theirs)[0].sum().double(), *function(theirs)]
        torch.manual_seed(0)
        actual = program([*mine, *graph.lifted])
        assert_same([*actual, *mine], [*expected, *theirs])


@pytest.mark.parametrize("position", [0, 1, 2, 3])
def test_index_out_of_range(position):
    """An error, never a number from elsewhere; the next call with good indices works."""

    function = (
        lambda flat: [flat[0][flat[1]].sum()],
        lambda flat: [flat[0].gather(0, flat[1])],
        lambda flat: [torch.zeros(5).index_put((flat[1],), flat[0][:3], accumulate=True)],
        lambda flat: [torch.nn.functional.embedding(flat[1].abs(), flat[0].unsqueeze(1))],
    )[position]
    x, good = torch.arange(5.0), torch.tensor([0, 4, 2])
    compiled = Compiled(function, [x, good])
    for bad in ([0, 5, 1], [0, 2**40, 1], [-6, 0, 1]):
        with pytest.raises((IndexError, RuntimeError), match=r"out of (range|bounds)"):
            compiled.program([x, torch.tensor(bad), *compiled.graph.lifted])
        with pytest.raises((IndexError, RuntimeError), match=r"out of (range|bounds)"):
            list(compiled.program.run([x, torch.tensor(bad), *compiled.graph.lifted], 3))
    assert_same(compiled.outcome([x, good]), compiled.expected([x, good]))


def test_a_first_output_that_the_step_then_changes():
    def step(flat: list[Tensor]) -> list[Tensor]:
        before = flat[0].clone()
        flat[0].mul_(2)
        return [before, flat[0]]

    x = torch.tensor([1.0, 2.0, 3.0])
    program = NativeProgram(capture(step, [x]), [x])
    assert program.loss([x]) == (1.0, 2.0, 3.0)
    assert torch.cat(list(program.run([x], 2))).tolist() == [[2.0, 4.0, 6.0], [4.0, 8.0, 12.0]]
    first, second = program([x])
    assert first.tolist() == [8.0, 16.0, 24.0]
    assert second.tolist() == x.tolist() == [16.0, 32.0, 48.0]


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.int32, torch.float32])
def test_a_first_output_of_another_dtype(dtype):
    def step(flat: list[Tensor]) -> list[Tensor]:
        flat[0].add_(1)
        return [(flat[0] * 2).to(dtype), (flat[0].sum() - 3).to(dtype)]

    x = torch.tensor([[0.0, -1.0], [1.0, 2.0]])
    program = NativeProgram(capture(step, [x]), [x])
    mine, theirs = x.clone(), x.clone()
    assert_same(program([mine]), step([theirs]))
    assert program.loss([mine]) == tuple((theirs.add_(1) * 2).to(dtype).double().flatten().tolist())


def test_write_to_memory_that_overlaps_itself_is_refused():
    """torch allows as_strided and a fill of it: the numbers are the same, or the graph is refused."""

    def step(flat: list[Tensor]) -> list[Tensor]:
        flat[0].as_strided((3, 2), (1, 1)).mul_(2.0)
        return [flat[0].sum()]

    x = torch.arange(4.0)
    with pytest.raises((UnsupportedError, RuntimeError)):
        NativeProgram(capture(step, [x]), [x])


def test_expanded_memory_is_not_written():
    def step(flat: list[Tensor]) -> list[Tensor]:
        flat[0].expand(3, 4).add_(1)
        return [flat[0].sum()]

    with pytest.raises(RuntimeError, match=r"unsupported operation|single memory location"):
        capture(step, [torch.zeros(4)])


def test_inputs_with_shared_memory_are_read_but_not_written():
    x = torch.arange(4.0)
    graph = capture(lambda flat: [(flat[0] * flat[1]).sum()], [x[:2], x[1:3]])
    assert NativeProgram(graph, [x[:2], x[1:3]]).loss([x[:2], x[1:3]]) == 2.0
    with pytest.raises(CaptureError, match="shares its memory"):
        capture(lambda flat: [flat[0].add_(flat[1]).sum()], [x[:2], x[2:]])
    apart = capture(lambda flat: [flat[0].add_(flat[1]).sum()], [torch.zeros(2), torch.zeros(2)])
    with pytest.raises(UnsupportedError, match="share memory"):
        NativeProgram(apart, [x[:2], x[2:]])


@pytest.mark.parametrize("start", [0, 3])
def test_as_strided_beyond_the_tensor_is_refused(start):
    x = torch.arange(8.0)

    def step(flat: list[Tensor]) -> list[Tensor]:
        flat[0].as_strided((2,), (1,), start).mul_(2.0)
        return [flat[0].sum()]

    for part in (x[1:4], x[::2]):
        graph = capture(step, [part])
        with pytest.raises(UnsupportedError, match="as_strided"):
            NativeProgram(graph, [part])


def test_draws_that_nothing_uses_move_the_random_state():
    def step(flat: list[Tensor]) -> list[Tensor]:
        torch.randn(7)
        torch.empty(3).exponential_()
        used = torch.rand(2)
        torch.poisson(flat[0])
        return [used, torch.randn(3)]

    check(step, torch.rand(4), steps=3)
