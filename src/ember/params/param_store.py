"""The store of parameters: unconstrained leaf tensors under names, each with its constraint.

The default store is one per process. What a thread does inside :meth:`ParamStoreDict.scope` or
:meth:`ParamStoreDict.active` is seen by that thread only, so several models can be trained at once.
"""

from __future__ import annotations

import re
import threading
import warnings
import weakref
from collections.abc import Callable, ItemsView, Iterator, KeysView
from contextlib import contextmanager
from typing import Any

import torch
from torch.distributions import transform_to
from torch.distributions.constraints import Constraint

from ember.distributions import constraints
from ember.errors import UnknownParameterError
from ember.params import saved_state
from ember.params.contents import Contents, ContentsByThread
from ember.params.initialize import unconstrained_leaf
from ember.params.lean_transforms import lean
from ember.params.names import MODULE_NAMESPACE_DIVIDER
from ember.params.names import module_from_param_with_module_name as module_from_param_with_module_name
from ember.params.names import normalize_param_name as normalize_param_name
from ember.params.names import param_with_module_name as param_with_module_name
from ember.params.names import user_param_name as user_param_name
from ember.params.saved_state import StateDict as StateDict
from ember.serialization import atomic_save, safe_load

# Pyro's name for it.
_MODULE_NAMESPACE_DIVIDER = MODULE_NAMESPACE_DIVIDER

InitValue = torch.Tensor | float | Callable[[], torch.Tensor]


class ParamStoreDict:
    """Maps names to *constrained* parameter values.

    They are computed from the unconstrained leaves at every access. ``value.unconstrained()`` gives the leaf
    that an optimizer changes; without a constraint the value is the leaf itself.

        >>> import torch
        >>> from ember.distributions import constraints
        >>> from ember.params import ParamStoreDict
        >>> store = ParamStoreDict()
        >>> store.setdefault("scale", torch.tensor(2.0), constraints.positive)
        tensor(2., grad_fn=<ExpBackward0>)
        >>> store["scale"].unconstrained()
        tensor(0.6931, requires_grad=True)
    """

    counts_by_identity = True
    """A program that reaches a store is not watched for what is in it: parameters are facts of their own."""

    def __init__(self) -> None:
        self.by_thread = ContentsByThread(Contents())
        """What this thread sees as ``contents``."""
        self.awaited: dict[str, str] = {}
        """Parameters that a fit goes on with, and that a module which registers its own under these names
        is to take over; with the place where that module was, if it is known."""

    @property
    def version(self) -> int:
        """A number that changes whenever a name, a leaf or a constraint may have changed.

        Unique in the process: two equal numbers, of any stores and scopes, mean the same names, leaves and
        constraints. Read it *before* what it stands for. Values inside a leaf do not count.

            >>> import torch
            >>> from ember.params import ParamStoreDict
            >>> store = ParamStoreDict()
            >>> before = store.version
            >>> with store.scope():
            ...     assert store.version != before
            >>> assert store.version == before
            >>> store["loc"] = torch.tensor(0.0)
            >>> assert store.version != before
        """
        return self.by_thread.contents.version.number

    @property
    def _contents(self) -> Contents:
        return self.by_thread.contents

    # Pyro programs read these three, and write to them: they count their changes.
    @property
    def _params(self) -> dict[str, torch.Tensor]:
        return self._contents.leaves

    @property
    def _param_to_name(self) -> dict[torch.Tensor, str]:
        return self._contents.names

    @property
    def _constraints(self) -> dict[str, Constraint]:
        return self._contents.constraints

    def __getstate__(self) -> StateDict:
        return self.get_state()

    def __setstate__(self, state: StateDict) -> None:
        ParamStoreDict.__init__(self)
        self.set_state(state)

    def clear(self) -> None:
        """Forget all parameters."""
        contents = self._contents
        for part in (contents.leaves, contents.names, contents.constraints, contents.transforms):
            part.clear()

    def keys(self) -> KeysView[str]:
        """Names, in the order of their creation."""
        return self._params.keys()

    def values(self) -> Iterator[torch.Tensor]:
        """Constrained values."""
        for name in self._params:
            yield self[name]

    def items(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Pairs of name and constrained value."""
        for name in self._params:
            yield name, self[name]

    def leaf(self, name: str) -> torch.Tensor | None:
        """Return the unconstrained leaf of a name, or None."""
        return self._contents.leaves.get(name)

    def constraint(self, name: str) -> Constraint:
        """Return the constraint of a known name."""
        return self._contents.constraints[name]

    def named_parameters(self) -> ItemsView[str, torch.Tensor]:
        """Pairs of name and unconstrained leaf."""
        return self._params.items()

    def __bool__(self) -> bool:
        return bool(self._params)

    def __len__(self) -> int:
        return len(self._params)

    def __contains__(self, name: object) -> bool:
        return name in self._params

    def __iter__(self) -> Iterator[str]:
        return iter(self._params)

    def __getitem__(self, name: str) -> torch.Tensor:
        contents = self._contents
        try:
            leaf = contents.leaves[name]
        except KeyError:
            raise UnknownParameterError(self._explain_unknown(name)) from None
        constraint = contents.constraints[name]
        known = contents.transforms.get(name)
        if known is None or known[0] is not constraint:
            known = contents.transforms[name] = (constraint, lean(transform_to(constraint)))
        value: torch.Tensor = known[1](leaf)
        value.unconstrained = weakref.ref(leaf)  # type: ignore[attr-defined]
        return value

    def __setitem__(self, name: str, new_constrained_value: torch.Tensor) -> None:
        """Set a value in the constrained space; the parameter keeps its constraint (real for a new one) and gets a new leaf."""
        self._set(name, new_constrained_value, self._constraints.get(name, constraints.real))

    def __delitem__(self, name: str) -> None:
        contents = self._contents
        try:
            leaf = contents.leaves.pop(name)
        except KeyError:
            raise UnknownParameterError(self._explain_unknown(name)) from None
        contents.names.pop(leaf, None)
        contents.constraints.pop(name, None)
        contents.transforms.pop(name, None)

    def setdefault(
        self, name: str, init_constrained_value: InitValue, constraint: Constraint = constraints.real
    ) -> torch.Tensor:
        """Return the constrained value of a parameter, which is created first if there is none of that name.

        Args:
            name: the parameter's name.
            init_constrained_value: a tensor, or a callable that is asked for one only if the parameter is
                new.
            constraint: counts only if the parameter is new.

        Raises:
            ParameterError: if the initial value violates the constraint; the store is unchanged then.
        """
        if name not in self._params:
            value = init_constrained_value() if callable(init_constrained_value) else init_constrained_value
            self._set(name, value, constraint)
        return self[name]

    def _set(self, name: str, value: torch.Tensor | float, constraint: Constraint) -> None:
        leaf = unconstrained_leaf(name, value, constraint)
        contents = self._contents
        old = contents.leaves.get(name)
        if old is not None:
            contents.names.pop(old, None)
        contents.leaves[name] = leaf
        contents.names[leaf] = name
        contents.constraints[name] = constraint

    def get_param(
        self,
        name: str,
        init_tensor: InitValue | None = None,
        constraint: Constraint = constraints.real,
        event_dim: int | None = None,
    ) -> torch.Tensor:
        """Return a parameter, and make it on first use: what :func:`ember.param` does without handlers.

        Args:
            name: the parameter's name.
            init_tensor: its first value, or a callable that is asked for it on first use only.
            constraint: where its values lie; counts on first use only.
            event_dim: without effect here; it matters to plates.

        Raises:
            UnknownParameterError: if there is no such parameter and no initial value.
            ParameterError: if the initial value violates the constraint.
        """
        return self[name] if init_tensor is None else self.setdefault(name, init_tensor, constraint)

    def match(self, name: str) -> dict[str, torch.Tensor]:
        """Return constrained values of parameters whose names begin with a match of a regular expression."""
        pattern = re.compile(name)
        return {key: self[key] for key in self if pattern.match(key)}

    def param_name(self, p: torch.Tensor) -> str | None:
        """Return the name of an unconstrained leaf, or None."""
        return self._param_to_name.get(p)

    def get_state(self) -> StateDict:
        """Return the leaves and constraints by name; tensors are the store's own, not copies."""
        leaves = dict(self._params)
        for leaf in leaves.values():
            leaf.__dict__.pop("unconstrained", None)
        return {"params": leaves, "constraints": dict(self._constraints)}

    def set_state(self, state: StateDict) -> None:
        """Add the parameters of a state to the store, replacing those of the same name.

        Raises:
            AssertionError: if the state is malformed; the store is unchanged then.
        """
        assert isinstance(state, dict), "malformed ParamStore state"
        assert set(state) == {"params", "constraints"}, f"malformed ParamStore keys {state.keys()}"
        missing = set(state["params"]) - set(state["constraints"])
        assert not missing, f"malformed ParamStore state: no constraints for {sorted(missing)}"
        contents = self._contents
        for name, leaf in state["params"].items():
            old = contents.leaves.get(name)
            if old is not None:
                contents.names.pop(old, None)
            contents.leaves[name] = leaf
            contents.names[leaf] = name
        contents.constraints.update(state["constraints"])

    def save(self, filename: str) -> None:
        """Write all parameters to a file, atomically, in a form that loads without unpickling."""
        atomic_save(saved_state.as_plain_data(self.get_state()), filename)

    def load(self, filename: str, map_location: Any = None, allow_pickle: bool = False) -> None:
        """Read parameters from a file and add them to the store.

        Args:
            filename: a file written by :meth:`save`, or by Pyro 1.9 (then with ``allow_pickle=True``).
            map_location: as in :func:`torch.load`.
            allow_pickle: accept pickled objects; only for files you trust.

        Raises:
            SaveFileError: if the file is corrupt or foreign; the store is unchanged then.
        """
        loaded = safe_load(filename, map_location, allow_pickle)
        self.set_state(saved_state.checked(filename, loaded))

    @contextmanager
    def scope(self, state: StateDict | None = None) -> Iterator[StateDict]:
        """Work on other contents for a while: those of ``state``, else none. Seen by this thread only.

        Yields the given (or a new) state, which receives the contents when the block ends without an error.
        """
        if state is None:
            state = {"params": {}, "constraints": {}}
        with self._replaced_contents():
            self.set_state(state)
            yield state
            state.update(self.get_state())

    @contextmanager
    def _replaced_contents(self) -> Iterator[None]:
        outer = self.by_thread.contents
        self.by_thread.contents = Contents()
        try:
            yield
        finally:
            self.by_thread.contents = outer

    @contextmanager
    def active(self) -> Iterator[ParamStoreDict]:
        """Make this the store that :func:`ember.param` and :func:`get_param_store` use in this thread."""
        outer, ACTIVE.store = ACTIVE.store, self
        try:
            yield self
        finally:
            ACTIVE.store = outer

    def replace_param(self, param_name: str, new_param: torch.Tensor, old_param: torch.Tensor) -> None:
        """Replace a value. Deprecated: assign to ``store[name]``.

        Args:
            param_name: the parameter's name.
            new_param: the new, constrained value.
            old_param: the value as it is in the store.
        """
        warnings.warn(
            "ParamStore.replace_param() is deprecated; use .__setitem__() instead.",
            DeprecationWarning,
            stacklevel=2,
        )
        assert self._params[param_name] is old_param.unconstrained()  # type: ignore[attr-defined]
        self[param_name] = new_param

    def get_all_param_names(self) -> KeysView[str]:
        """Deprecated: use :meth:`keys`."""
        warnings.warn(
            "ParamStore.get_all_param_names() is deprecated; use .keys() instead.",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.keys()

    def _explain_unknown(self, name: str) -> str:
        known = ", ".join(map(repr, self._params)) or "none yet"
        return (
            f"unknown parameter {name!r}; the store has: {known}. Give an initial value, param({name!r}, init), "
            "or run the program that creates it first."
        )


_PYRO_PARAM_STORE = ParamStoreDict()


class _Active(threading.local):
    store = _PYRO_PARAM_STORE


ACTIVE = _Active()
"""The store that is active in this thread, as ``ACTIVE.store``: what :func:`get_param_store` returns."""


def get_param_store() -> ParamStoreDict:
    """Return the store that is active in this thread.

    It is the process's own, unless :meth:`ParamStoreDict.active` says otherwise.

    >>> import torch, ember
    >>> loc = ember.param("loc", torch.tensor(1.0))
    >>> list(ember.get_param_store())
    ['loc']
    """
    return ACTIVE.store


def clear_param_store() -> None:
    """Forget all parameters of the active store.

    >>> import torch, ember
    >>> loc = ember.param("loc", torch.tensor(1.0))
    >>> ember.clear_param_store()
    >>> len(ember.get_param_store())
    0
    """
    get_param_store().clear()


__all__ = ["ParamStoreDict", "StateDict", "clear_param_store", "get_param_store"]
