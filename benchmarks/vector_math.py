"""What one value of a mathematical function costs: Ember's C in a loop, the C library one by one, torch's operator.

All work on 1,024 numbers that lie in the first cache. The least time of many repetitions counts, in ns a value: processor time of
one thread.

    python -m benchmarks.vector_math [--functions lgamma,digamma]
"""

from __future__ import annotations

import argparse
import ctypes
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.eager import machine
from ember.capture.native.build.toolchain import compile_library

COUNT, REPETITIONS, ROUNDS = 1024, 20, 100
KINDS = {torch.float64: ("double", "f64", ""), torch.float32: ("float", "f32", "f")}
Call = Callable[[], object]


class Function(NamedTuple):
    """A function, where it is measured, its name in the C library if it has one, and torch's operator."""

    low: float
    high: float
    library: str
    operator: Callable[[Tensor], Tensor]


FUNCTIONS = {
    "exp": Function(-20.0, 20.0, "exp", torch.exp),
    "expm1": Function(-5.0, 5.0, "expm1", torch.expm1),
    "log": Function(0.01, 100.0, "log", torch.log),
    "log1p": Function(-0.9, 20.0, "log1p", torch.log1p),
    "tanh": Function(-4.0, 4.0, "tanh", torch.tanh),
    "sigmoid": Function(-10.0, 10.0, "", torch.sigmoid),
    "log_sigmoid": Function(-10.0, 10.0, "", torch.nn.functional.logsigmoid),
    "lgamma": Function(0.05, 30.0, "lgamma", torch.lgamma),
    "digamma": Function(0.05, 30.0, "", torch.digamma),
    "trigamma": Function(0.05, 30.0, "", lambda x: torch.polygamma(1, x)),
    "erf": Function(-3.0, 3.0, "erf", torch.erf),
    "erfinv": Function(-0.99, 0.99, "", torch.erfinv),
    "log_ndtr": Function(-8.0, 8.0, "", torch.special.log_ndtr),
    "sin": Function(-6.0, 6.0, "sin", torch.sin),
}


def source(names: list[str]) -> str:
    """For each function a loop over Ember's, and one over the C library's behind a pointer, so that it stays a call."""
    text = '#include "ember_special.h"\n'
    for c, suffix, letter in KINDS.values():
        for name in names:
            head = f"({c} *restrict y, const {c} *restrict x, int64_t n, int64_t times) {{\n"
            head += "for (int64_t t = 0; t < times; t++) {\n"
            tail = '__asm__ volatile("" ::: "memory");\n}\n}\n'
            loop = "for (int64_t i = 0; i < n; i++) y[i] = {}(x[i]);\n"
            text += (
                f"void {name}_{suffix}{head}#pragma omp simd\n{loop.format(f'ember_{name}_{suffix}')}{tail}"
            )
            library = FUNCTIONS[name].library
            if library:
                pointer = f"static {c} (*volatile {library}_{suffix}_one)({c}) = {library}{letter};\n"
                call = f"{c} (*const one)({c}) = {library}_{suffix}_one;\n"
                text += f"{pointer}void {name}_{suffix}_one_by_one{head}{call}{loop.format('one')}{tail}"
    return text


def least(call: Call, values: int) -> float:
    """The least processor time of a call, in ns a value."""
    best = float("inf")
    for _ in range(ROUNDS):
        begin = time.process_time_ns()
        call()
        best = min(best, (time.process_time_ns() - begin) / values)
    return best


def row(library: ctypes.PyDLL, name: str, dtype: torch.dtype) -> list[float | None]:
    """Ember, the C library, torch."""
    function, suffix = FUNCTIONS[name], KINDS[dtype][1]
    unit = torch.rand(COUNT, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = (function.low + (function.high - function.low) * unit).to(dtype)
    y = torch.empty_like(x)

    def loop(symbol: str) -> Call:
        arguments = (ctypes.c_void_p(y.data_ptr()), ctypes.c_void_p(x.data_ptr()))
        compiled = getattr(library, symbol)
        return lambda: compiled(*arguments, ctypes.c_int64(COUNT), ctypes.c_int64(REPETITIONS))

    many = x.repeat(16)  # so that the call of the operator itself does not count
    own = least(loop(f"{name}_{suffix}"), COUNT * REPETITIONS)
    one_by_one = least(loop(f"{name}_{suffix}_one_by_one"), COUNT * REPETITIONS) if function.library else None
    return [own, one_by_one, least(lambda: function.operator(many), len(many))]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--functions", default=",".join(FUNCTIONS))
    names = parser.parse_args().functions.split(",")
    torch.set_num_threads(1)
    library = compile_library(source(names)).load()
    print(f"{machine()}; torch's vectors: {torch.backends.cpu.get_cpu_capability()}\n")
    print(
        "| ns a value | Ember f64 | C library | torch | Ember f32 | C library | torch |\n|---|---|---|---|---|---|---|"
    )
    for name in names:
        cells = [cell for dtype in KINDS for cell in row(library, name, dtype)]
        print(f"| {name} | " + " | ".join("" if c is None else f"{c:.1f}" for c in cells) + " |")


if __name__ == "__main__":
    main()
