"""Draws from the predictive distribution: a model run on samples of its posterior."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from ember.errors import ModelError
from ember.infer.posterior.importance import log_prob_by_row
from ember.infer.posterior.prediction_arguments import check_arguments, number_of, of_fit, warn_of_data
from ember.infer.posterior.prediction_rows import Prediction
from ember.infer.posterior.prediction_runs import (
    PLATE,
    Asked,
    Layout,
    Run,
    in_parallel,
    in_sequence,
    layout_of,
)
from ember.infer.posterior.weighed_samples import MHResampler as MHResampler
from ember.infer.posterior.weighed_samples import WeighedPredictiveResults as WeighedPredictiveResults
from ember.params.fits import FromFit, programs_of, store_of
from ember.poutine.messenger import unwrap
from ember.poutine.prune import prune_subsample_sites
from ember.poutine.trace_struct import Trace

Program = Callable[..., Any]
Samples = dict[str, Any]


class Predictive(torch.nn.Module):
    """Runs a model on samples of its latent variables, and collects what the model draws.

    Call the object with the arguments of the model, but without the data that the model shall draw: observed
    data come back as they are. It returns a dict of tensors by site, with the samples along dim 0. It records
    no gradients, and evaluates no densities (``poutine.mask(mask=False)``).

    ``Predictive(fit)`` takes the model and the draws of what :func:`ember.fit` has returned: ``num_samples``
    of them, evenly; all by default. ``Predictive(svi, num_samples=...)`` takes model and guide of an SVI. It
    takes those of what ``svi.run`` and ``svi.fit`` return too, as long as the parameters are those of the end
    of the fit.

    Args:
        model: the program to run, or what was fitted: a fit, an SVI, or the result of its ``run`` or ``fit``.
        posterior_samples: values by site, stacked along dim 0, such as ``fit.draws``. All must have the same
            number. Values of deterministic sites are computed again, if all sites before them have values: so
            the arguments may differ from those of the fit.
        guide: draws the latent sites, if there are no ``posterior_samples``.
        num_samples: how many samples to draw. ``posterior_samples`` determine it if they are given. Without
            samples and without a guide, latent sites are drawn from the prior.
        return_sites: the sites to return; ``"_RETURN"`` is what the model returns. By default all but those
            of ``posterior_samples``; with a guide, or if None, all.
        parallel: run the model once, inside of a plate, instead of once for each sample. Its batch dims must
            all have plates.
        batch_size: run on so many samples at a time, to bound the memory of a parallel run. None runs on all.
        progress: show a progress bar.
        by_rows: run guide and model once for each sample, in native code if there are many samples and the
            programs can be captured. The programs need not broadcast. Only the sites to return take memory in
            proportion to the number of samples. The samples are those of a loop that runs the guide and then
            the model.

    Warns:
        UserWarning: if the model observes every site that is returned: leave out the data that it shall draw.

    Raises:
        ValueError: if the number of samples is not known, a guide and samples are given, or ``batch_size`` is
            below 1.
        ModelError: if both a fit and samples or a guide are given; if the parameters have changed since the
            fit ended; if ``posterior_samples`` is no dictionary, or model or guide cannot be called; under
            both ``parallel`` and ``by_rows``; under ``parallel``, when it is called, if the program does not
            work with all samples in one run.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> from ember.infer import Predictive
    >>> def model(x):
    ...     slope = ember.sample("slope", dist.Normal(0.0, 1.0))
    ...     with ember.plate("data", len(x)):
    ...         ember.sample("y", dist.Normal(slope * x, 0.1))
    >>> predictive = Predictive(model, {"slope": torch.ones(50)}, parallel=True)
    >>> predictive(torch.tensor([1.0, 2.0, 3.0]))["y"].shape
    torch.Size([50, 3])
    """

    if TYPE_CHECKING:
        __call__: Callable[..., dict[str, Tensor]]

    def __init__(
        self,
        model: Program | FromFit,
        posterior_samples: Samples | None = None,
        guide: Program | None = None,
        num_samples: int | None = None,
        return_sites: Collection[str] | None = (),
        parallel: bool = False,
        *,
        batch_size: int | None = None,
        progress: bool = False,
        by_rows: bool = False,
    ) -> None:
        super().__init__()
        known = programs_of(model)
        if known is not None:
            model, posterior_samples, guide = of_fit(known, posterior_samples, guide, num_samples)
        check_arguments(model, posterior_samples, guide)
        if parallel and by_rows:
            raise ModelError(
                "parallel=True makes one run of all samples, by_rows=True one of each: choose one of them"
            )
        if posterior_samples is None and num_samples is None:
            raise ValueError("Either posterior_samples or num_samples must be specified.")
        samples = {} if posterior_samples is None else posterior_samples
        num_samples = number_of(samples, num_samples)
        if guide is not None and samples:
            raise ValueError("`posterior_samples` cannot be provided with the `guide` argument.")
        if return_sites is not None:
            assert isinstance(return_sites, (list, tuple, set)), (
                f"return_sites must be a list, tuple or set of names, got {return_sites!r}"
            )
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self._known = known
        self.model: Program = model  # type: ignore[assignment]
        self.posterior_samples = samples
        self.num_samples = num_samples
        self.guide = guide
        self.return_sites = return_sites
        self.parallel = parallel
        self.batch_size = batch_size
        self.progress = progress
        self.by_rows = by_rows

    def call(self, *args: object, **kwargs: object) -> tuple[Tensor, ...]:
        """Return the samples as a tuple, sorted by site, which :func:`torch.jit.trace_module` can trace."""
        return tuple(value for _, value in sorted(self.forward(*args, **kwargs).items()))

    def forward(self, *args: object, **kwargs: object) -> dict[str, Tensor]:
        """Draw samples by site, ``(num_samples, *shape)`` each.

        Args:
            args: arguments of the model (and guide), without the data that it shall draw.
            kwargs: keyword arguments of the model (and guide).
        """
        with (
            torch.no_grad(),
            self._in_store(),
            tqdm(total=self.num_samples) if self.progress else nullcontext() as bar,
        ):
            found = self._rows(args, kwargs, bar) if self.by_rows else None
            return _joined(list(self._batches(args, kwargs, bar))) if found is None else found

    def _in_store(self) -> AbstractContextManager[object]:
        """Work where the parameters are; those of a fit must be as it left them."""
        if self._known is None:
            return fitted(self.guide, self.model)
        self._known.check_unchanged()
        return self._known.store.active()

    def _rows(self, args: tuple[Any, ...], kwargs: dict[str, Any], bar: object) -> Samples | None:
        """Samples by rows; None where a value is no tensor."""
        sites = self.return_sites if self.guide is None else self.return_sites or None
        asked = Prediction(
            self.model,
            self.guide,
            self.posterior_samples,
            self.num_samples,
            sites,
            args,
            kwargs,
            self.batch_size,
            bar,
        )
        layout = asked.layout()
        warn_of_data(layout)
        return None if None in layout.shapes.values() else asked.collected(layout)

    def _batches(self, args: tuple[Any, ...], kwargs: dict[str, Any], bar: object) -> Iterator[Samples]:
        run = in_parallel if self.parallel else in_sequence
        return_sites, guide_layout = self.return_sites, None
        if self.guide is not None:
            return_sites = return_sites or None
            guide_layout = layout_of(self.guide, {}, None, args, kwargs)
        layout: Layout | None = None
        for start in range(0, self.num_samples, self.batch_size or self.num_samples):
            size = min(self.batch_size or self.num_samples, self.num_samples - start)
            samples = {name: value[start : start + size] for name, value in self.posterior_samples.items()}
            if self.guide is not None and guide_layout is not None:
                drawn = run(Asked(self.guide, samples, size, guide_layout, args, kwargs, check=start == 0))
                samples = drawn.samples
            if layout is None:
                layout = layout_of(self.model, samples, return_sites, args, kwargs)
                warn_of_data(layout)
            given = layout.conditioned(samples)
            yield run(Asked(self.model, given, size, layout, args, kwargs, bar=bar, check=start == 0)).samples

    def get_samples(self, *args: object, **kwargs: object) -> Any:
        """Deprecated: call the object."""
        warnings.warn(
            "The method `.get_samples` has been deprecated in favor of `.forward`.",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.forward(*args, **kwargs)

    @torch.no_grad()
    def get_vectorized_trace(self, *args: object, **kwargs: object) -> Trace:
        """Return one trace of the model with all samples along a plate.

        All batch dims of the model must have plates.
        """
        with self._in_store():
            return self._vectorized_trace(args, kwargs)

    def _vectorized_trace(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Trace:
        samples = self.posterior_samples
        if self.guide is not None:
            run = in_parallel if self.parallel else in_sequence
            layout = layout_of(self.guide, samples, (), args, kwargs)
            samples = run(Asked(self.guide, samples, self.num_samples, layout, args, kwargs)).samples
        layout = layout_of(self.model, samples, (), args, kwargs)
        given = layout.conditioned(samples)
        trace = in_parallel(Asked(self.model, given, self.num_samples, layout, args, kwargs)).trace
        assert trace is not None
        return trace


def fitted(*programs: Program | None) -> AbstractContextManager[object]:
    """Work on the store in which one of the programs was fitted, if that is not the active one."""
    stores = [store_of(unwrap(program)) for program in programs if program is not None]
    known = next((store for store in stores if store is not None), None)
    return nullcontext() if known is None else known.active()


def _joined(batches: list[Samples]) -> Samples:
    if len(batches) == 1:
        return batches[0]
    joined = {}
    for name in list(batches[0]):
        parts = [batch.pop(name) for batch in batches]
        joined[name] = torch.cat(parts) if isinstance(parts[0], Tensor) else parts
    return joined


@dataclass
class _Layouts:
    """What the first batch has seen of the programs of the others."""

    guide: Layout | None = None
    scored: Layout | None = None
    model: Layout | None = None


class WeighedPredictive(Predictive):
    """Draws as :class:`Predictive` does with a guide; samples carry the log weights ``log p - log q``.

    Called with ``model_guide=...``, the weights are those of that model (the one that was fitted, with its
    data) instead of the one that predicts. :func:`ember.ops.stats.weighed_quantile` takes the weights.

    Args:
        model: the program to run.
        posterior_samples: must be empty.
        guide: draws the latents.
        num_samples: how many samples to draw.
        return_sites: the sites to return; all by default.
        parallel: run model and guide once, inside of a plate, instead of once for each sample.
        batch_size: run on so many samples at a time; all if None.
        progress: show a progress bar.

    Raises:
        ValueError: when it is called without a guide.
        ModelError: when it is called under ``by_rows``.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> from ember.infer import WeighedPredictive
    >>> def model(y=None):
    ...     mu = ember.sample("mu", dist.Normal(0.0, 1.0))
    ...     ember.sample("y", dist.Normal(mu, 1.0), obs=y)
    >>> def guide(y=None):
    ...     ember.sample("mu", dist.Normal(0.5, 1.0))
    >>> predictive = WeighedPredictive(model, guide=guide, num_samples=100)
    >>> found = predictive(model_guide=lambda: model(torch.tensor(1.0)))
    >>> found.samples["y"].shape, found.log_weights.shape
    (torch.Size([100]), torch.Size([100]))
    """

    if TYPE_CHECKING:
        __call__: Callable[..., WeighedPredictiveResults]  # type: ignore[assignment]

    def call(self, *args: object, **kwargs: object) -> WeighedPredictiveResults:  # type: ignore[override]
        """Draw with the samples as a tuple, sorted by site."""
        result = self.forward(*args, **kwargs)
        return WeighedPredictiveResults(
            samples=tuple(value for _, value in sorted(result.samples.items())),
            log_weights=result.log_weights,
            guide_log_prob=result.guide_log_prob,
            model_log_prob=result.model_log_prob,
        )

    def forward(self, *args: Any, **kwargs: Any) -> WeighedPredictiveResults:  # type: ignore[override]
        """Draw samples, and compute their log weights, ``(num_samples,)``.

        Args:
            args: arguments of model and guide.
            kwargs: keyword arguments of model and guide; ``model_guide`` is the model of the weights.
        """
        model_guide = kwargs.pop("model_guide", self.model)
        if self.guide is None:
            raise ValueError("WeighedPredictive needs a guide: WeighedPredictive(model, guide=guide, ...)")
        if self.by_rows:
            raise ModelError("WeighedPredictive has no by_rows=True: leave it out, and give batch_size")
        step = self.batch_size or self.num_samples
        sizes = [min(step, self.num_samples - start) for start in range(0, self.num_samples, step)]
        layouts = _Layouts()
        batches = []
        with (
            torch.no_grad(),
            self._in_store(),
            tqdm(total=self.num_samples) if self.progress else nullcontext() as bar,
        ):
            for size in sizes:
                batches.append(self._batch(model_guide, size, args, kwargs, layouts))
                if bar is not None:
                    bar.update(size)
        guide_log_prob = torch.cat([batch[1] for batch in batches])
        model_log_prob = torch.cat([batch[2] for batch in batches])
        return WeighedPredictiveResults(
            samples=_joined([batch[0] for batch in batches]),
            log_weights=model_log_prob - guide_log_prob,
            guide_log_prob=guide_log_prob,
            model_log_prob=model_log_prob,
        )

    def _batch(
        self,
        model_guide: Program,
        size: int,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        layouts: _Layouts,
    ) -> tuple[Samples, Tensor, Tensor]:
        """Samples and the log densities of guide and model; ``layouts`` are filled by the first batch."""
        run = in_parallel if self.parallel else in_sequence
        guide, sites = self.guide, self.return_sites or None
        assert guide is not None
        first = layouts.guide is None
        seen = layouts.guide or layout_of(guide, {}, None, args, kwargs, mask=False)
        layouts.guide = seen
        drawn = run(Asked(guide, {}, size, seen, args, kwargs, score=True, check=first))
        seen = layouts.scored or layout_of(model_guide, drawn.samples, sites, args, kwargs, mask=False)
        layouts.scored = seen
        scored = run(Asked(model_guide, drawn.samples, size, seen, args, kwargs, score=True, check=first))
        densities = _log_probs(drawn, size), _log_probs(scored, size)
        if model_guide is not self.model:
            seen = layouts.model or layout_of(self.model, drawn.samples, sites, args, kwargs)
            layouts.model = seen
            scored = run(Asked(self.model, drawn.samples, size, seen, args, kwargs, check=first))
        return scored.samples, *densities


def _log_probs(run: Run, size: int) -> Tensor:
    if run.trace is None:
        return torch.stack(run.log_probs)
    trace = prune_subsample_sites(run.trace)
    trace.compute_log_prob()
    return log_prob_by_row(trace, PLATE, size)
