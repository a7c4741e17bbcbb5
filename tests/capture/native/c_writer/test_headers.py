"""The C headers hold what rows and passes use, and nothing else."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ember.capture.native import lowering
from ember.capture.native.build.compiler import find_compiler
from ember.capture.native.build.toolchain import HEADERS

SUFFIXES = ("f32", "f64", "i64", "i32", "u8", "b8")
CALLS = (
    "ember_lock",
    "ember_unlock",
    "ember_keep",
    *(f"ember_to_{to}_{source}" for to in ("i64", "i32", "u8") for source in ("f32", "f64")),
    "ember_fold_f32",
    "ember_fold_f64",
    *(f"ember_place_of_{rule}_{source}" for rule in ("max", "min") for source in ("f32", "f64", "i64", "b8")),
    "ember_row_dots_f32",
    "ember_row_dots_f64",
    "ember_team_begin",
    "ember_team_end",
    "ember_team_run",
    "ember_fetch",
    "ember_rows_chunk",
    "ember_rows_in_order",
    "ember_call_python",
    "ember_call_product",
    "ember_call_sum_and_product",
    *(f"ember_call_{name}_{real}" for name in ("solve", "factor") for real in ("f32", "f64")),
)


def definitions(folder: Path) -> dict[str, str]:
    """The functions of the headers with their bodies, as the compiler sees them."""
    # The look before a step is a library of its own.
    headers = (header.name for header in sorted(HEADERS.glob("*.h")) if header.name != "ember_look.h")
    text = "\n".join(f'#include "{name}"' for name in headers)
    command = [
        *find_compiler(folder).command,
        "-E",
        "-P",
        "-march=native",
        "-iquote",
        str(HEADERS),
        "-x",
        "c",
        "-",
    ]
    seen = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    found = {}
    for match in re.finditer(r"\b(ember_\w+)\s*\([^;{}]*?\)\s*\{", seen):
        end, depth = match.end(), 1
        while depth:
            depth += {"{": 1, "}": -1}.get(seen[end], 0)
            end += 1
        found[match[1]] = seen[match.end() : end]
    return found


def names() -> Iterator[str]:
    """All names that the rows mention; those that are made of parts too."""
    yield from ("floor_divide", "trunc_divide", "bernoulli_f32", "bernoulli_f64", "normal_serial")
    for path in Path(lowering.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
                yield node.value


def test_every_function_is_reached(tmp_path):
    functions = definitions(tmp_path)
    assert len(functions) > 200
    waiting = [f"ember_{name}_{suffix}" for name in names() for suffix in SUFFIXES] + list(CALLS)
    reached: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in functions and name not in reached:
            reached.add(name)
            waiting += re.findall(r"\bember_\w+", functions[name])
    assert sorted(functions.keys() - reached) == []
