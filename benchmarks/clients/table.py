"""The table of clients, in Markdown."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

CLIENTS = {
    "scvi_lda": "1.9.2",
    "scvi_decipher": "1.9.2",
    "scvi_resolvi": "1.9.2",
    "cell2location_slide": "1.9.1",
    "cellbender_run": "1.9.2",
    "chirho_worlds": "1.9.2",
    "gpytorch_gp": "1.9.2",
    "gpytorch_forgetful": "1.9.2",
    "pyroved_vae": "1.9.2",
}
"""Modules beside this one, and the release of pyro-ppl that each runs under."""

BEGIN, END = "<!-- make clients: begin -->", "<!-- make clients: end -->"
_HEAD = (
    "| library | what ran | did | ms a step: pyro-ppl | eager | compiled | captured | "
    "losses differ by: eager | compiled |\n|---|---|---|---:|---:|---:|---:|---:|---:|"
)
_ALL = ("train", "predict", "save", "load")


def render(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """A row for each client.

    Args:
        found: by client, then by ``"pyro"``, ``"ember"`` and ``"compiled"``.
    """
    return "\n".join([_HEAD, *(_row(rows) for rows in found.values())])


def put_into(page: str, table: str) -> str:
    """The page with another table between its marks.

    Raises:
        ValueError: if the page lacks the marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks the marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def _row(rows: Mapping[str, Mapping[str, Any]]) -> str:
    eager, compiled = rows["ember"], rows["compiled"]
    theirs = rows["pyro"].get("losses", [])
    cells = [
        f"{_library(rows)} {eager.get('version', '')}",
        str(eager.get("what", "")),
        _did(eager, compiled),
        *(_milliseconds(rows[way]) for way in ("pyro", "ember", "compiled")),
        _captured(compiled),
        *(_difference(theirs, rows[way].get("losses", [])) for way in ("ember", "compiled")),
    ]
    return f"| {' | '.join(cells)} |"


def _library(rows: Mapping[str, Mapping[str, Any]]) -> str:
    return str(rows["ember"].get("library", "?"))


def _did(*results: Mapping[str, Any]) -> str:
    """What all of them did; loading counts if the new model predicts what the old one did."""
    done = [part for part in _ALL if all(part in result.get("done", []) for result in results)]
    if "load" in done and any(result["loaded differs"] > 1e-6 for result in results):
        done.remove("load")
    return "all" if len(done) == len(_ALL) else ", ".join(done) or "nothing"


def _milliseconds(result: Mapping[str, Any]) -> str:
    """The median of the later half of the steps."""
    steps = result.get("steps", [])
    if not steps:
        return "-"
    found = 1e3 * statistics.median(steps[len(steps) // 2 :])
    return f"{found:.0f}" if found >= 10 else f"{found:.2g}"


def _captured(result: Mapping[str, Any]) -> str:
    """How many of the steps were calls of a program."""
    text = "\n".join(result.get("explained", []))
    calls = sum(int(number) for number in re.findall(r"; (\d+) calls", text))
    return f"{calls} of {len(result.get('steps', []))}"


def _difference(theirs: Sequence[float], ours: Sequence[float]) -> str:
    """The largest relative difference of losses, step by step."""
    if not theirs or len(theirs) != len(ours):
        return "-"
    return f"{max(abs(a - b) / max(abs(a), 1.0) for a, b in zip(theirs, ours, strict=True)):.0e}"
