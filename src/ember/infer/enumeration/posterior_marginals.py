"""The posterior marginals of all enumerated sites at once, by one pass forward and one back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from opt_einsum import shared_intermediates
from torch import Tensor

from ember import distributions as dist
from ember.infer.enumeration.model_factors import ModelFactors, find_ordinal
from ember.ops import packed
from ember.ops.contract import contract_tensor_tree
from ember.ops.einsum.adjoint import require_backward
from ember.ops.packed import dims_of, tagged
from ember.ops.rings import MarginalRing
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace


def posterior_marginals(
    trace: Trace, sites: Mapping[str, Site], parts: ModelFactors
) -> OrderedDict[str, Any]:
    """The posterior of each enumerated site.

    Args:
        trace: the packed trace of the model.
        sites: its enumerated sites.
        parts: its factors.

    Returns:
        Distributions of the sites' families, with the batch shapes of their plates. For families without a
            logit for each value, such as Binomial, it is a Categorical over the values in the order of the
            support.
    """
    logits = posterior_logits(trace, sites, parts)
    return OrderedDict((name, _like(sites[name].fn, own)) for name, own in logits.items())


def posterior_logits(
    trace: Trace, sites: Mapping[str, Site], parts: ModelFactors
) -> OrderedDict[str, Tensor]:
    """The posterior of each enumerated site, as normalised log probabilities of its values along the rightmost dim.

    Args:
        trace: the packed trace of the model.
        sites: its enumerated sites.
        parts: its factors.
    """
    factors: dict[str, Any] = {name: site.packed.unscaled_log_prob for name, site in sites.items()}
    for factor in factors.values():
        require_backward(factor)
    with shared_intermediates() as cache:
        contracted = contract_tensor_tree(parts.factors, parts.sum_dims, ring=MarginalRing(cache=cache))
        for term in [term for terms in contracted.values() for term in terms]:
            term._pyro_backward()  # type: ignore[attr-defined]
    marginals: OrderedDict[str, Tensor] = OrderedDict()
    for name, factor in factors.items():
        # A factor that nothing had to be done to, that of a site with one value, has no message.
        message = factor._pyro_backward_result
        joint = factor if message is None else tagged(message, dims_of(factor))
        del factor._pyro_backward, factor._pyro_backward_result
        marginals[name] = _logits(trace, sites[name], joint)
    return marginals


def _logits(trace: Trace, site: Site, joint: Tensor) -> Tensor:
    """The log probabilities of a site's values, along the rightmost dim, out of those of all that its factor depends on."""
    kept = {site.enumerate_symbol, *find_ordinal(trace, site)}
    dims = dims_of(joint)
    summed = [position for position, dim in enumerate(dims) if dim not in kept]
    if summed:
        joint = tagged(joint.logsumexp(summed), "".join(dim for dim in dims if dim in kept))
    logits = packed.unpack(joint, trace.symbol_to_dim)
    enum_dim = site.enumerate_dim
    assert enum_dim is not None
    logits = logits.reshape((1,) * (-enum_dim - logits.dim()) + logits.shape)
    logits = logits.unsqueeze(-1).transpose(-1, enum_dim - 1)
    while logits.dim() > 1 and logits.shape[0] == 1:
        logits = logits.squeeze(0)
    # A marginal is known up to a constant, which may be far from that of normalised probabilities.
    return logits - logits.logsumexp(-1, keepdim=True)


def _like(fn: Any, logits: Tensor) -> Any:
    """A distribution of the family of ``fn`` over the values in the order of its support."""
    while isinstance(fn, (dist.MaskedDistribution, dist.ExpandedDistribution)):
        fn = fn.base_dist
    if isinstance(fn, torch.distributions.Bernoulli):
        return type(fn)(logits=logits[..., 1] - logits[..., 0])
    takes_logits = isinstance(fn, (torch.distributions.Categorical, torch.distributions.OneHotCategorical))
    family: Any = type(fn) if takes_logits else dist.Categorical
    return family(logits=logits)
