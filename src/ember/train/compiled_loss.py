"""An objective as a module of torch, whose loss and gradients come from one captured program."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ember.infer.step.compile_mode import CompileMode
from ember.infer.step.svi import SVI
from ember.optim import PyroOptim


class _Kept(PyroOptim):
    """Keeps the gradients of a step, and changes nothing."""

    def __init__(self) -> None:
        super().__init__(torch.optim.SGD, {"lr": 0.0})
        self.leaves: list[Tensor] = []
        self.grads: list[Tensor | None] = []

    def __call__(self, params: Iterable[Tensor], *args: object, **kwargs: object) -> None:
        self.leaves = list(params)
        self.grads = [None if leaf.grad is None else leaf.grad.detach().clone() for leaf in self.leaves]


class _Known(torch.autograd.Function):
    """A value whose gradients are known already."""

    @staticmethod
    def forward(ctx: Any, value: float, grads: list[Tensor | None], *leaves: Tensor) -> Tensor:
        ctx.grads = grads
        return leaves[0].new_tensor(value)

    @staticmethod
    def backward(ctx: Any, *outer: Any) -> Any:
        return (None, None, *[None if grad is None else outer[0] * grad for grad in ctx.grads])


class CompiledLoss(nn.Module):
    """Joins a model, a guide and an objective in a module: called with the data, it returns the loss.

    Use it in training loops that are not Ember's, such as those of Lightning or Accelerate. A call computes
    loss and gradients by one captured program. ``backward`` hands the gradients over through torch's
    autograd, so that hooks, accumulation and sums with other losses work. Under ``torch.no_grad()`` a call
    returns the loss alone.

    Args:
        model: the model; a module becomes a submodule.
        guide: the guide; a module becomes a submodule.
        objective: an objective such as :class:`ember.infer.Trace_ELBO`.
        compile: as in :class:`ember.infer.SVI`; "auto" if None.

    Raises:
        ModelError: if model, guide or objective cannot be called.
        NonFiniteLossError: when it is called with gradients on, if the loss or a gradient is not finite.
        CaptureError: when it is called under ``compile=True``, if the step cannot be captured.

    >>> import torch, ember
    >>> from ember.infer.autoguide import AutoNormal
    >>> from ember.train import CompiledLoss
    >>> def model(x):
    ...     loc = ember.sample("loc", ember.distributions.Normal(0.0, 1.0))
    ...     with ember.plate("data", len(x)):
    ...         ember.sample("x", ember.distributions.Normal(loc, 1.0), obs=x)
    >>> loss = CompiledLoss(model, AutoNormal(model), ember.infer.Trace_ELBO())
    >>> x = torch.ones(20)
    >>> adam = torch.optim.Adam(loss.leaves(x), lr=0.05)
    >>> for _ in range(200):
    ...     adam.zero_grad()
    ...     loss(x).backward()
    ...     adam.step()
    >>> abs(loss.guide.median()["loc"].item() - 20 / 21) < 0.1
    True
    """

    def __init__(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        objective: Any,
        compile: CompileMode = "auto",
    ) -> None:
        super().__init__()
        self.model = model
        self.guide = guide
        self._kept = _Kept()
        self._svi = SVI(model, guide, self._kept, objective, compile="auto" if compile is None else compile)

    def leaves(self, *args: object, **kwargs: object) -> list[Tensor]:
        """Return the unconstrained parameters that a call trains, for an optimizer of torch.

        A run of guide and model makes them. The random state of torch is as before afterwards.

        Args:
            args: passed on to model and guide.
            kwargs: passed on to model and guide.
        """
        if not self._kept.leaves:
            state = torch.get_rng_state()
            self._differentiated(args, kwargs)
            torch.set_rng_state(state)
        return list(self._kept.leaves)

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        """Return the loss, a scalar: an estimate of the negative ELBO, in nats."""
        if not torch.is_grad_enabled():
            return torch.tensor(self._svi.evaluate_loss(*args, **kwargs))
        value = self._differentiated(args, kwargs)
        loss: Tensor = _Known.apply(value, self._kept.grads, *self._kept.leaves)  # type: ignore[no-untyped-call]
        return loss

    def _differentiated(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
        # A step leaves zeros; what others have accumulated is put back.
        before = [(leaf, leaf.grad) for leaf in self._kept.leaves]
        for leaf, _ in before:
            leaf.grad = None
        try:
            value: float = self._svi.step(*args, **kwargs)
        finally:
            known = {id(leaf) for leaf, _ in before}
            for leaf, grad in [*before, *((new, None) for new in self._kept.leaves if id(new) not in known)]:
                leaf.grad = grad
        return value


__all__ = ["CompiledLoss"]
