"""Many examples of operators, compiled in few programs and compared with torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from tests.capture.native.lowering.row_examples import Example
from tests.capture.native.programs import Compiled, assert_same, twin

AT_ONCE = 600


def compare(examples: Iterable[Example], tolerance: tuple[float, float] | None = None) -> None:
    """Many examples in few programs."""
    examples = list(examples)
    early = [example for example in examples if stops_early_in_torch(example)]
    others = [example for example in examples if not stops_early_in_torch(example)]
    for start in range(0, len(others), AT_ONCE):
        _compare(others[start : start + AT_ONCE], tolerance)
    _compare(early, (2e-9, 1e-13))


def stops_early_in_torch(example: Example) -> bool:
    """Whether torch is the one that is off, by up to 1e-9: trigamma, whose series it stops after a few terms."""
    return example.name == "polygamma.default" and any(t.dtype is torch.float64 for t in example.tensors)


def _compare(examples: Sequence[Example], tolerance: tuple[float, float] | None) -> None:
    inputs = [twin(tensor) for example in examples for tensor in example.tensors]
    labels: list[str] = []

    def every(flat: list[Tensor]) -> list[Tensor]:
        outputs: list[Tensor] = []
        labels.clear()
        remaining = iter(flat)
        for example in examples:
            results = example([next(remaining) for _ in example.tensors])
            outputs += results
            labels.extend([str(example)] * len(results))
        return outputs

    compiled = Compiled(every, inputs)
    assert_same(compiled.outcome(inputs), compiled.expected(inputs), labels, tolerance)
