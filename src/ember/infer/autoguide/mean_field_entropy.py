"""The entropy of a program whose sites are independent."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from ember.poutine.handlers import trace
from ember.poutine.site import site_is_subsample


def mean_field_entropy(
    model: Callable[..., Any], args: Sequence[Any], whitelist: Collection[str] | None = None
) -> Any:
    """Return the sum of the entropies of a program's sample sites: its own, if they are independent.

    Args:
        model: the program.
        args: its arguments.
        whitelist: the sites to count; all if None.

    >>> import ember
    >>> from ember.infer.autoguide import mean_field_entropy
    >>> def guide():
    ...     ember.sample("x", ember.distributions.Normal(0.0, 1.0))
    ...     ember.sample("y", ember.distributions.Normal(0.0, 1.0))
    >>> mean_field_entropy(guide, ())
    tensor(2.8379)
    """
    entropy: Any = 0.0
    for name, site in trace(model).get_trace(*args).nodes.items():
        if site.type == "sample" and not site_is_subsample(site) and (whitelist is None or name in whitelist):
            entropy = entropy + site.fn.entropy()
    return entropy
