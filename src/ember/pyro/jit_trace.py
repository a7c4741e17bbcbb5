"""``pyro.ops.jit``: ``torch.jit.trace`` at the first call, for functions that use parameters of the store.

Nothing in Ember needs it: steps are captured by :mod:`ember.capture`. It is here for programs that trace functions of their own.
"""

from __future__ import annotations

import argparse
import warnings
import weakref
from collections.abc import Callable, Hashable, Mapping
from contextlib import ExitStack
from typing import Any

import torch

import ember
from ember import poutine
from ember.infer.traces.validate_all import unchecked
from ember.pyro.helpers import ignore_jit_warnings, timed

__all__ = ["CompiledFunction", "trace"]


def _hashable(value: Any, by_id: bool) -> Hashable:
    """Something hashable that is the same for the same arguments; raises TypeError if there is none, unless ``by_id``."""
    try:
        hash(value)
        return value  # type: ignore[no-any-return]
    except TypeError:
        if isinstance(value, (list, tuple)):
            return tuple(_hashable(item, by_id) for item in value)
        if isinstance(value, dict):
            return frozenset((_hashable(k, by_id), _hashable(v, by_id)) for k, v in value.items())
        if isinstance(value, set):
            return frozenset(_hashable(item, by_id) for item in value)
        if isinstance(value, argparse.Namespace):
            return str(value)
        if by_id:
            return id(value)
        raise


def _key(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Hashable:
    items = sorted(kwargs.items())
    try:
        return len(args), tuple((name, _hashable(value, by_id=False)) for name, value in items)
    except TypeError:
        warnings.warn("Failed to hash kwargs; attempting to hash by id.", stacklevel=3)
        return len(args), tuple((name, _hashable(value, by_id=True)) for name, value in items)


def _param_names(site_names: poutine.Trace) -> list[str]:
    return [name for name, site in site_names.nodes.items() if site.type == "param"]


class CompiledFunction:
    """A function that is traced at its first call with a number of arguments and with certain keyword arguments.

    Args:
        fn: the function; its positional arguments are tensors, and parameters are inputs of the traced program, too, so that
            it sees their changes and passes gradients to them.
        ignore_warnings: whether the tracer's warnings are silenced.
        jit_options: for ``torch.jit.trace``; ``time_compilation=True`` makes ``compile_time`` the seconds that tracing took.

    Attributes:
        compiled: the traced programs, by kind of call.

    Raises:
        NotImplementedError: if a parameter appears that the first call did not use.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        ignore_warnings: bool = False,
        jit_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.fn = fn
        self.compiled: dict[Hashable, Any] = {}
        self.ignore_warnings = ignore_warnings
        self.jit_options: dict[str, Any] = {"check_trace": False, **(jit_options or {})}
        self.compile_time: float | None = None
        self._names: dict[Hashable, list[str]] = {}

    def __call__(self, *args: object, **kwargs: object) -> Any:
        key = _key(args, kwargs)
        if key not in self.compiled:
            with poutine.block(), poutine.trace(param_only=True) as first:
                self.fn(*args, **kwargs)
            names = _param_names(first.trace)
            program = self._traced(names, args, kwargs)
            self._names[key], self.compiled[key] = names, program
        return self.compiled[key](*self._leaves(self._names[key]), *args)

    def _leaves(self, names: list[str]) -> list[torch.Tensor]:
        store = ember.get_param_store()
        return [store[name].unconstrained() for name in names]  # type: ignore[attr-defined]

    def _traced(self, names: list[str], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        owner = weakref.ref(self)  # the traced program must not keep this object alive

        def program(*leaves_and_args: torch.Tensor) -> Any:
            this = owner()
            assert this is not None
            store = ember.get_param_store()
            params = {name: store[name] for name in names}
            inner = leaves_and_args[len(names) :]
            with poutine.block(), poutine.trace(param_only=True) as used:
                result = poutine.replay(this.fn, params=params)(*inner, **kwargs)
            for name in _param_names(used.trace):
                if name not in params:
                    raise NotImplementedError(
                        "pyro.ops.jit.trace assumes all params are created on first invocation, "
                        f"but found new param: {name}"
                    )
            return result

        options = dict(self.jit_options)
        measured = options.pop("time_compilation", False)
        with ExitStack() as stack:
            stack.enter_context(unchecked())
            stack.enter_context(warnings.catch_warnings())
            # torch says that its tracer is on its way out; whoever calls this function cannot help it.
            warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
            timer = stack.enter_context(timed())
            traced: Any = torch.jit.trace(  # type: ignore[no-untyped-call]
                ignore_jit_warnings()(program) if self.ignore_warnings else program,
                (*self._leaves(names), *args),
                **options,
            )
        if measured:
            self.compile_time = timer.elapsed
        return traced


def trace(
    fn: Callable[..., Any] | None = None,
    ignore_warnings: bool = False,
    jit_options: Mapping[str, Any] | None = None,
) -> Any:
    """The function, traced when it is first called; without a function, a decorator. See :class:`CompiledFunction`.

    >>> double = trace(lambda x: 2 * x)
    >>> double(torch.ones(2)), double(torch.zeros(2))
    (tensor([2., 2.]), tensor([0., 0.]))
    """
    if fn is None:
        return lambda fn: trace(fn, ignore_warnings, jit_options)
    return CompiledFunction(fn, ignore_warnings, jit_options)
