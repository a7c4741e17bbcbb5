"""What flows share: a Jacobian kept from the last value, errors where there is no inverse, gentle clamps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.distributions.transforms import SigmoidTransform, TanhTransform, Transform

from ember.distributions.transform_state import CopyableTransform
from ember.distributions.transforms.basic import ELUTransform, LeakyReLUTransform

_KEPT = "_kept"


class RememberingTransform(CopyableTransform):
    """A transform that keeps what it found out about the Jacobian while it computed its last value.

    The log determinant is asked for next, and needs the same pass of a network.
    """

    def remember(self, x: Tensor, y: Tensor, found: Any) -> None:
        """Keep ``found`` for this very pair of tensors."""
        # Not by setattr: a module would take a parameter for its own.
        self.__dict__[_KEPT] = x, y, found

    def recalled(self, x: Tensor, y: Tensor) -> Any:
        """What was kept for this very pair, or None."""
        last_x, last_y, found = self.__dict__.get(_KEPT, (None, None, None))
        return found if last_x is x and last_y is y else None

    def clear_cache(self) -> None:
        """Forget the last value, its image and what was kept with them."""
        super().clear_cache()
        self.__dict__.pop(_KEPT, None)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop(_KEPT, None)
        return state


class OneWayTransform(RememberingTransform):
    """A transform without a closed inverse: only the last image is mapped back, as long as it is remembered.

    Raises:
        KeyError: when another value is mapped back.
    """

    def _inv_call(self, y: Tensor) -> Any:
        # Also where parameters have changed since: nobody else knows the way back.
        return Transform._inv_call(self, y)  # type: ignore[no-untyped-call]

    def _inverse(self, y: Tensor) -> Tensor:
        raise KeyError(
            f"{type(self).__name__} object expected to find key in intermediates cache but didn't: it has no closed "
            "inverse and maps back only the very tensor that it returned last. Score values that it has drawn "
            "(as in a guide), or use an invertible transform (a spline or an affine coupling) for observed data"
        )


def clamp_preserve_gradients(x: Tensor, min: float, max: float) -> Tensor:
    """The clamped ``x``, whose gradient is that of ``x`` everywhere.

    >>> import torch
    >>> x = torch.tensor([0.5, 9.0], requires_grad=True)
    >>> clamp_preserve_gradients(x, 0.0, 1.0).sum().backward()
    >>> x.grad
    tensor([1., 1.])
    """
    return x + (x.clamp(min, max) - x).detach()


_ACTIVATIONS: dict[str, Callable[[], Transform]] = {
    "ELU": ELUTransform,
    "LeakyReLU": LeakyReLUTransform,
    "sigmoid": SigmoidTransform,
    "tanh": TanhTransform,
}


def activation_named(name: str) -> Transform:
    """An activation that is a bijection, by its name.

    Raises:
        ValueError: for another name; it lists those there are.
    """
    if name not in _ACTIVATIONS:
        raise ValueError(f'Invalid activation function "{name}"; there are {", ".join(_ACTIVATIONS)}')
    return _ACTIVATIONS[name]()


def entry_by_entry(network: Any, y: Tensor, inverted: Callable[[Tensor], Tensor]) -> Tensor:
    """Undo a map of which each entry depends on those before it.

    Args:
        network: has the order of the entries, ``get_permutation()``; a context may have been filled in by ``partial``.
        y: the images.
        inverted: all entries of ``x`` from those that are known; the others are zero, so that nothing overflows.
    """
    whole: Any = network.func if isinstance(network, partial) else network
    order: Tensor = whole.get_permutation()
    places = torch.arange(y.size(-1), device=y.device)
    x = torch.zeros_like(y)
    for place in order.unbind():
        x = torch.where(places == place, inverted(x), x)
    return x
