"""The stored truth about a posterior, and how far an answer is from it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

REFERENCES = Path(__file__).parents[2] / "tests" / "fit" / "references"
LARGEST_SHIFT, LARGEST_STRETCH = 0.1, 0.1
"""How far a mean may be off, in standard deviations of the truth, and a standard deviation, as a fraction of it."""


class Moment(NamedTuple):
    """Mean and standard deviation of one scalar."""

    mean: float
    sd: float


class Errors(NamedTuple):
    """How far the worst scalars are off, and which they are."""

    shift: float
    shifted: str
    stretch: float
    stretched: str

    @property
    def means_hold(self) -> bool:
        """Whether all means are within the limit."""
        return self.shift <= LARGEST_SHIFT

    @property
    def all_hold(self) -> bool:
        """Whether all means and all standard deviations are within their limits."""
        return self.means_hold and self.stretch <= LARGEST_STRETCH


def labels(site: str, shape: Iterable[int]) -> list[str]:
    """Names of a site's entries.

    >>> labels("mu", []), labels("b", [2, 1])
    (['mu'], ['b[0,0]', 'b[1,0]'])
    """
    indices = list(product(*map(range, shape)))
    return [f"{site}[{','.join(map(str, index))}]" if index else site for index in indices]


def known() -> list[str]:
    """The models with a stored truth."""
    return sorted(path.stem for path in REFERENCES.glob("*.json"))


def stored(name: str) -> dict[str, Any]:
    """What ``benchmarks.posteriors.truth`` wrote about a model.

    Raises:
        FileNotFoundError: if it never ran for this model.
    """
    found: dict[str, Any] = json.loads((REFERENCES / f"{name}.json").read_text())
    return found


def moments(name: str) -> dict[str, Moment]:
    """The true moments of all scalars that vary."""
    found = {}
    for site, columns in stored(name)["sites"].items():
        for label, mean, sd in zip(
            labels(site, columns["shape"]), columns["mean"], columns["sd"], strict=True
        ):
            if sd > 0:
                found[label] = Moment(mean, sd)
    return found


def errors(truth: Mapping[str, Moment], answer: Mapping[str, Moment]) -> Errors:
    """The worst errors of an answer; a number that is not finite is as wrong as can be.

    Raises:
        KeyError: if the answer leaves out a scalar of the truth.
    """
    shifts = {label: abs(answer[label].mean - mean) / sd for label, (mean, sd) in truth.items()}
    stretches = {label: abs(answer[label].sd / sd - 1.0) for label, (_, sd) in truth.items()}
    shifted, stretched = _worst(shifts), _worst(stretches)
    return Errors(shifts[shifted], shifted, stretches[stretched], stretched)


def _worst(of: dict[str, float]) -> str:
    for label, value in of.items():
        if value != value:
            of[label] = float("inf")
    return max(of, key=of.__getitem__)
