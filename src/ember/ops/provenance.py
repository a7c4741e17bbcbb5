"""Which named sources a value has been computed from, followed through torch's functions.

The method is that of D. Wingate, N. Goodman, A. Stuhlmüller and J. Siskind (2011), "Nonstandard Interpretations of Probabilistic
Programs for Efficient Inference": a tensor carries a set of sources, and the result of a function carries those of all arguments.
Where a value leaves torch's functions (``z.item()``, ``if z > 0``, ``x[0] = z``), its sources are lost sight of; :class:`Watch`
notes which.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import singledispatch
from types import TracebackType
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ember import tree

Sources = frozenset[Any]
T = TypeVar("T")

_NONE: Sources = frozenset()
_READERS = {
    *(
        Tensor.item,
        Tensor.tolist,
        Tensor.numpy,
        Tensor.__array__,
        Tensor.__bool__,
        Tensor.__int__,
        Tensor.__float__,
    ),
    *(
        Tensor.__index__,
        Tensor.__complex__,
        Tensor.__contains__,
        Tensor.__iter__,
        torch.equal,
        torch.allclose,
    ),
}


class _Watches(threading.local):
    def __init__(self) -> None:
        self.active: list[Watch] = []


_WATCHES = _Watches()


class Watch(TorchFunctionMode):
    """While it is active, ``lost`` collects the sources of values that leave torch's functions.

    What the checks of distributions read does not count. Conversions by :func:`torch.as_tensor` and :func:`torch.tensor`,
    which do not know of sources, keep them meanwhile.

    >>> z = ProvenanceTensor(torch.ones(2), frozenset({"z"}))
    >>> with Watch() as watch:
    ...     x = torch.zeros(2)
    ...     x[0] = z[0]
    >>> watch.lost
    frozenset({'z'})
    """

    def __init__(self) -> None:
        super().__init__()
        self.lost: Sources = _NONE

    def __enter__(self) -> Watch:
        super().__enter__()  # type: ignore[no-untyped-call]
        _WATCHES.active.append(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _WATCHES.active.remove(self)
        super().__exit__(exc_type, exc_value, traceback)  # type: ignore[no-untyped-call]

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in (torch.as_tensor, torch.tensor, torch.asarray) and args:
            plain, sources = extract_provenance(args[0])
            return track_provenance(func(plain, *args[1:], **(kwargs or {})), sources)
        return func(*args, **(kwargs or {}))


def _lose(sources: Sources) -> None:
    for watch in _WATCHES.active:
        watch.lost |= sources


def _writes(func: Callable[..., Any]) -> bool:
    name = getattr(func, "__name__", "")
    return name == "__setitem__" or (name.endswith("_") and not name.endswith("__")) or name in _IN_PLACE


_IN_PLACE = {
    f"__i{name}__" for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor")
}


def _note_written(target: object, sources: Sources) -> None:
    """A tensor that has been written into has the sources of what was written; a plain one cannot have any."""
    for leaf in tree.leaves(target):
        if isinstance(leaf, ProvenanceTensor):
            leaf._provenance |= sources
        else:
            _lose(sources)


def _asked_by_a_library() -> bool:
    """Whether the value is read by torch or Ember themselves, as in the checks of distributions, not by the program."""
    frame: Any = sys._getframe(2)
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if frame.f_code.co_name != "__torch_function__" and module not in (
            "torch._tensor",
            "torch.overrides",
        ):
            return module.split(".")[0] in ("torch", "ember")
        frame = frame.f_back
    return False


class ProvenanceTensor(Tensor):
    """A tensor that remembers its sources. Without any, the constructor returns ``data`` itself.

    Args:
        data: a tensor that does not carry sources yet.
        provenance: the sources: a frozen set of anything.

    >>> a = ProvenanceTensor(torch.ones(2), frozenset({"a"}))
    >>> b = ProvenanceTensor(torch.ones(2), frozenset({"b"}))
    >>> sorted(get_provenance(a * 2 + b)), sorted(get_provenance(a * detach_provenance(b)))
    (['a', 'b'], ['a'])
    """

    _t: Tensor
    _provenance: Sources

    def __new__(cls, data: Tensor, provenance: Sources = _NONE, **kwargs: object) -> Any:
        assert not isinstance(data, ProvenanceTensor), (
            "use track_provenance to add sources to a tensor that has some"
        )
        if not provenance:
            return data
        new = data.as_subclass(cls)
        # Kept, so that detaching gives the same object each time: programs use tensors as keys.
        new._t = data
        new._provenance = provenance
        return new

    def __repr__(self, *, tensor_contents: object = None) -> str:  # type: ignore[override]
        return f"Provenance:\n{self._provenance}\nTensor:\n{self._t}"

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        (plain_args, plain_kwargs), sources = extract_provenance((args, kwargs))
        result = func(*plain_args, **plain_kwargs)
        if _writes(func) or "out" in kwargs:
            _note_written(kwargs.get("out", args[0] if args else None), sources)
        elif func in _READERS and _WATCHES.active and not _asked_by_a_library():
            _lose(sources)
        return track_provenance(result, sources)


@singledispatch
def track_provenance(x: object, provenance: Sources) -> Any:
    """Add sources to the tensors in a value; containers of them are rebuilt, other values come back as they are.

    >>> pair = track_provenance((torch.ones(1), "text"), frozenset({"z"}))
    >>> get_provenance(pair[0]), pair[1]
    (frozenset({'z'}), 'text')
    """
    return x if tree.is_leaf(x) else tree.map_leaves(lambda leaf: track_provenance(leaf, provenance), x)


@singledispatch
def extract_provenance(x: object) -> tuple[Any, Sources]:
    """Take a value apart: the same value with plain tensors, and the sources of all tensors in it."""
    if tree.is_leaf(x):
        return x, _NONE
    sources: set[Any] = set()

    def plain(leaf: object) -> Any:
        value, found = extract_provenance(leaf)
        sources.update(found)
        return value

    return tree.map_leaves(plain, x), frozenset(sources)


@track_provenance.register
def _track_tensor(x: Tensor, provenance: Sources) -> Any:
    return ProvenanceTensor(x, provenance)


@track_provenance.register
def _track_further(x: ProvenanceTensor, provenance: Sources) -> Tensor:
    return x if provenance <= x._provenance else ProvenanceTensor(x._t, x._provenance | provenance)


@extract_provenance.register
def _extract_tensor(x: ProvenanceTensor) -> tuple[Any, Sources]:
    return x._t, x._provenance


def get_provenance(x: object) -> Sources:
    """The sources of all tensors in a value.

    >>> get_provenance([torch.ones(1), {"key": ProvenanceTensor(torch.ones(1), frozenset({"a"}))}])
    frozenset({'a'})
    """
    sources: Sources = extract_provenance(x)[1]
    return sources


def detach_provenance(x: T) -> T:
    """The value with plain tensors: for a tensor, the same object each time.

    >>> x = torch.ones(1)
    >>> detach_provenance(ProvenanceTensor(x, frozenset({"a"}))) is x
    True
    """
    value: T = extract_provenance(x)[0]
    return value
