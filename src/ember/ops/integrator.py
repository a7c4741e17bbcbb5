"""Hamiltonian motion in small steps, and gradients of potentials.

References:
    B. Leimkuhler, S. Reich (2004), "Simulating Hamiltonian Dynamics".
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["potential_grad", "register_exception_handler", "velocity_verlet"]

Point = dict[str, Tensor]

_EXCEPTION_HANDLERS: dict[str, Callable[[Exception], bool]] = {}


def register_exception_handler(
    name: str, handler: Callable[[Exception], bool], warn_on_overwrite: bool = True
) -> None:
    """Say which errors of a potential mean that it is infinite, such as that of a matrix without an inverse.

    Args:
        name: of the handler; the same name replaces it.
        handler: from the error to whether it means that.
        warn_on_overwrite: warn where a name is replaced.
    """
    if name in _EXCEPTION_HANDLERS and warn_on_overwrite:
        warnings.warn(f"Overwriting Integration exception handler {name}", stacklevel=2)
    _EXCEPTION_HANDLERS[name] = handler


def _is_singular(error: Exception) -> bool:
    return type(error).__name__ == "LinAlgError" or (
        isinstance(error, RuntimeError)
        and any(word in str(error) for word in ("singular", "not positive-definite"))
    )


register_exception_handler("torch_singular", _is_singular)


def potential_grad(potential_fn: Callable[[Point], Tensor], z: Point) -> tuple[Point, Tensor]:
    """The gradient of a potential, and its value: zeros and NaN where it cannot be computed for a known reason.

    >>> gradient, value = potential_grad(lambda z: z["x"] ** 2, {"x": torch.tensor(3.0)})
    >>> gradient["x"], value
    (tensor(6.), tensor(9.))
    """
    leaves = {name: value.detach().requires_grad_() for name, value in z.items()}
    try:
        energy = potential_fn(leaves)
        grads = torch.autograd.grad(energy, list(leaves.values()))
    except Exception as error:
        if any(handler(error) for handler in _EXCEPTION_HANDLERS.values()):
            like = next(iter(z.values()))
            return {name: torch.zeros_like(value) for name, value in z.items()}, like.new_tensor(float("nan"))
        raise
    return dict(zip(leaves, grads, strict=True)), energy.detach()


def velocity_verlet(
    z: Point,
    r: Point,
    potential_fn: Callable[[Point], Tensor],
    kinetic_grad: Callable[[Point], Point],
    step_size: float,
    num_steps: int = 1,
    z_grads: Point | None = None,
) -> tuple[Point, Point, Point | None, Any]:
    """Positions and momenta after some steps: half a step of the momenta, one of the positions, half a step of the momenta.

    Args:
        z: positions.
        r: momenta.
        potential_fn: of positions.
        kinetic_grad: from momenta to velocities.
        step_size: of the time.
        num_steps: how many.
        z_grads: the gradient of the potential at ``z``, if it is known.

    Returns:
        positions, momenta, the gradient of the potential there, and its value. The arguments are left as they are.
    """
    z, r = z.copy(), r.copy()
    energy = None
    for _ in range(num_steps):
        if z_grads is None:
            z_grads = potential_grad(potential_fn, z)[0]
        r = {name: value - 0.5 * step_size * z_grads[name] for name, value in r.items()}
        velocity = kinetic_grad(r)
        z = {name: value + step_size * velocity[name] for name, value in z.items()}
        z_grads, energy = potential_grad(potential_fn, z)
        r = {name: value - 0.5 * step_size * z_grads[name] for name, value in r.items()}
    return z, r, z_grads, energy
