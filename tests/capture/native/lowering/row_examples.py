"""Examples of every operator of the table: the operator with its arguments."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ember.capture.native.lowering.rows import choosing, pointwise
from ember.ops import subsets

aten = torch.ops.aten
ELEMENTWISE = (*pointwise.ROWS, *choosing.ROWS)
EDGES = (0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 0.5, -2.5, 3.0, 1e-3, 20.0, -7.0, 2.0)
INTEGERS = (0, 1, -1, 2, -3, 7, -8, 100)
# At NaN, at infinity and at poles torch's own results for these are not those of their definition.
POSITIVE = ("gelu.default", "igamma.default", "igammac.default", "polygamma.default")


def overload(name: str) -> Any:
    packet, _, kind = name.partition(".")
    if packet == "ember::subset":
        return subsets.operator()
    return getattr(getattr(aten, packet), kind)


@dataclass(frozen=True)
class Example:
    """One call of an operator."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def tensors(self) -> list[Tensor]:
        return _tensors(self.args)

    def __call__(self, tensors: list[Tensor]) -> list[Tensor]:
        """With other tensors."""
        result = overload(self.name)(*_replaced(self.args, iter(tensors)), **self.kwargs)
        if self.name == "log_sigmoid_forward.default":
            return [result[0]]  # the other is scratch for the gradient
        return list(result) if isinstance(result, tuple | list) else [result]

    def of(self, dtype: torch.dtype) -> Example:
        """The same with tensors of another dtype in place of those in float64."""
        cast = [t.to(dtype) if t.dtype is torch.float64 else t for t in self.tensors]
        return Example(self.name, tuple(_replaced(self.args, iter(cast))), self.kwargs)

    def __str__(self) -> str:
        shown = [f"{str(t.dtype)[6:]}{list(t.shape)}{list(t.stride())}" for t in self.tensors]
        rest = [arg for arg in self.args if not isinstance(arg, Tensor | list)]
        return f"{self.name} {' '.join(shown)} {rest} {self.kwargs}"

    def runs(self) -> bool:
        """Whether torch has the operator for these."""
        try:
            self(self.tensors)
        except (RuntimeError, NotImplementedError, IndexError, ValueError):
            return False
        return True


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [t for part in value for t in _tensors(part)] if isinstance(value, tuple | list) else []


def _replaced(value: Any, tensors: Iterator[Tensor]) -> Any:
    if isinstance(value, Tensor):
        return next(tensors)
    return [_replaced(part, tensors) for part in value] if isinstance(value, tuple | list) else value


def example(name: str, *args: Any, **kwargs: Any) -> Example:
    return Example(name, args, kwargs)


def random(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape) + 7)
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * 1.5).to(dtype)


# ---- element by element


def edge_examples(dtype: torch.dtype) -> list[Example]:
    """Operators element by element, at numbers where their definition has a case of its own, each with each."""
    found = []
    for name in ELEMENTWISE:
        if name.startswith("log_sigmoid_"):
            continue
        for args in _combinations(name, dtype):
            for kwargs in _options(name):
                made = Example(name, tuple(args), kwargs)
                if made.runs():
                    found.append(made)
    return found


_NAMED: dict[str, tuple[Any, ...]] = {
    "alpha": (1, 2),
    "approximate": ("none", "tanh"),
    "rounding_mode": ("floor", "trunc", None),
    "value": (1, 2),
}


def _options(name: str) -> list[dict[str, Any]]:
    """Arguments that are given by name."""
    found: list[dict[str, Any]] = [{}]
    for argument in overload(name)._schema.arguments:
        if argument.kwarg_only and argument.name in _NAMED:
            found = [{**kwargs, argument.name: value} for kwargs in found for value in _NAMED[argument.name]]
    return found


def _combinations(name: str, dtype: torch.dtype) -> list[list[Any]]:
    combinations: list[list[Any]] = [[]]
    place = 0
    for argument in overload(name)._schema.arguments:
        if argument.kwarg_only:
            continue
        kind = str(argument.type)
        if "Tensor" in kind:
            values = _edges(argument.name, dtype, name)
            options: list[Any] = [values.reshape([-1] + [1] * place)]
            place += 1
        elif kind in ("number", "Optional[number]", "float"):
            options = [2.5, -1.0, 3, 0, -2, True, 0.5]
        else:
            options = [1, 2]
        combinations = [[*c, option] for c in combinations for option in options]
    return combinations


def _edges(argument: str, dtype: torch.dtype, name: str) -> Tensor:
    if argument in ("condition", "mask"):
        return torch.tensor([True, False, True])
    if dtype is torch.bool:
        return torch.tensor([True, False])
    if not dtype.is_floating_point:
        # Division by zero is an error of torch's, and not the compiled program's.
        divides = argument == "other" and ("div" in name or name.startswith(("remainder", "fmod")))
        numbers = [n for n in INTEGERS if (n or not divides) and (n > 0 or name not in POSITIVE)]
        return (
            torch.tensor(numbers, dtype=torch.float64).to(dtype)
            if dtype is torch.uint8
            else torch.tensor(numbers, dtype=dtype)
        )
    numbers = [x for x in EDGES if name not in POSITIVE or (math.isfinite(x) and x > 0)]
    return torch.tensor(numbers, dtype=dtype)


def layout_examples() -> list[Example]:
    """Operators element by element, with operands of every layout and of several dtypes."""
    found = []
    for number, (name, operands) in enumerate(itertools.product(ELEMENTWISE, _operands())):
        if name.startswith("log_sigmoid_"):
            continue
        tensors, scalar = iter(operands), (2.5, 3)[number % 2]
        args: list[Any] = []
        for argument in overload(name)._schema.arguments:
            kind = str(argument.type)
            if argument.kwarg_only:
                continue
            if "Tensor" in kind:
                args.append(next(tensors))
                if argument.name in ("condition", "mask"):
                    args[-1] = args[-1] > 1
            elif kind in ("number", "Optional[number]", "float"):
                args.append(scalar)
            else:
                args.append(2)
        made = Example(name, tuple(args), _options(name)[0])
        if made.runs():
            found.append(made)
    return found


def _operands() -> list[list[Tensor]]:
    def some(dtype: torch.dtype, *shape: int) -> Tensor:
        numbers = random(*shape).abs() * 0.2 + 0.1
        return numbers.to(dtype) if dtype.is_floating_point else (numbers * 9).round().add(1).to(dtype)

    f32, f64, i64, boolean = torch.float32, torch.float64, torch.int64, torch.bool
    mixed = [
        [some(one, 3, 4), some(other, *shape), some(one, 3, 4)]
        for one, other in ((f64, f32), (f32, f64), (i64, f32), (f32, i64), (boolean, i64), (f32, boolean))
        for shape in ((4,), ())
    ]
    return [
        *mixed,
        [some(i64), some(f32, 3), some(f32, 3)],
        [some(f64, 4, 3).t(), some(f64, 3, 8)[:, ::2], some(f64, 1, 4).expand(3, 4)],
        [some(f32, 0, 4), some(f32, 1, 4), some(f32, 1, 1)],
        [some(f64), some(f64), some(f64)],
        [some(f64, 2, 1, 3), some(f64, 4, 1), some(f64, 3)],
        [some(f32, 2, 4, 3).permute(2, 0, 1), some(f32, 2, 4, 3).permute(2, 0, 1), some(f32, 3, 2, 4)],
    ]


# ---- the rest, in float64


def reductions() -> Iterator[Example]:
    x, nan = random(3, 4, 5), random(2, 6).masked_fill(random(2, 6) > 1, math.nan)
    views = [
        x,
        x.transpose(0, 2),
        x[:, 1:3, ::2],
        x[:, :1].expand(3, 2, 5),
        random(7),
        random(),
        random(1, 1),
        random(0),
        random(0, 3),
        random(3, 0),
        random(1, 300),
        random(300, 2),
        nan,
        torch.tensor([-0.0, 0.0, math.inf]),
    ]
    for view in views:
        for name in ("sum", "mean", "prod", "all", "any", "max", "min", "amax", "amin"):
            yield example(f"{name}.default", view)
        for dims in ([0], [-1], [0, -1], []):
            for keep in (False, True):
                if view.dim() > 1 or (view.dim() and len(dims) < 2):
                    yield example("sum.dim_IntList", view, dims, keep)
                    yield example("mean.dim", view, dims, keep)
                    yield example("amax.default", view, dims, keep)
                    for name in ("var.correction", "var_mean.correction"):
                        for correction in (0, 1, 2):
                            yield example(name, view, dims, correction=correction, keepdim=keep)
                    yield example("amin.default", view, dims, keep)
                    yield example("all.dims", view, dims, keep)
                    yield example("any.dims", view, dims, keep)
                    for name in ("prod.dim_int", "all.dim", "any.dim", "max.dim", "min.dim") if dims else ():
                        yield example(name, view, dims[0], keep)
                    for name in ("argmax", "argmin"):
                        yield example(f"{name}.default", view, dims[0] if dims else None, keep)
    yield example("sum.dim_IntList", x, [1, 0])
    yield example("sum.dim_IntList", x, None)
    for name in ("max.dim", "min.dim"):
        for view in (random(4, 3) > 0, (random(4, 3) > 0).t(), (random(4, 5) > 0)[:, ::2]):
            for keep in (False, True):
                yield example(name, view, 1, keep)
                yield example("cumsum.default", view, 0)
    yield example("sum.default", x > 0)
    yield example("sum.default", x > 0, dtype=torch.float64)
    yield example("sum.default", x.float(), dtype=torch.float64)
    yield example("sum.default", x, dtype=torch.float32)
    yield example("sum.dim_IntList", x > 0, [1])
    yield example("prod.default", x > -9)
    yield example("mean.default", x > 0, dtype=torch.float64)
    yield example("mean.dim", x.float(), [1], dtype=torch.float64)
    for name in ("max", "min", "any", "all", "amax", "amin"):
        yield example(f"{name}.default", x > 0)
        yield example(f"{name}.default", (x * 5).to(torch.int32))
        yield example(f"{name}.default", (x * 5).to(torch.int64))
        yield example(f"{name}.default", (x * 5).abs().to(torch.uint8))


def products() -> Iterator[Example]:
    for n, k, m in (
        (3, 4, 5),
        (1, 4, 5),
        (3, 1, 5),
        (3, 4, 1),
        (0, 4, 5),
        (3, 0, 5),
        (40, 30, 20),
        (31, 9, 32),
        (32, 130, 5),
        (200, 1, 70),
        (1, 1, 1),
    ):
        a, b = random(n, k), random(k, m)
        for left in (a, random(k, n).t(), random(n, 2 * k)[:, ::2], random(n, 1).expand(n, k)):
            for right in (b, random(m, k).t(), random(1, m).expand(k, m)):
                yield example("mm.default", left, right)
        yield example("addmm.default", random(n, m), a, b)
        yield example("addmm.default", random(m), a, b, beta=0.5, alpha=2)
        yield example("addmm.default", random(n, 1), a, random(m, k).t())
        yield example("mv.default", a, random(k))
        yield example("addmv.default", random(n), a, random(k))
        yield example("addmv.default", random(n), a, random(k), beta=0.5, alpha=2)
        yield example("dot.default", random(k), random(2 * k)[::2])
        one, two = random(2, n, k), random(2, k, m)
        yield example("bmm.default", one, two)
        yield example("bmm.default", one[:1].expand(2, n, k), two)
        yield example("bmm.default", random(n, 2, k).transpose(0, 1), random(2, m, k).transpose(1, 2))
        yield example("baddbmm.default", random(2, n, m), one, two)
        yield example("baddbmm.default", random(2, 1, m), one, two, beta=0.25, alpha=3)
    yield example("trace.default", random(4, 6))


def linear_algebra() -> Iterator[Example]:
    a, b = random(4, 4), random(4, 3)
    batch = torch.stack([a, a.t(), a + torch.eye(4, dtype=torch.float64)])
    spd = a @ a.t() + torch.eye(4, dtype=torch.float64)
    for m in (a, a.t(), batch):
        yield example("_linalg_det.default", m)
        yield example("_linalg_slogdet.default", m)
        yield example("linalg_inv_ex.default", m)
        yield example("linalg_lu.default", m)
        yield example("linalg_lu_factor_ex.default", m)
        yield example("linalg_matrix_exp.default", m)
        yield example("linalg_qr.default", m)
        yield example("_linalg_svd.default", m, False, False)
        right = b if m.dim() == 2 else b.expand(3, 4, 3)
        yield example("_linalg_solve_ex.default", m, right)
        lu, pivots, _ = aten.linalg_lu_factor_ex.default(m)
        yield example("linalg_lu_solve.default", lu, pivots, right)
        yield example("lu_unpack.default", lu, pivots)
        yield example("linalg_solve_triangular.default", m.triu(), right, upper=True)
        yield example("linalg_solve_triangular.default", m.tril(), right, upper=False, unitriangular=True)
    yield example("triangular_solve.default", b, a.triu())
    for upper in (False, True):
        yield example("linalg_cholesky_ex.default", spd, upper=upper)
        yield example("cholesky_inverse.default", torch.linalg.cholesky(spd, upper=upper), upper)
        yield example("cholesky_solve.default", b, torch.linalg.cholesky(spd, upper=upper), upper)
    yield example("_linalg_eigh.default", spd, "L", False)
    yield example("linalg_householder_product.default", *torch.geqrf(a))
    ldl, pivots, _ = torch.linalg.ldl_factor_ex(spd)
    yield example("linalg_ldl_factor_ex.default", spd)
    yield example("linalg_ldl_solve.default", ldl, pivots, b)


def along_a_dim() -> Iterator[Example]:
    x = random(3, 5)
    for view in (x, x.t(), x[:, ::2], random(3, 1).expand(3, 4), random(4), random(1), random(2, 0)):
        for name in ("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp"):
            yield example(f"{name}.default", view, -1)
        yield example("sort.default", view, 0, True)
        yield example("sort.stable", view, stable=True, dim=-1, descending=False)
        yield example("median.default", view)
        yield example("median.dim", view, 0)
        if view.numel():
            yield example("topk.default", view, 1)
            yield example("kthvalue.default", view, 1)
    yield example("topk.default", x, 3, 1, False, True)
    yield example("searchsorted.Tensor", x.flatten().sort().values, random(4), right=True)
    index = torch.tensor([[0, 1, 1, 0, 2]])
    for rule in ("sum", "amax", "mean"):
        yield example("scatter_reduce.two", x, 0, index, random(1, 5), rule)


def layers() -> Iterator[Example]:
    image = random(2, 3, 6, 6)
    weight = random(4, 3, 3, 3)
    none = [0, 0]
    yield example("convolution.default", image, weight, random(4), [1, 1], [1, 1], [1, 1], False, none, 1)
    yield example("convolution.default", image, weight, None, [2, 2], [0, 0], [1, 1], False, none, 1)
    grad = random(2, 4, 6, 6)
    pads = ([4], [1, 1], [1, 1], [1, 1], False, none, 1, [True, True, True])
    yield example("convolution_backward.default", grad, image, weight, *pads)
    yield example("avg_pool2d.default", image, [2, 2])
    yield example(
        "avg_pool2d_backward.default", random(2, 3, 3, 3), image, [2, 2], [2, 2], none, False, True, None
    )
    yield example("_adaptive_avg_pool2d.default", image, [2, 3])
    yield example("_adaptive_avg_pool2d_backward.default", random(2, 3, 2, 3), image)
    yield example("max_pool2d_with_indices.default", image, [2, 2])
    indices = aten.max_pool2d_with_indices.default(image, [2, 2])[1]
    args = ([2, 2], [2, 2], none, [1, 1], False, indices)
    yield example("max_pool2d_with_indices_backward.default", random(2, 3, 3, 3), image, *args)
    query, key, value = random(1, 2, 4, 8), random(1, 2, 5, 8), random(1, 2, 5, 8)
    yield example("_scaled_dot_product_flash_attention_for_cpu.default", query, key, value)
    out, log_sum = aten._scaled_dot_product_flash_attention_for_cpu.default(query, key, value)
    attended = (query.flip(0), query, key, value, out, log_sum, 0.0, False)
    yield example("_scaled_dot_product_flash_attention_for_cpu_backward.default", *attended)
    one, two = random(4, 3), random(5, 3)
    yield example("_cdist_forward.default", one, two, 2.0, None)
    yield example("_cdist_backward.default", random(4, 5), one, two, 2.0, torch.cdist(one, two))
    positive = random(3, 4).abs() + 0.1
    share = positive / positive.sum(-1, keepdim=True)
    yield example(
        "_dirichlet_grad.default", share, positive, positive.sum(-1, keepdim=True).expand(3, 4).contiguous()
    )
    yield example("_standard_gamma_grad.default", positive, positive.flip(0))
    yield example("special_zeta.default", positive + 1.5, positive)
    yield example("special_modified_bessel_i0.default", positive)
    yield example("special_modified_bessel_i1.default", positive)
    yield example("log_sigmoid_forward.default", random(3, 4) * 20)
    x = torch.tensor([0.0, -800.0, 800.0, math.inf, -math.inf, 0.3], dtype=torch.float64)
    yield example("log_sigmoid_backward.default", random(6), x, aten.log_sigmoid_forward.default(x)[1])


# ---- making and moving elements


def made() -> Iterator[Example]:
    x, f64 = random(3, 4), torch.float64
    cpu = {"device": torch.device("cpu"), "pin_memory": False}
    for dtype in (f64, torch.float32, torch.int64, torch.bool, torch.int32):
        yield example("full.default", [2, 3], 1, dtype=dtype, **cpu)
        yield example("_to_copy.default", x, dtype=dtype)
        yield example("_to_copy.default", x > 0, dtype=dtype)
        yield example("_to_copy.default", (x * 3).long().t(), dtype=dtype)
        yield example("zeros_like.default", x.t(), dtype=dtype)
        yield example("ones_like.default", x, dtype=dtype)
        yield example("full_like.default", x, 3, dtype=dtype)
        yield example("scalar_tensor.default", 1, dtype=dtype)
        yield example("eye.default", 3, dtype=dtype, **cpu)
        yield example("ones.default", [2, 0], dtype=dtype, **cpu)
        yield example("zeros.default", [], dtype=dtype, **cpu)
        yield example("new_full.default", x, [2], 2, dtype=dtype)
        yield example("new_ones.default", x, [1, 2], dtype=dtype)
        yield example("new_zeros.default", x, [3], dtype=dtype)
    for number in (math.nan, math.inf, -0.0, 0.1, 1e300, 1e-320):
        yield example("full.default", [2], number, dtype=f64, **cpu)
    for number in (2**62 + 1, -(2**63), 2**53 + 1):
        yield example("full.default", [2], number, dtype=torch.int64, **cpu)
    for row in (1, 3, 4):
        for offset in (-2, 0, 1):
            yield example("tril_indices.default", row, 3, offset, **cpu)
            yield example("triu_indices.default", row, 3, offset, **cpu)
    yield example("eye.m", 2, 4, dtype=f64, **cpu)
    yield example("eye.m", 1, 1, dtype=f64, **cpu)
    for end in (5, 2.5, 0, 1):
        yield example("arange.default", end, **cpu)
        yield example("arange.default", end, dtype=f64, **cpu)
    yield example("arange.start", -2, 3, **cpu)
    yield example("arange.start", 0.5, 3, dtype=torch.float32, **cpu)
    yield example("arange.start_step", 0, 1, 0.1, dtype=f64, **cpu)
    yield example("arange.start_step", 5, -5, -3, **cpu)
    for steps in (0, 1, 2, 7):
        for dtype in (f64, torch.float32):
            yield example("linspace.default", -1, 2, steps, dtype=dtype, **cpu)
            yield example("linspace.default", 0.1, 0.7, steps, dtype=dtype, **cpu)
    for view in (x, x.t(), x[:, ::2], x[:1].expand(3, 4), random(), random(0, 2), random(1)):
        yield example("clone.default", view)
        yield example("clone.default", view, memory_format=torch.contiguous_format)
        yield example("lift_fresh_copy.default", view)
        yield example("fill.Scalar", view, 2)
        yield example("fill.Tensor", view, random())
        yield example("zero.default", view)
    yield example("copy.default", x, random(4))
    yield example("copy.default", x, (random(4) > 0))
    yield example("copy.default", (x > 0), random(3, 1))


def moved() -> Iterator[Example]:
    x, cube = random(3, 4), random(2, 3, 4)
    for dim in (0, 1, -1):
        yield example("stack.default", [x, x * 2, x[:, :1].expand(3, 4)], dim)
        yield example("cat.default", [x, random(4, 3).t(), x], dim)
        yield example("cat.default", [random(0), x], dim)
    yield example("cat.default", [x, random(0, 4), random(2, 4)], 0)
    yield example("cat.default", [x.long(), x, x > 0], 1)
    yield example("stack.default", [random(), random(), (random() * 9).long()], 0)
    yield example("stack.default", [random(0), random(0)], 0)
    for k in (-5, -1, 0, 1, 2, 9):
        for view in (x, x.t(), cube, cube.transpose(0, 2), random(1, 1), random(0, 3)):
            yield example("tril.default", view, k)
            yield example("triu.default", view, k)
    for dims in ([0], [1], [0, 1], [-1], []):
        yield example("flip.default", x, dims)
        yield example("flip.default", x.t(), dims)
        yield example("flip.default", x[::2, 1:], dims)
    for view in (x, x.t(), random(1, 5), random(4, 1)):
        for shift in (0, 1, -1, 7):
            yield example("roll.default", view, [shift], [0])
            yield example("roll.default", view, [shift], [-1])
        yield example("roll.default", view, [1, 2], [0, 1])
        yield example("roll.default", view, [2], [])
    for pads in ([1, 2], [0, 1, 2, 0], [-1, 2], [-1, -1, 1, 1], [0, 0]):
        yield example("constant_pad_nd.default", x, pads, 0.5)
        yield example("constant_pad_nd.default", cube.transpose(1, 2), pads)
    for index in (0, 2, -1):
        yield example("select_backward.default", random(4), [3, 4], 0, index)
        yield example("select_backward.default", random(3), [3, 4], 1, index)
        yield example("select_scatter.default", x, random(4), 0, index)
        yield example("select_scatter.default", x.t(), random(4), 1, index)
    for start, end, step in ((0, 9, 1), (1, 3, 1), (0, 4, 2), (-2, 4, 1)):
        length = len(range(4)[start:end:step])
        yield example("slice_backward.default", random(3, length), [3, 4], 1, start, end, step)
        yield example("slice_scatter.default", x, random(3, length), 1, start, end, step)
        yield example("slice_scatter.default", x.t(), random(length, 3), 0, start, min(end, 4), step)
    yield example("slice_backward.default", random(3, 0), [3, 4], 1, 2, 2, 1)
    for offset in (-1, 0, 2):
        length = x.diagonal(offset).shape[0]
        yield example("diagonal_backward.default", random(length), [3, 4], offset, 0, 1)
        yield example("diagonal_backward.default", random(length), [4, 3], -offset, 0, 1)
        length = cube.diagonal(offset, 2, 0).shape[-1]
        yield example("diagonal_backward.default", random(3, length), [2, 3, 4], offset, 2, 0)


def indexed() -> Iterator[Example]:
    x, cube = random(5, 4), random(2, 3, 4)
    i, j = torch.tensor([0, 4, 2, -1, 2]), torch.tensor([3, 0, -4, 1, 0])
    for view in (x, random(4, 5).t(), x[:, :1].expand(5, 4)):
        yield example("index.Tensor", view, [i])
        yield example("index.Tensor", view, [i, j])
        yield example("index.Tensor", view, [None, j[:2]])
        yield example("index.Tensor", view, [i[:, None], j[:3]])
        yield example("index.Tensor", view, [torch.tensor(3)])
        yield example("index.Tensor", view, [torch.tensor([], dtype=torch.int64)])
        yield example("index_select.default", view, 0, i.abs())
        yield example("index_select.default", view, 1, torch.tensor(2))
        yield example("index_select.default", view, -1, torch.tensor([1, 1]))
        yield example("embedding.default", view, i.abs())
        yield example("embedding.default", view, i.abs().reshape(1, 5))
        yield example("gather.default", view, 0, torch.tensor([[0, 4, 3, 3], [2, 2, 2, 1]]))
        yield example("gather.default", view, 1, torch.tensor([[0], [3], [1], [1], [0]]))
        yield example("gather.default", view, -1, torch.tensor([[0, 1], [2, 3]]).t())
        for accumulate in (False, True):
            yield example("index_put.default", view, [i[:4], j[:4]], random(4), accumulate)
            yield example("index_put.default", view, [i[:3]], random(4), accumulate)
            yield example("index_put.default", view, [None, j[:2]], random(5, 2), accumulate)
        yield example("index_put.default", view, [i, torch.tensor([1, 1, 1, 1, 1])], random(5), True)
        yield example("index_add.default", view, 0, torch.tensor([1, 1, 4]), random(3, 4))
        yield example("index_add.default", view, 1, torch.tensor([1, 0]), random(5, 2))
        yield example("index_copy.default", view, 0, torch.tensor([1, 0, 4]), random(3, 4))
        yield example("index_copy.default", view, 1, torch.tensor([1, 0]), random(5, 2))
        yield example("index_fill.int_Scalar", view, 1, torch.tensor([1, -1]), 2.5)
        yield example("index_fill.int_Tensor", view, 0, torch.tensor([1, 0, -5]), random())
        yield example("index_add.default", view, 0, torch.tensor([1, 1, 4]), random(3, 4), alpha=2)
        index = torch.tensor([[0, 1, 2, 3], [4, 0, 0, 1]])
        yield example("scatter.src", view, 0, index, random(3, 4))
        yield example("scatter.src", view, 0, index, random(4, 2).t())
        yield example("scatter.value", view, 0, index, 2.5)
        yield example("scatter_add.default", view, 0, torch.zeros(2, 4, dtype=torch.int64), random(3, 4))
        yield example("scatter_add.default", view, 1, torch.tensor([[1, 1], [0, 3]]), random(5, 4))
    yield example("index.Tensor", cube, [i[:1], None, j[:1]])
    yield example("index.Tensor", cube, [None, torch.tensor([[0, 2]]), torch.tensor([[1], [3]])])
    yield example("index.Tensor", cube, [torch.tensor([0, 1]), torch.tensor([0, 2])])
    yield example(
        "index_put.default", cube, [torch.tensor([1, 0]), None, torch.tensor([0, 3])], random(2, 3), False
    )
    yield example("index_put.default", x, [x > 0], random(), False)
    yield example("index_put.default", x, [x > 0], random(1), False)
    yield example("gather.default", random(), 0, torch.tensor(0))
    for view in (x, x.t(), x[:, ::2]):
        yield example("take.default", view, torch.tensor([[0, -1], [3, 9]]))
        yield example("take.default", view, torch.tensor(2))
    for accumulate in (False, True):
        yield example("put.default", x, torch.tensor([3, -1, 0]), random(3), accumulate)
    yield example("put.default", x, torch.tensor([3, 3, 0]), random(3), True)
    yield example("gather.default", random(), 0, torch.tensor([0, 0]))
    yield example("embedding_dense_backward.default", random(5, 3), i.abs(), 6, -1, False)
    yield example("embedding_dense_backward.default", random(1, 5, 3), i.abs().reshape(1, 5), 6, 2, False)


def rest() -> list[Example]:
    """All examples but those of operators element by element, in float64."""
    parts = (reductions, products, linear_algebra, along_a_dim, layers, made, moved, indexed)
    return [made_example for part in parts for made_example in part()]


# ---- draws


def draws(dtype: torch.dtype) -> Iterator[Example]:
    p = random(3, 4).sigmoid().to(dtype)
    cpu = {"dtype": dtype, "device": torch.device("cpu"), "pin_memory": False}
    long = {**cpu, "dtype": torch.int64}
    for shape in ([], [0], [3], [15], [16], [17], [40, 5]):
        yield example("rand.default", shape, **cpu)
        yield example("randn.default", shape, **cpu)
        empty = torch.empty(shape, dtype=dtype)
        yield example("rand_like.default", empty)
        yield example("randn_like.default", empty)
        yield example("randint.default", 7, shape, **long)
        yield example("randint.low", -3, 2**40, shape, **long)
        yield example("normal_functional.default", empty, 1.0, 2.0)
    for n in (0, 1, 2, 50):
        yield example("randperm.default", n, **long)
        yield example("ember::subset.default", torch.arange(n) * 12345678901, 10 * n)
    many = random(40).sigmoid().to(dtype)
    for weights in (p, many, p[0], p.t(), p[:1].expand(3, 4)):
        yield example("bernoulli.default", weights)
        yield example("bernoulli.p", weights, 0.3)
        yield example("normal.Tensor_float", weights, 2.0)
        yield example("normal.float_Tensor", 1.0, weights)
        yield example("normal.Tensor_Tensor", weights, weights + 1)
        yield example("_standard_gamma.default", weights)
        yield example("_standard_gamma.default", weights * 9)
        yield example("poisson.default", weights)
        yield example("poisson.default", weights * 50)
        yield example("binomial.default", (weights * 20).floor(), weights)
        yield example("binomial.default", (weights * 900).floor(), weights)
    yield example("normal.Tensor_Tensor", p, p[0] + 1)
    for weights in (p, p[0], p.t().contiguous(), p * 50, p[:1].expand(3, 4)):
        yield example("_sample_dirichlet.default", weights)
    for weights in (p, p[0], many, p.t()):
        for count, again in ((1, True), (1, False), (5, True), (2, False)):
            yield example("multinomial.default", weights, count, again)


FILLS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("bernoulli_.float", (0.3,)),
    ("cauchy_.default", (1.0, 2.0)),
    ("exponential_.default", (1.5,)),
    ("geometric_.default", (0.3,)),
    ("log_normal_.default", (0.5, 0.25)),
    ("normal_.default", (1.0, 2.0)),
    ("uniform_.default", (1.0, 3.0)),
)
