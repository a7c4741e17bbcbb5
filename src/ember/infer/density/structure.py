"""What one run of a model tells about its density: sites, coordinates, what is enumerated; and what has no density at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import transform_to

from ember.distributions.delta import Delta
from ember.errors import ModelError, SubsamplingError
from ember.infer.autoguide.base.initialization import InitFn, InitMessenger, init_to_median
from ember.infer.autoguide.base.support import helpful_support_errors
from ember.infer.density.layout import Block, Program, site_block
from ember.infer.traces.checks import check_site_shape
from ember.params.names import MODULE_NAMESPACE_DIVIDER
from ember.params.param_store import ParamStoreDict
from ember.poutine.handlers import block, trace
from ember.poutine.prune import prune_subsample_sites
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace

_STARTS = 10
_ON_A_CIRCLE = ("VonMises", "SineBivariateVonMises")


@dataclass(frozen=True)
class Structure:
    """The sites of a model, as they were in its first run."""

    blocks: dict[str, Block]
    """Of latent sites, in the model's order."""
    parameters: dict[str, Block]
    """Of parameters that are coordinates."""
    enumerated: frozenset[str]
    """Latent sites that are summed out."""
    nesting: int
    """How deep plates are nested."""
    deterministic: dict[str, Size]
    observed: dict[str, Size]
    """Observed sites, but factors, and the batch shapes of their log densities."""
    start: Tensor
    """The row of the first run."""

    @property
    def all_blocks(self) -> dict[str, Block]:
        """Of latent sites, then of parameters."""
        return self.blocks | self.parameters

    def mapped(self, rows: Tensor) -> dict[str, Tensor] | None:
        """The values at rows ``(S, D)``, where they follow from the coordinates alone: the model need not run. None otherwise."""
        if self.deterministic or not all(block.fixed for block in self.all_blocks.values()):
            return None
        return {name: block.transform(block.take(rows)) for name, block in self.all_blocks.items()}


def structure_of(
    program: Program, store: ParamStoreDict, parameters: bool, init: InitFn = init_to_median
) -> Structure:
    """Run a model once.

    Args:
        program: the model, and its arguments.
        store: where its parameters are, and come to be.
        parameters: whether they are coordinates.
        init: where latent sites start.

    Raises:
        ModelError: if it has no density in fixed coordinates; says which site stands in the way.
    """
    recorded = _first_run(program, store, init)
    _refuse_subsampling(recorded)
    recorded = prune_subsample_sites(recorded)
    blocks, enumerated = _latent(recorded)
    stop = sum(b.slice.stop - b.slice.start for b in blocks.values())
    own = _parameter_blocks(recorded, store, stop) if parameters else {}
    if not blocks and not own:
        raise ModelError(
            "the model has no latent sites with coordinates: all of them are observed, or summed out\n"
            'The way out: leave a site without data, or pass params="coordinates" for a model of parameters.'
        )
    if enumerated:
        recorded.compute_log_prob()
        for site in recorded.samples():
            check_site_shape(site, inf)
    dims = [frame.dim for site in recorded.samples() for frame in site.plates]
    return Structure(
        blocks,
        own,
        enumerated,
        -min((dim for dim in dims if dim is not None), default=0),
        {site.name: site.value.shape for site in recorded.samples() if is_determined(site)},
        {site.name: site.fn.batch_shape for site in recorded.samples() if _is_data(site)},
        _row(recorded, store, blocks, own),
    )


def started(model: Callable[..., Any], init: InitFn = init_to_median) -> Callable[..., Any]:
    """The model with latent sites where a density starts: so it runs even with priors that cannot be sampled."""

    def start(site: Any) -> Tensor:
        with helpful_support_errors(site):
            support = site["fn"].support
        value: Tensor = site["fn"].sample() if support.is_discrete else init(site)
        return value

    placed: Callable[..., Any] = InitMessenger(start)(model)
    return placed


def _first_run(program: Program, store: ParamStoreDict, init: InitFn) -> Trace:
    """A run at a start; at another one where a matrix cannot be factored at the first, as starts are medians of a few draws."""
    run: Callable[..., Trace] = block(trace(started(program.model, init)).get_trace)
    with store.active(), torch.no_grad():
        for _ in range(_STARTS - 1):
            with suppress(ArithmeticError, torch.linalg.LinAlgError):  # type: ignore[attr-defined]
                return run(*program.args, **program.kwargs)
        return run(*program.args, **program.kwargs)


def is_determined(site: Site) -> bool:
    """Whether other sites determine its value: a deterministic statement, or what a reparameterisation has left of a site."""
    fn = site.fn
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return site.is_deterministic or (site.is_observed and isinstance(fn, Delta))


def _is_data(site: Site) -> bool:
    return site.is_observed and not is_determined(site) and not site.is_factor


def _refuse_subsampling(recorded: Trace) -> None:
    for site in recorded.samples():
        if site.is_subsample and len(site.value) < site.fn.size:
            raise SubsamplingError(
                f"plate {site.name!r} takes {len(site.value)} of {site.fn.size} rows: the log density of a subsample is an "
                "estimate, other in each run\n"
                "The way out: give the model all rows (leave out subsample_size and subsample), or fit by SVI, which needs "
                "estimates only."
            )


def _latent(recorded: Trace) -> tuple[dict[str, Block], frozenset[str]]:
    """The blocks of continuous sites, and the names of discrete ones."""
    blocks: dict[str, Block] = {}
    enumerated = set()
    stop = 0
    for name, site in recorded.iter_stochastic_nodes():
        if isinstance(site.fn, Delta):
            continue
        if site.num_samples is not None:
            raise ModelError(
                f"site {name!r} is marked to be sampled {site.num_samples} times in parallel: its density would be an estimate\n"
                "The way out: leave out num_samples."
            )
        if site.fn.support.is_discrete:
            _check_enumerable(site)
            enumerated.add(name)
        else:
            _refuse_circle(site)
            blocks[name] = site_block(site, stop)
            stop = blocks[name].slice.stop
    return blocks, frozenset(enumerated)


def _refuse_circle(site: Site) -> None:
    """A periodic density has infinite mass on the real line, which torch gives as the support."""
    fn = site.fn
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    if type(fn).__name__ in _ON_A_CIRCLE:
        raise ModelError(
            f"site {site.name!r}: {type(fn).__name__} is a density on a circle, its support here the whole real line: over that "
            "it repeats for ever, and has infinite mass\n"
            "The way out: take the angle of a latent vector, x = sample(..., Normal(zeros(2), 1).to_event(1)) and "
            "atan2(x[1], x[0]), with the log density of the angle as a factor."
        )


def _check_enumerable(site: Site) -> None:
    try:
        if getattr(site.fn, "has_enumerate_support", False):
            site.fn.enumerate_support(expand=False)
            return
        reason = f"{type(site.fn).__name__} has infinitely many values, or does not list them"
    except NotImplementedError as error:
        reason = str(error)
    raise ModelError(
        f"discrete latent site {site.name!r} cannot be summed out: {reason}\n"
        "The way out: integrate it out by hand, take a distribution with finite support, or write a guide for it and fit by SVI."
    )


def _parameter_blocks(recorded: Trace, store: ParamStoreDict, start: int) -> dict[str, Block]:
    blocks: dict[str, Block] = {}
    for name, site in recorded.nodes.items():
        if not site.is_param:
            continue
        leaf = store.leaf(name)
        if MODULE_NAMESPACE_DIVIDER in name:
            module_name = name.partition(MODULE_NAMESPACE_DIVIDER)[0]
            raise ModelError(
                f"parameter {name!r} belongs to the torch module {module_name!r}, which reads its own tensors when it is called: "
                "as a coordinate it would change nothing\n"
                "The way out: ember.nn.module.to_pyro_module_(net) makes it a PyroModule, whose parameters can be "
                "coordinates; or train by SVI."
            )
        if leaf is None:
            raise ModelError(
                f"parameter {name!r} lives in a module and not in the store, and cannot be a coordinate\n"
                "The way out: ember.settings.set(module_local_params=False)."
            )
        stop = start + leaf.numel()
        constraint = store.constraint(name)
        transform = transform_to(constraint)
        blocks[name] = Block(
            name,
            leaf.shape,
            transform.forward_shape(leaf.shape),
            transform,
            constraint,
            constraint.event_dim,
            slice(start, stop),
            leaf.dtype,
        )
        start = stop
    return blocks


def _row(
    recorded: Trace, store: ParamStoreDict, blocks: dict[str, Block], parameters: dict[str, Block]
) -> Tensor:
    parts = [b.transform.inv(recorded.nodes[name].value) for name, b in blocks.items()]
    leaves: Iterator[Any] = (store.leaf(name) for name in parameters)
    parts += [leaf.detach() for leaf in leaves]
    dtype = parts[0].dtype
    for part in parts:
        dtype = torch.promote_types(dtype, part.dtype)
    return torch.cat([part.reshape(-1).to(dtype) for part in parts])
