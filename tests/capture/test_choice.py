"""Which backend compiles a graph, where compilers are missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ember.capture import capture, inductor
from ember.capture.choice import Auto, OnlyNative
from ember.errors import CaptureError, NoCompilerError


def double(flat: list[Tensor]) -> list[Tensor]:
    return [flat[0] * 2.0]


def without_c(flat: list[Tensor]) -> list[Tensor]:
    return [flat[0].clone().masked_scatter_(flat[0] > 0, flat[0]).sum()]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A process without a compiler on its path; how often Inductor is asked in it."""
    calls: list[int] = []

    def compile_graph(module: Any, inputs: Sequence[Tensor]) -> inductor.Compiled:
        calls.append(len(inputs))
        return lambda flat: module(*flat)

    monkeypatch.setattr(inductor, "compile_graph", compile_graph)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CC", "CXX", "TORCH_INDUCTOR_INSTALL_GXX"):
        monkeypatch.delenv(name, raising=False)
    return calls


def test_without_any_compiler_inductor_is_not_tried(asked: list[int]) -> None:
    inputs = [torch.ones(3)]
    with pytest.raises(NoCompilerError, match=r"install gcc and g\+\+"):
        Auto().compile(capture(double, inputs), inputs)
    assert asked == []


def test_a_cxx_compiler_alone_is_enough(
    asked: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / "c++-of-ours"
    named.touch(0o755)
    monkeypatch.setenv("CXX", f"{named} -O2")
    inputs = [torch.ones(3)]
    program = Auto().compile(capture(double, inputs), inputs)
    assert program.backend == "inductor" and asked == [1]
    assert "none of cc, gcc, clang is on PATH" in program.note


def test_an_operator_that_has_no_c_is_named_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inductor, "compile_graph", lambda module, inputs: lambda flat: module(*flat))
    inputs = [torch.ones(3)]
    program = Auto().compile(capture(without_c, inputs), inputs)
    assert program.backend == "inductor"
    line = without_c.__code__.co_firstlineno + 1
    assert "masked_scatter_" in program.note and f"test_choice.py:{line}" in program.note


def test_inputs_elsewhere_are_refused() -> None:
    graph = capture(double, [torch.ones(3)])
    with pytest.raises(CaptureError, match="an input on meta"):
        OnlyNative().compile(graph, [torch.ones(3, device="meta")])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int16, torch.complex64], ids=str)
def test_dtypes_that_have_no_c_are_refused(dtype: torch.dtype) -> None:
    inputs = [torch.ones(3, dtype=dtype)]
    with pytest.raises(CaptureError, match=f"the dtype {str(dtype).partition('.')[2]}"):
        OnlyNative().compile(capture(double, inputs), inputs)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.int64, torch.int32, torch.uint8], ids=str
)
def test_dtypes_that_have_c(dtype: torch.dtype) -> None:
    inputs = [torch.ones(3, dtype=dtype)]
    program = OnlyNative().compile(capture(lambda flat: [flat[0] + flat[0]], inputs), inputs)
    assert program.backend == "native" and program(inputs)[0].tolist() == [2, 2, 2]
