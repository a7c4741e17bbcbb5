"""The stack of active handlers, and how a primitive statement runs through it.

Everything here is per thread: a handler entered in one thread never sees the statements of another.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, MutableSequence
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ember.capture.provenance import works_for
from ember.errors import ModelError
from ember.poutine.enum_allocator import _ENUM_ALLOCATOR as _ENUM_ALLOCATOR
from ember.poutine.enum_allocator import _EnumAllocator as _EnumAllocator
from ember.poutine.frames import CondIndepStackFrame
from ember.poutine.site import InferDict as InferDict
from ember.poutine.site import Message as Message
from ember.poutine.site import Site, message

if TYPE_CHECKING:
    from ember.poutine.messenger import Messenger

F = TypeVar("F", bound=Callable[..., Any])


class _ThreadState(threading.local):
    """What belongs to one thread: its handlers (outermost first) and its plate dims."""

    def __init__(self) -> None:
        self.stack: list[Messenger] = []
        self.plate_dims: list[str | None] = []


THREAD = _ThreadState()


class _StackView(MutableSequence[Any]):
    """This thread's handler stack as the one list that Pyro programs read and write."""

    def __getitem__(self, index: Any) -> Any:
        return THREAD.stack[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        THREAD.stack[index] = value

    def __delitem__(self, index: Any) -> None:
        del THREAD.stack[index]

    def __len__(self) -> int:
        return len(THREAD.stack)

    def insert(self, index: int, value: Any) -> None:
        THREAD.stack.insert(index, value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Iterable) and THREAD.stack == list(other)

    def __repr__(self) -> str:
        return repr(THREAD.stack)


_PYRO_STACK = _StackView()


class _DimAllocator:
    """Hands out the dims of vectorised plates; dim -1 is the rightmost."""

    @property
    def _stack(self) -> list[str | None]:
        return THREAD.plate_dims

    def allocate(self, name: str, dim: int | None) -> int:
        """Reserve ``dim`` for a plate, or the rightmost free one if it is None.

        Raises:
            ValueError: if the plate is active already, or the dim is not negative or is taken.
        """
        taken = THREAD.plate_dims
        if name in taken:
            raise ModelError(
                f"duplicate plate '{name}': it is entered while a plate of that name is active; "
                "give the two plates different names"
            )
        if dim is None:
            dim = next((-1 - i for i, user in enumerate(taken) if user is None), -1 - len(taken))
        elif dim >= 0:
            raise ModelError(f"Expected dim < 0 to index from the right, actual {dim} (of plate '{name}')")
        elif -dim <= len(taken) and taken[-1 - dim] is not None:
            raise ModelError(
                f'at plates "{name}" and "{taken[-1 - dim]}", collide at dim={dim}\n\n'
                f"Try moving the dim of one plate to the left, e.g. dim={dim - 1}"
            )
        taken.extend([None] * (-dim - len(taken)))
        taken[-1 - dim] = name
        return dim

    def free(self, name: str, dim: int) -> None:
        """Release a dim that :meth:`allocate` gave to ``name``."""
        taken = THREAD.plate_dims
        index = -1 - dim
        assert taken[index] == name
        taken[index] = None
        while taken and taken[-1] is None:
            taken.pop()


_DIM_ALLOCATOR = _DimAllocator()


class NonlocalExit(Exception):
    """Leaves a program at a site; :func:`~ember.poutine.queue` uses it to try the site's values one after the other."""

    def __init__(self, site: Site, *args: Any) -> None:
        super().__init__(*args)
        self.site = site

    def reset_stack(self) -> None:
        """Reset the handlers from the innermost up to the first that hides the site."""
        from ember.poutine.block_messenger import BlockMessenger

        for handler in reversed(THREAD.stack):
            handler._reset()
            if isinstance(handler, BlockMessenger) and handler.hide_fn(self.site):
                break


def default_process_message(msg: Site) -> None:
    """What happens at a site that no handler has settled: call its function."""
    if not (msg["done"] or msg["is_observed"] or msg["value"] is not None):
        msg["value"] = msg["fn"](*msg["args"], **msg["kwargs"])
    msg["done"] = True


def _site_of(frame: FrameType, innermost: FrameType) -> str:
    msg = frame.f_locals["initial_msg"]
    return f"{'param' if msg['type'] == 'param' else 'site'} {msg['name']!r}"


@works_for(_site_of)
def apply_stack(initial_msg: Site) -> None:
    """Run a message through the handlers: innermost to outermost, the default action, and back.

    A handler that sets ``msg["stop"]`` hides the site from those outside of it.
    """
    msg = initial_msg
    stack = THREAD.stack
    reached = len(stack)
    while reached:
        reached -= 1
        stack[reached]._process_message(msg)
        if msg["stop"]:
            break

    default_process_message(msg)

    # A handler may leave the stack while a site is processed, hence the copy.
    for handler in stack[reached:]:
        handler._postprocess_message(msg)

    continuation = msg["continuation"]
    if continuation is not None:
        continuation(msg)


def am_i_wrapped() -> bool:
    """Whether any handler is active in this thread."""
    return bool(THREAD.stack)


@overload
def effectful(fn: None = None, type: str | None = None) -> Callable[[F], F]: ...
@overload
def effectful(fn: F, type: str | None = None) -> F: ...
def effectful(fn: Callable[..., Any] | None = None, type: str | None = None) -> Any:
    """Turn a function into a primitive whose calls run through the handlers as messages of ``type``.

    The primitive takes three more keyword arguments: ``name``, ``infer`` and ``obs``.
    """
    if fn is None:
        return functools.partial(effectful, type=type)
    if getattr(fn, "_is_effectful", None):
        return fn
    assert type is not None, f"must provide a type label for operation {fn}"
    assert type != "message", "cannot use 'message' as keyword"

    @functools.wraps(fn)
    def primitive(
        *args: Any, name: str | None = None, infer: Any = None, obs: Any = None, **kwargs: Any
    ) -> Any:
        if not THREAD.stack:
            return fn(*args, **kwargs)
        msg = message(
            name, fn, type=type, args=args, kwargs=kwargs, value=obs, is_observed=obs is not None, infer=infer
        )
        apply_stack(msg)
        return msg["value"]

    primitive._is_effectful = True  # type: ignore[attr-defined]
    return primitive


def _always() -> bool:
    return True


def _inspect() -> Site:
    """A message with the effects of all active handlers applied, for reading masks and plates."""
    msg = message("_pyro_inspect", _always, type="inspect", infer={"_do_not_trace": True})
    apply_stack(msg)
    return msg


def get_mask() -> Any:
    """The mask that the enclosing ``mask`` handlers make together: None, a bool, or a tensor of bools.

    A model can skip an expensive factor when nothing would count it: ``if poutine.get_mask() is not False: ...``
    """
    return _inspect()["mask"]


def get_plates() -> tuple[CondIndepStackFrame, ...]:
    """The frames of the enclosing plates, outermost first."""
    return _inspect()["cond_indep_stack"]  # type: ignore[no-any-return]
