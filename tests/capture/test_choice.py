"""Which backend compiles a graph, where compilers are missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ember.capture import capture, inductor
from ember.capture.choice import Auto
from ember.errors import NoCompilerError


def double(flat: list[Tensor]) -> list[Tensor]:
    return [flat[0] * 2.0]


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
