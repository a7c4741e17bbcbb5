"""Names that only old Pyro programs use; reached through the drop-in, as ``pyro.iarange`` and so on."""

from __future__ import annotations

import copy
import logging
import warnings
from typing import TYPE_CHECKING, Any

import ember

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

__all__ = ["default_format", "default_handler", "iarange", "irange", "log", "random_module"]

# Programs set levels and add handlers on it; it has none of its own, so importing it changes nothing.
log = logging.getLogger("pyro")
default_format = "%(levelname)s \t %(message)s"
# Given to the logger while the drop-in is on.
default_handler = logging.StreamHandler()
default_handler.setLevel(logging.INFO)
default_handler.setFormatter(logging.Formatter(default_format))


class iarange(ember.plate):
    """The vectorised plate under its name before Pyro 0.3; takes what :class:`ember.plate` takes.

    Warns:
        DeprecationWarning: always; use ``pyro.plate``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        warnings.warn("pyro.iarange is deprecated; use pyro.plate instead", DeprecationWarning, stacklevel=2)
        super().__init__(*args, **kwargs)


class irange(ember.plate):
    """The sequential plate under its name before Pyro 0.3; takes what :class:`ember.plate` takes.

    Warns:
        DeprecationWarning: always; use ``for i in pyro.plate(...)``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        warnings.warn("pyro.irange is deprecated; use pyro.plate instead", DeprecationWarning, stacklevel=2)
        super().__init__(*args, **kwargs)


def random_module(
    name: str, nn_module: torch.nn.Module, prior: Any, *args: object, **kwargs: object
) -> Callable[[], torch.nn.Module]:
    """A function that draws copies of ``nn_module`` whose parameters are samples from ``prior``.

    Args:
        name: prefix of the sites, ``name$$$parameter``.
        nn_module: the module; it is copied at each call and never changed.
        prior: a distribution, a callable, or a dict from parameter names to these.

    Warns:
        FutureWarning: always; use ``pyro.nn.PyroModule``.
    """
    warnings.warn(
        "pyro.random_module is deprecated; use pyro.nn.PyroModule instead", FutureWarning, stacklevel=2
    )
    assert hasattr(nn_module, "parameters"), "Module is not a NN module."
    register: Callable[..., Any] = ember.poutine.lift(ember.module, prior=prior)

    def draw() -> Any:
        # The samples are written into the module that is registered, so each draw has one of its own.
        return register(name, copy.deepcopy(nn_module), *args, **{**kwargs, "update_module_params": True})

    return draw
