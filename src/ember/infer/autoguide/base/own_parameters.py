"""A guide and its parameters in the store: whether they are there, whose they are, and where they are read."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from ember.infer.autoguide.base.ownership import FirstLeaf, claim, take_over
from ember.modules import module
from ember.nn.module import PyroModule
from ember.params.fits import store_of
from ember.params.names import param_with_module_name
from ember.params.param_store import ParamStoreDict, get_param_store


class OwnParameters(PyroModule):
    """A guide that knows the store and the parameters that it was fitted with.

    Args:
        name: of the guide, the prefix of the names of its parameters.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self._first_leaf: FirstLeaf | None = None
        self._own_store: ParamStoreDict | None = None

    # Of a copy, or a guide that was unpickled, which has not been called yet.
    _copied_leaf: FirstLeaf | None = None

    def program(self) -> object:
        """What tells the guide's model from another."""
        return None

    def rename(self, name: str) -> None:
        """Give a guide that has no parameters yet another prefix of their names."""
        self._pyro_name = name

    def is_part(self) -> bool:
        """Whether a larger guide looks after the parameters."""
        return False

    def __getstate__(self) -> dict[str, Any]:
        state = {**super().__getstate__(), "_first_leaf": None, "_own_store": None}
        state.pop("_copied_leaf", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._copied_leaf = FirstLeaf(self)

    def __call__(self, *args: object, **kwargs: object) -> Any:
        """Run the guide on its own parameters, even if the store has those of a guide of the same name by now."""
        displaced = self._is_displaced()
        if displaced and not torch.is_grad_enabled():
            with self._kept_parameters():
                return super().__call__(*args, **kwargs)
        if self._first_leaf is None:
            if displaced:
                take_over(self)  # a copy, which trains the parameters of the original
            return self._called_first(args, kwargs)
        if displaced:
            self._warn_of_sharing()
        return super().__call__(*args, **kwargs)

    def _is_displaced(self) -> bool:
        leaf = self._first_leaf or self._copied_leaf
        return leaf is not None and leaf.is_displaced(self)

    def _called_first(self, args: tuple[object, ...], kwargs: dict[str, object]) -> Any:
        found = self._has_parameters()
        try:
            result = super().__call__(*args, **kwargs)
        except (RuntimeError, ValueError) as error:
            if found:
                error.add_note(
                    f"The store had parameters {self._pyro_name}.* before this guide's first call. If an earlier fit made them, "
                    "call ember.clear_param_store(), or give each fit its own store, SVI(..., param_store=ParamStoreDict())."
                )
            raise
        self._claim_parameters()
        return result

    def _kept_parameters(self) -> AbstractContextManager[ParamStoreDict]:
        if self._own_store is None:
            self._own_store = ParamStoreDict()
        return self._own_store.active()

    @contextmanager
    def parameters_at_hand(self) -> Iterator[None]:
        """Make the guide's own parameters those that it reads: of the store in which it was fitted."""
        with ExitStack() as stack:
            store = store_of(self)
            if store is not None:
                stack.enter_context(store.active())
            if self._is_displaced():
                stack.enter_context(self._kept_parameters())
            stack.enter_context(self._pyro_context)
            yield

    def _claim_parameters(self) -> None:
        """After the first call: the parameters are this guide's, unless another made them and still uses them."""
        if self.is_part():
            return  # the whole does that
        other = claim(list(self.parameters()), self)
        if isinstance(other, OwnParameters):
            programs = {id(program): program for program in (self.program(), other.program())}
            if len(programs) == 2 and None not in programs.values():
                self._warn_of_sharing()
        self._first_leaf = FirstLeaf(self)

    def _warn_of_sharing(self) -> None:
        if not self._sharing_warned:
            self._sharing_warned = True
            warnings.warn(
                f"the parameters {self._pyro_name}.* in the store are those of another {type(self).__name__}, which is in use "
                "still: each fit changes them for both. Give each SVI its own store, SVI(..., param_store=ParamStoreDict()), or "
                "call ember.clear_param_store() before the second fit.",
                UserWarning,
                stacklevel=2,
            )

    _sharing_warned = False

    def resumes(self) -> bool:
        """Whether the guide is new and finds its parameters in the store: a fit goes on in another process."""
        return self._first_leaf is None and self._has_parameters()

    def _has_parameters(self) -> bool:
        """Whether the active store has parameters of the guide's name: loaded ones, or those of a guide before it."""
        prefix = f"{self._pyro_name}."
        return any(name.startswith(prefix) for name in get_param_store())

    def _as_stored(self, path: str, part: Any) -> Any:
        """A part of the guide; a plain torch module takes the store's parameters, where others were loaded than it has."""
        if isinstance(part, nn.Module) and not isinstance(part, PyroModule):
            name, store = f"{self._pyro_name}.{path}", get_param_store()
            for key, own in part.named_parameters():
                stored = param_with_module_name(name, key)
                if stored in store and store[stored] is not own:
                    return module(name, part, update_module_params=True)
        return part
