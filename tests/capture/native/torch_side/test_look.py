"""The look in C: it must see all that it is asked to look at, and say no where it is not sure."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from ember.capture.native.torch_side.look import OTHERS, Look, Relied, _found, is_available

KNOWN = "as noted"
MISSING = object()


def look_at(*args, names=(), **relied):
    return Look(Relied(missing=MISSING, **relied), names, args, KNOWN)


def test_there_is_one_here():
    assert is_available()


class TestArguments:
    def test_the_same(self):
        x = torch.zeros(2)
        assert look_at(x, 1, "a").call((x, 1, "a"), {}) == KNOWN

    @pytest.mark.parametrize("args", [(), (1,), (2, 3), (1, 2, 3), (1, 2.0)])
    def test_others(self, args):
        assert look_at(1, 2).call(args, {}) is None

    def test_keywords_in_their_order(self):
        look = look_at(1, 2, 3, names=("a", "b"))
        assert look.call((1,), {"a": 2, "b": 3}) == KNOWN
        assert look.call((1,), {"b": 3, "a": 2}) is None
        assert look.call((1,), {"a": 2, "c": 3}) is None
        assert look.call((1, 2, 3), {}) is None

    @pytest.mark.parametrize(
        "other",
        [
            torch.zeros(3),
            torch.zeros(2, 2).t()[0],
            torch.zeros(2, dtype=torch.float64),
            torch.zeros(2, requires_grad=True),
            torch.zeros(2, requires_grad=True) * 2,
            torch.zeros(2, requires_grad=True)[:],
            torch.nn.Parameter(torch.zeros(2)),
            torch.zeros(2, device="meta").new_empty(1, 2),
            torch.zeros(2).to_sparse(),
            0.0,
            None,
        ],
    )
    def test_tensors_that_are_not_alike(self, other):
        if isinstance(other, torch.Tensor) and other.shape == (2,) and other.layout is torch.strided:
            assert other.stride() != (1,) or other.dtype != torch.float32 or other.requires_grad
        assert look_at(torch.zeros(2)).call((other,), {}) is None

    @pytest.mark.parametrize(
        "base", [torch.ones(2), torch.ones(6)[2:4], torch.ones(2, 2)[1], torch.ones(2).detach()]
    )
    def test_tensors_that_are_alike(self, base):
        x = torch.zeros(2)
        look = look_at(x, 5)
        assert look.call((base, 5), {}) == OTHERS
        assert look.call((x, 5), {}) == KNOWN, "nothing has been noted"
        look.note((base, 5), "other")
        assert look.call((base, 5), {}) == "other"
        assert look.call((x, 5), {}) == OTHERS

    @pytest.mark.parametrize("dims", range(6))
    def test_what_torch_leaves_in_unused_places(self, dims):
        x = torch.zeros((2,) * dims)
        look = look_at(x)
        other = torch.ones((2,) * dims)
        where = _found()
        words = (ctypes.c_uint64 * where.impl_words).from_address(other._cdata)
        for k in range(dims, where.most_dims):
            words[where.dims + 1 + k] = words[where.dims + 1 + where.most_dims + k] = 12345
        assert look.call((other,), {}) == OTHERS
        if dims:
            words[where.dims + dims] = 12345
            assert look.call((other,), {}) is None

    @pytest.mark.parametrize("change", [lambda x: x.resize_(3, 2, 1, 1, 1, 1), lambda x: x.transpose_(2, 3)])
    def test_many_dims_are_never_sure(self, change):
        x = torch.zeros(2, 3, 1, 1, 1, 1)
        look = look_at(tensors=[x])
        assert look.call((), {}) is None
        change(x)
        assert look.call((), {}) is None

    def test_trained_arguments_are_alike_among_themselves(self):
        look = look_at(torch.zeros(2, requires_grad=True))
        assert look.call((torch.ones(2, requires_grad=True),), {}) == OTHERS
        assert look.call((torch.ones(2),), {}) is None

    def test_memory_of_an_argument(self):
        x = torch.zeros(4)
        look = look_at(x)
        x.data = torch.zeros(4)
        assert look.call((x,), {}) is None


CHANGES = {
    "data": lambda x: setattr(x, "data", torch.zeros(4, 4)),
    "shape": lambda x: setattr(x, "data", torch.zeros(2, 8)),
    "dtype": lambda x: setattr(x, "data", torch.zeros(4, 4, dtype=torch.float64)),
    "frozen": lambda x: x.requires_grad_(False),
    "transposed": lambda x: x.detach().t_() is None or setattr(x, "data", x.data.t()),
    "storage resized": lambda x: x.untyped_storage().resize_(4000),
    "swapped": lambda x: torch.utils.swap_tensors(x, torch.zeros(4, 4, requires_grad=True)),
    "hook": lambda x: x.register_hook(lambda grad: grad),
    "hook after": lambda x: x.register_post_accumulate_grad_hook(lambda leaf: None),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changes_of_a_tensor(change):
    x = torch.zeros(4, 4, requires_grad=True)
    look = look_at(tensors=[torch.zeros(3), x])
    assert look.call((), {}) == KNOWN
    change(x)
    assert look.call((), {}) is None


def test_what_does_not_matter_of_a_tensor():
    x = torch.zeros(4, 4, requires_grad=True)
    look = look_at(tensors=[x])
    with torch.no_grad():
        x += 1
    (x * x).sum().backward()
    view = x.view(16)
    x.grad = torch.ones(4, 4)
    assert look.call((), {}) == KNOWN
    del view
    x.grad = None
    assert look.call((), {}) == KNOWN


def test_attributes():
    inner = SimpleNamespace(number=10**6)
    outer = SimpleNamespace(inner=inner)
    look = look_at(paths=[(outer, ("inner", "number"), 10**6)])
    assert look.call((), {}) == KNOWN
    inner.number += 1
    assert look.call((), {}) is None
    del outer.inner
    assert look.call((), {}) is None


def test_functions_that_say_something():
    said = [(1, 2)]
    look = look_at(calls=[(lambda: said[0], (1, 2))])
    assert look.call((), {}) == KNOWN
    said[0] = (1, 3)
    assert look.call((), {}) is None
    said.clear()
    assert look.call((), {}) is None, "an error is no answer"


def test_names():
    names, value = {"a": [1]}, object()
    look = look_at(dicts=[names, names], keys=["a", "b"], values=[names["a"], MISSING])
    assert look.call((), {}) == KNOWN
    names["b"] = value
    assert look.call((), {}) is None
    del names["b"]
    names["a"] = [1]
    assert look.call((), {}) is None


@pytest.mark.parametrize("part", ["__code__", "__defaults__", "__kwdefaults__"])
def test_functions(part):
    def function(a=1, *, b=2):
        return a, b

    def other(a=3, *, b=4):
        return b, a

    parts = [function.__code__, function.__defaults__, function.__kwdefaults__]
    look = look_at(functions=[test_names, function], parts=[test_names.__code__, None, None, *parts])
    assert look.call((), {}) == KNOWN
    setattr(function, part, getattr(other, part))
    assert look.call((), {}) is None


def test_cells():
    variable = [1]

    def function():
        return variable

    look = look_at(cells=[function.__closure__[0]], contents=[variable])
    assert look.call((), {}) == KNOWN
    variable = [1]
    assert look.call((), {}) is None
    del function.__closure__[0].cell_contents
    assert look.call((), {}) is None


def test_the_rest():
    holds = [True]
    look = look_at(rest=[lambda: True, lambda: holds[0]])
    assert look.call((), {}) == KNOWN
    holds[0] = False
    assert look.call((), {}) is None


def test_references_are_not_lost():
    import sys

    x, y = torch.zeros(2), torch.zeros(2)
    known = [object()]
    look = Look(
        Relied(calls=[(torch.get_default_dtype, torch.get_default_dtype())], tensors=[y]),
        ("k",),
        (x, x),
        known,
    )
    counts = [sys.getrefcount(o) for o in (x, y, known, None)]
    for _ in range(1000):
        assert look.call((x,), {"k": x}) is known
        look.call((y,), {"k": x})
    after = [sys.getrefcount(o) for o in (x, y, known, None)]
    assert all(abs(a - b) < 50 for a, b in zip(counts, after, strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_looks_are_there_whatever_the_default_dtype(dtype: str) -> None:
    code = (
        "import torch; from ember.capture.native.torch_side.look import is_available; "
        f"torch.set_default_dtype(torch.{dtype}); print(is_available())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


class TimeIsUpError(Exception):
    """What a user's handler of a signal may raise."""


@pytest.mark.parametrize("where", ["calls", "rest"])
@pytest.mark.parametrize("raised", [KeyboardInterrupt, TimeIsUpError, TimeoutError, MemoryError])
def test_what_comes_from_handlers_of_signals_is_not_lost(where, raised):
    def interrupted():
        raise raised

    look = look_at(calls=[(interrupted, True)]) if where == "calls" else look_at(rest=[interrupted])
    with pytest.raises(raised):
        look.call((), {})


@pytest.mark.parametrize("raised", [AttributeError, KeyError, RuntimeError, TypeError, ValueError])
def test_what_has_changed_may_raise(raised):
    def gone():
        raise raised

    assert look_at(rest=[gone]).call((), {}) is None
