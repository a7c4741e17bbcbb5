"""Sums of tensors that live in different plates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from ember.poutine.plates.indep_messenger import CondIndepStackFrame
from ember.poutine.site import site_is_subsample
from ember.poutine.trace_struct import Trace

Frames = Iterable[CondIndepStackFrame]
PARTICLE_PLATE = "num_particles_vectorized"


def get_plate_stacks(trace: Trace) -> dict[str, list[CondIndepStackFrame]]:
    """The vectorised plates around each sample site."""
    return {
        name: [frame for frame in site.cond_indep_stack if frame.vectorized]
        for name, site in trace.nodes.items()
        if site.type == "sample" and not site_is_subsample(site)
    }


def get_dependent_plate_dims(sites: Iterable[Any]) -> list[int]:
    """The dims of the plates that are around some but not all of the sample sites, in ascending order."""
    stacks = [set(site.cond_indep_stack) for site in sites if site.type == "sample"]
    if not stacks:
        return []
    partial = set.union(*stacks) - set.intersection(*stacks)
    return sorted({frame.dim for frame in partial if frame.dim is not None})


def particle_dim(site: Any) -> int:
    """The dim of the plate of vectorised particles at a site."""
    return next(frame.dim for frame in site.cond_indep_stack if frame.name == PARTICLE_PLATE)  # type: ignore[no-any-return]


class MultiFrameTensor(dict[frozenset[CondIndepStackFrame], Tensor]):
    """A sum of tensors with different plates, kept apart by plates until it is asked for.

    >>> import torch
    >>> frame = CondIndepStackFrame("data", -1, 3, 0)
    >>> cost = MultiFrameTensor(((frame,), torch.ones(3)), ((), torch.tensor(2.0)))
    >>> cost.sum_to([])
    tensor(5.)
    """

    def __init__(self, *items: tuple[Frames, Tensor]) -> None:
        super().__init__()
        self.add(*items)

    def add(self, *items: tuple[Frames, Tensor]) -> None:
        """Add pairs of plates and a tensor with a dim for each of the plates."""
        for stack, value in items:
            frames = frozenset(frame for frame in stack if frame.vectorized)
            assert all(frame.dim is not None and -value.dim() <= frame.dim < 0 for frame in frames)
            known = self.get(frames)
            self[frames] = value if known is None else known + value

    def sum_to(self, target_frames: Iterable[CondIndepStackFrame]) -> Tensor | float:
        """The sum, with only the dims of ``target_frames`` left (0.0 if nothing was added)."""
        targets = tuple(target_frames)
        result: Tensor | float | None = None
        for frames, value in self.items():
            for frame in frames:
                assert frame.dim is not None
                if frame not in targets and value.shape[frame.dim] != 1:
                    value = value.sum(frame.dim, keepdim=True)
            while value.shape and value.shape[0] == 1:
                value = value.squeeze(0)
            result = value if result is None else result + value
        return 0.0 if result is None else result

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'({sorted(map(str, frames))}, ...)' for frames in self)})"
