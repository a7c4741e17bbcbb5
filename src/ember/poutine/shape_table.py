"""The table of shapes that errors carry: one row a parameter, distribution, value and log density, batch ``|`` event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import NamedTuple

from ember.poutine.site import Site


class _Row(NamedTuple):
    """A label; cells that line up on the right (sizes of a parameter; batch sizes and the bar); event sizes behind them."""

    label: str
    batch: list[str]
    event: list[str]


def format_shapes(nodes: Mapping[str, Site], title: str, last_site: str | None) -> str:
    """The table for the sites of a trace, up to and including ``last_site``."""
    if not nodes:
        return title
    shown = _up_to(nodes, last_site)
    rows = [_Row(title, [], []), _Row("Param Sites:", [], [])]
    rows += [
        _Row(name, _sizes(getattr(site.value, "shape", ())), []) for name, site in shown if site.is_param
    ]
    rows.append(_Row("Sample Sites:", [], []))
    for name, site in shown:
        if site.is_sample:
            rows += _sample_rows(name, site)
    return "\n".join(_justify(rows))


def _up_to(nodes: Mapping[str, Site], last_site: str | None) -> list[tuple[str, Site]]:
    shown = []
    for name, site in nodes.items():
        shown.append((name, site))
        if name == last_site:
            break
    return shown


def _sizes(shape: Iterable[int]) -> list[str]:
    return [str(size) for size in shape]


def _sample_rows(name: str, site: Site) -> list[_Row]:
    event_shape = tuple(getattr(site.fn, "event_shape", ()))
    value_shape = tuple(getattr(site.value, "shape", ()))
    border = len(value_shape) - len(event_shape)
    rows = [
        _Row(f"{name} dist", [*_sizes(getattr(site.fn, "batch_shape", ())), "|"], _sizes(event_shape)),
        _Row("value", [*_sizes(value_shape[:border]), "|"], _sizes(value_shape[border:])),
    ]
    if "log_prob" in site:
        rows.append(_Row("log_prob", [*_sizes(getattr(site.log_prob, "shape", ())), "|"], []))
    return rows


def _justify(rows: list[_Row]) -> list[str]:
    batch_width = max(len(row.batch) for row in rows)
    event_width = max(len(row.event) for row in rows)
    cells = [
        [row.label]
        + [""] * (batch_width - len(row.batch))
        + row.batch
        + row.event
        + [""] * (event_width - len(row.event))
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip_longest(*cells, fillvalue="")]
    return [" ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
