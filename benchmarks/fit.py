"""Right answers, and what they cost: ``ember.fit`` beside NumPyro's NUTS, PyMC's ``fit`` and Pyro's usual recipe.

    python -m benchmarks.fit [--quick] [--models garch,hundred] [--contenders ember,numpyro] [--limit 1200]
                             [--json results.json] [--show results.json]

Every pair is a process of its own with one thread and empty caches of compiled code. It fits twice, with two seeds: the first
call has everything but imports in it, the second finds whatever was compiled. Errors are the first call's, against the stored
truth (``tests/fit/references``): the worst mean in standard deviations, the worst standard deviation in per cent.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.compiled import cache_variables
from benchmarks.contender import ONE_THREAD
from benchmarks.eager import machine
from tools.trust.truth import Moment, errors, moments

MODELS = {
    "eight_schools_noncentred": "eight schools",
    "incomes": "regression, 5 parameters, raw units",
    "hundred": "regression, 100 parameters",
    "two_parameters": "item response, 100 people x 15 items",
    "gp_regression": "Gaussian process, 100 points",
    "garch": "GARCH(1, 1), 200 days",
}
TITLES = {
    "ember": "Ember, `fit`",
    "numpyro": "NumPyro, NUTS",
    "pymc": "PyMC, `fit` (ADVI)",
    "pymc-full-rank": "PyMC, `fit` (full rank)",
    "pyro": "Pyro, AutoNormal",
    "pyro-full-rank": "Pyro, AutoMultivariateNormal",
}
NEEDS = {"ember": "ember", "numpyro": "numpyro", "pymc": "pymc", "pyro": "pyro"}

Row = dict[str, Any]
Results = dict[str, dict[str, Row]]


def measure(contender: str, model: str, limit: float) -> Row:
    """Run one pair; what failed is a row with an error."""
    if find_spec(NEEDS[contender.split("-")[0]]) is None:
        return {"error": "not installed"}
    with tempfile.TemporaryDirectory() as caches:
        environment = os.environ | ONE_THREAD | cache_variables(Path(caches))
        environment["PYTENSOR_FLAGS"] = f"base_compiledir={caches}/pytensor"
        command = [sys.executable, "-m", "benchmarks.fit_worker", contender, model]
        try:
            done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=limit)
        except subprocess.TimeoutExpired:
            return {"error": f"> {limit:g} s"}
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return {"error": f"failed: {lines[-1][:200] if lines else done.returncode}"}
    answer: Row = json.loads(done.stdout.splitlines()[-1])
    found = {label: Moment(*pair) for label, pair in answer.pop("scalars").items()}
    return answer | errors(moments(model), found)._asdict()


def page(results: Results) -> str:
    """The table, the goals, and what failed."""
    contenders = [name for name in TITLES if any(name in rows for rows in results.values())]
    lines = [
        f"| first call / second call, s; worst mean, SDs; worst SD, % | {' | '.join(TITLES[n] for n in contenders)} |",
        "|---" + "|---:" * len(contenders) + "|",
    ]
    for model, rows in results.items():
        cells = [_cell(rows.get(name, {})) for name in contenders]
        lines.append(f"| {MODELS[model]} | {' | '.join(cells)} |")
    failed = [
        f"- {MODELS[model]}, {TITLES[name]}: {row['error']}"
        for model, rows in results.items()
        for name, row in rows.items()
        if row.get("error", "").startswith("failed")
    ]
    return "\n".join([*lines, "", *goals(results), *(["", "Failed:", *failed] if failed else [])])


def _cell(row: Row) -> str:
    if not row:
        return "-"
    if "error" in row:
        return "failed" if row["error"].startswith("failed") else str(row["error"])
    says = f" {row['says']}" if row["says"] else ""
    return f"{row['first']:.2f} / {row['second']:.2f}; {row['shift']:.2f}; {100 * row['stretch']:.0f}{says}"


def goals(results: Results) -> list[str]:
    """What the project aims for, one line a model where Ember has an answer."""
    lines = []
    for model, rows in results.items():
        ours, theirs = rows.get("ember", {}), rows.get("numpyro", {})
        if "first" not in ours:
            continue
        parts = [
            f"first {ours['first']:.2f} s (<= 3: {_met(ours['first'] <= 3.0)})",
            f"second {ours['second']:.2f} s (<= 0.3: {_met(ours['second'] <= 0.3)})",
        ]
        if "first" in theirs:
            times = theirs["second"] / ours["second"]
            parts.append(f"NUTS takes {times:.1f} times as long, both compiled (>= 20: {_met(times >= 20)})")
            worse = ours["shift"] <= max(theirs["shift"], 0.1) and ours["stretch"] <= max(
                theirs["stretch"], 0.1
            )
            parts.append(f"no worse than NUTS or within 0.1 SD and 10 %: {_met(worse)}")
        lines.append(f"- {MODELS[model]}: {', '.join(parts)}")
    return lines


def _met(good: bool) -> str:
    return "met" if good else "missed"


def main(argv: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.fit", description=__doc__)
    parser.add_argument("--models", type=lambda text: text.split(","), default=list(MODELS))
    parser.add_argument("--contenders", type=lambda text: text.split(","), default=list(TITLES))
    parser.add_argument("--limit", type=float, default=1_200.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--show", type=Path)
    parser.add_argument("--quick", action="store_true", help="one model, Ember and NumPyro: does it run?")
    chosen = parser.parse_args(argv)
    if chosen.quick:
        chosen.models, chosen.contenders = ["eight_schools_noncentred"], ["ember", "numpyro"]
    if chosen.show is not None:
        print(page(json.loads(chosen.show.read_text())))
        return 0
    print(machine(), flush=True)
    results: Results = {}
    for model in chosen.models:
        results[model] = {}
        for contender in chosen.contenders:
            results[model][contender] = measure(contender, model, chosen.limit)
            print(f"{MODELS[model]}, {TITLES[contender]}: {_cell(results[model][contender])}", flush=True)
            if chosen.json is not None:
                chosen.json.write_text(json.dumps(results))
    print("", page(results), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
