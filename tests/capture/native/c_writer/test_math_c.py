"""The scalar functions in C against torch and SciPy: values, infinities, NaN, and whether loops become vector code."""

from __future__ import annotations

import ctypes
import math
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import scipy.special
import torch
from torch import Tensor
from torch.nn import functional

from ember.capture.native.build.compiler import find_compiler
from ember.capture.native.build.toolchain import Library, compile_library

# Names of one argument, with the error against torch that is allowed, in units of the last place.
PLAIN = {
    **dict.fromkeys(
        ("exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tan", "asin"), 4.0
    ),
    **dict.fromkeys(("acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "erfc"), 4.0),
    **dict.fromkeys(("sigmoid", "log_sigmoid", "sinc"), 6.0),
    **dict.fromkeys(("sqrt",), 1.0),
    **dict.fromkeys(("floor", "ceil", "trunc", "round", "sign"), 0.0),
}
SPECIAL = ("lgamma", "digamma", "log_ndtr", "ndtri", "erfinv", "i0", "i0e", "i1", "i1e", "erfcx")
TWO = ("pow", "atan2", "hypot", "copysign", "fmod", "max", "min", "logaddexp")
TWO += ("remainder", "floor_divide")
SCALAR = ("igamma", "igammac")
C_NAMES = {"f32": "float", "f64": "double", "i64": "int64_t", "i32": "int32_t"}
DTYPES = {"f32": torch.float32, "f64": torch.float64, "i64": torch.int64, "i32": torch.int32}
INTEGER = ("fmod", "remainder", "floor_divide", "trunc_divide", "pow", "max", "min", "mul")

TORCH: dict[str, Callable[..., Tensor]] = {
    "log_sigmoid": functional.logsigmoid,
    "max": torch.maximum,
    "min": torch.minimum,
    "trunc_divide": lambda a, b: torch.div(a, b, rounding_mode="trunc"),
}
inf, nan = math.inf, math.nan
EDGES = [
    0.0,
    -0.0,
    inf,
    -inf,
    nan,
    1.0,
    -1.0,
    2.0,
    -2.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -1.5,
    -2.5,
    3.0,
    -3.0,
    10.0,
    8.0,
]
EDGES += [
    1e-38,
    1e-20,
    -1e-20,
    1e20,
    -1e20,
    80.0,
    -80.0,
    -104.0,
    -746.0,
    710.0,
    20.0,
    -20.0,
    0.999,
    1.001,
    -27.0,
]


def reference(name: str) -> Callable[..., Tensor]:
    return TORCH.get(name) or getattr(torch, name, None) or getattr(torch.special, name)


def _loop(name: str, function: str, s: str, count: int) -> str:
    inputs = ", ".join(f"const {C_NAMES[s]} *restrict x{i}" for i in range(count))
    values = ", ".join(f"x{i}[i]" for i in range(count))
    return (
        f"void {name}({C_NAMES[s]} *restrict y, {inputs}, int64_t n) {{\n#pragma omp simd\n"
        f"for (int64_t i = 0; i < n; i++) y[i] = ember_{function}_{s}({values}); }}\n"
    )


def _source() -> str:
    text = '#include "ember_special.h"\n'
    for s in ("f32", "f64"):
        text += "".join(_loop(f"{name}_{s}", name, s, 1) for name in (*PLAIN, *SPECIAL))
        text += "".join(_loop(f"{name}_{s}", name, s, 2) for name in (*TWO, *SCALAR))
        text += "".join(_loop(f"{name}_{s}", name, s, 3) for name in ("softplus",))
        text += f"void polygamma_{s}({C_NAMES[s]} *y, const {C_NAMES[s]} *x, int64_t n, int64_t order) {{\n"
        text += f"for (int64_t i = 0; i < n; i++) y[i] = ember_polygamma_{s}(order, x[i]); }}\n"
    for s in ("i64", "i32"):
        text += "".join(_loop(f"{name}_{s}", name, s, 2) for name in INTEGER)
    return text


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Library, ctypes.PyDLL]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMBER_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        library = compile_library(_source())
        yield library, library.load()


@pytest.fixture
def run(built: tuple[Library, ctypes.PyDLL]) -> Callable[..., Tensor]:
    def call(
        name: str, s: str, *inputs: Tensor, more: tuple[Any, ...] = (), out: torch.dtype | None = None
    ) -> Tensor:
        result = torch.empty_like(inputs[0], dtype=out)
        pointers = [ctypes.c_void_p(t.contiguous().data_ptr()) for t in (result, *inputs)]
        getattr(built[1], f"{name}_{s}")(*pointers, ctypes.c_int64(result.numel()), *more)
        return result

    return call


def points(s: str) -> Tensor:
    g = torch.Generator().manual_seed(0)

    def normal() -> Tensor:
        return torch.randn(2000, dtype=torch.float64, generator=g)

    def unit() -> Tensor:
        return torch.rand(2000, dtype=torch.float64, generator=g)

    edges = torch.tensor(EDGES, dtype=torch.float64)
    return torch.cat([edges, normal(), normal() * 30, unit(), unit() * 10, torch.exp(normal() * 5)]).to(
        DTYPES[s]
    )


def assert_close(
    ours: Tensor, expected: Tensor, units: float, *, absolute: float = 0.0, where: Tensor | None = None
) -> None:
    """Same NaN, same infinities, and an error of so many units in the last place, or of the absolute part."""
    if where is not None:
        ours, expected = ours[where], expected[where]
    rtol = units * torch.finfo(ours.dtype).eps
    # Below the normal numbers, the last place no longer shrinks.
    floor = 4 * torch.finfo(ours.dtype).smallest_normal
    torch.testing.assert_close(
        ours, expected, rtol=rtol, atol=max(absolute, floor if units else 0), equal_nan=True
    )


@pytest.mark.parametrize("s", ["f32", "f64"])
@pytest.mark.parametrize("name", PLAIN)
def test_elementary_functions(run: Callable[..., Tensor], name: str, s: str) -> None:
    x = points(s)
    # torch's own vector code ends in infinity a little before the true sinh and cosh do
    where = x.abs() < (709 if s == "f64" else 88) if name in ("sinh", "cosh") else None
    assert_close(run(name, s, x), reference(name)(x), PLAIN[name], where=where)


@pytest.mark.parametrize("s", ["f32", "f64"])
@pytest.mark.parametrize("name", [name for name in SPECIAL if name not in ("erfcx", "erfinv", "log_ndtr")])
def test_special_functions(run: Callable[..., Tensor], name: str, s: str) -> None:
    x = points(s)
    where = None
    if name in ("lgamma", "digamma") and s == "f32":
        where = (
            (x > 0) | x.isnan() | x.isinf()
        )  # torch's own reflection in single precision has lost the digits there
    if name in ("i0", "i1"):
        where = ~(x.abs() > (700 if s == "f64" else 85)) | x.isinf()
    if name == "digamma" and s == "f64":
        where = (
            (x > 0) | ~x.isfinite() | (x == 0)
        )  # torch's own is 1e-13 off near poles; see test_vector_math.py
    # Near a zero of the function the error is absolute.
    absolute = (16 if s == "f64" else 8) * torch.finfo(DTYPES[s]).eps
    assert_close(run(name, s, x), reference(name)(x), 24, absolute=absolute, where=where)


@pytest.mark.parametrize("name", ["lgamma", "digamma", "erfcx", "erfinv", "log_ndtr", "ndtri", "i0e", "i1e"])
def test_special_functions_against_scipy(run: Callable[..., Tensor], name: str) -> None:
    x = points("f64")
    function = {"lgamma": "gammaln", "digamma": "psi"}.get(name, name)
    with torch.no_grad():
        expected = torch.as_tensor(getattr(scipy.special, function)(x.numpy()))
    if name in ("lgamma", "digamma"):
        x, expected = x[x > 0], expected[x > 0]
    absolute = 4e-15 if name in ("lgamma", "digamma", "ndtri") else 0.0
    # exp(x ** 2) and the like lose digits in SciPy; a reference in 40 digits gave 4 units for erfcx here.
    units = 16 if name not in ("erfcx", "log_ndtr") else 400
    assert_close(run(name, "f64", x), expected, units, absolute=absolute)
    if name not in ("lgamma", "digamma"):  # these are computed in single precision
        single = run(name, "f32", x.to(torch.float32))
        rounded = torch.as_tensor(getattr(scipy.special, function)(x.to(torch.float32).double().numpy())).to(
            torch.float32
        )
        assert_close(single, rounded, 1.01, absolute=1e-44)


def test_erfcx_keeps_its_digits(run: Callable[..., Tensor]) -> None:
    # Values in 40 digits, rounded.
    known = {-26.387739774246153: 5.079737005556859e302, 0.5: 0.6156903441929258, 5.0: 0.11070463773306863}
    known |= {25.0: 0.022549572432641358, 25.5: 0.022108108052519827, 1e8: 5.641895835477562e-09}
    x = torch.tensor(list(known), dtype=torch.float64)
    assert_close(run("erfcx", "f64", x), torch.tensor(list(known.values()), dtype=torch.float64), 4)


def test_the_normal_quantile_keeps_its_digits_in_the_tails(run: Callable[..., Tensor]) -> None:
    tail = 10.0 ** -torch.arange(1, 300, 7, dtype=torch.float64)
    expected = torch.as_tensor(scipy.special.ndtri(tail.numpy()))
    assert_close(run("ndtri", "f64", tail), expected, 16)
    x = torch.nextafter(torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    assert_close(run("erfinv", "f64", x), torch.as_tensor(scipy.special.erfinv(x.numpy())), 16)
    assert run("ndtri", "f64", torch.tensor([0.0, 1.0, 0.5, -0.1, 1.1, nan], dtype=torch.float64)).tolist()[
        :3
    ] == [
        -inf,
        inf,
        0.0,
    ]


@pytest.mark.parametrize("s", ["f32", "f64"])
@pytest.mark.parametrize("name", TWO)
def test_functions_of_two_arguments(run: Callable[..., Tensor], name: str, s: str) -> None:
    edges = torch.tensor(EDGES, dtype=DTYPES[s])
    x = points(s)
    a = torch.cat([edges.repeat_interleave(len(edges)), x])
    b = torch.cat(
        [edges.repeat(len(edges)), x[torch.randperm(len(x), generator=torch.Generator().manual_seed(1))]]
    )
    where = None
    if name in ("fmod", "remainder", "floor_divide"):
        # A quotient beyond the integers that a float holds: torch's vector code goes wrong there.
        where = ~((a / b).abs() > 2.0**22) | (b == 0)
    absolute = 4 * torch.finfo(DTYPES[s]).eps if name.startswith("logaddexp") else 0.0
    exact = name in (
        "copysign",
        "fmod",
        "max",
        "min",
        "floor_divide",
        "remainder",
    )
    assert_close(run(name, s, a, b), reference(name)(a, b), 0 if exact else 6, absolute=absolute, where=where)


def test_signs_of_zero_and_nan(run: Callable[..., Tensor]) -> None:
    x = torch.tensor([-0.0, 0.0, -0.4, 0.4, nan], dtype=torch.float64)
    for name in (
        "sqrt",
        "sin",
        "tan",
        "tanh",
        "expm1",
        "log1p",
        "round",
        "trunc",
        "ceil",
        "asinh",
        "erf",
    ):
        ours, expected = run(name, "f64", x), reference(name)(x)
        zero = expected == 0
        assert torch.equal(torch.signbit(ours[zero]), torch.signbit(expected[zero])), name
        assert ours[4].isnan()
    halves = torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5, 2.0**52 + 1], dtype=torch.float64)
    assert run("round", "f64", halves).tolist() == [0.0, 2.0, 2.0, -0.0, -2.0, 2.0**52 + 1]
    a, b = torch.tensor([nan, 1.0, 1.0]), torch.tensor([1.0, nan, 2.0])
    assert (
        run("max", "f32", a, b).isnan().tolist()
        == run("min", "f32", a, b).isnan().tolist()
        == [True, True, False]
    )


@pytest.mark.parametrize("s", ["f32", "f64"])
def test_functions_of_three_arguments(run: Callable[..., Tensor], s: str) -> None:
    x = points(s)
    beta, threshold = torch.full_like(x, 1.5), torch.full_like(x, 20.0)
    assert_close(run("softplus", s, x, beta, threshold), functional.softplus(x, 1.5, 20.0), 4)


@pytest.mark.parametrize("order", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("s", ["f32", "f64"])
def test_polygamma(run: Callable[..., Tensor], order: int, s: str) -> None:
    x = torch.rand(500, dtype=DTYPES[s], generator=torch.Generator().manual_seed(2)) * 20 + 0.05
    ours = run("polygamma", s, x, more=(ctypes.c_int64(order),))
    # torch stops its series for trigamma early: its error reaches 1e-9.
    units = 2e-9 / torch.finfo(DTYPES[s]).eps if (order, s) == (1, "f64") else 8
    absolute = 16 * torch.finfo(DTYPES[s]).eps if order == 0 else 0.0
    assert_close(ours, torch.polygamma(order, x), units, absolute=absolute)
    if order > 0:
        expected = torch.as_tensor(scipy.special.polygamma(order, x.double().numpy()))
        torch.testing.assert_close(ours.double(), expected, rtol=1e-13 if s == "f64" else 1e-6, atol=0.0)


def test_zeta(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What polygamma is made of, in double precision only."""
    monkeypatch.setenv("EMBER_CACHE_DIR", str(tmp_path))
    library = compile_library('#include "ember_special.h"\n' + _loop("zeta_f64", "zeta", "f64", 2)).load()

    def zeta(order: Tensor, q: Tensor) -> Tensor:
        result = torch.empty_like(order)
        pointers = [ctypes.c_void_p(t.data_ptr()) for t in (result, order, q)]
        library.zeta_f64(*pointers, ctypes.c_int64(result.numel()))
        return result

    g = torch.Generator().manual_seed(3)
    order = torch.rand(500, dtype=torch.float64, generator=g) * 20 + 1.01
    q = torch.rand(500, dtype=torch.float64, generator=g) * 30 + 0.01
    assert_close(zeta(order, q), torch.special.zeta(order, q), 8)
    edge_order = torch.tensor([1.0, 0.5, 2.0, 2.0, 2.5, 3.0, nan], dtype=torch.float64)
    edge_q = torch.tensor([2.0, 2.0, 0.0, -3.0, -1.5, -1.5, 1.0], dtype=torch.float64)
    assert_close(zeta(edge_order, edge_q), torch.special.zeta(edge_order, edge_q), 8)


def test_incomplete_gamma_functions_against_scipy(run: Callable[..., Tensor]) -> None:
    g = torch.Generator().manual_seed(4)
    a = torch.rand(3000, dtype=torch.float64, generator=g) * 50 + 0.01
    x = a * (1 + 0.4 * torch.randn(3000, dtype=torch.float64, generator=g)).clamp_min(0.01)
    large = torch.rand(200, dtype=torch.float64, generator=g) * 1e5 + 100
    near = large * (1 + 0.01 * torch.randn(200, dtype=torch.float64, generator=g))
    a = torch.cat(
        [a, large, torch.tensor([0, 0, 1, inf, inf, 2, 1e-3, 0.5, 0.01, -1, nan], dtype=torch.float64)]
    )
    x = torch.cat(
        [x, near, torch.tensor([0, 1, 0, 1, inf, inf, 1e-3, 1e-8, 1e-5, 1, 1], dtype=torch.float64)]
    )
    for name, function in (("igamma", scipy.special.gammainc), ("igammac", scipy.special.gammaincc)):
        expected = torch.as_tensor(function(a.numpy(), x.numpy()))
        ours = run(name, "f64", a, x)
        torch.testing.assert_close(ours, expected, rtol=2e-12, atol=1e-290, equal_nan=True)
        # torch's own error reaches 2e-9 in the middle of large shapes
        torch.testing.assert_close(ours, reference(name)(a, x), rtol=1e-8, atol=1e-9, equal_nan=True)
        single = run(name, "f32", a.float(), x.float())
        torch.testing.assert_close(
            single, reference(name)(a.float(), x.float()), rtol=1e-3, atol=2e-5, equal_nan=True
        )


@pytest.mark.parametrize("s", ["i64", "i32"])
@pytest.mark.parametrize("name", INTEGER)
def test_integers(run: Callable[..., Tensor], name: str, s: str) -> None:
    info = torch.iinfo(DTYPES[s])
    values = torch.tensor(
        [0, 1, -1, 2, -2, 3, -3, 7, -7, 100, info.max, info.min, info.min + 1], dtype=DTYPES[s]
    )
    a, b = values.repeat_interleave(len(values)), values.repeat(len(values))
    if name in ("fmod", "remainder", "floor_divide", "trunc_divide"):
        assert run(name, s, a, torch.zeros_like(a)).eq(0).all()  # torch raises; the process must not end
        kept = (b != 0) & ~((a == info.min) & (b == -1))
        a, b = a[kept], b[kept]
        run(name, s, torch.full((1,), info.min, dtype=a.dtype), -torch.ones(1, dtype=a.dtype))
    if name == "pow":
        kept = (b >= 0) & (b <= 100)
        a, b = a[kept], b[kept]
    assert torch.equal(run(name, s, a, b), reference(name)(a, b))


def test_integers_to_negative_powers(run: Callable[..., Tensor]) -> None:
    a, b = torch.tensor([1, -1, -1, 2, -5]), torch.tensor([-3, -3, -2, -1, -2])
    assert run("pow", "i64", a, b).tolist() == [1, -1, 1, 0, 0]


@pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump")
def test_loops_become_vector_code(built: tuple[Library, ctypes.PyDLL], tmp_path: Path) -> None:
    compiler = find_compiler(tmp_path)
    if "-DEMBER_LIBMVEC=2" not in compiler.flags:
        pytest.skip("this tool chain has no vector functions")
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", str(built[0].path)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    bodies = {part.partition(">:")[0].rpartition("<")[2]: part for part in listing.split("\n\n")}
    by_the_c_library = ("sin", "cos", "erf", "erfc", "pow", "sinc", "erfcx", "log_ndtr")
    ours = (
        "exp",
        "log",
        "log1p",
        "expm1",
        "tanh",
        "sigmoid",
        "log_sigmoid",
        "logaddexp",
        "softplus",
    )
    ours += ("lgamma", "digamma", "ndtri", "erfinv", "i0", "i0e", "i1", "i1e")
    for s in ("f32", "f64"):
        for name in by_the_c_library:
            assert "_ZGV" in bodies[f"{name}_{s}"], f"{name}_{s} calls no vector function"
        for name in ("sqrt", "round", "max", "min", "sign", "floor", *ours):
            assert "ymm" in bodies[f"{name}_{s}"] or "zmm" in bodies[f"{name}_{s}"], (
                f"{name}_{s} has no vectors"
            )
        for name in ours:
            assert "call" not in bodies[f"{name}_{s}"], f"{name}_{s} calls a function"
