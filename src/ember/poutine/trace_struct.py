"""Trace: the record of one run of a program, its log densities and its table of shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from ember.capture.recording.provenance import works_for
from ember.distributions.masking import scale_and_mask
from ember.nonfinite import warn_if_inf, warn_if_nan
from ember.poutine.enumeration import packing
from ember.poutine.hints import of_value
from ember.poutine.shape_table import format_shapes
from ember.poutine.site import Site, as_site
from ember.poutine.sites import Sites
from ember.poutine.validation import is_validation_enabled

INPUT, RETURN = "_INPUT", "_RETURN"
"""The names at which a trace has the arguments and the result of the run."""

SiteFilter = Callable[[str, Any], bool]
Edges = dict[str, set[str]]


def allow_all_sites(name: str, site: Site) -> bool:
    """The site filter that leaves nothing out."""
    return True


def _weigh(name: str, site: Site, weigh: Callable[[Any, Any], Any]) -> Any:
    """``weigh(scale, mask)`` of the site."""
    try:
        return weigh(site.scale, site.mask)
    except RuntimeError as error:
        error.add_note(f"at site {name!r}: its scale and mask must broadcast with its batch shape")
        raise


def _is_plain(site: Site) -> bool:
    """Whether there is nothing to scale or mask, as at most sites."""
    scale = site.scale
    return site.mask is None and type(scale) is float and scale == 1.0


class Trace:
    """Sites by name, in the order of their execution, and the edges between them.

    A ``"flat"`` trace has no edges; a ``"dense"`` one has an edge between each pair of sites that may depend
    on each other.

        >>> import ember, torch
        >>> def model(x):
        ...     return ember.sample("z", ember.distributions.Normal(x, 1.0))
        >>> trace = ember.poutine.trace(model).get_trace(torch.tensor(0.0))
        >>> list(trace), trace.stochastic_nodes
        (['_INPUT', 'z', '_RETURN'], ['z'])
    """

    counts_by_identity = True
    """What it holds does not decide whether a captured program is still right."""

    def __init__(self, graph_type: Literal["flat", "dense"] = "flat") -> None:
        assert graph_type in ("flat", "dense"), f"{graph_type} not a valid graph type"
        self.graph_type = graph_type
        self.nodes = Sites()
        # Sites without edges have no entry: most traces have no edges at all, and are made in every step.
        self._outgoing: Edges = {}
        self._incoming: Edges = {}
        self.plate_to_symbol: dict[str, str] = {}
        self.symbol_to_dim: dict[str, int] = {}

    # Pyro programs read these two, and expect an entry for every site.
    @property
    def _succ(self) -> Edges:
        return self._with_all_sites(self._outgoing)

    @property
    def _pred(self) -> Edges:
        return self._with_all_sites(self._incoming)

    def _with_all_sites(self, edges: Edges) -> Edges:
        for name in self.nodes:
            edges.setdefault(name, set())
        return edges

    def __contains__(self, name: object) -> bool:
        return name in self.nodes

    def __iter__(self) -> Iterator[str]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def edges(self) -> Iterator[tuple[str, str]]:
        """Pairs of names, from the earlier to the later site."""
        for name, successors in self._outgoing.items():
            for successor in successors:
                yield name, successor

    def add_node(self, site_name: str, **kwargs: object) -> None:
        """Add a site.

        Raises:
            RuntimeError: if the name is taken. A parameter may be added again; the last one counts.
        """
        self.add_site(site_name, as_site(kwargs, site_name))

    def add_site(self, name: str, site: Site) -> None:
        """Add a site, itself and not a copy; raises as :meth:`add_node` does."""
        known = self.nodes.get(name)
        if known is not None:
            # RuntimeError itself: tracing appends the shape table to the message of an error of the same type.
            if known.type != site.type:
                raise RuntimeError(f"{name} is already in the trace as a {known.type}")
            if not site.is_param:
                raise RuntimeError(f"Multiple {site.type} sites named '{name}'")
        dict.__setitem__(self.nodes, name, site)

    def add_edge(self, site1: str, site2: str) -> None:
        """Add an edge between two sites; a site that the trace lacks is added without contents."""
        for name in (site1, site2):
            if name not in self.nodes:
                self.add_node(name, type="")
        self._outgoing.setdefault(site1, set()).add(site2)
        self._incoming.setdefault(site2, set()).add(site1)

    def remove_node(self, site_name: str) -> None:
        """Remove a site and its edges."""
        self.nodes.pop(site_name)
        for predecessor in self._incoming.pop(site_name, ()):
            self._outgoing[predecessor].discard(site_name)
        for successor in self._outgoing.pop(site_name, ()):
            self._incoming[successor].discard(site_name)

    def predecessors(self, site_name: str) -> set[str]:
        """Names of the sites with an edge to this one."""
        return self._pred[site_name]

    def successors(self, site_name: str) -> set[str]:
        """Names of the sites with an edge from this one."""
        return self._succ[site_name]

    def copy(self) -> Trace:
        """Return a copy with the same sites (not copied) and its own edges."""
        new = Trace(graph_type=self.graph_type)
        new.nodes.update(self.nodes)
        new._outgoing = {name: set(names) for name, names in self._outgoing.items()}
        new._incoming = {name: set(names) for name, names in self._incoming.items()}
        return new

    def _dfs(self, site: str, visited: set[str]) -> Iterator[str]:
        if site in visited:
            return
        # A list instead of recursion: a chain of sites may be longer than Python's stack is deep.
        path = [(site, iter(self._outgoing.get(site, ())))]
        entered = {site}
        while path:
            name, successors = path[-1]
            following = next((s for s in successors if s not in visited and s not in entered), None)
            if following is None:
                path.pop()
                visited.add(name)
                yield name
            else:
                entered.add(following)
                path.append((following, iter(self._outgoing.get(following, ()))))

    def topological_sort(self, reverse: bool = False) -> list[str]:
        """Names in an order in which every edge points forward (backward if ``reverse``)."""
        visited: set[str] = set()
        ordered = [name for start in tuple(self.nodes) for name in self._dfs(start, visited)]
        return ordered if reverse else ordered[::-1]

    @works_for("site {!r}")
    def log_prob_sum(self, site_filter: SiteFilter = allow_all_sites) -> Tensor | float:
        """The log density of the run, a scalar.

        It is the sum over the sample sites, scaled and masked. Memoised on the sites.

        Args:
            site_filter: takes name and site; the sites for which it is false are left out.
        """
        total: Tensor | float = 0.0
        fresh = []
        for name, site in self._sample_sites(site_filter):
            if "log_prob_sum" not in site:
                log_prob = self._evaluate(name, site, "log_prob", "log_prob_sum")
                site.log_prob_sum = _weigh(name, site, partial(scale_and_mask, log_prob)).sum()
                fresh.append(name)
            total = total + site.log_prob_sum
        self._warn_if_nonfinite(fresh)
        return total

    def compute_log_prob(self, site_filter: SiteFilter = allow_all_sites) -> None:
        """Put ``unscaled_log_prob``, ``log_prob`` (both of batch shape) and ``log_prob_sum`` (a scalar) on the sample sites."""
        self._warn_if_nonfinite(self.add_log_probs(site_filter))

    def compute_score_parts(self) -> None:
        """Put ``score_parts`` on the sample sites, and what :meth:`compute_log_prob` puts there."""
        self._warn_if_nonfinite(self.add_score_parts())

    @works_for("site {!r}")
    def add_log_probs(self, site_filter: SiteFilter = allow_all_sites) -> list[str]:
        """As :meth:`compute_log_prob`, without a look at the values.

        Returns the names of the sites that had none.
        """
        fresh = []
        for name, site in self._sample_sites(site_filter):
            if "log_prob" not in site:
                log_prob = self._evaluate(name, site, "log_prob", "log_prob")
                site["unscaled_log_prob"] = log_prob
                if not _is_plain(site):
                    log_prob = _weigh(name, site, partial(scale_and_mask, log_prob))
                site["log_prob"] = log_prob
                site["log_prob_sum"] = log_prob.sum() if log_prob.dim() else log_prob
                fresh.append(name)
        return fresh

    @works_for("site {!r}")
    def add_score_parts(self) -> list[str]:
        """As :meth:`compute_score_parts`, without a look at the values.

        Returns the names of the sites that had none.
        """
        fresh = []
        for name, site in self._sample_sites(allow_all_sites):
            if "score_parts" not in site:
                parts = self._evaluate(name, site, "score_parts", "score_parts")
                site.unscaled_log_prob = parts.log_prob
                if not _is_plain(site):
                    parts = _weigh(name, site, parts.scale_and_mask)
                site.score_parts = parts
                site.log_prob = parts.log_prob
                site.log_prob_sum = parts.log_prob.sum() if parts.log_prob.dim() else parts.log_prob
                fresh.append(name)
        return fresh

    def _sample_sites(self, site_filter: SiteFilter) -> Iterator[tuple[str, Site]]:
        for name, site in self.nodes.items():
            if site.type == "sample" and (site_filter is allow_all_sites or site_filter(name, site)):
                yield name, site

    def _evaluate(self, name: str, site: Site, method: str, quantity: str) -> Any:
        try:
            return getattr(site.fn, method)(site.value, *site.args, **site.kwargs)
        except ValueError as error:
            table = self.format_shapes(last_site=site.name)
            raise ValueError(
                f"Error while computing {quantity} at site '{name}':\n{error}{of_value(site)}\n{table}"
            ) from error

    def _warn_if_nonfinite(self, names: list[str]) -> None:
        if not (names and is_validation_enabled()):
            return
        sums = [(name, self.nodes[name].log_prob_sum.detach()) for name in names]
        # One look at the total, so that a healthy trace costs one number and not one for each site.
        if math.isfinite(float(torch.stack([value for _, value in sums]).sum())):
            return
        for name, value in sums:
            what = f"log_prob_sum at site '{name}'"
            warn_if_nan(value, what)
            warn_if_inf(value, what, allow_neginf=True)

    def detach_(self) -> None:
        """Detach the values of all sample sites, in place."""
        for site in self.samples():
            site.value = site.value.detach()

    def samples(self) -> Iterator[Site]:
        """Return the sample sites, latent and observed."""
        return (site for site in self.nodes.values() if site.type == "sample")

    def latents(self) -> Iterator[Site]:
        """Return the sample sites that are not observed."""
        return (site for site in self.nodes.values() if site.type == "sample" and not site.is_observed)

    def observed(self) -> Iterator[Site]:
        """Return the observed sample sites."""
        return (site for site in self.nodes.values() if site.type == "sample" and site.is_observed)

    def params(self) -> Iterator[Site]:
        """Return the parameters."""
        return (site for site in self.nodes.values() if site.type == "param")

    def _names(self, holds: Callable[[Site], bool]) -> list[str]:
        return [name for name, site in self.nodes.items() if holds(site)]

    @property
    def observation_nodes(self) -> list[str]:
        """Names of the observed sample sites."""
        return self._names(lambda site: site.is_sample and site.is_observed)

    @property
    def param_nodes(self) -> list[str]:
        """Names of the parameters."""
        return self._names(lambda site: site.is_param)

    @property
    def stochastic_nodes(self) -> list[str]:
        """Names of the sample sites that are not observed."""
        return self._names(lambda site: site.is_latent)

    @property
    def reparameterized_nodes(self) -> list[str]:
        """Names of the latent sites whose distribution has a pathwise derivative."""
        return self._names(lambda site: site.is_latent and site.has_rsample)

    @property
    def nonreparam_stochastic_nodes(self) -> list[str]:
        """Names of the latent sites whose distribution has none."""
        return self._names(lambda site: site.is_latent and not site.has_rsample)

    def iter_stochastic_nodes(self) -> Iterator[tuple[str, Site]]:
        """Names and sites of the sample sites that are not observed."""
        return ((name, site) for name, site in self.nodes.items() if site.is_latent)

    def symbolize_dims(self, plate_to_symbol: dict[str, str] | None = None) -> None:
        """Give the dims of sample sites symbols (in ``infer``).

        Sets ``plate_to_symbol`` and ``symbol_to_dim``.

        Args:
            plate_to_symbol: symbols that plates have already, to be extended.
        """
        self.plate_to_symbol, self.symbol_to_dim = packing.symbolize_dims(self.nodes, plate_to_symbol)

    def pack_tensors(self, plate_to_symbol: dict[str, str] | None = None) -> None:
        """Put packed masks and log densities on the sample sites (in ``packed``), after these have been computed.

        Args:
            plate_to_symbol: symbols that plates have already, as those of the guide's trace.

        Raises:
            ValueError: if a log density has a dim that is neither a plate's nor an enumerated site's.
        """
        self.symbolize_dims(plate_to_symbol)
        packing.pack_tensors(self.nodes)

    def format_shapes(self, title: str = "Trace Shapes:", last_site: str | None = None) -> str:
        """A table of the shapes of parameters, distributions, values and (where known) log densities."""
        return format_shapes(self.nodes, title, last_site)
