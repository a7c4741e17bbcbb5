"""Stochastic variational inference: one step, and the loss."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ember.infer.elbo import ELBO
from ember.infer.nonfinite_loss import check_training_loss
from ember.infer.scalars import torch_item, zero_grads
from ember.optim import PyroOptim
from ember.params.param_store import ParamStoreDict, get_param_store
from ember.poutine.trace_messenger import TraceMessenger

Program = Callable[..., Any]


class SVI:
    """Fits the parameters of a model and a guide by stochastic gradient steps on a loss.

    Args:
        model: the program whose posterior is sought.
        guide: the program that approximates it; it takes the same arguments.
        optim: an optimizer of :mod:`ember.optim`.
        loss: an objective such as :class:`Trace_ELBO`, or a callable ``(model, guide, *args, **kwargs)`` that returns a scalar
            tensor to differentiate.
        loss_and_grads: for a callable loss: computes gradients too, and returns the loss.
        num_samples: deprecated.
        num_steps: deprecated.
        param_store: a store for the parameters of this SVI alone; by default the active one.

    Raises:
        ValueError: if ``optim`` is no :class:`PyroOptim`.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> def model(data):
    ...     rate = ember.sample("rate", dist.Gamma(2.0, 2.0))
    ...     with ember.plate("data", len(data)):
    ...         ember.sample("count", dist.Poisson(rate), obs=data)
    >>> def guide(data):
    ...     ember.sample("rate", dist.Delta(ember.param("mode", torch.tensor(1.0))))
    >>> store, adam = ember.params.ParamStoreDict(), ember.optim.Adam({"lr": 0.05})
    >>> svi = SVI(model, guide, adam, ember.infer.Trace_ELBO(), param_store=store)
    >>> losses = [svi.step(torch.tensor([3.0, 5.0])) for _ in range(500)]
    >>> round(store["mode"].item(), 2)
    2.25
    """

    def __init__(
        self,
        model: Program,
        guide: Program,
        optim: PyroOptim,
        loss: Any,
        loss_and_grads: Callable[..., Any] | None = None,
        num_samples: int = 0,
        num_steps: int = 0,
        *,
        param_store: ParamStoreDict | None = None,
    ) -> None:
        if num_steps:
            warnings.warn(
                "The `num_steps` argument to SVI is deprecated and will be removed in a future release. "
                "Use `SVI.step` directly to control the number of iterations.",
                FutureWarning,
                stacklevel=2,
            )
        if num_samples:
            warnings.warn(
                "The `num_samples` argument to SVI is deprecated and will be removed in a future release. "
                "Use `pyro.infer.Predictive` class to draw samples from the posterior.",
                FutureWarning,
                stacklevel=2,
            )
        if not isinstance(optim, PyroOptim):
            raise ValueError(
                "Optimizer should be an instance of pyro.optim.PyroOptim class. "
                f"Got {type(optim).__name__}; write for example ember.optim.Adam({{'lr': 0.01}})."
            )
        self.model = model
        self.guide = guide
        self.optim = optim
        self.num_steps = num_steps
        self.num_samples = num_samples
        self.param_store = param_store
        if isinstance(loss, ELBO):
            self.loss: Callable[..., Any] = loss.loss
            self.loss_and_grads: Callable[..., Any] = loss.loss_and_grads
        else:
            self.loss = loss
            self.loss_and_grads = _backward_of(loss) if loss_and_grads is None else loss_and_grads

    def step(self, *args: Any, **kwargs: Any) -> Any:
        """Take one gradient step on the loss.

        Args:
            args: passed on to model and guide.
            kwargs: passed on to model and guide.

        Returns:
            The loss before the step, a float (a tuple of floats for objectives with several losses).

        Raises:
            NonFiniteLossError: if the loss is NaN or infinite (see the setting ``nonfinite_loss``).

        An error leaves parameters and optimizer state as they were; parameters that the failed step made are removed again.
        """
        with self._active_store():
            recorder = TraceMessenger(param_only=True)
            with _undone_on_error(recorder):
                with recorder:
                    loss = self.loss_and_grads(self.model, self.guide, *args, **kwargs)
                params = _leaves(recorder)
                # Detached: reading the number off a tensor with a graph makes torch warn.
                result = _to_floats(loss)
                if not isinstance(loss, float):
                    _check_foreign_loss(result)
                self.optim(params)
            zero_grads(params)
        return result

    def evaluate_loss(self, *args: Any, **kwargs: Any) -> Any:
        """The loss, without gradients: existing parameters and optimizer state stay as they are, bit for bit.

        Args:
            args: passed on to model and guide.
            kwargs: passed on to model and guide.

        Returns:
            A float (a tuple of floats for objectives with several losses).
        """
        with self._active_store(), torch.no_grad():
            return _to_floats(self.loss(self.model, self.guide, *args, **kwargs))

    def _active_store(self) -> Any:
        return nullcontext() if self.param_store is None else self.param_store.active()


def _backward_of(loss: Callable[..., Any]) -> Callable[..., Any]:
    def loss_and_grads(*args: Any, **kwargs: Any) -> Any:
        value = loss(*args, **kwargs)
        if getattr(value, "requires_grad", False):
            value.backward()
        return value

    return loss_and_grads


def _leaves(recorder: TraceMessenger) -> list[Tensor]:
    """The unconstrained leaves of the recorded parameters, each once, in order."""
    leaves = (site["value"].unconstrained() for site in recorder.trace.nodes.values())
    return list({id(leaf): leaf for leaf in leaves}.values())


def _to_floats(loss: Any) -> Any:
    return type(loss)(map(torch_item, loss)) if isinstance(loss, tuple) else torch_item(loss)


def _check_foreign_loss(loss: Any) -> None:
    for value in loss if isinstance(loss, tuple) else (loss,):
        if isinstance(value, float) and not math.isfinite(value):
            check_training_loss(value)


@contextmanager
def _undone_on_error(recorder: TraceMessenger) -> Iterator[None]:
    store = get_param_store()
    known = set(store.keys())
    try:
        yield
    except BaseException:
        zero_grads(_leaves(recorder))
        for name in [name for name in store if name not in known]:
            del store[name]
        raise
