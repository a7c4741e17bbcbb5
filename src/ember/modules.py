"""Registering the parameters of a torch module."""

from __future__ import annotations

import inspect
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ember.params.names import MODULE_NAMESPACE_DIVIDER, param_with_module_name
from ember.params.param_store import get_param_store
from ember.primitives import param
from ember.torch_private.values import number_of_tensor

_RECORDING = threading.local()


class Registered(list[torch.nn.Module]):
    """Modules, each once, and where the parameters are that live in modules only, not in a store."""

    def __init__(self) -> None:
        super().__init__()
        self.local: dict[str, tuple[dict[str, Any], str]] = {}

    def local_leaf(self, name: str) -> torch.Tensor | None:
        """The parameter of that name, if it lives in a module only."""
        owner, key = self.local.get(name, ({}, ""))
        return owner.get(key)


@contextmanager
def registered_modules() -> Iterator[Registered]:
    """The modules that the block registers in this thread, in order."""
    outer = getattr(_RECORDING, "modules", None)
    found = Registered()
    _RECORDING.modules = found
    try:
        yield found
    finally:
        _RECORDING.modules = outer


def note_module(nn_module: torch.nn.Module) -> None:
    """Tell the enclosing :func:`registered_modules` of a module whose parameters the program uses."""
    recording = getattr(_RECORDING, "modules", None)
    if recording is not None and not any(known is nn_module for known in recording):
        recording.append(nn_module)


def note_local_param(name: str, nn_module: torch.nn.Module, key: str) -> None:
    """Tell the enclosing :func:`registered_modules` of a parameter that the program uses, but no store has."""
    recording = getattr(_RECORDING, "modules", None)
    if recording is not None:
        recording.local[name] = (nn_module._parameters, key)


def module(name: str, nn_module: Any, update_module_params: bool = False) -> Any:
    """Make all parameters of a module parameters of the program, under ``<name>$$$<parameter>``.

    Args:
        name: a name without ``$$$``.
        nn_module: an instance of a module. Parameters with ``requires_grad=False`` are left out.
        update_module_params: put the store's parameters into the module where they differ, for example after
            loading.

    Returns:
        The module.

    Raises:
        AssertionError: if the name is improper or the module has no parameters.
        NotImplementedError: if a class is given instead of an instance.

    >>> import torch, ember
    >>> net = torch.nn.Linear(2, 1)
    >>> def model(x):
    ...     mean = ember.module("net", net)(x).squeeze(-1)
    ...     with ember.plate("rows", len(x)):
    ...         ember.sample("y", ember.distributions.Normal(mean, 1.0))
    >>> model(torch.zeros(5, 2))
    >>> sorted(ember.get_param_store())
    ['net$$$bias', 'net$$$weight']
    """
    assert hasattr(nn_module, "parameters"), "module has no parameters"
    assert MODULE_NAMESPACE_DIVIDER not in name, (
        f"improper module name, since contains {MODULE_NAMESPACE_DIVIDER}"
    )
    if inspect.isclass(nn_module):
        raise NotImplementedError(
            "pyro.module does not support class constructors for the argument nn_module; "
            f"give an instance: module({name!r}, {nn_module.__name__}(...))"
        )
    note_module(nn_module)
    awaited = get_param_store().awaited
    replaced, wanted = {}, set[str]()
    for param_name, own in nn_module.named_parameters():
        if own.requires_grad:
            full_name = param_with_module_name(name, param_name)
            stored = param(full_name, own)
            # The same tensor may be wrapped by another Python object.
            if number_of_tensor(own) != number_of_tensor(stored):
                replaced[param_name] = stored
                if full_name in awaited:
                    del awaited[full_name]
                    wanted.add(param_name)
        elif nn_module.training:
            warnings.warn(
                f"{param_name} was not registered in the param store because requires_grad=False. "
                "You can silence this warning by calling my_module.train(False)",
                stacklevel=2,
            )
    for param_name, stored in replaced.items():
        if update_module_params or param_name in wanted:
            _replace(nn_module, param_name, stored)
    return nn_module


def _replace(nn_module: torch.nn.Module, param_name: str, value: torch.Tensor) -> None:
    path, _, leaf_name = param_name.rpartition(".")
    # Past the checks of register_parameter: a lifted parameter is a random variable, not a Parameter.
    put_parameter(nn_module.get_submodule(path), leaf_name, value)


def put_parameter(nn_module: torch.nn.Module, name: str, value: Any) -> None:
    """Put another parameter into a module; an enclosing :func:`parameters_put_back` takes it out again."""
    replaced = getattr(_RECORDING, "replaced", None)
    if replaced is not None:
        replaced.append((nn_module, name, nn_module._parameters[name]))
    nn_module._parameters[name] = value


@contextmanager
def parameters_put_back() -> Iterator[None]:
    """Modules have their own parameters again after the block, whatever store was active in it in this thread.

    A store of its own, perhaps in another precision, is no reason to change the module of a user.
    """
    outer = getattr(_RECORDING, "replaced", None)
    replaced: list[tuple[torch.nn.Module, str, Any]] = []
    _RECORDING.replaced = replaced
    try:
        yield
    finally:
        _RECORDING.replaced = outer
        for nn_module, name, own in reversed(replaced):
            nn_module._parameters[name] = own
