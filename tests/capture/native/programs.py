"""Functions of tensors, compiled by the native backend and compared with what torch does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from ember.capture import capture
from ember.capture.native import pipeline, program
from ember.capture.native.program import NativeProgram
from ember.capture.recording.graph import CapturedGraph

Function = Callable[[list[Tensor]], list[Tensor]]

QUICK = ("-O1", *program.FLAGS[1:])
"""For tests of many loops that are not about vector code, which takes most of a compiler's time."""
TOLERANCE = {torch.float64: (1e-12, 1e-13), torch.float32: (3e-6, 3e-7)}


@contextmanager
def flags(*values: str) -> Iterator[None]:
    """Programs made meanwhile are compiled with these flags."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "FLAGS", values)
        patch.setattr(program, "LARGE_FLAGS", values)
        yield


def twin(tensor: Tensor) -> Tensor:
    """A copy of the same layout in memory of its own."""
    extent = 0
    if tensor.numel():
        extent = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    memory = torch.zeros(extent, dtype=tensor.dtype)
    memory.copy_(tensor.detach().as_strided((extent,), (1,)))
    return memory.as_strided(tensor.shape, tensor.stride())


def recorded(function: Function, inputs: Sequence[Tensor]) -> CapturedGraph:
    """The graph of a function; its first output is a loss that is always 0, for functions whose outputs are all of one kind."""
    return capture(lambda flat: [torch.zeros(()), *function(flat)], list(inputs))


def without(*names: str) -> list[object]:
    """The passes without some."""
    return [one for one in pipeline.PASSES if one[0] not in names]


def source_of(graph: CapturedGraph, inputs: Sequence[Tensor]) -> str:
    """The C of a graph."""
    return pipeline.source(pipeline.Recording(graph.graph, inputs)).text


class Compiled:
    """A function compiled for inputs like these."""

    def __init__(self, function: Function, inputs: Sequence[Tensor], *, sanitize: bool = False) -> None:
        self.function = function
        self.graph = recorded(function, inputs)
        self.program = NativeProgram(self.graph, [*inputs, *self.graph.lifted], sanitize=sanitize)

    def outcome(self, inputs: Sequence[Tensor], steps: int = 1) -> list[Tensor]:
        """Outputs, inputs after so many steps, and the random state."""
        mine = [twin(tensor) for tensor in inputs]
        torch.manual_seed(3)
        flat = [*mine, *self.graph.lifted]
        if steps > 1:
            list(self.program.run(flat, steps - 1))
        return [*self.program(flat)[1:], *mine, torch.get_rng_state()]

    def expected(self, inputs: Sequence[Tensor], steps: int = 1) -> list[Tensor]:
        """The same from torch."""
        mine = [twin(tensor) for tensor in inputs]
        torch.manual_seed(3)
        with torch.no_grad():
            for _ in range(steps):
                outputs = self.function(mine)
        return [*outputs, *mine, torch.get_rng_state()]


def assert_same(
    actual: Sequence[Tensor],
    expected: Sequence[Tensor],
    labels: Sequence[str] = (),
    tolerance: tuple[float, float] | None = None,
) -> None:
    """Same dtypes, shapes, numbers (float64 to 1e-12, float32 to 3e-6; NaN where NaN is)."""
    wrong = []
    for number, (a, b) in enumerate(zip(actual, expected, strict=True)):
        label = labels[number] if number < len(labels) else f"output {number}"
        rtol, atol = tolerance or TOLERANCE.get(b.dtype, (0.0, 0.0))
        try:
            torch.testing.assert_close(a, b, rtol=rtol, atol=atol, equal_nan=True, check_stride=False)
        except AssertionError as error:
            wrong.append(f"{label}: {error}\n{str(a)[:300]}\n{str(b)[:300]}")
    assert not wrong, f"{len(wrong)} differ\n" + "\n".join(wrong[:20])


def check(function: Function, *inputs: Tensor, steps: int = 1) -> Compiled:
    """Compile a function, and compare outputs, changed inputs and the random state with torch's after ``steps`` runs."""
    compiled = Compiled(function, inputs)
    assert_same(compiled.outcome(inputs, steps), compiled.expected(inputs, steps))
    return compiled
