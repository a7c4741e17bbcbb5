"""Nothing here looks at a tensor's values: all of it runs on tensors that have none, as it does in a captured step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from ember.ops.contract import einsum
from ember.ops.einsum.adjoint import require_backward
from ember.ops.indexing import Vindex
from ember.ops.packed import pack, tagged
from ember.ops.special import get_quad_rule, log_beta, log_I1, safe_log


@pytest.mark.parametrize("name", ["log", "map", "sample", "marginal"])
def test_elimination_forth_and_back(name: str) -> None:
    with FakeTensorMode():
        operands = [
            tagged(torch.randn(shape).requires_grad_(), dims)
            for shape, dims in (
                ((2,), "a"),
                ((2, 3), "ab"),
                ((3, 4, 2), "bic"),
                ((4, 2, 90), "icd"),
                ((90, 4), "di"),
            )
        ]
        for operand in operands:
            require_backward(operand)
        equation = "a,ab,bic,icd,di->"
        (result,) = einsum(equation, *operands, plates="i", backend=f"ember.ops.einsum.torch_{name}")
        result.backward()
        if name != "log":
            result._pyro_backward()  # type: ignore[attr-defined]
            assert all(hasattr(operand, "_pyro_backward_result") for operand in operands)


def test_indexing_packing_and_special_functions() -> None:
    with FakeTensorMode():
        x, scalar, batch = torch.randn(3, 4), torch.tensor(1), torch.zeros(5, 1, dtype=torch.long)
        assert Vindex(x)[scalar].shape == (4,)
        assert Vindex(x)[..., scalar].shape == (3,)
        assert Vindex(x)[scalar, batch].shape == (5, 1)
        assert Vindex(x)[..., batch].shape == (5, 3)
        assert pack(torch.zeros(3, 1), {-2: "a"}).shape == (3,)
        assert safe_log(x).shape == log_beta(x, x, tol=0.1).shape == (3, 4)
        assert log_I1(2, x).shape == (3, 3, 4)
        assert get_quad_rule(5, x)[0].shape == (5,)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", ["log", "map", "sample", "marginal"])
def test_elimination_can_be_traced_by_torch_jit(name: str) -> None:
    """Without a warning that sizes or values became constants, and right for other values."""
    backend = f"ember.ops.einsum.torch_{name}"

    def program(x: Tensor, y: Tensor, i: Tensor) -> tuple[Tensor, Tensor]:
        packed = [pack(t, {-1: "b", -2: "a", -3: "i"}) for t in (x, y)]
        for operand in packed:
            require_backward(operand)
        (total,) = einsum("iab,ab->", *packed, plates="i", backend=backend)
        if name != "log":
            total._pyro_backward()  # type: ignore[attr-defined]
        message = getattr(packed[1], "_pyro_backward_result", total)
        return total + Vindex(x)[..., i, :].sum(), message.clone()

    def inputs() -> tuple[Tensor, ...]:
        return torch.randn(4, 2, 3), torch.randn(2, 3), torch.tensor([[0], [1]])

    traced = torch.jit.trace(program, inputs(), check_trace=False)  # type: ignore[no-untyped-call]
    others = inputs()
    results = []
    for function in (traced, program):
        torch.manual_seed(0)
        results.append(function(*others))
    torch.testing.assert_close(*results)
