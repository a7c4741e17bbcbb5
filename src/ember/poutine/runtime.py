"""Primitives: functions whose calls run through the handlers; and what programs ask about the handlers around them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, TypedDict, TypeVar, overload

from torch import Tensor

from ember.poutine.enumeration.enum_allocator import ENUM_DIMS
from ember.poutine.frames import CondIndepStackFrame
from ember.poutine.messenger import Messenger, reset_stack
from ember.poutine.messenger import apply_stack as apply_stack
from ember.poutine.messenger import default_process_message as default_process_message
from ember.poutine.site import Message as Message
from ember.poutine.site import Site, message
from ember.poutine.stack import PLATE_DIMS, StackView
from ember.poutine.stack import THREAD as THREAD

F = TypeVar("F", bound=Callable[..., Any])

# Pyro's names, which programs read.
_PYRO_STACK = StackView()
_DIM_ALLOCATOR = PLATE_DIMS
_ENUM_ALLOCATOR = ENUM_DIMS


class InferDict(TypedDict, total=False):
    """What ``infer`` of a sample statement may say; other keys are kept for handlers that know them.

    Attributes:
        enumerate: sum over the values of the site, all at once or one after the other.
        expand: give enumerated values the full shape of the batch.
        is_auxiliary: a site of the guide alone.
        is_observed: whether a posterior took the site for observed.
        num_samples: draw so many values, in place of all.
        obs: what was observed, of a site that has become latent.
        prior: the prior of a site that was a parameter.
        tmc: how proposals of tensor Monte Carlo are mixed.
        was_observed: whether the site was observed before a handler hid it.
    """

    enumerate: Literal["sequential", "parallel"]
    expand: bool
    is_auxiliary: bool
    is_observed: bool
    num_samples: int
    obs: Tensor | None
    prior: Any
    tmc: Literal["diagonal", "mixture"]
    was_observed: bool


class NonlocalExit(Exception):
    """Leaves a program at a site.

    :func:`~ember.poutine.queue` uses it to try the site's values one after the other.
    """

    def __init__(self, site: Site, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.site = site

    def reset_stack(self) -> None:
        """Reset the handlers from the innermost up to the first that hides the site."""
        reset_stack(self.site)


def am_i_wrapped() -> bool:
    """Whether any handler is active in this thread."""
    return bool(THREAD.stack)


def acting_handlers() -> tuple[Any, ...]:
    """The handlers of this thread that do something to statements, outermost first."""
    return tuple(
        [handler for handler in THREAD.stack if not isinstance(handler, Messenger) or handler.acts()]
    )


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
        *args: object, name: str | None = None, infer: Any = None, obs: Any = None, **kwargs: object
    ) -> Any:
        if not THREAD.stack:
            return fn(*args, **kwargs)
        msg = message(
            name, fn, type=type, args=args, kwargs=kwargs, value=obs, is_observed=obs is not None, infer=infer
        )
        apply_stack(msg)
        return msg.value

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
    """Return the mask that the enclosing ``mask`` handlers make together: None, a bool, or a tensor of bools.

    A model can skip an expensive factor when nothing would count it: ``if poutine.get_mask() is not False:
    ...``

    >>> import ember
    >>> with ember.poutine.mask(mask=False):
    ...     ember.poutine.get_mask()
    False
    """
    return _inspect().mask


def get_plates() -> tuple[CondIndepStackFrame, ...]:
    """Return the frames of the enclosing plates, outermost first.

    >>> import ember
    >>> with ember.plate("rows", 3), ember.plate("columns", 4):
    ...     [(frame.name, frame.size, frame.dim) for frame in ember.poutine.get_plates()]
    [('rows', 3, -1), ('columns', 4, -2)]
    """
    return _inspect().cond_indep_stack
