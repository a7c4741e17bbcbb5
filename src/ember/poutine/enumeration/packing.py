"""Naming the dims of a trace's log densities: one symbol for each plate and each enumerated site.

A packed tensor has no dims of size 1; its attribute ``_pyro_dims`` names those that it has. Enumeration dims that are used again
(see :func:`~ember.poutine.markov`) get different symbols.
"""

from __future__ import annotations

from collections.abc import Mapping

from opt_einsum import get_symbol

from ember.distributions.score_parts import ScoreParts
from ember.errors import ModelError
from ember.ops.packed import pack
from ember.poutine.shape_table import format_shapes
from ember.poutine.site import Packed, Site


def symbolize_dims(
    nodes: Mapping[str, Site], plate_to_symbol: dict[str, str] | None
) -> tuple[dict[str, str], dict[str, int]]:
    """Put ``_dim_to_symbol`` and ``_enumerate_symbol`` into ``infer`` of the sample sites.

    Args:
        nodes: the sites of a trace.
        plate_to_symbol: symbols of plates, to be extended; plates of model and guide share theirs.

    Returns:
        The symbols by plate, and the dims by symbol.
    """
    plate_to_symbol = {} if plate_to_symbol is None else plate_to_symbol
    symbol_to_dim: dict[str, int] = {}
    for site in nodes.values():
        if not site.is_sample:
            continue
        # Even numbers are for plates, odd ones for enumeration.
        dim_to_symbol: dict[int, str] = {}
        for frame in site.cond_indep_stack:
            if frame.dim is not None:
                if frame.name not in plate_to_symbol:
                    plate_to_symbol[frame.name] = get_symbol(2 * len(plate_to_symbol))
                dim_to_symbol[frame.dim] = plate_to_symbol[frame.name]
        for dim, unique_id in (site.dim_to_id or {}).items():
            dim_to_symbol[dim] = get_symbol(1 + 2 * unique_id)
        symbol_to_dim.update((symbol, dim) for dim, symbol in dim_to_symbol.items())
        if site.enumerate_dim is not None:
            site.enumerate_symbol = dim_to_symbol[site.enumerate_dim]
        site.dim_to_symbol = dim_to_symbol
    return plate_to_symbol, symbol_to_dim


def pack_tensors(nodes: Mapping[str, Site]) -> None:
    """Put packed masks and log densities into ``packed`` of the sample sites, whose dims have symbols.

    Raises:
        ValueError: if a log density has a dim that is neither a plate's nor an enumerated site's.
    """
    for name, site in nodes.items():
        if not site.is_sample:
            continue
        try:
            site.packed = _packed(site)
        except ValueError as error:
            table = format_shapes(nodes, "Trace Shapes:", site.name)
            raise ModelError(f"Error while packing tensors at site '{name}':\n  {error}\n{table}") from error


def _packed(site: Site) -> Packed:
    dim_to_symbol = site.dim_to_symbol or {}
    packed = Packed(mask=pack(site.mask, dim_to_symbol))
    if "score_parts" in site:
        # Parts that are one tensor stay one tensor.
        parts = {id(part): pack(part, dim_to_symbol) for part in site.score_parts}
        packed.score_parts = ScoreParts(*(parts[id(part)] for part in site.score_parts))
        packed.log_prob = packed.score_parts.log_prob
    elif "log_prob" in site:
        packed.log_prob = pack(site.log_prob, dim_to_symbol)
    if "log_prob" in packed:
        same = site.unscaled_log_prob is site.log_prob
        packed.unscaled_log_prob = packed.log_prob if same else pack(site.unscaled_log_prob, dim_to_symbol)
    return packed
