"""What the modules of one tree share while a call goes on: whether effects are on, and the values already sampled."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from torch import Tensor

from ember import settings
from ember.params.param_store import StateDict, get_param_store

_MODULE_LOCAL_PARAMS: bool = False


@settings.register("module_local_params", __name__, "_MODULE_LOCAL_PARAMS")
def _validate_module_local_params(value: bool) -> None:
    assert isinstance(value, bool), f"module_local_params must be a bool, got {value!r}"


def module_local_params() -> bool:
    """Whether parameters of modules stay in their modules, and out of the parameter store."""
    return _MODULE_LOCAL_PARAMS


class _Call(threading.local):
    """One thread's calls of the tree: how deep they are nested, and the samples of the outermost one."""

    def __init__(self) -> None:
        self.depth = 0
        self.cache: dict[str, Tensor] = {}
        self.scope: AbstractContextManager[StateDict] | None = None


class Context:
    """Active inside ``__ongoing__`` and :func:`~ember.nn.pyro_method`; shared by a module and its submodules."""

    counts_by_identity = True
    """What it holds does not decide whether a captured program is still right."""

    def __init__(self) -> None:
        self.used = False
        self.param_state: StateDict = {"params": {}, "constraints": {}}
        self._ongoing = _Call()

    @property
    def active(self) -> int:
        """How many calls are going on in this thread, one inside the other."""
        return self._ongoing.depth

    @property
    def cache(self) -> dict[str, Tensor]:
        """Values sampled since the outermost call began, by full name."""
        return self._ongoing.cache

    def __enter__(self) -> None:
        call = self._ongoing
        if not call.depth and _MODULE_LOCAL_PARAMS:
            call.scope = get_param_store().scope(self.param_state)
            call.scope.__enter__()
        call.depth += 1
        self.used = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        call = self._ongoing
        call.depth -= 1
        if not call.depth:
            call.cache.clear()
            scope, call.scope = call.scope, None
            if scope is not None:
                scope.__exit__(kind, error, traceback)

    def get(self, name: str) -> Tensor | None:
        """The value sampled in this call, or None."""
        return self._ongoing.cache.get(name) if self._ongoing.depth else None

    def set(self, name: str, value: Tensor) -> None:
        """Keep a value until the outermost call ends."""
        if self._ongoing.depth:
            self._ongoing.cache[name] = value

    # A call that goes on is not part of a copy or a pickle.
    def __getstate__(self) -> dict[str, Any]:
        return {"used": self.used, "param_state": self.param_state}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._ongoing = _Call()
