"""The results of ``benchmarks.compiled`` as tables in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import Any

from benchmarks import data

Results = dict[str, dict[str, dict[str, Any]]]

HEADINGS = {
    "pyro": "Pyro",
    "pyro-jit": "Pyro Jit",
    "numpyro": "NumPyro jit",
    "numpyro-scan": "NumPyro scan",
    "hand": "by hand",
    "hand-compiled": "by hand, torch.compile",
    "hand-c": "by hand, C",
    "hand-c-torch": "by hand, C, torch's random numbers",
    "memory-floor": "memory floor",
    "ember": "Ember eager",
    "ember-native": "Ember native",
    "ember-native-run": "Ember native, run",
    "ember-inductor": "Ember Inductor",
    "ember-inductor-run": "Ember Inductor, run",
    "ember-inductor-2-threads": "Ember Inductor, 2 threads",
}
# Only if asked for by name.
OPTIONAL = ("ember-inductor-2-threads",)
NOT_TRIED = " †"
REFERENCE = "those by hand, or else Ember's eager ones"
# Many steps in one call.
RUNS = ("numpyro-scan", "hand-c", "hand-c-torch", "ember-native-run", "ember-inductor-run")
STEPS = tuple(name for name in HEADINGS if name not in (*RUNS, "memory-floor"))
FIRST = ("pyro-jit", "numpyro", "hand-compiled", "ember-native", "ember-inductor")
AGAIN = ("numpyro", "ember-native", "ember-inductor")
BESIDE = ("numpyro-scan", "ember-native-run", "hand-c")


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _cell(row: dict[str, Any], key: str, form: str) -> str:
    if "error" in row:
        error = row["error"]
        return error if error.startswith(">") else "failed"
    return format(row[key], form) if key in row else "-"


def _per_contender(results: Results, key: str, form: str, among: Iterable[str] = tuple(HEADINGS)) -> str:
    names = [name for name in among if any(name in rows for rows in results.values())]
    if not names:
        return ""
    return _table(
        ["model", *(HEADINGS[name] for name in names)],
        (
            [data.TITLES[model], *(_cell(rows.get(name, {}), key, form) for name in names)]
            for model, rows in results.items()
        ),
    )


def _ratio(rows: dict[str, dict[str, Any]], above: Result, below: Result) -> str:
    """The quotient of two results, each a contender and a key."""
    top, bottom = (rows.get(name, {}) for name, _ in (above, below))
    if "error" in bottom or below[1] not in bottom:
        return "-"
    if "error" in top:
        return "more" if top["error"].startswith(">") else "-"
    return f"{top[above[1]] / bottom[below[1]]:.2f}" if above[1] in top else "-"


Result = tuple[str, str]
"""A contender, and a key of its row."""

# The goals in brackets; those on small models are for the models of data.SMALL.
STEP_GOALS: dict[str, tuple[Result, Result]] = {
    "NumPyro jit / native (> 1)": (("numpyro", "step"), ("ember-native", "step")),
    "Pyro / native (>= 20 on small models)": (("pyro", "step"), ("ember-native", "step")),
    "Inductor / native": (("ember-inductor", "step"), ("ember-native", "step")),
    "Inductor / by hand, torch.compile (<= 1.2)": (("ember-inductor", "step"), ("hand-compiled", "step")),
}
RUN_GOALS: dict[str, tuple[Result, Result]] = {
    "NumPyro scan / native (> 1; >= 5 on small models)": (
        ("numpyro-scan", "step"),
        ("ember-native-run", "step"),
    ),
    "Inductor / native": (("ember-inductor-run", "step"), ("ember-native-run", "step")),
    "native / C by hand (<= 3)": (("ember-native-run", "step"), ("hand-c", "step")),
    "native / C by hand, torch's random numbers": (("ember-native-run", "step"), ("hand-c-torch", "step")),
}
FIRST_GOALS: dict[str, tuple[Result, Result]] = {
    "NumPyro / native, cold (> 1)": (("numpyro", "first"), ("ember-native", "first")),
    "NumPyro / native, second process": (("numpyro", "warm"), ("ember-native", "warm")),
    "native: second process / cold (<= 0.5)": (("ember-native", "warm"), ("ember-native", "first")),
    "Inductor / native, cold": (("ember-inductor", "first"), ("ember-native", "first")),
}
STEP_GOAL, FLOOR_GOAL = 5.0, 1.5


def _ratios(results: Results, quotients: dict[str, tuple[Result, Result]]) -> str:
    cells = {
        model: [_ratio(rows, *quotient) for quotient in quotients.values()] for model, rows in results.items()
    }
    if all(cell == "-" for row in cells.values() for cell in row):
        return ""
    return _table(["model", *quotients], ([data.TITLES[model], *row] for model, row in cells.items()))


def step_goals(results: Results) -> str:
    """The ratios of single steps that have goals."""
    return _ratios(results, STEP_GOALS)


def run_goals(results: Results) -> str:
    """The ratios of many steps in one call that have goals."""
    return _ratios(results, RUN_GOALS)


def first_goals(results: Results) -> str:
    """The ratios of first calls that have goals."""
    return _ratios(results, FIRST_GOALS)


def small_steps(results: Results) -> str:
    """Which small models' compiled steps are within the goal."""
    found = [
        (data.TITLES[model], rows["ember-native"]["step"])
        for model, rows in results.items()
        if model in data.SMALL and "step" in rows.get("ember-native", {})
    ]
    if not found:
        return ""
    cells = (f"{title} {step:.1f} ({'met' if step <= STEP_GOAL else 'missed'})" for title, step in found)
    return f"A native step of a small model, µs (<= {STEP_GOAL:g}): {', '.join(cells)}."


def memory_floor(results: Results) -> str:
    """Many steps of logistic regression beside what they cannot do without."""
    rows = results.get("logistic_regression", {})
    floor = rows.get("memory-floor", {}).get("step")
    if floor is None:
        return ""
    ratios = [
        f"{HEADINGS[name]} {rows[name]['step'] / floor:.2f}" for name in RUNS if "step" in rows.get(name, {})
    ]
    return (
        f"Memory floor of logistic regression: {floor:.1f} µs for two sums over the data and exp and log1p of 10,000 logits. "
        f"Times the floor (native: <= {FLOOR_GOAL:g}): {', '.join(ratios)}."
    )


def first_calls(results: Results) -> str:
    """Seconds until there is a compiled step."""
    columns: dict[str, Result] = {f"{HEADINGS[name]}, cold": (name, "first") for name in FIRST}
    columns |= {f"{HEADINGS[name]}, second process": (name, "warm") for name in AGAIN}
    columns |= {f"{HEADINGS[name]}, whole process": (name, "process") for name in AGAIN}
    columns |= {f"{HEADINGS[name]}, whole second process": (name, "warm_process") for name in AGAIN}
    there = {
        title: (name, key)
        for title, (name, key) in columns.items()
        if any(name in rows for rows in results.values())
    }
    if not there:
        return ""
    return _table(
        ["model", *there],
        (
            [data.TITLES[model], *(_cell(rows.get(name, {}), key, ".2f") for name, key in there.values())]
            for model, rows in results.items()
        ),
    )


def growth(results: Results) -> str:
    """How many times as much a model costs as the smallest of its kind."""
    head = {
        f"{HEADINGS[name]}, a step": (name, "step") for name in (*AGAIN, "numpyro-scan", "ember-native-run")
    }
    head |= {f"{HEADINGS[name]}, first calls": (name, "first") for name in AGAIN}
    rows = {
        f"{data.TITLES[size]} / {data.TITLES[least]}": [
            _grown(results, (least, size), *result) for result in head.values()
        ]
        for least, *sizes in data.GROWING
        for size in sizes
    }
    rows = {title: cells for title, cells in rows.items() if {*cells} != {"-"}}
    return _table(["models", *head], ([title, *cells] for title, cells in rows.items())) if rows else ""


def _grown(results: Results, sizes: tuple[str, str], name: str, key: str) -> str:
    few, many = (results.get(size, {}).get(name, {}) for size in sizes)
    there = "error" not in few and "error" not in many and key in few and key in many
    return f"{many[key] / few[key]:.1f}" if there else "-"


def summary(results: Results) -> str:
    """Ember's many steps in one call beside NumPyro's and C's: each model, the median, and where Ember is the slower."""
    found = {
        model: rows["numpyro-scan"]["step"] / rows["ember-native-run"]["step"]
        for model, rows in results.items()
        if all("step" in rows.get(name, {}) for name in ("numpyro-scan", "ember-native-run"))
    }
    if not found:
        return ""
    quotients = {
        "NumPyro / Ember": ("numpyro-scan", "ember-native-run"),
        "Ember / C": ("ember-native-run", "hand-c"),
    }
    table = _table(
        ["model", *(f"{HEADINGS[name]}, µs" for name in BESIDE), *quotients],
        (
            [
                data.TITLES[model],
                *(_cell(results[model].get(name, {}), "step", ",.2f") for name in BESIDE),
                *(_ratio(results[model], (a, "step"), (b, "step")) for a, b in quotients.values()),
            ]
            for model in results
        ),
    )
    slower = ", ".join(f"{data.TITLES[model]} ({ratio:.2f})" for model, ratio in found.items() if ratio < 1)
    median = statistics.median(found.values())
    return f"{table}\n\nMedian of NumPyro / Ember over {len(found)} models: {median:.2f}. Behind NumPyro: {slower or 'none'}."


def agreement(results: Results) -> str:
    """How far losses from the same seed are from those of the reference."""
    found = [
        (r["difference"], m, n) for m, rows in results.items() for n, r in rows.items() if "difference" in r
    ]
    if not found:
        return ""
    worst, model, name = max(found)
    return (
        f"From the same seed, the first losses agree to {worst:.0e} (relative; the farthest from {REFERENCE}: "
        f"{HEADINGS[name]} on {data.TITLES[model]})."
    )


def failures(results: Results) -> str:
    """What failed for another reason than the limit."""
    lines = [
        f"- {data.TITLES[model]}, {HEADINGS[name]}: {row['error']}"
        for model, rows in results.items()
        for name, row in rows.items()
        if not str(row.get("error", ">")).startswith(">")
    ]
    return "Failed:\n" + "\n".join(lines) if lines else ""


def page(results: Results, machine: str) -> str:
    """All tables."""
    sections: list[tuple[str, Callable[[Results], str]]] = [
        ("µs per step (median; the loss fetched as a float at every step)", _steps),
        ("µs per step of many steps in one call (median)", _runs),
        ("Ratios of steps, and their goals", step_goals),
        ("Ratios of many steps in one call, and their goals", run_goals),
        (
            "Seconds of the first calls: fresh process, empty cache of compiled code, imports left out. "
            "Ember: an eager step, then capture, compilation, check. NumPyro: init and first update. "
            "Whole process: from its start, imports and data included",
            first_calls,
        ),
        ("Ratios of first calls, and their goals", first_goals),
        ("Peak resident memory, MiB, of processes with all that they import", _memory),
        ("Times the cost of the smallest of its kind", growth),
        ("Many steps in one call, µs per step, and how many times as long the other takes", summary),
    ]
    parts = [machine + "."]
    for title, section in sections:
        text = section(results)
        if text:
            parts.append(f"{title}:\n\n{text}")
    remarks = (_dagger, small_steps, memory_floor, agreement, failures)
    parts += [text for remark in remarks if (text := remark(results))]
    return "\n\n".join(parts)


def _dagger(results: Results) -> str:
    if not any(
        str(row.get("error")).endswith(NOT_TRIED) for rows in results.values() for row in rows.values()
    ):
        return ""
    return "† Not tried: over that limit already at a smaller size, or in single steps."


def _steps(results: Results) -> str:
    return _per_contender(results, "step", ",.1f", STEPS)


def _runs(results: Results) -> str:
    return _per_contender(results, "step", ",.2f", RUNS)


def _memory(results: Results) -> str:
    return _per_contender(results, "peak", ",.0f")
