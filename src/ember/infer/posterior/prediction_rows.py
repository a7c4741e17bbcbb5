"""Predictions sample by sample, by rows: for programs that do not broadcast, in memory that results alone fill."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Size, Tensor

from ember import poutine
from ember.capture.rows.function import WORTH_A_PROGRAM, rows
from ember.infer.posterior.prediction_runs import Layout, layout_of
from ember.infer.traces.validate_all import switches
from ember.poutine.prune import prune_subsample_sites
from ember.poutine.trace_struct import Trace
from ember.rng import fork_torch_rng

Program = Callable[..., Any]
_NUMBERS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Prediction:
    """What is to be predicted.

    Attributes:
        model: the program that predicts.
        guide: draws its latent sites; None where samples are given.
        samples: given ones, along dim 0.
        num_samples: how many.
        return_sites: which sites come back, as for :func:`~ember.infer.posterior.prediction_runs.layout_of`.
        args: of the programs.
        kwargs: of the programs.
        batch_size: samples from one move of the progress bar to the next; by memory if None.
        bar: a progress bar.
    """

    model: Program
    guide: Program | None
    samples: dict[str, Tensor]
    num_samples: int
    return_sites: Collection[str] | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    batch_size: int | None = None
    bar: Any = None

    def layout(self) -> Layout:
        """The sites to return; torch's stream stays as it is."""
        with fork_torch_rng():
            given = dict(self.samples)
            if self.guide is not None:
                given = {name: value[None] for name, value in self._drawn().items()}
            return layout_of(self.model, given, self.return_sites, self.args, self.kwargs)

    def collected(self, layout: Layout) -> dict[str, Tensor]:
        """Samples by site.

        Args:
            layout: of the model; all values are tensors.
        """
        run = rows(
            lambda given: self._one(given, layout),
            reads=(
                ("the model", self.model),
                ("the guide", self.guide),
                ("an argument", (self.args, self.kwargs)),
            ),
            facts=switches,
            compile=self.num_samples >= WORTH_A_PROGRAM,
        )
        results: dict[str, Tensor] = {}
        size = self.batch_size or max(1, _NUMBERS_AT_ONCE // max(1, sum(map(_size, layout.shapes.values()))))
        for start in range(0, self.num_samples, size):
            stop = min(start + size, self.num_samples)
            given = {name: value[start:stop] for name, value in layout.conditioned(self.samples).items()}
            part = run(given, num_rows=stop - start)
            for name in list(part):
                value = part.pop(name)
                if start == 0:
                    results[name] = value.new_empty((self.num_samples, *value.shape[1:]))
                results[name][start:stop] = value
            if self.bar is not None:
                self.bar.update(stop - start)
        return {
            name: value.reshape(self.num_samples, *(layout.shapes[name] or ()))
            for name, value in results.items()
        }

    def _one(self, given: dict[str, Tensor], layout: Layout) -> dict[str, Tensor]:
        """One sample: the guide, if there is one, and then the model."""
        values = given if self.guide is None else self._drawn()
        with poutine.block(), poutine.mask(mask=False):
            trace = poutine.trace(poutine.condition(self.model, data=values)).get_trace(
                *self.args, **self.kwargs
            )
        return {name: torch.as_tensor(trace.nodes[name].value) for name in layout.shapes}

    def _drawn(self) -> dict[str, Tensor]:
        """What one run of the guide draws."""
        with torch.no_grad(), poutine.block(), poutine.mask(mask=False):
            trace: Trace = poutine.trace(self.guide).get_trace(*self.args, **self.kwargs)
        return {name: trace.nodes[name].value for name in prune_subsample_sites(trace).stochastic_nodes}


def _size(shape: Size | None) -> int:
    return 0 if shape is None else prod(shape)
