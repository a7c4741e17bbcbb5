"""Optimizers that differentiate the loss themselves, as Newton's does twice, and mixtures of them.

They take a loss and the parameters by name, unconstrained, as they are in the store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ember.ops.newton import newton_step
from ember.optim.optim import PyroOptim

Params = dict[str, Tensor]


class MultiOptimizer:
    """Base of optimizers of a loss that is still to be differentiated. One of the two methods is to be defined."""

    def step(self, loss: Tensor, params: Params) -> None:
        """Change the parameters in place; they stay leaves.

        Args:
            loss: a scalar.
            params: name -> unconstrained parameter.
        """
        updated = self.get_step(loss, params)
        with torch.no_grad():
            for name, value in params.items():
                if name in updated:
                    value.copy_(updated[name])

    def get_step(self, loss: Tensor, params: Params) -> Params:
        """New values of the parameters, which can be differentiated.

        Args:
            loss: a scalar.
            params: name -> unconstrained parameter.

        Raises:
            NotImplementedError: if the optimizer works in place only.
        """
        raise NotImplementedError(
            f"{type(self).__name__} defines no get_step: it changes parameters in place, by step"
        )


class PyroMultiOptimizer(MultiOptimizer):
    """An ordinary optimizer, as one of these.

    Args:
        optim: such as :class:`ember.optim.Adam`.
    """

    def __init__(self, optim: PyroOptim) -> None:
        self.optim = optim

    def step(self, loss: Tensor, params: Params) -> None:
        """Differentiate once, and change the parameters in place."""
        values = list(params.values())
        grads = torch.autograd.grad(
            loss, values, create_graph=True, allow_unused=True, materialize_grads=True
        )
        for value, grad in zip(values, grads, strict=True):
            value.grad = grad.detach()
        self.optim(values)


class TorchMultiOptimizer(PyroMultiOptimizer):
    """A class of ``torch.optim``, as one of these.

    Args:
        optim_constructor: the class.
        optim_args: its options.
    """

    def __init__(self, optim_constructor: Callable[..., Any], optim_args: dict[str, Any]) -> None:
        super().__init__(PyroOptim(optim_constructor, optim_args))


class MixedMultiOptimizer(MultiOptimizer):
    """Several optimizers, each of some parameters.

    Args:
        parts: pairs of names and an optimizer of these parameters.

    Raises:
        ValueError: if two optimizers have one name.
    """

    def __init__(self, parts: Sequence[tuple[Sequence[str], MultiOptimizer | PyroOptim]]) -> None:
        owner: dict[str, Any] = {}
        self.parts: list[tuple[Sequence[str], MultiOptimizer]] = []
        for names, optim in parts:
            for name in names:
                if name in owner:
                    raise ValueError(
                        f"Attempted to optimize parameter {name!r} by two different optimizers: "
                        f"{owner[name]} vs {optim}"
                    )
                owner[name] = optim
            wrapped = optim if isinstance(optim, MultiOptimizer) else PyroMultiOptimizer(optim)
            self.parts.append((names, wrapped))

    def step(self, loss: Tensor, params: Params) -> None:
        """Change the parameters in place, each by its optimizer; those of none stay as they are."""
        for names, optim in self.parts:
            optim.step(loss, {name: params[name] for name in names})

    def get_step(self, loss: Tensor, params: Params) -> Params:
        """New values of all parameters that have an optimizer."""
        updated: Params = {}
        for names, optim in self.parts:
            updated.update(optim.get_step(loss, {name: params[name] for name in names}))
        return updated


class Newton(MultiOptimizer):
    """Newton's step for parameters whose last dim is small, over all other dims at once.

    Args:
        trust_radii: name -> the longest step; no bound for other names.

    >>> x = torch.zeros(2, requires_grad=True)
    >>> Newton().step((x - torch.tensor([1.0, 3.0])).square().sum(), {"x": x})
    >>> x
    tensor([1., 3.], requires_grad=True)
    """

    def __init__(self, trust_radii: Mapping[str, float] = {}) -> None:
        self.trust_radii = trust_radii

    def get_step(self, loss: Tensor, params: Params) -> Params:
        """New values, which can be differentiated.

        Raises:
            ValueError: if the loss is no scalar, or a parameter's last dim is not small; as
                :func:`ember.ops.newton.newton_step`.
        """
        return {
            name: newton_step(loss, value, self.trust_radii.get(name))[0] for name, value in params.items()
        }
