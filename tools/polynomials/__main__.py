"""Writes the header of polynomials anew: ``python -m tools.polynomials``.

For each it prints the error that is left after the coefficients are rounded, as a power of two.
"""

from __future__ import annotations

import argparse
import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from mpmath import log, mpf

from tools.polynomials.remez import grid, horner, nearest
from tools.polynomials.table import ROWS, Row

HEADER = Path(__file__).parents[2] / "src/ember/capture/native/c/ember_polynomials.h"
_TITLE = """\
/* Polynomials that stand for functions: written by tools/polynomials, which says how. Do not edit.
 *
 * After each colon stands the largest error, relative where nothing else is said in the table there.
 */
#ifndef EMBER_POLYNOMIALS_H
#define EMBER_POLYNOMIALS_H

#include "ember_base.h"
"""


def rounded(number: mpf, precision: str) -> float:
    """A coefficient in the precision that it is used in."""
    return (
        float(struct.unpack("f", struct.pack("f", float(number)))[0]) if precision == "f32" else float(number)
    )


def function_text(row: Row, precision: str) -> tuple[str, float]:
    """A polynomial in C, and the binary logarithm of its largest error."""
    found = nearest(row.function, row.weight, row.low, row.high, row.terms[precision])
    kept = [rounded(coefficient, precision) for coefficient in found]
    error = max(
        abs(row.weight(x) * (row.function(x) - horner([mpf(c) for c in kept], x)))
        for x in grid(row.low, row.high, 10 * len(kept))
    )
    exponent = float(log(error, 2))
    kind, letter = ("float", "f") if precision == "f32" else ("double", "")
    lines = [
        f"/* {row.meaning}: 2^{exponent:.1f} */",
        f"EMBER_INLINE {kind} ember_{row.name}_{precision}({kind} x) {{",
        *(
            f"    {line}"
            for line in _steps([f"{c!r}{letter}" for c in kept], kind, f"ember_muladd_{precision}")
        ),
        "}",
    ]
    return "\n".join(lines) + "\n", exponent


def _steps(coefficients: Sequence[str], kind: str, muladd: str) -> list[str]:
    """Statements. Chains that do not wait for each other: one, two for x^2, or four for x^4."""
    count = 4 if len(coefficients) >= 14 else 2 if len(coefficients) >= 5 else 1
    powers = ["x", "z", "w"][: count.bit_length()]
    squares = [f"{new} = {old} * {old}" for old, new in pairwise(powers)]
    lines = [f"const {kind} {', '.join(squares)};"] if squares else []
    chains = [coefficients[k::count] for k in range(count)]
    lines.append(f"{kind} {', '.join(f's{k} = {chain[-1]}' for k, chain in enumerate(chains))};")
    for step in range(2, max(map(len, chains)) + 1):
        lines += [
            f"s{k} = {muladd}(s{k}, {powers[-1]}, {chain[-step]});"
            for k, chain in enumerate(chains)
            if step <= len(chain)
        ]
    pairs = [f"{muladd}(s{k + 1}, x, s{k})" for k in range(0, count - 1, 2)]
    return [
        *lines,
        f"return {muladd}({pairs[1]}, z, {pairs[0]});"
        if count == 4
        else f"return {pairs[0] if pairs else 's0'};",
    ]


def parts() -> Iterator[str]:
    """The text of the header, piece by piece."""
    yield _TITLE
    for row in ROWS:
        for precision in row.terms:
            text, error = function_text(row, precision)
            print(f"{row.name:16s} {precision:6s} {row.terms[precision]:3d} terms  2^{error:.1f}", flush=True)
            yield text
    yield "#endif\n"


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    HEADER.write_text("\n".join(parts()), encoding="utf-8")
