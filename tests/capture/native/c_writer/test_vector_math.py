"""Our own exponentials, logarithms and gamma functions against mpmath in 40 digits, over all numbers that there are."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from ember.capture.native.build.toolchain import compile_library

mpmath.mp.dps = 40
C_NAMES = {"f64": "double", "f32": "float"}
INFO: dict[str, np.finfo[Any]] = {"f64": np.finfo(np.float64), "f32": np.finfo(np.float32)}
FLAGS = {
    "here": (),
    # Without fused products and sums, in vectors of two doubles.
    "plain": ("-march=x86-64",),
}
Numbers = npt.NDArray[Any]
Real = Callable[[mpmath.mpf], mpmath.mpf]


@dataclass(frozen=True)
class Row:
    """A function, and its largest error in units in the last place: in double, in single precision."""

    name: str
    exact: Real
    units: tuple[float, float]
    low: float = -np.inf
    """From where on."""
    absolute: float = 0.0
    """Error in units in the last place of 1 that is allowed besides, near zeros that no double stands at."""


def _gamma(x: mpmath.mpf) -> mpmath.mpf:
    if x == mpmath.floor(x) and x <= 0:
        return mpmath.inf
    return mpmath.re(mpmath.loggamma(x))


def _digamma(x: mpmath.mpf) -> mpmath.mpf:
    return mpmath.nan if x == mpmath.floor(x) and x <= 0 else mpmath.digamma(x)


def _trigamma(x: mpmath.mpf) -> mpmath.mpf:
    return mpmath.inf if x == mpmath.floor(x) and x <= 0 else mpmath.psi(1, x)


def _log_sigmoid(x: mpmath.mpf) -> mpmath.mpf:
    return x if x < -3000 else -mpmath.log1p(mpmath.exp(-min(x, mpmath.mpf(3000))))


def _log1p(x: mpmath.mpf) -> mpmath.mpf:
    return mpmath.log1p(x) if x > -1 else -mpmath.inf if x == -1 else mpmath.nan


def _steep(exact: Real) -> Real:
    """For functions of exp, which no number of digits holds far out: there they are what they are at 3000."""
    return lambda x: exact(max(min(x, mpmath.mpf(3000)), mpmath.mpf(-3000)))


def _log(x: mpmath.mpf) -> mpmath.mpf:
    return mpmath.log(x) if x > 0 else -mpmath.inf if x == 0 else mpmath.nan


ROWS = (
    Row("exp", _steep(mpmath.exp), (1.0, 1.1)),
    Row("expm1", _steep(mpmath.expm1), (1.8, 1.6)),
    Row("log", _log, (0.9, 0.9)),
    Row("log1p", _log1p, (0.9, 1.4)),
    Row("tanh", _steep(mpmath.tanh), (3.0, 3.0)),
    Row("sigmoid", _steep(lambda x: 1 / (1 + mpmath.exp(-x))), (2.0, 2.0), low=-87.0),
    Row("log_sigmoid", _log_sigmoid, (2.0, 2.0)),
    Row("lgamma", _gamma, (2.4, 2.7), low=0.0),
    Row("digamma", _digamma, (2.8, 2.7), low=0.0),
    Row("trigamma", _trigamma, (2.7, 2.5), low=0.0),
    Row("lgamma", _gamma, (2.5, 2.5), low=-300.0, absolute=4.0),
    Row("digamma", _digamma, (4.0, 4.0), low=-300.0, absolute=8.0),
    Row("trigamma", _trigamma, (3.5, 3.5), low=-300.0),
)


@pytest.fixture(scope="module", params=FLAGS)
def library(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ctypes.PyDLL]:
    source = '#include "ember_special.h"\n'
    for s, c in C_NAMES.items():
        for name in dict.fromkeys(row.name for row in ROWS):
            call = f"ember_polygamma_{s}(1, x[i])" if name == "trigamma" else f"ember_{name}_{s}(x[i])"
            source += (
                f"void {name}_{s}({c} *restrict y, const {c} *restrict x, int64_t n) {{\n#pragma omp simd\n"
            )
            source += f"for (int64_t i = 0; i < n; i++) y[i] = {call}; }}\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMBER_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield compile_library(source, extra_flags=FLAGS[request.param]).load()


def points(s: str, row: Row) -> Numbers:
    """Random bits, points spread evenly by their logarithms and within the usual range, subnormal numbers, and edges."""
    kind = INFO[s].dtype
    g, info = np.random.default_rng(0), INFO[s]
    bits = g.integers(0, 256, (200, info.bits // 8), dtype=np.uint8).view(kind)[:, 0]
    spread = np.exp(g.uniform(np.log(1e-12), np.log(1e4), 200)) * g.choice([-1, 1], 200)
    small = np.exp2(g.uniform(0, info.nmant + 2, 40)) * info.smallest_subnormal * g.choice([-1, 1], 40)
    usual = [g.uniform(-3, 3, 400), g.uniform(-9, 9, 100), g.uniform(-40, 40, 100)]
    # The zeros of log, lgamma and digamma.
    near = [zero + g.uniform(-1e-4, 1e-4, 40) for zero in (1.0, 2.0, 1.461632144968362)]
    edges = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        2.0,
        -2.0,
        0.5,
        3.5,
        2.3,
        3.0,
        info.max,
        info.tiny,
        -info.tiny,
        info.eps,
        -0.5,
    ]
    x = np.concatenate(
        [bits, *(part.astype(kind) for part in (spread, small, *usual, *near, np.array(edges)))]
    )
    # mpmath has one zero only.
    kept: Numbers = x[np.isfinite(x) & (x >= row.low) & ((x != 0) | (row.name != "digamma"))]
    return kept


def computed(library: ctypes.PyDLL, name: str, s: str, x: Numbers) -> Numbers:
    y = np.empty_like(x)
    getattr(library, f"{name}_{s}")(
        ctypes.c_void_p(y.ctypes.data), ctypes.c_void_p(x.ctypes.data), ctypes.c_int64(len(x))
    )
    return y


def error(ours: float, exact: mpmath.mpf, s: str, absolute: float) -> float:
    """In units in the last place of the exact value; infinite if the two are not of the same kind."""
    info = INFO[s]
    if mpmath.isnan(exact):
        return 0.0 if np.isnan(ours) else np.inf
    largest = mpmath.mpf(float(info.max)) * (1 + mpmath.mpf(2) ** (-info.nmant - 2))
    if abs(exact) > largest:
        return 0.0 if np.isinf(ours) and (ours > 0) == (exact > 0) else np.inf
    if not np.isfinite(ours):
        return np.inf
    exponent = int(mpmath.floor(mpmath.log(abs(exact), 2))) if exact else info.minexp
    unit = mpmath.mpf(2) ** (max(exponent, info.minexp) - info.nmant)
    distance = abs(mpmath.mpf(float(ours)) - exact) - absolute * mpmath.mpf(float(info.eps))
    return float(max(distance, 0) / unit)


@pytest.mark.parametrize("s", C_NAMES)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name} from {row.low}")
def test_errors(library: ctypes.PyDLL, row: Row, s: str) -> None:
    x = points(s, row)
    ours = computed(library, row.name, s, x)
    worst = max(
        (error(y, row.exact(mpmath.mpf(float(at))), s, row.absolute), at, y)
        for at, y in zip(x, ours, strict=True)
    )
    print(f"{row.name}_{s} from {row.low}: {worst[0]:.2f} at {worst[1]!r}")
    assert worst[0] <= row.units[s == "f32"], (
        f"{row.name}_{s}({worst[1]!r}) = {worst[2]!r}: {worst[0]:.2f} units"
    )


@pytest.mark.parametrize("s", C_NAMES)
@pytest.mark.parametrize("name", dict.fromkeys(row.name for row in ROWS))
def test_special_values_are_those_of_torch(library: ctypes.PyDLL, name: str, s: str) -> None:
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, 1e-44, -1e-44], INFO[s].dtype)
    in_torch: dict[str, Callable[[Tensor], Tensor]] = {
        "log_sigmoid": torch.nn.functional.logsigmoid,
        "trigamma": lambda x: torch.polygamma(1, x),
    }
    expected = (in_torch.get(name) or getattr(torch, name))(torch.from_numpy(x)).numpy()
    ours = computed(library, name, s, x)
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=2e-45)
    known = ~np.isnan(expected)
    assert (np.signbit(ours) == np.signbit(expected))[known].all()


@pytest.mark.parametrize("s", C_NAMES)
@pytest.mark.parametrize("name", dict.fromkeys(row.name for row in ROWS))
def test_bits_do_not_depend_on_the_place_in_the_loop(library: ctypes.PyDLL, name: str, s: str) -> None:
    x = points(s, ROWS[0])[:40]
    whole = computed(library, name, s, x)
    alone = np.concatenate([computed(library, name, s, x[i : i + 1].copy()) for i in range(len(x))])
    assert whole.tobytes() == alone.tobytes()


def test_the_page_tells_these_limits() -> None:
    page = (Path(__file__).parents[4] / "docs" / "native-math.md").read_text()
    for row in ROWS:
        name = "polygamma(1, ·)" if row.name == "trigamma" else row.name
        told = re.findall(rf"^\| `{re.escape(name)}`[^|]*\| ([\d.]+) \| ([\d.]+) \|$", page, re.MULTILINE)
        assert row.absolute or row.units in [(float(double), float(single)) for double, single in told]
