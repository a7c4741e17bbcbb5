"""The base class, score parts, helpers, and what importing the package does."""

from __future__ import annotations

import inspect
import subprocess
import sys
from abc import ABC
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor
from torch.testing import assert_close

import ember.distributions as dist
from ember.distributions.copying import deep_to, detach
from ember.distributions.distribution import COERCIONS
from ember.distributions.masking import is_identically_one, is_identically_zero, scale_and_mask
from ember.distributions.score_parts import ScoreParts
from ember.distributions.shapes import broadcast_shape, sum_leftmost, sum_rightmost
from ember.distributions.tensors import eye_like, gather, scalar_like

IMPORT_PROBE = """
import sys, warnings
warnings.simplefilter("error")
import torch, torch.distributions as td
from torch.distributions import constraint_registry, kl, transforms

def snapshot():
    seen = {}
    modules = [m for n, m in sorted(sys.modules.items()) if n.startswith("torch.distributions")]
    for module in modules:
        for name, value in vars(module).items():
            seen[module.__name__, name] = id(value)
            if isinstance(value, type) and value.__module__.startswith("torch."):
                for key, attribute in vars(value).items():
                    if not key.startswith("_abc"):
                        seen[module.__name__, name, key] = id(attribute)
    return seen

registries = (td.biject_to._registry, td.transform_to._registry, kl._KL_REGISTRY)
before, entries = snapshot(), [dict(r) for r in registries]
state = torch.get_rng_state(), torch.get_default_dtype(), torch.is_grad_enabled()
import ember.distributions
after = snapshot()
changed = {k for k in before if before[k] != after.get(k)}
assert not changed, changed
assert set(before) == set(after), set(after) - set(before)
for old, new in zip(entries, registries):
    assert all(new[k] is v for k, v in old.items())
    added = set(new) - set(old)
    for key in added:
        types = key if isinstance(key, tuple) else (key,)
        assert any(t.__module__.startswith("ember.") for t in types), key
assert torch.equal(state[0], torch.get_rng_state())
assert state[1:] == (torch.get_default_dtype(), torch.is_grad_enabled())
assert td.Distribution._validate_args is __debug__
"""


@pytest.mark.parametrize("flag", [[], ["-O"]])
def test_import_changes_nothing_in_torch(flag: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, *flag, "-c", IMPORT_PROBE], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_table_of_contents() -> None:
    assert dist.__all__ == sorted(dist.__all__)
    for name in dist.__all__:
        assert getattr(dist, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        _ = dist.Nonsense


# ---- Distribution


class Coin(dist.Distribution):
    has_enumerate_support = False

    def __init__(self, sides: int, *, bias: float = 0.0) -> None:
        self.sides, self.bias = sides, bias

    def sample(self, shape: Any = ()) -> str:
        return "heads"

    def log_prob(self, x: str, scale: float = 1.0) -> float:
        return -scale


def test_a_distribution_need_not_be_over_tensors() -> None:
    d = Coin(2)
    assert callable(d) and d() == "heads"
    assert d.score_parts("heads", scale=2.0) == ScoreParts(-2.0, -2.0, 0)
    assert d.has_rsample_(True).score_parts("heads") == ScoreParts(-1.0, 0, -1.0)
    with pytest.raises(NotImplementedError, match="Support not implemented for Coin"):
        d.enumerate_support()
    with pytest.raises(NotImplementedError, match=r"Coin does not support \.conjugate_update"):
        d.conjugate_update(d)
    with pytest.raises(TypeError, match="abstract"):
        dist.Distribution()  # type: ignore[abstract]


def test_signatures_are_those_of_init() -> None:
    assert str(inspect.signature(Coin)) == "(sides: 'int', *, bias: 'float' = 0.0) -> 'None'"
    assert list(inspect.signature(dist.Normal).parameters) == ["loc", "scale", "validate_args"]


def test_bases_mix_with_abcs_and_modules() -> None:
    class Mixed(dist.TorchDistribution, torch.nn.Module, ABC):
        arg_constraints: dict[str, Any] = {}

        def __init__(self) -> None:
            super().__init__(torch.Size((2,)))

    assert Mixed().batch_shape == (2,) and list(Mixed().parameters()) == []


def test_coercions_take_over_construction() -> None:
    seen = []

    def coerce(cls: type, args: Any, kwargs: Any) -> Any:
        seen.append((cls, args, kwargs))
        return "replaced" if cls is dist.Normal else None

    COERCIONS.append(coerce)
    try:
        assert dist.Normal(0.0, scale=1.0) == "replaced"
        assert type(dist.Gamma(1.0, 1.0)) is dist.Gamma
    finally:
        COERCIONS.remove(coerce)
    assert seen[0] == (dist.Normal, (0.0,), {"scale": 1.0})
    assert type(dist.Normal(0.0, 1.0)) is dist.Normal


# ---- masking


def test_scale_and_mask_does_no_more_than_needed() -> None:
    x = tensor([1.0, 2.0, torch.inf])
    mask = tensor([True, True, False])
    assert scale_and_mask(x) is x and scale_and_mask(x, mask=True) is x
    assert scale_and_mask(x, 1) is x and scale_and_mask(x, tensor(1)) is x
    assert scale_and_mask(0, 2.0, mask) == 0
    assert_close(scale_and_mask(x, 2.0), tensor([2.0, 4.0, torch.inf]))
    assert_close(scale_and_mask(x, 2.0, mask), tensor([2.0, 4.0, 0.0]))
    assert_close(scale_and_mask(x, mask=mask), tensor([1.0, 2.0, 0.0]))
    assert_close(scale_and_mask(x, tensor([[1.0], [2.0]]), mask), tensor([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0]]))
    assert_close(scale_and_mask(x, 2.0, False), torch.zeros(3))


def test_identities() -> None:
    for zero in (0, 0.0, tensor(0), False):
        assert is_identically_zero(zero)
    for other in (1, 0.5, tensor(0.0), tensor([0]), tensor(1), None, "0"):
        assert not is_identically_zero(other)
    for one in (1, 1.0, tensor(1), True):
        assert is_identically_one(one)
    for other in (0, 0.5, tensor(1.0), tensor([1])):
        assert not is_identically_one(other)


def test_score_parts() -> None:
    x = tensor([1.0, 2.0])
    mask = tensor([True, False])
    parts = ScoreParts(x, x, 0).scale_and_mask(2.0, mask)
    assert_close(parts.log_prob, tensor([2.0, 0.0]))
    assert parts.score_function is x and parts.entropy_term == 0
    shared = ScoreParts(x, 0, x).scale_and_mask(2.0, mask)
    assert shared.entropy_term is shared.log_prob and shared.score_function == 0
    assert_close(ScoreParts(x, 0, 3 * x).scale_and_mask(2.0).entropy_term, 6 * x)


# ---- shapes

shapes = st.lists(st.integers(1, 3), max_size=3).map(tuple)


@given(st.lists(shapes, max_size=3))
def test_broadcast_shape_is_torchs(many: list[tuple[int, ...]]) -> None:
    try:
        expected = tuple(torch.broadcast_shapes(*many))
    except RuntimeError:
        with pytest.raises(ValueError, match="shape mismatch: objects cannot be broadcast to a single shape"):
            broadcast_shape(*many)
        return
    assert broadcast_shape(*many) == expected


def test_strict_broadcast_extends_only() -> None:
    assert broadcast_shape((3, 4), (4,), strict=True) == (3, 4)
    for a, b in [((1, 4), (3, 4)), ((3, 4), (1, 4)), ((4,), (1,))]:
        with pytest.raises(ValueError, match="shape mismatch"):
            broadcast_shape(a, b, strict=True)


@pytest.mark.parametrize("dim", [0, 1, 2, 3, 4, float("inf"), -1, -2, -3])
def test_sums_at_the_ends(dim: float) -> None:
    x = torch.randn(2, 3, 4, dtype=torch.double)
    n = min(dim if dim >= 0 else dim + 3, 3)
    right, left = tuple(range(3))[3 - int(n) :], tuple(range(3))[: int(n)]
    assert_close(sum_rightmost(x, dim), x.sum(right) if right else x)
    assert_close(sum_leftmost(x, dim), x.sum(left) if left else x)
    assert sum_rightmost(1.5, dim) == sum_leftmost(1.5, dim) == 1.5


def test_sums_of_nothing() -> None:
    assert_close(sum_rightmost(torch.zeros(2, 0, 0), 2), torch.zeros(2))
    assert_close(sum_leftmost(torch.zeros(0, 0, 2), 2), torch.zeros(2))


# ---- other helpers


def test_tensor_helpers() -> None:
    x = torch.zeros(2, dtype=torch.double)
    assert_close(scalar_like(x, 3.0), tensor(3.0, dtype=torch.double))
    for m, n in [(2, None), (2, 3), (3, 2)]:
        expected = torch.eye(m, m if n is None else n, dtype=torch.double)
        assert_close(eye_like(x, m, n), expected)
    value = torch.randn(4, 5)
    index = torch.randint(5, (4, 1))
    assert_close(gather(value, index, -1), value.gather(-1, index))
    assert gather(value, torch.zeros(3, 1, 1, dtype=torch.long), 2).shape == (3, 4, 1)


def test_detach_and_deep_to() -> None:
    x = torch.ones(2, requires_grad=True)
    module = torch.nn.Linear(1, 1)
    obj = {"x": x * 2, "list": [x, x], "d": dist.Normal(x, 1.0), "m": module}
    copied = detach(obj)
    assert not copied["x"].requires_grad and copied["x"].data_ptr() == obj["x"].data_ptr()
    assert copied["list"][0] is copied["list"][1] and not copied["d"].loc.requires_grad
    moved = deep_to({"d": dist.Normal(torch.zeros(2), 1.0), "m": torch.nn.Linear(1, 1)}, torch.float64)
    assert moved["d"].loc.dtype == moved["m"].weight.dtype == torch.float64
