"""Inference compilation: a guide that is trained on draws of the model to propose for any data.

T. A. Le, A. G. Baydin and F. Wood (2017), *Inference compilation and universal probabilistic programming*.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import torch

from ember import poutine
from ember.infer.posterior.importance import Importance
from ember.infer.traces.checks import check_model_guide_match
from ember.nonfinite import warn_if_nan
from ember.ops.scalars import torch_item, zero_grads
from ember.optim.optim import PyroOptim
from ember.poutine.prune import prune_subsample_sites
from ember.poutine.trace_struct import Trace
from ember.poutine.validation import is_validation_enabled

Program = Callable[..., Any]


class CSIS(Importance):
    """Trains a guide on draws of the model, and samples with it: compiled sequential importance sampling.

    Args:
        model: a program that takes a keyword argument ``observations``, a dict from names of observed sites
            to values.
        guide: a program that takes the same arguments.
        optim: an optimizer of the guide's parameters.
        num_inference_samples: how many weighted samples a run takes.
        training_batch_size: how many draws of the model a step takes.
        validation_batch_size: how many draws of the model :meth:`validation_loss` takes.

    References:
        T. A. Le, A. G. Baydin and F. Wood (2017), "Inference compilation and universal probabilistic
        programming".

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> def model(observations={"x": torch.tensor(0.0)}):
    ...     z = ember.sample("z", dist.Normal(0.0, 1.0))
    ...     ember.sample("x", dist.Normal(z, 1.0), obs=observations["x"])
    >>> def guide(observations=None):
    ...     slope = ember.param("slope", torch.tensor(0.0))
    ...     ember.sample("z", dist.Normal(slope * observations["x"], 0.7))
    >>> csis = ember.infer.CSIS(model, guide, ember.optim.Adam({"lr": 0.05}))
    >>> losses = [csis.step() for _ in range(200)]
    >>> abs(ember.param("slope").item() - 0.5) < 0.15  # the posterior's mean is x / 2
    True
    """

    def __init__(
        self,
        model: Program,
        guide: Program,
        optim: PyroOptim,
        num_inference_samples: int = 10,
        training_batch_size: int = 10,
        validation_batch_size: int = 20,
    ) -> None:
        super().__init__(model, guide, num_inference_samples)
        self.model = model
        self.guide = guide
        self.optim = optim
        self.training_batch_size = training_batch_size
        self.validation_batch_size = validation_batch_size
        self.validation_batch: list[Trace] | None = None

    def set_validation_batch(self, *args: object, **kwargs: object) -> None:
        """Draw the batch that :meth:`validation_loss` is of.

        Args:
            args: what the model takes.
            kwargs: likewise.
        """
        draws = range(self.validation_batch_size)
        self.validation_batch = [self._sample_from_joint(*args, **kwargs) for _ in draws]

    def step(self, *args: object, **kwargs: object) -> float:
        """Take one step of training, on new draws; returns the loss before it.

        Args:
            args: what model and guide take.
            kwargs: likewise.
        """
        with poutine.trace(param_only=True) as captured:
            loss = self.loss_and_grads(True, None, *args, **kwargs)
        sites = captured.trace.nodes.values()
        params = [site["value"].unconstrained() for site in sites if site["value"].requires_grad]
        self.optim(params)
        zero_grads(params)
        return float(torch_item(loss))

    def loss_and_grads(
        self, grads: bool, batch: Iterable[Trace] | None, *args: object, **kwargs: object
    ) -> Any:
        """Return the mean of ``-log q(latent | observed)`` over draws of the model.

        Args:
            grads: add the gradients of the guide's parameters too.
            batch: the draws; new ones if None.
            args: what model and guide take.
            kwargs: likewise.

        Warns:
            UserWarning: if the loss is NaN.
        """
        if batch is None:
            draws: Iterable[Trace] = (
                self._sample_from_joint(*args, **kwargs) for _ in range(self.training_batch_size)
            )
            size = self.training_batch_size
        else:
            draws = list(batch)
            size = len(draws)
        loss: Any = 0
        for model_trace in draws:
            guide_trace = self._get_matched_trace(model_trace, *args, **kwargs)
            particle_loss = self._differentiable_loss_particle(guide_trace) / size
            if grads and particle_loss.requires_grad:
                particle_loss.backward()
            loss += torch_item(particle_loss)
        warn_if_nan(torch.as_tensor(loss), "loss")
        return loss

    def _differentiable_loss_particle(self, guide_trace: Trace) -> Any:
        total: Any = -guide_trace.log_prob_sum()
        return total

    def validation_loss(self, *args: object, **kwargs: object) -> float:
        """Return the loss of the validation batch, which is drawn at the first call.

        Args:
            args: what model and guide take.
            kwargs: likewise.
        """
        if self.validation_batch is None:
            self.set_validation_batch(*args, **kwargs)
        with torch.no_grad():
            return float(self.loss_and_grads(False, self.validation_batch, *args, **kwargs))

    def _get_matched_trace(self, model_trace: Trace, *args: object, **kwargs: object) -> Trace:
        """A run of the guide with the values of a draw of the model."""
        nodes = model_trace.nodes
        names = itertools.chain(model_trace.stochastic_nodes, model_trace.observation_nodes)
        observations: Any = {
            name: nodes[name]["value"] for name in names if nodes[name]["infer"].get("was_observed")
        }
        kwargs["observations"] = observations
        replayed = poutine.trace(poutine.replay(self.guide, model_trace))
        guide_trace = replayed.get_trace(*args, **kwargs)
        if is_validation_enabled():
            observed = [name for name, site in nodes.items() if site.get("is_observed")]
            check_model_guide_match(_without(model_trace, {*observed, *observations}), guide_trace)
        return prune_subsample_sites(guide_trace)

    def _sample_from_joint(self, *args: object, **kwargs: object) -> Trace:
        """A draw of all sites of the model, those of data too."""
        unconditioned = poutine.trace(poutine.uncondition(self.model))
        trace: Trace = unconditioned.get_trace(*args, **kwargs)
        return trace


def _without(trace: Trace, names: set[str]) -> Trace:
    rest = trace.copy()
    for name in names:
        if name in rest:
            rest.remove_node(name)
    return rest
