"""The samplers in C against torch's: the same numbers, and the same state of the generator afterwards."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from ember.capture.native.build.toolchain import compile_library
from ember.capture.native.torch_side.generator import engine, sampler_differences

SEEDS = (0, 1, 7)
SIZES = (0, 1, 2, 15, 16, 17, 31, 32, 33, 1000)
DTYPES = {"f32": torch.float32, "f64": torch.float64, "i64": torch.int64, "b8": torch.bool}
C_NAMES = {"f32": "float", "f64": "double", "i64": "int64_t", "b8": "bool"}

Case = tuple[str, torch.dtype, Callable[[Tensor], Any], tuple[Tensor, ...], tuple[float, ...]]
"""Name in C, dtype of the result, torch's own way to fill it, tensors before the result and numbers after its length."""


def _declarations() -> Iterator[tuple[str, str]]:
    for s in ("f32", "f64"):
        out = f"{C_NAMES[s]} *out, int64_t n"
        yield f"rand_{s}", out
        for name in ("uniform", "normal", "normal_serial", "log_normal", "cauchy"):
            yield f"{name}_{s}", f"{out}, double a, double b"
        yield f"exponential_{s}", f"{out}, double a"
        for name in ("standard_gamma", "poisson"):
            yield f"{name}_{s}", f"{C_NAMES[s]} *p, {out}"
        yield f"binomial_{s}", f"{C_NAMES[s]} *count, {C_NAMES[s]} *p, {out}"
        yield f"dirichlet_{s}", f"{C_NAMES[s]} *p, {C_NAMES[s]} *out, int64_t rows, int64_t k, double *work"
        for name in ("multinomial", "multinomial_race"):
            sizes = "int64_t rows, int64_t k, int64_t draws"
            yield f"{name}_{s}", f"{C_NAMES[s]} *p, int64_t *out, {sizes}, {C_NAMES[s]} *work"
    for s in ("f32", "f64", "i64"):
        yield f"geometric_{s}", f"{C_NAMES[s]} *out, int64_t n, double p"
    for s, c in C_NAMES.items():
        yield f"bernoulli_f32_{s}", f"float *p, {c} *out, int64_t n"
        yield f"bernoulli_f64_{s}", f"double *p, {c} *out, int64_t n"
        yield f"bernoulli_scalar_{s}", f"{c} *out, int64_t n, double p"
    yield "randint_i64", "int64_t *out, int64_t n, int64_t a, int64_t b"
    yield "randperm_i64", "int64_t *out, int64_t n"


def _source() -> str:
    lines = ['#include "ember_rejection.h"']
    for name, parameters in _declarations():
        passed = ", ".join(part.split()[-1].lstrip("*") for part in parameters.split(","))
        lines.append(f"void {name}(ember_rng *g, {parameters}) {{ ember_{name}(g, {passed}); }}")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def draw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., None]]:
    """Call a sampler; tensors are passed as pointers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMBER_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        library = compile_library(_source()).load()

    def call(name: str, *arguments: Tensor | float) -> None:
        passed: list[Any] = [ctypes.c_void_p(engine().address)]
        for argument in arguments:
            if isinstance(argument, Tensor):
                passed.append(ctypes.c_void_p(argument.data_ptr()))
            else:
                passed.append((ctypes.c_double if isinstance(argument, float) else ctypes.c_int64)(argument))
        engine().begin()
        getattr(library, name)(*passed)
        engine().end()

    yield call


def continuous(n: int, s: str) -> list[Case]:
    d = DTYPES[s]
    g = torch.Generator().manual_seed(n)
    shape = torch.rand(n, dtype=d, generator=g) * 3 + 0.01
    shape[::3] *= 10
    count = torch.randint(0, 100, (n,), generator=g).to(d)
    p = torch.rand(n, dtype=d, generator=g)
    return [
        (f"normal_{s}", d, lambda o: o.normal_(), (), (0.0, 1.0)),
        (f"rand_{s}", d, lambda o: o.uniform_(), (), ()),
        (f"uniform_{s}", d, lambda o: o.uniform_(-1.3, 2.7), (), (-1.3, 2.7)),
        (f"normal_{s}", d, lambda o: o.normal_(0.3, 1.7), (), (0.3, 1.7)),
        (f"log_normal_{s}", d, lambda o: o.log_normal_(0.3, 0.7), (), (0.3, 0.7)),
        (f"cauchy_{s}", d, lambda o: o.cauchy_(0.3, 0.7), (), (0.3, 0.7)),
        (f"exponential_{s}", d, lambda o: o.exponential_(2.7), (), (2.7,)),
        (f"standard_gamma_{s}", d, lambda o: o.copy_(torch._standard_gamma(shape)), (shape,), ()),
        (f"poisson_{s}", d, lambda o: o.copy_(torch.poisson(shape)), (shape,), ()),
        (f"binomial_{s}", d, lambda o: o.copy_(torch.binomial(count, p)), (count, p), ()),
    ]


def discrete(n: int, s: str) -> list[Case]:
    d = DTYPES[s]
    g = torch.Generator().manual_seed(n)
    p32, p64 = (torch.rand(n, dtype=dtype, generator=g) for dtype in (torch.float32, torch.float64))
    return [
        (f"bernoulli_f32_{s}", d, lambda o: o.bernoulli_(p32), (p32,), ()),
        (f"bernoulli_f64_{s}", d, lambda o: o.bernoulli_(p64), (p64,), ()),
        (f"bernoulli_scalar_{s}", d, lambda o: o.bernoulli_(0.37), (), (0.37,)),
    ]


def integers(n: int) -> list[Case]:
    d = torch.int64

    def between(low: int, high: int) -> Case:
        return ("randint_i64", d, lambda o: o.random_(low, high), (), (low, high))

    return [
        between(-5, 1000),
        between(0, 2**28 - 1),
        between(-5, 2**28 - 5),
        between(-(2**62), 2**62 + 7),
        ("randperm_i64", d, lambda o: o.copy_(torch.randperm(n)), (), ()),
        *(
            (f"geometric_{s}", DTYPES[s], lambda o: o.geometric_(0.2), (), (0.2,))
            for s in ("f32", "f64", "i64")
        ),
    ]


def all_cases() -> list[tuple[int, Case]]:
    cases = []
    for n in SIZES:
        cases += [(n, case) for s in ("f32", "f64") for case in continuous(n, s)]
        cases += [(n, case) for s in DTYPES for case in discrete(n, s)]
        cases += [(n, case) for case in integers(n)]
    left_out = {"exponential": "exponential_", "bernoulli_scalar": "bernoulli_scalar_"}
    other = tuple(left_out[name] for name in sampler_differences())
    return [(n, case) for n, case in cases if not case[0].startswith(other or ("none",))]


def assert_same_draws(name: str, ours: Tensor, expected: Tensor) -> None:
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT" and ours.is_floating_point():
        # torch without fused multiply-add and without its own polynomials; the draws are the same, their last bits are not.
        tolerance = (
            {"rtol": 1e-5, "atol": 5e-6} if ours.dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-14}
        )
        torch.testing.assert_close(ours, expected, **tolerance)
    else:
        assert torch.equal(ours, expected), name


@pytest.mark.parametrize("seed", SEEDS)
def test_any_sequence_of_samplers_draws_what_torch_draws(draw: Callable[..., None], seed: int) -> None:
    torch.manual_seed(seed)
    cases = all_cases() * 2
    random.Random(seed).shuffle(
        cases
    )  # mixed: the second value of a pair of normals waits across other samplers
    for n, (name, dtype, fill, before, after) in cases:
        state = torch.get_rng_state()
        expected, ours = torch.empty(n, dtype=dtype), torch.empty(n, dtype=dtype)
        fill(expected)
        expected_state = torch.get_rng_state()
        torch.set_rng_state(state)
        draw(name, *before, ours, n, *after)
        assert_same_draws(name, ours, expected)
        assert torch.equal(torch.get_rng_state(), expected_state), name


@pytest.mark.parametrize("n", [1, 7, 16, 100])
@pytest.mark.parametrize("s", ["f32", "f64"])
def test_normals_in_strided_memory_come_one_by_one(draw: Callable[..., None], n: int, s: str) -> None:
    expected = torch.zeros(n, 2, dtype=DTYPES[s])[:, 0]
    ours = torch.empty(n, dtype=DTYPES[s])
    torch.manual_seed(3)
    expected.normal_(0.5, 2.0)
    torch.manual_seed(3)
    draw(f"normal_serial_{s}", ours, n, 0.5, 2.0)
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("s", ["f32", "f64"])
@pytest.mark.parametrize("rows, k", [(1, 1), (1, 2), (3, 4), (5, 13), (2, 1000)])
@pytest.mark.parametrize("replacement", [True, False])
def test_categories(draw: Callable[..., None], s: str, rows: int, k: int, replacement: bool) -> None:
    if "exponential" in sampler_differences():
        pytest.skip("torch draws exponentials otherwise here")
    for seed in range(5):
        for draws in (1, 2, 5):
            if not replacement and draws > k:
                continue
            torch.manual_seed(seed)
            p = torch.rand(rows, k, dtype=DTYPES[s]) + 1e-3
            p[:, k // 2] = 0 if k > 5 else 1
            state = torch.get_rng_state()
            expected = torch.multinomial(p, draws, replacement)
            expected_state = torch.get_rng_state()
            torch.set_rng_state(state)
            ours, work = torch.empty(rows, draws, dtype=torch.int64), torch.empty(k, dtype=DTYPES[s])
            name = "multinomial" if replacement and draws > 1 else "multinomial_race"
            draw(f"{name}_{s}", p, ours, rows, k, draws, work)
            assert torch.equal(ours, expected)
            assert torch.equal(torch.get_rng_state(), expected_state)


@pytest.mark.parametrize("s", ["f32", "f64"])
@pytest.mark.parametrize("rows, k", [(1, 1), (1, 2), (3, 2), (3, 4), (5, 13), (2, 1000)])
@pytest.mark.parametrize("scale", [0.005, 1.0, 20.0])
def test_dirichlet(draw: Callable[..., None], s: str, rows: int, k: int, scale: float) -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        concentration = torch.rand(rows, k, dtype=DTYPES[s]) * scale + 1e-3
        state = torch.get_rng_state()
        expected = torch._sample_dirichlet(concentration)
        expected_state = torch.get_rng_state()
        torch.set_rng_state(state)
        ours, work = torch.empty_like(expected), torch.empty(rows * k, dtype=torch.float64)
        draw(f"dirichlet_{s}", concentration, ours, rows, k, work)
        # torch adds the gammas of a long row in another order.
        torch.testing.assert_close(
            ours, expected, rtol=0.0 if k <= 4 else 1e-14 if s == "f64" else 1e-7, atol=0.0
        )
        assert torch.equal(torch.get_rng_state(), expected_state)


def test_zero_and_one_as_parameters(draw: Callable[..., None]) -> None:
    for s in ("f32", "f64"):
        d = DTYPES[s]
        zero, ours = torch.zeros(3, dtype=d), torch.empty(3, dtype=d)
        for name, expected in (
            ("poisson", torch.poisson(zero)),
            ("standard_gamma", torch._standard_gamma(zero)),
        ):
            draw(f"{name}_{s}", zero, ours, 3)
            assert torch.equal(ours, expected)
        count, p = torch.tensor([0.0, 5.0, 5.0], dtype=d), torch.tensor([0.5, 0.0, 1.0], dtype=d)
        draw(f"binomial_{s}", count, p, ours, 3)
        assert ours.tolist() == [0.0, 0.0, 5.0] == torch.binomial(count, p).tolist()
        draw(f"bernoulli_{s}_{s}", torch.tensor([0.0, 1.0, 0.0], dtype=d), ours, 3)
        assert ours.tolist() == [0.0, 1.0, 0.0]
