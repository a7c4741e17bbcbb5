"""What one eager ``svi.step`` costs: Ember, Pyro, and the same maths by hand in torch; NumPyro beside them.

Every contender is a process of its own with one thread. They take turns in rounds, so that a slow spell of the machine
falls on all alike, and the median over all steps counts. Before that, the three that use torch must show the same losses.

    python -m benchmarks.eager [--quick] [--contenders ember,hand]
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import NamedTuple

from benchmarks import data
from benchmarks.contender import Contender

SAME = 1e-3
SAME_MATHS = ("hand", "ember", "pyro")
NEEDS = {"ember": "ember", "pyro": "pyro", "hand": "torch", "numpyro": "numpyro"}
HEADINGS = {"ember": "Ember", "pyro": "Pyro", "hand": "by hand", "numpyro": "NumPyro jit"}


class Plan(NamedTuple):
    """How much to run: rounds of turns, steps a turn, and steps whose losses are compared."""

    rounds: int
    steps: int
    compared: int


FULL, QUICK = Plan(rounds=15, steps=60, compared=30), Plan(rounds=2, steps=3, compared=3)


def largest_difference(losses: list[float], reference: list[float]) -> float:
    """Between two lists of losses, relative to the largest loss; infinite if one is not finite."""
    if not all(map(math.isfinite, losses)):
        return math.inf
    scale = max(abs(loss) for loss in reference)
    return max(abs(a - b) for a, b in zip(losses, reference, strict=True)) / scale


def check_same_maths(contenders: dict[str, Contender], model: str, steps: int) -> float:
    """The largest relative difference between losses by hand and others, over steps from the same seed.

    Raises:
        SystemExit: if the losses differ by more than rounding can explain.
    """
    runs = {
        name: contender.ask(do="losses", seed=7, steps=steps)
        for name, contender in contenders.items()
        if name in SAME_MATHS
    }
    reference = runs.pop("hand", None)
    if reference is None:
        return 0.0
    worst = 0.0
    for name, losses in runs.items():
        difference = largest_difference(losses, reference)
        if not difference < SAME:
            raise SystemExit(f"{model}: {name} and hand differ: {losses[:5]} and {reference[:5]}")
        worst = max(worst, difference)
    return worst


class Measured(NamedTuple):
    """Median microseconds of a step, for each contender, and how far their losses were apart before."""

    times: dict[str, float]
    difference: float


def measure(contenders: dict[str, Contender], model: str, plan: Plan) -> Measured:
    """Build one model in each contender, compare the losses, then let them take turns."""
    for contender in contenders.values():
        contender.ask(do="build", model=model)
    difference = check_same_maths(contenders, model, plan.compared)
    times: dict[str, list[int]] = {name: [] for name in contenders}
    for turn in range(plan.rounds + 1):
        for name, contender in contenders.items():
            turn_times = contender.ask(do="time", steps=plan.steps)
            if turn > 0:  # the first round warms up
                times[name] += turn_times
    medians = {name: statistics.median(values) / 1e3 for name, values in times.items()}
    return Measured(medians, difference)


def _ratio(times: dict[str, float], above: str, below: str) -> str:
    return f"{times[above] / times[below]:.2f}" if above in times and below in times else "-"


def table(results: dict[str, Measured]) -> str:
    """The results as a table in Markdown."""
    names = list(HEADINGS)
    head = ["model", *(f"{HEADINGS[name]}, µs" for name in names), "Ember / by hand", "Pyro / Ember"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" + "---:|" * (len(head) - 1)]
    for model, (times, _) in results.items():
        cells = [f"{times[name]:,.0f}" if name in times else "-" for name in names]
        cells += [_ratio(times, "ember", "hand"), _ratio(times, "pyro", "ember")]
        lines.append(f"| {data.TITLES[model]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def machine() -> str:
    """Cores and versions, in one line."""
    packages = []
    for name in ("torch", "pyro-ppl", "numpyro", "jax"):
        try:
            packages.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    python = platform.python_version()
    return f"{os.cpu_count()} cores ({platform.machine()}), 1 thread each; Python {python}, {', '.join(packages)}"


def run(names: list[str], plan: Plan) -> dict[str, Measured]:
    """All models with the contenders of those names."""
    contenders = {name: Contender(name) for name in names}
    try:
        results = {}
        for model in data.MODELS:
            # NumPyro takes minutes to compile 100 sites.
            taking_part = {n: c for n, c in contenders.items() if (n, model) != ("numpyro", "scalar_sites")}
            results[model] = measure(taking_part, model, plan)
            print(f"{data.TITLES[model]}: done", file=sys.stderr)
        return results
    finally:
        for contender in contenders.values():
            contender.close()


def as_a_vector(plan: Plan) -> float:
    """Median microseconds of a step of the scalar sites when they are written by hand as one vector."""
    hand = {"hand": Contender("hand")}
    try:
        return measure(hand, "scalar_sites_as_a_vector", plan).times["hand"]
    finally:
        hand["hand"].close()


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a few steps only: does it run?")
    parser.add_argument("--contenders", default=",".join(NEEDS), help="some of: %(default)s")
    options = parser.parse_args(argv)
    plan = QUICK if options.quick else FULL
    names = [name for name in options.contenders.split(",") if find_spec(NEEDS[name]) is not None]
    results = run(names, plan)
    print(f"\nMedian of one step, eager, the loss fetched as a float. {machine()}.\n")
    print(table(results))
    worst = max(result.difference for result in results.values())
    if {"hand", "ember"} <= set(names):
        print(f"\nFrom the same seed, the losses agree with those by hand to {worst:.0e} (relative).")
    if "hand" in names:
        print(f"The 100 scalar sites written by hand as one vector: {as_a_vector(plan):,.0f} µs.")


if __name__ == "__main__":
    main()
