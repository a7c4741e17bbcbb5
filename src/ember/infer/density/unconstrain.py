"""From constrained values of sites to rows of coordinates."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ember.errors import ModelError
from ember.infer.density.handlers import check_support
from ember.infer.density.joint import Joint
from ember.infer.density.layout import Block


def unconstrained_rows(joint: Joint, sites: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
    """See :meth:`ember.infer.density.density.Density.unconstrain`."""
    structure = joint.structure
    blocks = structure.all_blocks
    unknown = sites.keys() - blocks.keys() - structure.deterministic.keys()
    if unknown:
        raise ModelError(f"the density has no sites {sorted(unknown)}; it has {list(blocks)}")
    values = {name: _checked(block, sites) for name, block in blocks.items()}
    counts = {name: len(value) for name, value in values.items()}
    if len(set(counts.values())) > 1:
        raise ModelError(f"all sites must have the same number of rows, got {counts}")
    num_rows = next(iter(counts.values()))
    parts = {}
    for name, block in blocks.items():
        if block.fixed:
            check_support(name, block.support, values[name])
            parts[name] = block.transform.inv(values[name])
    varying = [name for name, block in blocks.items() if not block.fixed]
    if varying:
        for index in range(num_rows):
            found = joint.unconstrained({name: value[index] for name, value in values.items()})
            for name in varying:
                parts.setdefault(name, []).append(found[name])
    flat = [
        (torch.stack(parts[name]) if name in varying else parts[name]).reshape(num_rows, -1).to(dtype)
        for name in blocks
    ]
    return torch.cat(flat, -1)


def _checked(block: Block, sites: Mapping[str, Tensor]) -> Tensor:
    if block.name not in sites:
        raise ModelError(f"values of site {block.name!r} are missing, of shape (S, {_dims(block)})")
    value = torch.as_tensor(sites[block.name]).detach().to(block.dtype)
    if value.dim() != len(block.shape) + 1 or value.shape[1:] != block.shape:
        raise ModelError(
            f"values of site {block.name!r} must have the shape (S, {_dims(block)}), got {tuple(value.shape)}"
        )
    return value


def _dims(block: Block) -> str:
    return ", ".join(map(str, block.shape))
