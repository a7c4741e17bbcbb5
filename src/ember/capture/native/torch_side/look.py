"""One look at all that a captured program relies on, in C, in a fraction of the time that Python takes to look at a single fact.

What can change behind a tensor that stays the same object (its memory, shape, strides, whether it is trained, hooks) is read from
the words of memory that torch keeps of it. Where these words lie, and which of them change without harm, is found out by
experiments on private tensors, once a process. Every change that matters is then tried; where one is not seen, there is no such
look, and whoever asks compares everything by public means.
"""

from __future__ import annotations

import ctypes
import functools
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from ember.capture.native.build.toolchain import compile_library
from ember.errors import CaptureError

_MOST_WORDS = 64
_WORD = 8
_ALL = 0xFFFFFFFFFFFFFFFF
OTHERS: Final = "others"
"""What a look says of arguments that are other tensors, laid out as the noted ones."""


class _Layout(ctypes.Structure):
    """As ``c/ember_look.h`` declares it."""

    _fields_ = [
        *(
            (name, ctypes.c_int64)
            for name in ("object", "impl_words", "meta_words", "meta", "storage", "data", "dims", "most_dims")
        ),
        *((name, ctypes.c_uint64 * _MOST_WORDS) for name in ("impl_mask", "meta_mask", "alike_mask")),
    ]


@dataclass(frozen=True)
class Relied:
    """What a look is about, besides the arguments. Lists of equal length belong together."""

    paths: Sequence[tuple[object, tuple[str, ...], object]] = ()
    """Attributes of attributes: the object, the names, and what is found there."""
    calls: Sequence[tuple[Callable[[], object], object]] = ()
    """Functions that say what they said."""
    dicts: Sequence[dict[str, object]] = ()
    keys: Sequence[str] = ()
    values: Sequence[object] = ()
    functions: Sequence[object] = ()
    parts: Sequence[object] = ()
    """Code, defaults and keyword defaults of each function."""
    cells: Sequence[object] = ()
    contents: Sequence[object] = ()
    tensors: Sequence[Tensor] = ()
    rest: Sequence[Callable[[], bool]] = ()
    """Functions that say whether other things hold."""
    missing: object = field(default_factory=object)
    """Stands, among values, for what is not there."""


class Look:
    """Says whether arguments, and all that is relied on, are as noted.

    Args:
        relied: all but the arguments.
        names: of the arguments that are given by keyword, in order.
        args: all arguments, those by keyword last.
        known: what :attr:`call` returns for these.

    >>> x = torch.zeros(3)
    >>> look = Look(Relied(tensors=[x]), (), (1, x), "as noted")
    >>> look.call((1, x), {}), look.call((2, x), {}), look.call((1, torch.ones(3)), {})
    ('as noted', None, 'others')
    >>> x.resize_(2)[0].item(), look.call((1, x), {})
    (0.0, None)
    """

    __slots__ = ("_library", "_memory", "_noted", "_size", "call")

    def __init__(
        self, relied: Relied, names: tuple[str, ...], args: tuple[object, ...], known: object
    ) -> None:
        self._library = library()
        self._noted: list[object] = [None]
        self._size = self._library.ember_look_snapshot_bytes()
        own = [arg for arg in args if type(arg) is Tensor]
        self._memory = bytearray(self._size * (len(own) + len(relied.tensors)))
        self._take(len(own), relied.tensors)
        parts = (
            *(self._noted, names, Tensor, OTHERS, tuple(relied.paths), tuple(relied.calls)),
            *map(list, (relied.dicts, relied.keys, relied.values, relied.functions, relied.parts)),
            *map(list, (relied.cells, relied.contents, relied.tensors)),
            *(self._memory, tuple(relied.rest), relied.missing, "requires_grad"),
        )
        self.note(args, known)
        self.call: Callable[[tuple[object, ...], dict[str, object]], Any] = self._library.ember_look_new(
            parts
        )
        """Called with arguments: what is known for them, ``OTHERS``, or None where something is not as it was."""

    def note(self, args: tuple[object, ...], known: object) -> None:
        """Take other arguments, alike, and what is known for them."""
        own = tuple(arg for arg in args if type(arg) is Tensor)
        self._take(0, own)
        # At once: who is interrupted before has noted nothing.
        self._noted[0] = (args, own, known)

    def _take(self, start: int, tensors: Sequence[Tensor]) -> None:
        if not tensors:
            return
        place = (ctypes.c_char * len(self._memory)).from_buffer(self._memory)
        address = ctypes.addressof(place) + start * self._size
        for tensor in tensors:
            self._library.ember_look_take(address, tensor)
            address += self._size


@functools.cache
def is_available() -> bool:
    """Whether there can be looks: there is a compiler, and torch's tensors lie in memory as they were found to."""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return False
    try:
        library()
    except (CaptureError, OSError, AttributeError, _NotSoundError):
        return False
    return True


@functools.cache
def library() -> Any:
    """The compiled functions, told where torch's words lie.

    Raises:
        CaptureError: if there is no compiler.
    """
    loaded = compile_library('#include "ember_look.h"\n').load()
    loaded.ember_look_new.restype = ctypes.py_object
    loaded.ember_look_new.argtypes = [ctypes.py_object]
    for function in (loaded.ember_look_take, loaded.ember_look_changed, loaded.ember_look_alike):
        function.argtypes = [ctypes.c_void_p, ctypes.py_object]
    loaded.ember_look_take.restype = None
    loaded.ember_look_layout_bytes.restype = loaded.ember_look_snapshot_bytes.restype = ctypes.c_int64
    layout = _found()
    if loaded.ember_look_layout_bytes() != ctypes.sizeof(layout):
        raise _NotSoundError("the layout has another size in C")
    loaded.ember_look_set_layout(ctypes.byref(layout))
    _try_all(loaded)
    return loaded


class _NotSoundError(Exception):
    """Torch's tensors do not lie in memory as expected; the text says what was found."""


# ---- where the words lie


def _found() -> _Layout:
    plain, leaf = torch.zeros(4, 4), torch.zeros(4, 4).requires_grad_()
    usable = ctypes.CDLL(None).malloc_usable_size
    usable.restype, usable.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
    layout = _Layout()
    layout.impl_words = _words_of(plain._cdata, usable)
    impl = _words(plain._cdata, layout.impl_words)
    layout.object = _only(_words(id(plain), 8), plain._cdata)
    layout.storage = _only(impl, plain.untyped_storage()._cdata)
    storage = _words(plain.untyped_storage()._cdata, 8)
    layout.data = storage.index(plain.data_ptr())
    layout.dims, layout.most_dims = _dims_word(layout.impl_words)
    layout.meta = _meta_word(layout.impl_words, usable)
    meta = _words(leaf._cdata, layout.impl_words)[layout.meta]
    layout.meta_words = _words_of(meta, usable)
    harmless, like = _masks(layout)
    layout.impl_mask[:], layout.meta_mask[:] = harmless
    layout.alike_mask[:] = like
    return layout


def _words_of(address: int, usable: Any) -> int:
    # In the last word of a block glibc may keep something of its own.
    return min(int(usable(address)) // 16 * 2, _MOST_WORDS)


def _words(address: int, count: int) -> list[int]:
    return list((ctypes.c_uint64 * count).from_address(address))


def _only(words: Sequence[int], value: int) -> int:
    if list(words).count(value) != 1:
        raise _NotSoundError(f"{value:#x} is not one of {len(words)} words")
    return list(words).index(value)


def _dims_word(count: int) -> tuple[int, int]:
    """Which word of a tensor counts its dims, sizes and strides behind it; and how many of each there is room for."""
    most = torch.zeros(3, 5, 7, 11, 13)
    words, tail = _words(most._cdata, count), [*most.shape, *most.stride()]
    starts = [k for k in range(1, count) if words[k : k + len(tail)] == tail]
    if len(starts) != 1 or any(
        _words(torch.zeros((2,) * dims)._cdata, count)[starts[0] - 1] != dims for dims in range(most.ndim + 2)
    ):
        raise _NotSoundError(f"sizes and strides of a tensor begin at the words {starts}")
    return starts[0] - 1, most.ndim


def _meta_word(count: int, usable: Any) -> int:
    """Which word of a tensor points to what autograd keeps of it: null before it is trained."""
    before = torch.zeros(4, 4)
    old = _words(before._cdata, count)
    before.requires_grad_()
    new = _words(before._cdata, count)
    found = [k for k, (a, b) in enumerate(zip(old, new, strict=True)) if a == 0 and b != 0]
    if len(found) != 1 or usable(new[found[0]]) < _WORD:
        raise _NotSoundError(f"training a tensor sets the words {found}")
    return found[0]


def _masks(layout: _Layout) -> tuple[tuple[list[int], list[int]], list[int]]:
    """Ones for the words that stay as they are under all that does no harm; and for those that are equal in tensors laid out
    alike."""
    leaf = torch.zeros(4, 4).requires_grad_()
    seen = [_all_words(layout, leaf) for _ in _harmless(leaf)]
    base = torch.zeros(12, 4)
    others = [torch.zeros(4, 4), base[4:8], base[8:], torch.zeros(4, 4) + 1, base[:4].detach()]
    graph = leaf * others[0]  # which holds another reference
    words = [_words(other._cdata, layout.impl_words) for other in others]
    del graph
    return (_mask([impl for impl, _ in seen]), _mask([meta for _, meta in seen])), _mask(words)


def _mask(samples: Sequence[Sequence[int]]) -> list[int]:
    """Ones where all are equal: single bits are flags; where more bits of a word differ, it is a count or a pointer."""
    mask = []
    for column in zip(*samples, strict=True):
        differing = functools.reduce(lambda found, word: found | (word ^ column[0]), column, 0)
        mask.append(_ALL ^ differing if differing.bit_count() <= 1 else 0)
    return mask + [0] * (_MOST_WORDS - len(mask))


def _all_words(layout: _Layout, tensor: Tensor) -> tuple[list[int], list[int]]:
    impl = _words(tensor._cdata, layout.impl_words)
    return impl, _words(impl[layout.meta], layout.meta_words)


def _harmless(leaf: Tensor) -> Iterator[object]:
    """What may happen to a tensor without harm to a program that works on its memory."""
    yield None
    view = leaf.detach()
    yield view
    product = leaf * leaf
    yield product
    torch.autograd.backward(product.sum())
    yield None
    del product
    leaf.grad = torch.ones(4, 4)
    yield None
    leaf.grad = None
    yield None
    with torch.no_grad():
        leaf.add_(1.0)
    yield None
    yield (leaf.expand(2, 4, 4), leaf.view(16), [leaf])


# ---- what must be seen


def _try_all(loaded: Any) -> None:
    snapshot = ctypes.create_string_buffer(loaded.ember_look_snapshot_bytes())
    for change in _HARMFUL:
        tensor = torch.zeros(4, 4).requires_grad_()
        loaded.ember_look_take(snapshot, tensor)
        tensor.grad = torch.ones(4, 4)
        if loaded.ember_look_changed(snapshot, tensor):
            raise _NotSoundError("a new gradient is taken for a change")
        change(tensor)
        if not loaded.ember_look_changed(snapshot, tensor):
            raise _NotSoundError(f"a change is not seen (number {_HARMFUL.index(change)})")
    loaded.ember_look_take(snapshot, torch.zeros(4, 4))
    if not loaded.ember_look_alike(snapshot, torch.ones(8, 4)[4:]):
        raise _NotSoundError("tensors laid out alike are taken for others")
    for index, other in enumerate(_unlike()):
        if loaded.ember_look_alike(snapshot, other):
            raise _NotSoundError(f"a tensor laid out in another way is not told apart (number {index})")


def _other_float() -> torch.dtype:
    """Another dtype than tensors are made of here."""
    return torch.float32 if torch.get_default_dtype() is torch.float64 else torch.float64


def _swapped(tensor: Tensor) -> None:
    swap: Callable[..., None] = torch.utils.swap_tensors
    swap(tensor, torch.zeros(4, 4).requires_grad_())


def _hooked(tensor: Tensor) -> None:
    hook: Callable[..., Any] = tensor.register_hook
    hook(lambda grad: grad)


def _hooked_after(tensor: Tensor) -> None:
    hook: Callable[..., Any] = tensor.register_post_accumulate_grad_hook
    hook(lambda leaf: None)


_HARMFUL: list[Callable[[Tensor], Any]] = [
    lambda x: x.requires_grad_(False),
    lambda x: setattr(x, "data", torch.zeros(4, 4)),
    lambda x: setattr(x, "data", torch.zeros(2, 8)),
    lambda x: setattr(x, "data", torch.zeros(16)),
    lambda x: setattr(x, "data", torch.zeros(4, 4).t()),
    lambda x: setattr(x, "data", torch.zeros(4, 4, dtype=_other_float())),
    lambda x: setattr(x, "data", torch.zeros(8, 4)[4:]),
    lambda x: x.detach().untyped_storage().resize_(4096),
    lambda x: x.requires_grad_(False).t_(),
    lambda x: x.requires_grad_(False).resize_(2, 4),
    lambda x: x.requires_grad_(False).set_(torch.zeros(4, 4).untyped_storage(), 0, (4, 4), (4, 1)),
    _hooked,
    _hooked_after,
    _swapped,
]


def _unlike() -> Iterator[Tensor]:
    yield torch.zeros(4, 5)
    yield torch.zeros(16)
    yield torch.zeros(4, 4).t()
    yield torch.zeros(8, 4)[::2]
    yield torch.zeros(4, 4, dtype=_other_float())
    yield torch.zeros(4, 4, dtype=torch.int32)
    yield torch.zeros(4, 4, device="meta")
    yield torch.zeros(4, 4).to_sparse()
    yield torch.zeros(4, 4, dtype=torch.complex64).real
    yield torch.complex(torch.zeros(4, 4), torch.zeros(4, 4)).conj().imag
    yield torch.zeros(1, 4).expand(4, 4)


__all__ = ["OTHERS", "Look", "Relied", "is_available"]
