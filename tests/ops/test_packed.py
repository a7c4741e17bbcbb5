"""Laws of packed tensors."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ember.ops import packed
from ember.ops.packed import dims_of, tagged

SYMBOLS = {-1: "a", -2: "b", -3: "c", -4: "d"}
PLACES = {symbol: dim for dim, symbol in SYMBOLS.items()}

shapes = st.lists(st.integers(0, 3), max_size=4)


def tensors(letters: str = "abcd") -> st.SearchStrategy[Tensor]:
    """Packed tensors, whose letters have fixed sizes."""
    sizes = dict(zip("abcd", (2, 3, 4, 5), strict=True))
    orders = st.lists(st.sampled_from(letters), unique=True).map("".join)
    return orders.map(lambda dims: tagged(torch.randn([sizes[d] for d in dims]), dims))


def wide(x: Tensor) -> Tensor:
    return packed.unpack(x, PLACES)


@given(shapes)
def test_unpacking_undoes_packing(shape: list[int]) -> None:
    x = torch.randn(shape)
    inside = packed.pack(x, SYMBOLS)
    assert len(dims_of(inside)) == inside.dim() == sum(size != 1 for size in shape)
    back = packed.unpack(inside, PLACES)
    assert not hasattr(back, "_pyro_dims")
    lost = x.dim() - back.dim()
    assert torch.equal(back, x.reshape(x.shape[lost:])) and all(size == 1 for size in shape[:lost])


def test_numbers_are_packed_as_they_are() -> None:
    assert packed.pack(1.5, SYMBOLS) == 1.5 == packed.unpack(1.5, PLACES)


def test_packing_says_which_dims_there_are() -> None:
    with pytest.raises(
        ValueError, match=r"Invalid tensor shape.\n  Allowed dims: -3, -1\n  Actual shape: \(2, 1\)"
    ):
        packed.pack(torch.zeros(2, 1), {-1: "a", -3: "c"})


def test_nothing_is_packed_twice() -> None:
    with pytest.raises(AssertionError, match="already-packed"):
        packed.pack(tagged(torch.zeros(2), "a"), SYMBOLS)


@given(tensors(), tensors())
def test_products_are_those_of_unpacked_tensors(x: Tensor, y: Tensor) -> None:
    product = packed.mul(x, y)
    assert dims_of(product) == "".join(sorted(set(dims_of(x)) | set(dims_of(y))))
    torch.testing.assert_close(wide(product), wide(x) * wide(y))
    assert torch.equal(wide(packed.mul(y, x)), wide(product))


@given(tensors())
def test_pointwise_functions_keep_the_dims(x: Tensor) -> None:
    for actual, expected in (
        (packed.neg(x), -x),
        (packed.exp(x), x.exp()),
        (packed.mul(x, 2.0), x * 2),
        (packed.mul(2.0, x), x * 2),
    ):
        assert dims_of(actual) == dims_of(x) and torch.equal(actual, expected)
    assert (packed.neg(1.0), packed.exp(0.0), packed.mul(2.0, 3.0)) == (-1.0, 1.0, 6.0)


@given(st.lists(tensors(), min_size=1, max_size=3))
def test_broadcasting_is_that_of_unpacked_tensors(xs: list[Tensor]) -> None:
    results = packed.broadcast_all(*xs)
    assert len({dims_of(x) for x in results}) == 1
    expected = torch.broadcast_tensors(*map(wide, xs))
    for actual, value in zip(results, expected, strict=True):
        assert torch.equal(wide(actual), value)
    order = dims_of(results[0])[::-1]
    assert all(dims_of(x) == order for x in packed.broadcast_all(*xs, dims=order))


def test_broadcasting_to_other_dims_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        packed.broadcast_all(tagged(torch.zeros(2), "a"), dims="ab")


@given(tensors(), tensors("bcd"))
def test_gather_picks_entries(x: Tensor, like: Tensor) -> None:
    if "a" not in dims_of(x):
        return
    index = tagged(torch.randint(0, 2, like.shape), dims_of(like))
    picked = packed.gather(x, index, "a")
    assert "a" not in dims_of(picked)
    choice = tagged(torch.nn.functional.one_hot(index, 2), dims_of(index) + "a")
    expected = (wide(x) * wide(choice)).sum(-1, keepdim=True)
    torch.testing.assert_close(wide(picked), expected.reshape(wide(picked).shape))


@given(tensors(), tensors())
def test_scale_and_mask(x: Tensor, like: Tensor) -> None:
    mask = tagged(like > 0, dims_of(like))
    for scale in (2.0, torch.tensor(2.0)):
        masked = packed.scale_and_mask(x, scale, mask)
        assert torch.equal(wide(masked), torch.where(wide(mask), wide(x) * 2, 0.0))
        assert torch.equal(packed.scale_and_mask(x, scale), x * 2)
    assert packed.scale_and_mask(x) is x is packed.scale_and_mask(x, mask=True)
    nothing = packed.scale_and_mask(x * torch.nan if not x.dim() else x, mask=False) if x.dim() else None
    assert nothing is None or (dims_of(nothing) == dims_of(x) and not nothing.any())


def test_masked_entries_are_replaced_not_multiplied() -> None:
    x = tagged(torch.tensor([torch.nan, 1.0]), "a")
    assert packed.scale_and_mask(x, mask=tagged(torch.tensor([False, True]), "a")).tolist() == [0.0, 1.0]


def test_a_scale_with_dims_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="non-scalar scale is not supported"):
        packed.scale_and_mask(tagged(torch.zeros(2), "a"), torch.ones(2))


def test_equations_take_the_letters_of_their_operands() -> None:
    x, y = tagged(torch.zeros(2, 3), "qr"), tagged(torch.zeros(3), "r")
    assert packed.rename_equation("ab,b->a", x, y) == "qr,r->q"
