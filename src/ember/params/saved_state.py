"""The state of a store as plain data and back: what is accepted from a file can be read as parameters."""

from __future__ import annotations

import os
import reprlib
from typing import Any, TypedDict

import torch
from torch import Tensor
from torch.distributions import transform_to
from torch.distributions.constraints import Constraint

from ember.errors import SaveFileError
from ember.params import constraint_codec


class StateDict(TypedDict):
    """What :meth:`ParamStoreDict.get_state` returns: unconstrained leaves and constraints by name."""

    params: dict[str, Tensor]
    constraints: dict[str, Constraint]


def as_plain_data(state: StateDict) -> dict[str, dict[str, Any]]:
    """Tensors without what handlers put on them, constraints by class name and arguments."""
    return {
        "params": {name: _bare(leaf) for name, leaf in state["params"].items()},
        "constraints": {name: constraint_codec.encode(c) for name, c in state["constraints"].items()},
    }


def checked(filename: str | os.PathLike[str], loaded: object) -> StateDict:
    """The state that a file holds.

    Raises:
        SaveFileError: if it holds something else, or a parameter that could not be read: its constraint does not work, or does
            not fit it.
    """
    if not isinstance(loaded, dict) or set(loaded) != {"params", "constraints"}:
        raise SaveFileError(f"{os.fspath(filename)!r} holds no parameter store")
    params, specs = loaded["params"], loaded["constraints"]
    well_formed = isinstance(params, dict) and isinstance(specs, dict) and set(params) == set(specs)
    if not well_formed or not all(isinstance(name, str) for name in params):
        raise SaveFileError(f"{os.fspath(filename)!r} holds a malformed parameter store")
    constraints: dict[str, Constraint] = {}
    for name, leaf in params.items():
        try:
            _check_leaf(leaf)
            constraints[name] = constraint_codec.decode(specs[name])
            _check_readable(leaf, constraints[name])
        except SaveFileError as error:
            raise SaveFileError(
                f"{os.fspath(filename)!r} holds a malformed parameter store: {reprlib.repr(name)}: {error}"
            ) from error
    return {
        "params": {name: leaf.requires_grad_(True) for name, leaf in params.items()},
        "constraints": constraints,
    }


def _bare(leaf: Tensor) -> Tensor:
    # Without attributes that handlers put on it; a module's Parameter stays one, so that it can go back into the module.
    bare = leaf.detach()
    if _is_larger_than_its_memory(bare):
        bare = bare.contiguous()
    return torch.nn.Parameter(bare) if isinstance(leaf, torch.nn.Parameter) else bare


def _check_leaf(leaf: object) -> None:
    if not isinstance(leaf, Tensor):
        raise SaveFileError(f"its value is of type {type(leaf).__name__}, and no tensor")
    if not (leaf.is_floating_point() or leaf.is_complex()):
        raise SaveFileError(f"it has dtype {leaf.dtype}, of which there are no parameters")
    if leaf.layout != torch.strided:
        raise SaveFileError(f"it has layout {leaf.layout}, of which there are no parameters")
    if _is_larger_than_its_memory(leaf):
        raise SaveFileError(f"its shape {tuple(leaf.shape)} is larger than what the file holds of it")


def _is_larger_than_its_memory(leaf: Tensor) -> bool:
    return leaf.layout == torch.strided and leaf.numel() * leaf.itemsize > leaf.untyped_storage().nbytes()


def _check_readable(leaf: Tensor, constraint: Constraint) -> None:
    try:
        with torch.no_grad():
            value = transform_to(constraint)(leaf.detach())
    except Exception as error:  # anything that a crafted constraint leads to
        raise SaveFileError(
            f"a value cannot be computed under its constraint ({type(error).__name__}: {error})"
        ) from error
    if not isinstance(value, Tensor):
        raise SaveFileError("its constraint gives no tensor")


__all__ = ["StateDict", "as_plain_data", "checked"]
