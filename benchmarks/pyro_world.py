"""Steps of what Pyro has beyond the core: Gaussian HMMs, flow guides, a sparse GP, a forecaster. Pyro, NumPyro and Ember.

    python -m benchmarks.pyro_world [--quick] [--models hmm_1000,forecaster] [--contenders ember,pyro] [--limit 600]
                                    [--seconds 3] [--json results.json] [--show results.json]

Every pair is a process of its own with one thread and empty caches of compiled code. A step is one of ``SVI`` whose loss is
fetched as a float; "run" is many in one call. Steps are timed by the processor's time, first steps by the clock. NumPyro has
neither Gaussian HMMs nor Gaussian processes nor these couplings. First losses of Ember and Pyro are from one seed and compared.
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
from benchmarks.pyro_world_programs import MODELS, TITLES

CONTENDERS = {
    "pyro": "Pyro",
    "numpyro": "NumPyro jit",
    "ember-eager": "Ember eager",
    "ember": "Ember native",
    "ember-run": "Ember native, run",
}
IN_NUMPYRO = ("flow_iaf", "forecaster")
GOAL = 10.0
# Of the first losses, relative. Pyro's Gaussian HMMs are off by more than that in single precision, and Ember's are not.
AGREE, ROUNDING = 1e-4, {"hmm_1000": 1e-3, "hmm_10000": 2e-3, "hmm_100000": 5e-3}

Row = dict[str, Any]
Results = dict[str, dict[str, Row]]


def measure(contender: str, model: str, chosen: argparse.Namespace) -> Row:
    """Run one pair; what failed is a row with an error."""
    if find_spec(contender.partition("-")[0]) is None:
        return {"error": "not installed"}
    command = [sys.executable, "-m", "benchmarks.pyro_world_worker", contender, model, str(chosen.seconds)]
    with tempfile.TemporaryDirectory() as caches:
        environment = os.environ | ONE_THREAD | cache_variables(Path(caches) / "caches")
        try:
            done = subprocess.run(
                [*command, *(["--quick"] if chosen.quick else [])],
                capture_output=True,
                text=True,
                env=environment,
                timeout=chosen.limit,
            )
        except subprocess.TimeoutExpired:
            return {"error": f"> {chosen.limit:g} s"}
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return {"error": f"failed: {lines[-1][:200] if lines else done.returncode}"}
    answer: Row = json.loads(done.stdout.splitlines()[-1])
    return answer


def page(results: Results) -> str:
    """The tables, what is slower than the goal, and what failed."""
    names = [name for name in CONTENDERS if any(name in rows for rows in results.values())]
    head = "".join(f" {CONTENDERS[name]} |" for name in names)
    bar = "|---" + "|---:" * len(names)
    lines = ["µs a step (median, of the processor):", "", f"| |{head} Pyro / native |", f"{bar}|---:|"]
    for model, rows in results.items():
        cells = "".join(f" {_cell(rows.get(name, {}), 'step', ',.0f')} |" for name in names)
        lines.append(f"| {TITLES[model]} |{cells} {_ratio(rows)} |")
    lines += ["", f"Seconds until there are {3} steps, imports left out:", "", f"| |{head}", f"{bar}|"]
    for model, rows in results.items():
        cells = "".join(f" {_cell(rows.get(name, {}), 'first', '.2f')} |" for name in names)
        lines.append(f"| {TITLES[model]} |{cells}")
    return "\n".join([*lines, "", *verdicts(results)])


def _cell(row: Row, key: str, form: str) -> str:
    if not row:
        return "-"
    if "error" in row:
        return "failed" if row["error"].startswith("failed") else str(row["error"])
    return format(row[key], form)


def _best(rows: dict[str, Row]) -> float | None:
    return min(
        (rows[name]["step"] for name in ("ember", "ember-run") if "step" in rows.get(name, {})), default=None
    )


def _ratio(rows: dict[str, Row]) -> str:
    ours, theirs = rows.get("ember", {}).get("step"), rows.get("pyro", {}).get("step")
    return f"{theirs / ours:.1f}" if ours and theirs else "-"


def verdicts(results: Results) -> list[str]:
    """The goals, how far the first losses are from Pyro's, which backend was taken, and failures."""
    lines = []
    for model, rows in results.items():
        parts = [f"{CONTENDERS[name]}: {row['error']}" for name, row in rows.items() if "error" in row]
        theirs = rows.get("pyro", {})
        for name, row in rows.items():
            if name.startswith("ember") and "losses" in row and "losses" in theirs:
                pairs = zip(row["losses"], theirs["losses"], strict=True)
                off = max(abs(a - b) / max(abs(b), 1.0) for a, b in pairs)
                if off > ROUNDING.get(model, AGREE):
                    parts.append(f"{CONTENDERS[name]}: losses from one seed differ from Pyro's by {off:.1e}")
        step = rows.get("ember", {}).get("step")
        if step and "step" in theirs and theirs["step"] < GOAL * step:
            parts.append(f"{theirs['step'] / step:.1f} times as fast as Pyro (>= {GOAL:g}: missed)")
        best = _best(rows)
        if best and "step" in rows.get("numpyro", {}) and rows["numpyro"]["step"] < best:
            parts.append(f"behind NumPyro: {rows['numpyro']['step'] / best:.2f}")
        note = rows.get("ember", {}).get("note", "")
        if "not native" in note or "eager" in note.splitlines()[-1:]:
            parts.append(note.splitlines()[-1].strip()[:160])
        lines += [f"- {TITLES[model]}: {'; '.join(parts)}"] if parts else []
    return ["To be looked at:", "", *lines] if lines else ["All goals are met."]


def main(argv: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pyro_world", description=__doc__)
    parser.add_argument("--models", type=lambda text: text.split(","), default=list(MODELS))
    parser.add_argument("--contenders", type=lambda text: text.split(","), default=list(CONTENDERS))
    parser.add_argument("--limit", type=float, default=600.0, help="seconds a process")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds of steps that are timed")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--show", type=Path)
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run?")
    chosen = parser.parse_args(argv)
    if chosen.show is not None:
        print(page(json.loads(chosen.show.read_text())))
        return 0
    if chosen.quick:
        chosen.seconds = 0.1
        chosen.models = [
            model for model in chosen.models if not model.startswith("hmm_1") or model == "hmm_100"
        ]
    print(machine(), flush=True)
    results: Results = {}
    for model in chosen.models:
        results[model] = {}
        for contender in chosen.contenders:
            if contender == "numpyro" and model not in IN_NUMPYRO:
                continue
            row = results[model][contender] = measure(contender, model, chosen)
            print(f"{TITLES[model]}, {CONTENDERS[contender]}: {_cell(row, 'step', ',.1f')}", flush=True)
            if chosen.json is not None:
                chosen.json.write_text(json.dumps(results))
    print("", page(results), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
