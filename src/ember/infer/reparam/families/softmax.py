"""Gumbel-softmax variables through uniform noise."""

from __future__ import annotations

import torch

from ember import distributions as dist
from ember import primitives
from ember.infer.reparam.reparam import Reparam, ReparamMessage, ReparamResult, deterministic_result


class GumbelSoftmaxReparam(Reparam):
    """Samples the uniform noise of a relaxed one-hot variable at ``<name>_uniform``.

    That is one more dim, but one mode.

    Raises:
        AssertionError: at sites of other families.
        NotImplementedError: at observed sites.

    >>> import ember, torch
    >>> from ember import distributions as dist
    >>> from ember.infer.reparam import GumbelSoftmaxReparam
    >>> fn = dist.RelaxedOneHotCategorical(torch.tensor(0.5), probs=torch.tensor([0.3, 0.7]))
    >>> with ember.poutine.reparam(config={"x": GumbelSoftmaxReparam()}):
    ...     x = ember.sample("x", fn)
    >>> bool((x.sum() - 1).abs() < 1e-6)
    True
    """

    def apply(self, msg: ReparamMessage) -> ReparamResult:
        """Sample ``<name>_uniform``."""
        name, value = msg.name, msg.value
        fn, event_dim = self._unwrap(msg.fn)
        self._require(name, fn, torch.distributions.RelaxedOneHotCategorical)
        self._refuse_observed(name, msg.is_observed)

        logits, temperature = fn.logits, fn.temperature
        eps = torch.finfo(logits.dtype).eps
        u = None
        if value is not None:
            # Gumbel noise that leads to this value; noise is determined up to a constant, taken as 0.
            gumbel = value.clamp(min=torch.finfo(value.dtype).tiny).log() * temperature - logits
            u = gumbel.neg().exp().neg().exp().clamp(eps, 1 - eps)
        noise = dist.Uniform(torch.zeros_like(logits), torch.ones_like(logits))
        u = primitives.sample(
            f"{name}_uniform", self._wrap(noise, event_dim), obs=u, infer={"is_observed": False}
        )
        if value is None:
            gumbel = -u.clamp(min=torch.finfo(u.dtype).tiny).log().neg().clamp(min=eps / 2).log()
            value = ((logits + gumbel) / temperature).softmax(-1)
        return deterministic_result(value, event_dim)
