"""The results of ``benchmarks.compiled`` as tables in Markdown."""

from __future__ import annotations

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
    "ember": "Ember eager",
    "ember-compiled": "Ember compiled",
    "ember-run": "Ember run",
}
NOT_TRIED = " †"
FIRST = ("pyro-jit", "numpyro", "hand-compiled", "ember-compiled")


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _cell(row: dict[str, Any], key: str, form: str) -> str:
    if "error" in row:
        error = row["error"]
        return error if error.startswith(">") else "failed"
    return format(row[key], form) if key in row else "-"


def _per_contender(results: Results, key: str, form: str) -> str:
    names = [name for name in HEADINGS if any(name in rows for rows in results.values())]
    return _table(
        ["model", *(HEADINGS[name] for name in names)],
        (
            [data.TITLES[model], *(_cell(rows.get(name, {}), key, form) for name in names)]
            for model, rows in results.items()
        ),
    )


def _ratio(rows: dict[str, dict[str, Any]], above: tuple[str, str], below: tuple[str, str]) -> str:
    """The quotient of two results, each a contender and a key."""
    top, bottom = (rows.get(name, {}) for name, _ in (above, below))
    if "error" in bottom or below[1] not in bottom:
        return "-"
    if "error" in top:
        return "more" if top["error"].startswith(">") else "-"
    return f"{top[above[1]] / bottom[below[1]]:.2f}" if above[1] in top else "-"


GOALS: dict[str, tuple[tuple[str, str], tuple[str, str]]] = {
    "NumPyro jit / compiled (> 1)": (("numpyro", "step"), ("ember-compiled", "step")),
    "Pyro / compiled (>= 20 on small models)": (("pyro", "step"), ("ember-compiled", "step")),
    "compiled / by hand, torch.compile (<= 1.2)": (("ember-compiled", "step"), ("hand-compiled", "step")),
    "NumPyro scan / run": (("numpyro-scan", "step"), ("ember-run", "step")),
    "first: NumPyro / Ember, cold (> 1)": (("numpyro", "first"), ("ember-compiled", "first")),
    "first: Ember warm / cold (<= 0.5)": (("ember-compiled", "warm"), ("ember-compiled", "first")),
}


def goals(results: Results) -> str:
    """The ratios that have goals."""
    return _table(
        ["model", *GOALS],
        (
            [data.TITLES[model], *(_ratio(rows, *quotient) for quotient in GOALS.values())]
            for model, rows in results.items()
        ),
    )


def first_calls(results: Results) -> str:
    """Seconds until there is a compiled step."""
    columns: dict[str, tuple[str, str]] = {f"{HEADINGS[name]}, cold": (name, "first") for name in FIRST}
    columns |= {f"{HEADINGS[name]}, second process": (name, "warm") for name in ("numpyro", "ember-compiled")}
    columns |= {
        f"{HEADINGS[name]}, whole process": (name, "process") for name in ("numpyro", "ember-compiled")
    }
    columns |= {
        f"{HEADINGS[name]}, whole second process": (name, "warm_process")
        for name in ("numpyro", "ember-compiled")
    }
    return _table(
        ["model", *columns],
        (
            [data.TITLES[model], *(_cell(rows.get(name, {}), key, ".2f") for name, key in columns.values())]
            for model, rows in results.items()
        ),
    )


def growth(results: Results) -> str:
    """How the cost grows from 100 scalar sites to 300, where linear is 3."""
    few, many = (
        results.get(model, {}).get("ember-compiled", {}) for model in ("scalar_sites", "scalar_sites_300")
    )
    if not {"step", "first"} <= few.keys() & many.keys():
        return ""
    step, first = (many[key] / few[key] for key in ("step", "first"))
    return f"From 100 scalar sites to 300, a compiled step grows {step:.1f}-fold, the first calls {first:.1f}-fold."


def agreement(results: Results) -> str:
    """How far losses from the same seed are from those by hand."""
    found = [
        (r["difference"], m, n) for m, rows in results.items() for n, r in rows.items() if "difference" in r
    ]
    if not found:
        return ""
    worst, model, name = max(found)
    return (
        f"From the same seed, the first losses agree with those by hand to {worst:.0e} (relative; the worst: "
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
        ("µs per step (median; the loss fetched as a float at every step, but in scan and run)", _steps),
        ("Ratios, and their goals", goals),
        (
            "Seconds of the first calls: fresh process, empty cache of compiled code, imports left out. "
            "Ember: an eager step, then capture, compilation, check. NumPyro: init and first update. "
            "Whole process: from its start, imports and data included",
            first_calls,
        ),
        ("Peak resident memory, MiB, of processes with all that they import", _memory),
    ]
    parts = [machine + "."]
    for title, section in sections:
        parts.append(f"{title}:\n\n{section(results)}")
    parts += [
        text for text in (_dagger(results), growth(results), agreement(results), failures(results)) if text
    ]
    return "\n\n".join(parts)


def _dagger(results: Results) -> str:
    if not any(
        str(row.get("error")).endswith(NOT_TRIED) for rows in results.values() for row in rows.values()
    ):
        return ""
    return "† Not tried: over that limit already with fewer sites, or in single steps."


def _steps(results: Results) -> str:
    return _per_contender(results, "step", ",.1f")


def _memory(results: Results) -> str:
    return _per_contender(results, "peak", ",.0f")
