"""Methods bound weakly, and docstrings shared between classes."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T", bound=type)


def weakmethod(fn: Callable[..., Any]) -> property:
    """Decorate a method so that ``self.method`` holds ``self`` weakly and makes no reference cycle.

    Raises:
        AttributeError: on a call after ``self`` is gone; on assignment of anything but the same method.
    """

    def call(reference: weakref.ref[Any], *args: Any, **kwargs: Any) -> Any:
        self = reference()
        if self is None:
            raise AttributeError(f"self was garbage collected when calling self.{fn.__name__}")
        return fn(self, *args, **kwargs)

    def bind(self: Any) -> Any:
        return functools.partial(call, weakref.ref(self))

    def rebind(self: Any, new: Any) -> None:
        # Copying an object assigns what bind returned; anything else would be lost silently.
        same = isinstance(new, functools.partial) and new.func is call and new.args == (weakref.ref(self),)
        if not same:
            raise AttributeError(f"cannot overwrite weakmethod {fn.__name__}")

    return property(bind, rebind)


def copy_docs_from(source_class: type, full_text: bool = False) -> Callable[[T], T]:
    """Decorate a class so that its undocumented public attributes refer to those of ``source_class``.

    Args:
        full_text: copy the docstring itself rather than a reference to it.
    """

    def decorator(destination: T) -> T:
        for name in dir(destination):
            if not name.startswith("_"):
                _copy_doc(source_class, destination, name, full_text)
        return destination

    return decorator


def _copy_doc(source_class: type, destination: type, name: str, full_text: bool) -> None:
    source_doc = getattr(getattr(source_class, name, None), "__doc__", None)
    attribute = getattr(destination, name)
    attribute = getattr(attribute, "__func__", attribute)
    if not source_doc or getattr(attribute, "__doc__", None):
        return
    if not full_text and not source_doc.startswith("See "):
        source_doc = f"See :meth:`{source_class.__module__}.{source_class.__name__}.{name}`"
    if isinstance(attribute, property):
        setattr(destination, name, property(attribute.fget, attribute.fset, attribute.fdel, source_doc))
    else:
        attribute.__doc__ = source_doc
