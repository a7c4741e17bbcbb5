"""Running a program on given values of some of its sites: once for each sample, or once for all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Size, Tensor

from ember import poutine
from ember.errors import ModelError
from ember.infer.posterior.parallel_check import Rows, Settled, cannot_run, check_rows, spread
from ember.poutine.prune import prune_subsample_sites
from ember.poutine.site import Site
from ember.poutine.trace_struct import RETURN, Trace
from ember.primitives import plate

Program = Callable[..., Any]
PLATE = "_num_predictive_samples"


@dataclass(frozen=True)
class Layout:
    """What one run of a program tells about the shapes of its sites."""

    max_plate_nesting: int
    shapes: dict[str, Size | None]
    """Of the sites to return, without the dim of samples; None for what is no tensor."""
    event_dims: dict[str, int]
    order: tuple[str, ...] = ()
    """Of all sample sites, as they come."""
    recomputed: frozenset[str] = frozenset()
    """Deterministic sites with given values, where all that is drawn before them is given: the arguments may be others now."""
    only_data: tuple[str, ...] = ()
    """The sites to return, if the program observes all of them: each sample has the same values there."""

    def conditioned(self, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The samples that the program is run on."""
        return {name: value for name, value in samples.items() if name not in self.recomputed}

    def aligned(self, name: str, value: Tensor) -> Tensor:
        """Samples with size-1 dims put between the dim of samples and their own, as plates to the left of them need."""
        rest = value.shape[1:]
        missing = self.max_plate_nesting + self.event_dims.get(name, 0) - len(rest)
        return value.reshape((value.shape[0],) + (1,) * missing + rest)


@dataclass
class Run:
    """What runs of a program have drawn."""

    samples: dict[str, Any]
    trace: Trace | None = None
    """Of a parallel run."""
    log_probs: list[Tensor] = field(default_factory=list)
    """Of runs one after the other, if asked for."""


def guess_max_plate_nesting(model: Program, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """How many dims from the right belong to plates, from one run of the model."""
    with poutine.block():
        return _nesting(poutine.trace(model).get_trace(*args, **kwargs))


def _nesting(trace: Trace) -> int:
    frames = [frame for site in trace.samples() for frame in site.cond_indep_stack]
    return max((-frame.dim for frame in frames if frame.dim is not None), default=0)


def _masked(program: Program) -> Program:
    masked: Program = poutine.mask(program, mask=False)
    return masked


def layout_of(
    program: Program,
    given: Mapping[str, Tensor],
    return_sites: Collection[str] | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    mask: bool = True,
) -> Layout:
    """Run a program once to see its sites.

    Args:
        program: a model or guide.
        given: samples of sites whose values will be given: the first stands in for all, so that nothing is drawn there.
        return_sites: the sites to return; all if None, all but those in ``given`` if empty.
        args: the program's.
        kwargs: the program's.
        mask: evaluate no densities.
    """
    first = {name: value[0] for name, value in given.items()}
    settled = Settled(first, recompute=True)(program) if given else program
    with torch.no_grad(), poutine.block():
        whole = poutine.trace(_masked(settled) if mask else settled).get_trace(*args, **kwargs)
    trace = prune_subsample_sites(whole)
    nesting = _nesting(whole)
    shapes: dict[str, Size | None] = {}
    event_dims = {}
    for name in trace.stochastic_nodes + trace.observation_nodes:
        site = trace.nodes[name]
        event_dims[name] = getattr(site.fn, "event_dim", 0)
        if name in return_sites if return_sites else return_sites is None or name not in given:
            batch_dims = len(site.fn.batch_shape)
            shapes[name] = Size((1,) * (nesting - batch_dims) + site.value.shape)
    data = _only_data([trace.nodes[name] for name in shapes])
    if return_sites is not None and RETURN in return_sites:
        data = ()
        returned = trace.nodes[RETURN].value
        shapes[RETURN] = returned.shape if isinstance(returned, Tensor) else None
    return Layout(
        nesting,
        shapes,
        event_dims,
        tuple(site.name for site in trace.nodes.values() if site.is_sample),
        frozenset(_that_follow(trace, given)),
        data,
    )


def _only_data(sites: Sequence[Site]) -> tuple[str, ...]:
    """The names of observed sites; none where a site is drawn or computed."""
    sites = [site for site in sites if not site.is_factor]
    drawn = any(site.is_deterministic or not site.is_observed for site in sites)
    return () if drawn else tuple(site.name for site in sites)


def _that_follow(trace: Trace, given: Mapping[str, Tensor]) -> Iterator[str]:
    """The deterministic sites with given values for which all that is drawn before them is given."""
    for site in trace.nodes.values():
        if not site.is_sample:
            continue
        if site.is_deterministic and site.name in given:
            yield site.name
        elif not site.is_observed and site.name not in given:
            return


@dataclass(frozen=True)
class Asked:
    """What is to be run."""

    program: Program
    """A model or guide."""
    samples: dict[str, Tensor]
    """Values of some of its sites, stacked along dim 0."""
    num_samples: int
    layout: Layout
    """Of the program."""
    args: tuple[Any, ...]
    """The program's."""
    kwargs: dict[str, Any]
    """The program's."""
    bar: Any = None
    """A progress bar to move on."""
    score: bool = False
    """Whether the log densities are needed; otherwise none are evaluated."""
    check: bool = True
    """Whether a run of many samples is compared with runs of others, and of single ones."""

    @property
    def scored(self) -> Program:
        """The program, without densities if none are needed."""
        return self.program if self.score else _masked(self.program)


def in_sequence(asked: Asked) -> Run:
    """Run a program once for each sample."""
    layout, num_samples = asked.layout, asked.num_samples
    collected: dict[str, list[Any]] = {name: [] for name in layout.shapes}
    log_probs = []
    quiet = asked.scored
    with torch.no_grad():
        for i in range(num_samples):
            given = {name: value[i] for name, value in asked.samples.items()}
            recorder = poutine.trace(poutine.condition(quiet, data=given))
            trace = recorder.get_trace(*asked.args, **asked.kwargs)
            for name, values in collected.items():
                values.append(trace.nodes[name].value)
            if asked.score:
                log_probs.append(torch.as_tensor(trace.log_prob_sum()))
            if asked.bar is not None:
                asked.bar.update()
    stacked: dict[str, Any] = {}
    for name, values in collected.items():
        shape = layout.shapes[name]
        if shape is None:
            stacked[name] = values
        else:
            stacked[name] = torch.stack(values).reshape((num_samples, *shape))
    return Run(stacked, log_probs=log_probs)


def in_parallel(asked: Asked) -> Run:
    """Run a program once, with all samples along a plate left of its own.

    Raises:
        ValueError: if the program does not work with all samples in one run; names the site.
    """
    layout, num_samples, args, kwargs = asked.layout, asked.num_samples, asked.args, asked.kwargs
    particles = plate(PLATE, num_samples, dim=-layout.max_plate_nesting - 1)
    given = {name: layout.aligned(name, value) for name, value in asked.samples.items()}
    vectorized: Program = particles(asked.scored)
    recorder = poutine.trace(poutine.condition(vectorized, data=given))
    with torch.no_grad():
        try:
            trace = recorder.get_trace(*args, **kwargs)
        except (RuntimeError, ValueError, IndexError) as error:
            # Alone it has worked, when its layout was found.
            raise _explained(error, recorder.trace, layout) from error
        if asked.check and num_samples > 1:
            recorded = prune_subsample_sites(trace)
            many = particles(asked.program)
            check_rows(
                Rows(asked.program, many, recorded, num_samples, layout.max_plate_nesting, args, kwargs)
            )
    results: dict[str, Any] = {}
    for name, shape in layout.shapes.items():
        value = trace.nodes[name].value
        if shape is not None:
            value = spread(name, value, Size((num_samples, *shape)))
        results[name] = value
    if asked.bar is not None:
        asked.bar.update(num_samples)
    return Run(results, trace)


def _explained(error: Exception, recorded: Trace, layout: Layout) -> ModelError:
    """The error of a run of many samples, with the site that it was on the way to."""
    done = {name: site for name, site in recorded.nodes.items() if site.is_sample}
    following = next((name for name in layout.order if name not in done), None)
    shapes = {
        name: site.value.shape
        for name, site in done.items()
        if isinstance(site.value, Tensor) and not site.is_subsample
    }
    return cannot_run(following, str(error).partition("Trace Shapes:")[0].strip(), shapes)
