"""How well will eighteen batters do in the rest of the season? From 45 at-bats each (Efron and Morris, 1975).

A player's own average is a poor guess: 45 at-bats are few. A model in which players differ, but not by too much, does better.
The rest of the season, which no fit has seen, tells by how much.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

import ember
import ember.distributions as dist

TRIED = 45
# Of each player: hits in his first 45 at-bats, at-bats and average in the rest of the season of 1970.
SEASON = {
    "Clemente": (18, 367, 0.346),
    "F. Robinson": (17, 426, 0.298),
    "F. Howard": (16, 521, 0.276),
    "Johnstone": (15, 275, 0.222),
    "Berry": (14, 418, 0.273),
    "Spencer": (14, 466, 0.270),
    "Kessinger": (13, 586, 0.263),
    "L. Alvarado": (12, 138, 0.210),
    "Santo": (11, 510, 0.269),
    "Swoboda": (11, 200, 0.230),
    "Unser": (10, 277, 0.264),
    "Williams": (10, 270, 0.256),
    "Scott": (10, 435, 0.303),
    "Petrocelli": (10, 538, 0.264),
    "E. Rodriguez": (10, 186, 0.226),
    "Campaneris": (9, 558, 0.286),
    "Munson": (8, 408, 0.316),
    "Alvis": (7, 70, 0.200),
}


def batters(hits: Tensor) -> None:
    """Players differ in skill, on the scale of log odds."""
    level = ember.sample("level", dist.Normal(-1.0, 1.0))
    spread = ember.sample("spread", dist.HalfNormal(0.5))
    with ember.plate("players", len(hits)):
        skill = ember.sample("skill", dist.Normal(level, spread))
        ember.deterministic("average", skill.sigmoid())
        ember.sample("hits", dist.Binomial(TRIED, logits=skill), obs=hits)


class Score(NamedTuple):
    """Of a guess: its root mean square error, and the log probability of a player's later hits, on average."""

    error: float
    log_probability: float


def score(averages: Tensor, at_bats: Tensor, later: Tensor) -> Score:
    """Score draws of each player's average, shape ``(draws, players)``, by the rest of the season."""
    error = (averages.mean(0) - later).square().mean().sqrt()
    hits = (at_bats * later).round()
    log_p = dist.Binomial(at_bats, probs=averages).log_prob(hits)
    return Score(error.item(), (torch.logsumexp(log_p, 0) - torch.tensor(len(averages)).log()).mean().item())


def draw(averages: Tensor, own: Tensor, later: Tensor, path: str) -> None:
    """Each player's first average, the fit with its 90 % interval, and what came."""
    figure = Figure(figsize=(7.5, 5.0), dpi=150, layout="constrained")
    axes = figure.subplots()
    rows = range(len(own) - 1, -1, -1)
    low, high = averages.quantile(torch.tensor([0.05, 0.95]), 0)
    axes.hlines(rows, low, high, color="tab:blue", alpha=0.35, linewidth=5, label="ember.fit, 90 %")
    axes.plot(averages.mean(0), rows, "o", color="tab:blue", label="ember.fit, mean")
    axes.plot(own, rows, "x", color="tab:red", label=f"own average of {TRIED} at-bats")
    axes.plot(later, rows, "D", color="black", markersize=4, label="rest of the season")
    axes.set_yticks(rows, list(SEASON))
    axes.set(xlabel="batting average")
    axes.grid(axis="x", alpha=0.3, linewidth=0.5)
    figure.legend(frameon=False, loc="outside lower center", ncols=2)
    figure.savefig(path)


def main(seed: int, output: str) -> None:
    """Fit, say whether to believe it, compare with simpler guesses, and draw."""
    hits, at_bats, later = (torch.tensor(column) for column in zip(*SEASON.values(), strict=True))
    fit = ember.fit(batters, hits.float(), seed=seed)
    print(str(fit).partition("\n\n")[0])  # the table has 38 rows: fit.summary()

    averages = fit.draws["average"]
    own, pooled = hits / TRIED, (hits / TRIED).mean().expand(len(hits))
    print("\nrest of the season       error of the average   log probability a player")
    for name, guess in {"ember.fit": averages, "own average": own[None], "all alike": pooled[None]}.items():
        found = score(guess, at_bats, later)
        print(f"{name:24} {found.error:20.3f}   {found.log_probability:24.2f}")

    draw(averages, own, later, output)
    print(f"picture: {output}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="batting.png")
    options = parser.parse_args()
    main(options.seed, options.output)
