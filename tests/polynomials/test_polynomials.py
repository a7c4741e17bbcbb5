"""The header of polynomials is what the tool writes, and its polynomials are nearest."""

from __future__ import annotations

import re

import pytest
from mpmath import mpf

from ember.capture.native.build.toolchain import HEADERS
from tools.polynomials.__main__ import function_text
from tools.polynomials.remez import horner, nearest
from tools.polynomials.table import ROWS, Row

HEADER = (HEADERS / "ember_polynomials.h").read_text(encoding="utf-8")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_header_is_what_the_tool_writes(row: Row) -> None:
    for precision in row.terms:
        text, exponent = function_text(row, precision)
        assert text in HEADER, f"{row.name} {precision}: python -m tools.polynomials"
        # Most are relative to the result; rests of asymptotic series are a small part of it.
        assert exponent < (-47 if precision == "f64" else -22)


def test_the_header_has_no_other_function() -> None:
    names = re.findall(r"ember_(\w+)_(f64|f32)\(\w+ x\) \{", HEADER)
    assert sorted(names) == sorted((row.name, precision) for row in ROWS for precision in row.terms)


def test_the_nearest_polynomial_to_a_cube_is_known() -> None:
    """Chebyshev's: x^3 on [-1, 1] is nearest to 3/4 x, with the error 1/4 four times, of changing sign."""
    found = nearest(lambda x: x**3, lambda x: mpf(1), mpf(-1), mpf(1), 3)
    assert [round(float(c), 3) for c in found] == [0.0, 0.75, 0.0]
    errors = [float(x**3 - horner(found, x)) for x in (mpf(-1), mpf("-0.5"), mpf("0.5"), mpf(1))]
    assert errors == pytest.approx([-0.25, 0.25, -0.25, 0.25], abs=3e-3)
