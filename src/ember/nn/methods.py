"""Methods that read attributes with effects."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from ember.modules import note_module

P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound=Any)


def pyro_method(fn: Callable[Concatenate[M, P], T]) -> Callable[Concatenate[M, P], T]:
    """Let a method of a :class:`PyroModule` read attributes with effects, as ``forward`` does.

    Samples are drawn once for the outermost of such calls.

    >>> from ember import distributions as dist
    >>> from ember.nn import PyroModule, PyroSample
    >>> from ember.nn import pyro_method
    >>> class Model(PyroModule):
    ...     @pyro_method
    ...     def twice(self):
    ...         return self.x is self.x
    >>> model = Model()
    >>> model.x = PyroSample(dist.Normal(0.0, 1.0))
    >>> model.twice(), model.x is model.x
    (True, False)
    """

    @functools.wraps(fn)
    def with_effects(self: M, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._pyro_context:
            note_module(self)
            return fn(self, *args, **kwargs)

    return with_effects  # type: ignore[return-value]
