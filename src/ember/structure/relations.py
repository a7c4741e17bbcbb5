"""Which sites of a model depend on which, found by following values through one run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ember import distributions as dist
from ember import poutine, settings
from ember.ops.provenance import ProvenanceTensor, detach_provenance, get_provenance
from ember.poutine.messenger import Messenger
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace
from ember.record import Record
from ember.rng import fork_torch_rng

Names = dict[str, list[str]]


class Relations(Record):
    """How the sites of a model hang together; see :func:`get_model_relations`."""

    __slots__ = ()

    sample_sample: Names
    sample_param: Names
    sample_dist: dict[str, str]
    param_constraint: dict[str, str]
    plate_sample: Names
    observed: list[str]


def is_sample_site(msg: Site, *, include_deterministic: bool = False) -> bool:
    """Whether a site draws or observes something: no plate, and (unless asked for) no ``deterministic`` or ``Delta``."""
    if not msg.is_sample or msg.is_subsample:
        return False
    if include_deterministic:
        return True
    if msg.is_observed and msg.mask is False:
        return False
    fn = msg.fn
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return type(fn).__name__ != "Delta"


def site_is_deterministic(msg: Site) -> bool:
    """Whether a site comes from a ``deterministic`` statement."""
    return msg.is_sample and msg.is_deterministic


class TrackProvenance(Messenger):
    """Marks each value with the name of its own site, so that direct dependencies only are seen."""

    def __init__(self, *, include_deterministic: bool = False) -> None:
        super().__init__()
        self.include_deterministic = include_deterministic

    def _pyro_post_sample(self, msg: Site) -> None:
        is_followed = self.include_deterministic and site_is_deterministic(msg)
        if is_followed or is_sample_site(msg, include_deterministic=self.include_deterministic):
            _mark(msg)

    def see_step(self, msg: Site) -> None:
        """Mark the value of a step, of which those of later steps are made."""
        self._pyro_post_sample(msg)

    def _pyro_post_param(self, msg: Site) -> None:
        _mark(msg)


def _mark(msg: Site) -> None:
    msg.value = ProvenanceTensor(detach_provenance(msg.value), frozenset({msg.name}))


@contextmanager
def left_as_it_was() -> Iterator[None]:
    """Run something for its structure only: no gradients, no checks, and the random streams as they were."""
    unchecked = settings.context(
        validate_distributions_pyro=False, validate_distributions_torch=False, validate_poutine=False
    )
    with fork_torch_rng(), torch.no_grad(), unchecked:
        yield


def followed_trace(
    model: Callable[..., Any],
    args: tuple[Any, ...] | None,
    kwargs: dict[str, Any] | None,
    include_deterministic: bool,
) -> Trace:
    """A trace whose values carry the names of the sites from which they come; random state is put back."""
    args, kwargs = args or (), kwargs or {}
    assert isinstance(args, tuple), f"model_args must be a tuple, got {args!r}"
    assert isinstance(kwargs, dict), f"model_kwargs must be a dict, got {kwargs!r}"
    with left_as_it_was(), TrackProvenance(include_deterministic=include_deterministic):
        return poutine.trace(model).get_trace(*args, **kwargs)


def get_model_relations(
    model: Callable[..., Any],
    model_args: tuple[Any, ...] | None = None,
    model_kwargs: dict[str, Any] | None = None,
    include_deterministic: bool = False,
) -> Relations:
    """How the sites of a model hang together.

    Args:
        model: the program to look at.
        model_args: its positional arguments.
        model_kwargs: its keyword arguments.
        include_deterministic: do not look through ``deterministic`` sites.

    Returns:
        A dict: ``sample_sample`` and ``sample_param`` give the sample sites and parameters on which each
            sample site depends directly, ``sample_dist`` the name of its distribution, ``param_constraint``
            the constraint of each parameter, ``plate_sample`` the sites in each plate, and ``observed`` the
            observed sites.

    >>> import ember
    >>> def model(data):
    ...     m = ember.sample("m", dist.Normal(0.0, 1.0))
    ...     with ember.plate("N", len(data)):
    ...         ember.sample("x", dist.Normal(m, 1.0), obs=data)
    >>> relations = get_model_relations(model, (torch.zeros(3),))
    >>> relations["sample_sample"], relations["plate_sample"], relations["observed"]
    ({'m': [], 'x': ['m']}, {'N': ['x']}, ['x'])
    """
    trace = followed_trace(model, model_args, model_kwargs, include_deterministic)
    sites = {site.name: site for site in trace.samples() if not site.is_subsample}
    plates: dict[str, list[str]] = defaultdict(list)
    for name, site in sites.items():
        for frame in site.cond_indep_stack:
            plates[frame.name].append(name)
    with left_as_it_was():
        upstream = {name: _sources(site) - {name} for name, site in sites.items()}

    def in_order(names: Collection[str], kind: str = "sample") -> list[str]:
        return [name for name, node in trace.nodes.items() if name in names and node.type == kind]

    return Relations(
        sample_sample={name: in_order(sources) for name, sources in upstream.items()},
        sample_param={name: in_order(sources, "param") for name, sources in upstream.items()},
        sample_dist={name: _family(site) for name, site in sites.items()},
        param_constraint={site.name: str(site.kwargs["constraint"]) for site in trace.params()},
        plate_sample={plate: in_order(names) for plate, names in _as_tree(plates).items()},
        observed=[name for name, site in sites.items() if site.is_observed],
    )


def _sources(site: Site) -> frozenset[str]:
    fn = site.fn.base_dist if site_is_deterministic(site) else site.fn
    return get_provenance(fn.log_prob(site.value))


def _family(site: Site) -> str:
    fn = site.fn
    if site_is_deterministic(site):
        return "Deterministic"
    while isinstance(fn, (dist.Independent, dist.ExpandedDistribution, dist.MaskedDistribution)):
        fn = fn.base_dist
    return type(fn).__name__


def _as_tree(plates: dict[str, list[str]]) -> dict[str, Collection[str]]:
    """Plates of which neither contains the other cannot both be drawn as boxes: the later one is split in two."""
    groups: dict[str, Collection[str]] = dict(plates)
    while (crossing := _crossing(groups)) is not None:
        first, second = (set(groups[name]) for name in crossing)
        groups[crossing[1]] = first & second
        groups[crossing[1] + "__CLONE"] = second - first
    return groups


def _crossing(groups: dict[str, Collection[str]]) -> tuple[str, str] | None:
    for p, first in groups.items():
        for q, second in groups.items():
            a, b = set(first), set(second)
            if a & b and a - b and b - a:
                return p, q
    return None
