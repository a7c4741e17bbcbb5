"""Calls of torch from C: results, layouts, errors and draws are torch's own."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import Tensor

from ember.capture.native.build.toolchain import compile_library
from ember.capture.native.c_writer import torch_calls
from ember.capture.native.torch_side.externs import Binding, Buffer, ExternCall, Externs

aten = torch.ops.aten
pytestmark = pytest.mark.filterwarnings("error")


def _extent(tensor: Tensor) -> int:
    if 0 in tensor.shape:
        return 0
    return 1 + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))


class Program:
    """A C program that makes the given calls, one after the other, on buffers in a block of memory."""

    def __init__(self) -> None:
        self.externs = Externs()
        self.size = 64
        self.steps: list[str] = []
        self.contents: list[tuple[int, Tensor]] = []

    def buffer(self, tensor: Tensor, filled: bool = True) -> Buffer:
        at = self.size
        self.size += -(-max(_extent(tensor), 1) * tensor.dtype.itemsize // 64) * 64
        if filled:
            self.contents.append((at, tensor))
        return Buffer((0, at), tensor.dtype, tuple(tensor.shape), tensor.stride())

    def call(self, op, args, outputs, kwargs=None):
        call = ExternCall(op, args, kwargs or {}, outputs)
        self.steps.append(f"if ({torch_calls.name(self.externs.add(call))}(E)) return -1;")

    def load(self):
        source = "\n".join(
            [
                torch_calls.declarations(self.externs),
                "int run(void *const *E, int count) {",
                "for (int i = 0; i < count; i++) {",
                *self.steps,
                "}",
                "return 0; }",
            ]
        )
        self.library = compile_library(source).load()
        return self

    def place(self) -> list[int]:
        """Put the contents into a new block of memory; returns the addresses of the buffers."""
        self.memory = torch.zeros(self.size + 64, dtype=torch.uint8)
        self.base = -(-self.memory.data_ptr() // 64) * 64
        for at, tensor in self.contents:
            dense = tensor.as_strided((_extent(tensor),), (1,))
            self.tensor(at, dense).copy_(dense)
        return [self.base + buffer.place[1] for buffer in self.externs.buffers]

    def tensor(self, at, like):
        start = self.base - self.memory.data_ptr() + at
        part = self.memory[start : start + _extent(like) * like.dtype.itemsize]
        return part.view(like.dtype).as_strided(like.shape, like.stride())

    def read(self, buffer: Buffer) -> Tensor:
        like = torch.empty_strided(buffer.sizes, buffer.strides, dtype=buffer.dtype)
        return self.tensor(buffer.place[1], like).clone()

    def run(self, binding: Binding, times: int = 1):
        assert self.library.run(binding.table, times) == 0


def check(op, args, kwargs=None, seed=0, c_function=None):
    program = Program()
    torch.manual_seed(seed)
    expected = op(*args, **(kwargs or {}))
    expected = expected if isinstance(expected, (tuple, list)) else (expected,)

    def buffers(value):
        if isinstance(value, Tensor):
            return program.buffer(value)
        if isinstance(value, (tuple, list)):
            return type(value)(buffers(part) for part in value)
        return value

    results = [None if out is None else program.buffer(out, filled=False) for out in expected]
    program.call(op, buffers(args), tuple(results), buffers_of(kwargs, buffers))
    program.load()
    binding = program.externs.bind(program.place())
    if c_function is not None:
        assert (c_function in torch_calls.declarations(program.externs)) and all(binding.table)
    torch.manual_seed(seed)
    program.run(binding)
    for buffer, out in zip(results, expected, strict=True):
        if out is not None:
            torch.testing.assert_close(program.read(buffer), out, rtol=0, atol=0, equal_nan=True)
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    op(*args, **(kwargs or {}))
    assert torch.equal(state, torch.get_rng_state())


def buffers_of(kwargs, buffers):
    return {name: buffers(value) for name, value in (kwargs or {}).items()}


def normal(*shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=dtype)


def spd(n, *batch):
    factor = normal(*batch, n, n)
    return factor @ factor.mT + n * torch.eye(n)


TRIANGLE = torch.linalg.cholesky(spd(4))
IMAGES, FILTERS = normal(2, 3, 8, 8), normal(4, 3, 3, 3)
CONVOLUTION = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1)
POSITIVE = normal(5).abs() + 0.5
CASES = {
    "mm": (aten.mm.default, (normal(3, 4), normal(4, 5))),
    "mm, transposed": (aten.mm.default, (normal(4, 3).t(), normal(5, 4).t())),
    "mm, sliced": (aten.mm.default, (normal(3, 9)[:, ::2], normal(10, 4)[1::2])),
    "mm, expanded": (aten.mm.default, (normal(1, 4).expand(3, 4), normal(4, 1).expand(4, 2))),
    "mm, one row": (aten.mm.default, (normal(1, 4), normal(4, 1))),
    "mm, double": (aten.mm.default, (normal(3, 4, dtype=torch.float64), normal(4, 5, dtype=torch.float64))),
    "mm, integers": (aten.mm.default, (torch.arange(6).view(2, 3), torch.arange(6).view(3, 2))),
    "addmm": (aten.addmm.default, (normal(5), normal(3, 4), normal(4, 5))),
    "addmm, factors": (
        aten.addmm.default,
        (normal(3, 5), normal(4, 3).t(), normal(4, 5)),
        {"beta": 0.5, "alpha": -2.0},
    ),
    "bmm": (aten.bmm.default, (normal(2, 3, 4), normal(2, 5, 4).mT)),
    "baddbmm": (aten.baddbmm.default, (normal(2, 3, 5), normal(2, 3, 4), normal(2, 4, 5)), {"beta": 2.0}),
    "mv": (aten.mv.default, (normal(5, 3).t(), normal(5))),
    "dot": (aten.dot.default, (normal(5), normal(10)[::2])),
    "cholesky": (aten.linalg_cholesky_ex.default, (spd(4, 2),)),
    "solve triangular": (
        aten.linalg_solve_triangular.default,
        (TRIANGLE, normal(4, 3)),
        {"upper": False},
    ),
    "triangular solve": (aten.triangular_solve.default, (normal(4, 2), TRIANGLE.mT)),
    "cholesky solve": (aten.cholesky_solve.default, (normal(4, 2), TRIANGLE)),
    "cholesky inverse": (aten.cholesky_inverse.default, (TRIANGLE,)),
    "inverse": (aten.linalg_inv_ex.default, (spd(3),)),
    "slogdet": (aten._linalg_slogdet.default, (spd(3, 2),)),
    "det": (aten._linalg_det.default, (spd(3),)),
    "svd": (aten._linalg_svd.default, (normal(4, 3),)),
    "eigh": (aten._linalg_eigh.default, (spd(4),)),
    "qr": (aten.linalg_qr.default, (normal(4, 3),)),
    "gather": (aten.gather.default, (normal(3, 4), 1, torch.tensor([[0, 3], [1, 1], [2, 0]]))),
    "scatter": (aten.scatter.src, (normal(3, 4), 1, torch.tensor([[0], [3], [1]]), normal(3, 1))),
    "scatter add": (aten.scatter_add.default, (normal(4), 0, torch.tensor([1, 1, 3]), normal(3))),
    "index": (aten.index.Tensor, (normal(4, 5), [None, torch.tensor([4, 0])])),
    "index put": (aten.index_put.default, (normal(4), [torch.tensor([1, 1, 0])], normal(3), True)),
    "embedding": (aten.embedding.default, (normal(5, 2), torch.tensor([[0, 4], [1, 1]]))),
    "embedding backward": (
        aten.embedding_dense_backward.default,
        (normal(3, 2), torch.tensor([4, 1, 1]), 5, -1, False),
    ),
    "convolution": (aten.convolution.default, (IMAGES, FILTERS, normal(4), *CONVOLUTION)),
    "convolution backward": (
        aten.convolution_backward.default,
        (normal(2, 4, 8, 8), IMAGES, FILTERS, [4], *CONVOLUTION, [True, True, True]),
    ),
    "convolution backward, masked": (
        aten.convolution_backward.default,
        (normal(2, 4, 8, 8), IMAGES, FILTERS, [4], *CONVOLUTION, [False, True, False]),
    ),
    "batch norm": (
        aten._native_batch_norm_legit.no_stats,
        (normal(6, 3), normal(3), normal(3), True, 0.1, 1e-5),
    ),
    "native batch norm": (
        aten.native_batch_norm.default,
        (normal(6, 3), None, None, torch.zeros(3), torch.ones(3), False, 0.1, 1e-5),
    ),
    "max pool": (aten.max_pool2d_with_indices.default, (IMAGES, [2, 2])),
    "sort": (aten.sort.default, (normal(3, 5), 0, True)),
    "topk": (aten.topk.default, (normal(7), 3)),
    "cumsum": (aten.cumsum.default, (normal(3, 5).t(), 1)),
    "logcumsumexp": (aten.logcumsumexp.default, (normal(5), 0)),
    "stack": (aten.stack.default, ([normal(3), normal(3).flip(0)], 1)),
    "standard gamma": (aten._standard_gamma.default, (POSITIVE,)),
    "standard gamma gradient": (aten._standard_gamma_grad.default, (POSITIVE, POSITIVE.flip(0))),
    "dirichlet": (aten._sample_dirichlet.default, (POSITIVE.expand(3, 5),)),
    "dirichlet gradient": (
        aten._dirichlet_grad.default,
        (POSITIVE / POSITIVE.sum(), POSITIVE, POSITIVE.sum().expand(5)),
    ),
    "multinomial": (aten.multinomial.default, (POSITIVE, 8, True)),
    "poisson": (aten.poisson.default, (POSITIVE * 10,)),
    "binomial": (aten.binomial.default, (torch.full((5,), 10.0), POSITIVE / 10)),
    "exponential": (aten.exponential.default, (torch.empty(5), 2.0)),
    "bernoulli": (aten.bernoulli.default, (POSITIVE / 10,)),
    "randperm": (aten.randperm.default, (7,)),
    "normal": (aten.normal.Tensor_Tensor, (normal(20), POSITIVE.repeat(4))),
    "nothing": (aten.cumsum.default, (normal(0, 3), 0)),
    "one": (aten.linalg_cholesky_ex.default, (torch.tensor([[2.0]]),)),
}


@pytest.mark.parametrize("name", list(CASES))
def test_results_are_torchs(name):
    check(*CASES[name])


@pytest.mark.parametrize("name", ["mm", "addmm, factors", "bmm", "baddbmm", "mm, transposed", "mm, double"])
def test_products_go_to_the_c_interface(name):
    op, args, *rest = CASES[name]
    check(op, args, *rest, c_function="product")


def one_product(left, right):
    program = Program()
    buffers = program.buffer(left), program.buffer(right)
    result = program.buffer(left @ right, filled=False)
    program.call(aten.mm.default, buffers, (result,))
    return program.load(), result


def test_the_way_through_python_where_the_c_interface_lacks_a_function(monkeypatch):
    left, right = normal(3, 4), normal(4, 2)
    program, result = one_product(left, right)
    monkeypatch.setattr("ember.capture.native.torch_side.externs.function_address", lambda name: 0)
    binding = program.externs.bind(program.place())
    program.run(binding)
    assert torch.equal(program.read(result), left @ right)


def test_a_program_is_bound_to_other_memory():
    left, right = normal(3, 4), normal(4, 2)
    program, result = one_product(left, right)
    addresses = program.place()
    first, binding = program.memory, program.externs.bind(addresses)
    program.run(binding)
    binding.move(program.place())
    assert program.read(result).eq(0).all()
    program.run(binding)
    assert torch.equal(program.read(result), left @ right)
    other = program.externs.bind(program.place())
    program.run(other)
    assert torch.equal(program.read(result), left @ right) and first is not program.memory


def test_arguments_are_changed_in_place_and_some_results_are_left_out():
    program = Program()
    mean, var, x = torch.zeros(3), torch.ones(3), normal(6, 3)
    buffers = [program.buffer(tensor) for tensor in (x, mean, var)]
    out = program.buffer(x, filled=False)
    args = (buffers[0], None, None, buffers[1], buffers[2], True, 0.1, 1e-5)
    program.call(aten._native_batch_norm_legit.default, args, (out, None, None))
    indices = program.buffer(torch.tensor([2, 0]))
    program.call(aten.index_fill_.int_Scalar, (buffers[2], 0, indices, 7.0), ())
    program.load().run(program.externs.bind(program.place()))
    expected = torch.nn.functional.batch_norm(x, mean, var, training=True)
    assert torch.equal(program.read(out), expected)
    assert torch.equal(program.read(buffers[1]), mean)
    assert program.read(buffers[2]).tolist() == [7.0, var[1].item(), 7.0]


@pytest.mark.parametrize(
    ("op", "args", "message"),
    [
        (aten._linalg_check_errors.default, (torch.tensor(2, dtype=torch.int32), "linalg.cholesky"), "not positive-definite"),
        (aten.multinomial.default, (torch.tensor([-1.0, 2.0]), 2), "probability tensor contains"),
        (aten.gather.default, (torch.ones(3), 0, torch.tensor([5])), "out of bounds"),
    ],
    ids=["cholesky", "multinomial", "gather"],
)  # fmt: skip
def test_errors_are_torchs_exceptions(op, args, message):
    program = Program()
    kwargs = {"is_matrix": True} if op is aten._linalg_check_errors.default else {}
    dtype = torch.int64 if op is aten.multinomial.default else torch.float32
    outputs = (
        () if kwargs else (program.buffer(torch.zeros(1 if op is aten.gather.default else 2, dtype=dtype)),)
    )
    buffers = tuple(program.buffer(arg) if isinstance(arg, Tensor) else arg for arg in args)
    program.call(op, buffers, outputs, kwargs)
    program.load()
    binding = program.externs.bind(program.place())
    with pytest.raises(RuntimeError) as expected:
        op(*args, **kwargs)
    for _ in range(2):
        with pytest.raises(type(expected.value), match=message):
            program.library.run(binding.table, 1)


def test_a_product_that_torch_refuses():
    program = Program()
    buffers = [program.buffer(normal(*shape)) for shape in ((3, 4), (3, 4), (3, 4))]
    program.call(aten.mm.default, (buffers[0], buffers[1]), (buffers[2],))
    program.load()
    binding = program.externs.bind(program.place())
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        program.library.run(binding.table, 1)


def test_many_calls_in_a_loop_and_nothing_is_left_behind():
    program = Program()
    a, b = program.buffer(normal(3, 3) / 2), program.buffer(normal(3, 3))
    out, sums = program.buffer(torch.zeros(3, 3)), program.buffer(torch.zeros(3, 3))
    program.call(aten.mm.default, (a, b), (out,))
    program.call(aten.add_.Tensor, (sums, out), ())
    program.load()
    binding = program.externs.bind(program.place())

    def tensors():
        gc.collect()
        return sum(issubclass(type(found), Tensor) for found in gc.get_objects())

    program.run(binding, 10)
    before = tensors()
    program.run(binding, 1000)
    assert tensors() <= before
    expected = (normal(3, 3) / 2) @ normal(3, 3) * 1010
    torch.testing.assert_close(program.read(sums), expected, rtol=1e-4, atol=1e-3)


def test_no_calls():
    externs = Externs()
    assert torch_calls.declarations(externs) == "" and externs.buffers == []
    assert len(externs.bind([]).table) == 2
