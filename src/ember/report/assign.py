"""Which value each discrete latent variable has, with probabilities: the cluster of each row, the state at each time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ember import poutine
from ember.capture.rows.function import WORTH_A_PROGRAM, rows
from ember.distributions import ExpandedDistribution, MaskedDistribution
from ember.errors import ModelError
from ember.infer.density.judging.guide_rows import WholePlates
from ember.infer.enumeration.given_marginals import Given, first_run
from ember.infer.traces.validate_all import switches
from ember.ops.draws import number_of
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace
from ember.report.posterior import Posterior, taken_apart

_NUMBERS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Assignment:
    """Holds the posterior of discrete variables, one by one: what :func:`assign` returns.

    Attributes:
        site: the name of the site; the first and the last of several.
        probs: the probability of each value, ``(*plates, K)``.
        support: the values, ``(K, *event)``.

    >>> import torch
    >>> from ember.report import Assignment
    >>> found = Assignment("k", torch.tensor([[0.9, 0.1], [0.3, 0.7]]), torch.tensor([0, 1]))
    >>> found.values, found.certainty
    (tensor([0, 1]), tensor([0.9000, 0.7000]))
    >>> print(found)
    k: 0 (1), 1 (1); mean certainty 0.80
    """

    site: str
    probs: Tensor
    support: Tensor

    @property
    def values(self) -> Tensor:
        """The most probable value of each variable, ``(*plates, *event)``."""
        return self.support[self.probs.argmax(-1)]

    @property
    def certainty(self) -> Tensor:
        """The probability of the most probable value, ``(*plates)``, between ``1 / K`` and 1."""
        return self.probs.amax(-1)

    def __str__(self) -> str:
        counts = self.probs.argmax(-1).flatten().bincount(minlength=len(self.support))
        shown = ", ".join(
            f"{value} ({count})"
            for value, count in zip(self.support.tolist(), counts.tolist(), strict=True)
            if count
        )
        return f"{self.site}: {shown}; mean certainty {float(self.certainty.mean()):.2f}"


def assign(fitted: object, *rest: Any, num_samples: int = 500, **kwargs: Any) -> Assignment:
    """Compute posterior probabilities of the values of a discrete site, such as the cluster of each row.

    Called as ``assign(model, guide, site, *args)``, ``assign(model, draws, site, *args)``,
    ``assign(svi, site, *args)`` or ``assign(fit, site)``, with all data.

    A site that the guide does not draw is summed out exactly, given each draw of the other sites. Its
    probabilities are averaged over the draws. A site that the guide draws has the guide's probabilities. For
    a site that is observed from a ``MixtureSameFamily``, they are those of the components. A site of many
    entries, such as that of a path in :func:`ember.scan`, has probabilities for each entry, if a guide or
    draws have it. Its entries depend on each other, and cannot be summed out.

    Probabilities are of one variable at a time. For the most probable sequence of a chain, use
    :func:`ember.infer.infer_discrete` with ``temperature=0``. If labels can be exchanged without a change,
    draws of several modes mix them up.

    Args:
        fitted: what :func:`ember.fit` returns, an SVI or what its ``run`` or ``fit`` returns, or a model.
        rest: a guide or draws by site after a model; then the name of the site, or a sequence of names with
            the same support, such as the states of a chain; then the arguments of the model, which are those
            of the fit by default.
        num_samples: how many draws to average over, at most.
        kwargs: keyword arguments of the model.

    Returns:
        An :class:`Assignment`. Its probabilities have the shape ``(*plates, K)``, in a scan
            ``(*plates, steps, K)``, with a further first dim for a sequence of names.

    Raises:
        ModelError: if no site is named; for a site that does not exist, is not discrete, or cannot be summed
            out; for several sites that differ in plates or support, or of which draws have only some.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> from ember.report import assign
    >>> def mixture(x):
    ...     locs = torch.tensor([0.0, 4.0])
    ...     with ember.plate("rows", len(x)):
    ...         k = ember.sample("k", dist.Categorical(torch.tensor([0.5, 0.5])))
    ...         ember.sample("x", dist.Normal(locs[k], 1.0), obs=x)
    >>> found = assign(mixture, lambda x: None, "k", torch.tensor([1.0, 2.0, 3.0]))
    >>> found.probs[:, 1], found.values
    (tensor([0.0180, 0.5000, 0.9820]), tensor([0, 0, 1]))
    """
    posterior, rest = taken_apart("assign", fitted, rest)
    if not rest or not (isinstance(rest[0], str) or _are_names(rest[0])):
        found = type(rest[0]).__name__ if rest else "nothing"
        raise ModelError(f"assign needs the name of a site after what was fitted, got {found}")
    names = [rest[0]] if isinstance(rest[0], str) else list(rest[0])
    posterior = posterior.at(rest[1:], kwargs)
    with torch.no_grad(), posterior.store.active():
        probs, supports = _assigned(posterior, names, num_samples)
    _check_alike(names, probs, supports)
    if isinstance(rest[0], str):
        return Assignment(names[0], probs[0], supports[0])
    return Assignment(f"{names[0]} … {names[-1]}", torch.stack(probs), supports[0])


def _are_names(given: object) -> bool:
    return isinstance(given, Sequence) and bool(given) and all(isinstance(name, str) for name in given)


def _assigned(
    posterior: Posterior, names: Sequence[str], num_samples: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Mean probabilities and supports of sites."""
    first = posterior.first()
    for name in names:
        _check_site(name, first)
    supports = [_support(first.nodes[name]) for name in names]
    if posterior.guide is not None:
        with torch.random.fork_rng(devices=[]):
            drawn_by_guide = first_run(WholePlates()(posterior.guide), posterior.args, posterior.kwargs, {})
        own = [name for name in names if name in drawn_by_guide.nodes]
        if own and len(own) == len(names):
            return _of_guide(posterior, names, num_samples), supports
    draws = posterior.latent(posterior.draw(num_samples), first)
    known = [name for name in names if name in draws]
    if known and len(known) == len(names):
        return [_frequencies(draws[n], s) for n, s in zip(names, supports, strict=True)], supports
    if known:
        raise ModelError(
            f"sites {known} are drawn and the others of {list(names)} summed out: ask for them apart"
        )
    for name in names:
        _check_summable(first.nodes[name])
    shapes = {name: first.nodes[name].fn.batch_shape for name in names}
    return _summed_out(posterior, draws, shapes), supports


def _check_site(name: str, trace: Trace) -> None:
    """See whether a site is discrete and finite, or a mixture.

    Raises:
        ModelError: says what there is.
    """
    site = trace.nodes.get(name)
    fitting = [
        site.name
        for site in trace.samples()
        if not site.is_subsample and (_is_finite(site) or _mixture(site) is not None)
    ]
    if site is None or site.type != "sample":
        raise ModelError(f"the model has no site {name!r}; sites that can be assigned are {fitting}")
    if name not in fitting:
        raise ModelError(
            f"site {name!r} ({type(site.fn).__name__}) is no latent site with finitely many values, nor data from a "
            f"MixtureSameFamily; sites that can be assigned are {fitting}"
        )


def _is_finite(site: Site) -> bool:
    return site.is_latent and bool(getattr(_entries(site.fn), "has_enumerate_support", False))


def _entries(fn: Any) -> Any:
    """The distribution of the entries of a value that are independent given the parameters, as the steps of a path are."""
    while isinstance(fn, (MaskedDistribution, ExpandedDistribution, torch.distributions.Independent)):
        fn = fn.base_dist
    return fn


def _check_summable(site: Site) -> None:
    """See whether a site is one discrete variable an event.

    Raises:
        ModelError: if it is a path or a vector of them.
    """
    if _mixture(site) is None and len(_entries(site.fn).event_shape) < len(site.fn.event_shape):
        raise ModelError(
            f"site {site.name!r} holds {tuple(site.fn.event_shape)} discrete variables in one event, as the steps of ember.scan "
            "or .to_event(...) make it: neither a guide nor draws have it, and it cannot be summed out, as its entries depend on "
            "each other\nThe way out: a loop `for t in ember.markov(range(n))` with a site for each step, and "
            "ember.assign(..., [names]); dist.DiscreteHMM for the whole series; or a guide or draws with this site."
        )


def _mixture(site: Site) -> torch.distributions.MixtureSameFamily | None:
    """The mixture that a site has its data from."""
    fn = site.fn
    while isinstance(fn, (MaskedDistribution, ExpandedDistribution)):
        fn = fn.base_dist
    return fn if site.is_observed and isinstance(fn, torch.distributions.MixtureSameFamily) else None


def _support(site: Site) -> Tensor:
    mixture = _mixture(site)
    if mixture is not None:
        return torch.arange(mixture.mixture_distribution.probs.shape[-1])
    fn = _entries(site.fn)
    support: Tensor = fn.enumerate_support(expand=False)
    return support.reshape(len(support), *fn.event_shape)


def _components(site: Site) -> Tensor:
    """Log probabilities of the components at the data of a mixture."""
    mixture = _mixture(site)
    assert mixture is not None
    event_dim = len(mixture.event_shape)
    value = site.value.unsqueeze(-1 - event_dim)
    joint = mixture.mixture_distribution.logits + mixture.component_distribution.log_prob(value)
    return torch.log_softmax(joint, -1)


def _summed_out(
    posterior: Posterior, draws: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]
) -> list[Tensor]:
    """Mean probabilities given draws of all other sites, of sites of these batch shapes."""
    at_first = {name: value[0] for name, value in draws.items()}
    given = Given.of(posterior.whole, posterior.args, posterior.kwargs, at_first)
    of_data = [name for name in shapes if name not in given.summed]

    def one(values: Mapping[str, Tensor]) -> list[Tensor]:
        with posterior.store.active():
            logs = given.marginals(values) if len(of_data) < len(shapes) else {}
            if of_data:
                trace, _ = given.run(values)
                logs |= {name: _components(trace.nodes[name]) for name in of_data}
        return [logs[name].exp().expand(*shapes[name], -1) for name in shapes]

    return _mean(posterior, one, draws, number_of(draws) or 1)


def _mean(posterior: Posterior, one: Any, draws: Mapping[str, Tensor], number: int) -> list[Tensor]:
    """The mean of a function over draws, some at a time."""
    by_rows = rows(one, reads=posterior.reads, facts=switches, compile=number >= WORTH_A_PROGRAM)
    size = sum(each.numel() for each in one({name: value[0] for name, value in draws.items()}))
    at_once = max(1, _NUMBERS_AT_ONCE // max(size, 1))
    totals: list[Tensor] = []
    for start in range(0, number, at_once):
        part = {name: value[start : start + at_once] for name, value in draws.items()}
        found = by_rows(part, num_rows=min(at_once, number - start))
        sums = [each.double().sum(0) for each in found]
        totals = [a + b for a, b in zip(totals, sums, strict=True)] if totals else sums
        dtypes = [each.dtype for each in found]
    return [(total / number).to(dtype) for total, dtype in zip(totals, dtypes, strict=True)]


def _of_guide(posterior: Posterior, names: Sequence[str], num_samples: int) -> list[Tensor]:
    """Mean probabilities of sites that the guide draws."""
    guide = posterior.guide
    assert guide is not None
    whole = WholePlates()(guide)

    def one(_: Mapping[str, Tensor]) -> list[Tensor]:
        with posterior.store.active():
            trace = poutine.block(poutine.trace(whole).get_trace)(*posterior.args, **posterior.kwargs)
        return [_log_probs(trace.nodes[name]).exp() for name in names]

    return _mean(posterior, one, {}, num_samples)


def _log_probs(site: Site) -> Tensor:
    """Log probabilities of the values of a site, along the last dim."""
    fn = _entries(site.fn)
    support = fn.enumerate_support(expand=False)
    return torch.log_softmax(fn.log_prob(support).movedim(0, -1), -1)


def _frequencies(values: Tensor, support: Tensor) -> Tensor:
    """How often each value was drawn."""
    event_dim = support.dim() - 1
    same = values.unsqueeze(-1 - event_dim) == support
    if event_dim:
        same = same.flatten(-event_dim).all(-1)
    return same.to(torch.get_default_dtype()).mean(0)


def _check_alike(names: Sequence[str], probs: Sequence[Tensor], supports: Sequence[Tensor]) -> None:
    for name, own, support in zip(names, probs, supports, strict=True):
        if own.shape != probs[0].shape or not torch.equal(support, supports[0]):
            raise ModelError(
                f"sites {names[0]!r} {tuple(probs[0].shape)} and {name!r} {tuple(own.shape)} differ in plates or support: ask "
                "for them apart"
            )
