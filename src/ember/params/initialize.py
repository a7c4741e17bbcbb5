"""From the initial value that a user gives to the unconstrained leaf that an optimizer changes."""

from __future__ import annotations

import torch
from torch.distributions import transform_to
from torch.distributions.constraints import Constraint

from ember.distributions import constraints, is_validation_enabled
from ember.errors import ParameterError
from ember.ops.provenance import detach_provenance


def unconstrained_leaf(name: str, value: torch.Tensor | float, constraint: Constraint) -> torch.Tensor:
    """The leaf for a constrained value. Without a constraint the user's own tensor becomes the leaf.

    Raises:
        ParameterError: if the value is no tensor of floats, or violates the constraint (checked unless validation is off).
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = torch.tensor(float(value))
    value = detach_provenance(value)
    if not isinstance(value, torch.Tensor):
        raise ParameterError(
            f"parameter {name!r} needs a tensor (or a callable that returns one) as its initial value, "
            f"got {type(value).__name__}"
        )
    if not (value.is_floating_point() or value.is_complex()):
        raise ParameterError(
            f"parameter {name!r} cannot be optimized: its initial value has dtype {value.dtype}; "
            "give it a floating point dtype, for example by value.float()"
        )
    with torch.no_grad():
        leaf: torch.Tensor = transform_to(constraint).inv(value)
        if not (leaf is value and isinstance(value, torch.nn.Parameter)):
            # A module goes on with its own tensor: of a copy in the store it would not see a step.
            leaf = leaf.contiguous()
        if constraint is not constraints.real:
            _check(name, value, leaf, constraint)
        if not leaf.is_leaf:
            leaf = leaf.detach()
    return leaf.requires_grad_(True)


def _check(name: str, value: torch.Tensor, leaf: torch.Tensor, constraint: Constraint) -> None:
    if not is_validation_enabled() or constraints.is_dependent(constraint):  # type: ignore[no-untyped-call]
        return
    if bool(torch.as_tensor(constraint.check(value)).all()):  # type: ignore[no-untyped-call]
        return
    # Rounding can push a valid value over a strict bound (a simplex that sums to 1 + 2e-6, say): what the leaf
    # stands for decides.
    back = transform_to(constraint)(leaf)
    finite = bool(torch.isfinite(leaf).all())
    if finite and back.shape == value.shape and torch.allclose(back, value, rtol=1e-3, atol=1e-5):
        return
    if finite and constraint is constraints.simplex and bool((value > 0).all()):
        # Programs give weights where probabilities are meant; what they become is the same, normalised.
        return
    shown = str(value) if value.numel() <= 16 else f"a tensor of shape {tuple(value.shape)}"
    raise ParameterError(
        f"parameter {name!r}: the value {shown} is outside its constraint {constraint}; "
        "give an initial value inside it, or another constraint"
    )
