"""The page of the docs: how much of Pyro's public surface there is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from textwrap import fill
from typing import Any

from tools.surface.judge import Verdict

_HEAD = """\
# Pyro's public surface, name by name

Written by `make surface`. It walks every module of Pyro 1.9.2, and looks each public name up under
[the drop-in](from-pyro.md#run-your-program-as-it-is). Then it compares signatures: "same" means that every
call written for Pyro binds its arguments as it does there. A name that is offered at several paths is counted
once, where Pyro defines it. Two parts are not counted: names of `pyro.infer.mcmc` import, and raise an error
on use that says what there is instead; `pyro.contrib.funsor` does not import.
"""
_TOLERANCE = 1e-5
_WIDTH = 110


def _counted(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """One verdict for each object: the best of the paths at which it is offered."""
    best: dict[str, Verdict] = {}
    for verdict in verdicts:
        if verdict.counted and ".mcmc" not in verdict.path:
            known = best.get(verdict.home)
            if known is None or (known.missing and not verdict.missing):
                best[verdict.home] = verdict
    return list(best.values())


def _is_inside(path: str) -> bool:
    return path.startswith("pyro.contrib")


def _row(label: str, rows: list[Verdict]) -> str:
    there = [v for v in rows if not v.missing]
    same = [v for v in there if not v.difference]
    return (
        f"| {label} | {len(rows)} | {len(there)} | {len(same)} | {100 * len(same) / max(1, len(rows)):.1f} |"
    )


def _table(first: str, groups: Iterable[tuple[str, list[Verdict]]]) -> str:
    head = f"| {first} | names | there | same signature | % |\n|---|---|---|---|---|"
    return "\n".join([head, *(_row(label, rows) for label, rows in groups)])


def _grouped(rows: list[Verdict], key: Callable[[Verdict], str]) -> list[tuple[str, list[Verdict]]]:
    groups: defaultdict[str, list[Verdict]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return sorted(groups.items())


def _package(verdict: Verdict) -> str:
    parts = verdict.path.split(".")
    return ".".join(parts[:3] if parts[1:2] == ["contrib"] else parts[:2])


def _lists(rows: list[Verdict], text: Callable[[Verdict], str]) -> Iterator[str]:
    for path, group in _grouped(rows, lambda v: v.path):
        listed = f"- `{path}`: " + ", ".join(text(v) for v in sorted(group, key=lambda v: v.name))
        yield fill(listed, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _difference(there: list[float], here: list[float]) -> float:
    pairs = [(a, b) for a, b in zip(there, here, strict=True) if not (a != a and b != b)]
    return max((0.0 if a == b else abs(a - b) / max(1.0, abs(a)) for a, b in pairs), default=0.0)


def _values(there: dict[str, Any], here: dict[str, Any]) -> str:
    """What became of the seeded numbers, of the names that Pyro can compute."""
    possible = {path: numbers for path, numbers in there.items() if not isinstance(numbers, str)}
    refused = {path: here[path] for path in possible if isinstance(here[path], str)}
    resized = {path for path in possible if path not in refused and len(possible[path]) != len(here[path])}
    differences = {
        path: _difference(n, here[path])
        for path, n in possible.items()
        if path not in refused and path not in resized
    }
    other = {path: d for path, d in differences.items() if not d <= _TOLERANCE}
    lines = [
        f"Draws, log densities and log Jacobians of {len(possible)} distributions, transforms and flows from one",
        f"seed: {len(differences) - len(other)} are the same to {_TOLERANCE:g}.",
    ]
    lines += [f"- `{path}` differs by {d:.2g}" for path, d in sorted(other.items())]
    lines += [
        f"- `{path}` gives {len(here[path])} numbers where Pyro gives {len(possible[path])}"
        for path in sorted(resized)
    ]
    lines += [f"- `{path}` is not there" for path in sorted(refused)]
    return "\n".join(lines)


def render(verdicts: list[Verdict], there: dict[str, Any], here: dict[str, Any]) -> str:
    """The text of the page.

    Args:
        verdicts: on every public name.
        there: seeded numbers under Pyro.
        here: those under Ember.
    """
    rows = _counted(verdicts)
    passed_on = [v for v in verdicts if not v.counted and ".mcmc" not in v.path]
    gone = [v for v in rows if v.missing]
    differ = [v for v in rows if not v.missing and v.difference]
    members = [v for v in rows if not v.missing and v.members]
    summary = [
        ("all", rows),
        ("outside `contrib`", [v for v in rows if not _is_inside(v.path)]),
        ("`contrib`", [v for v in rows if _is_inside(v.path)]),
    ]
    sections = [
        _HEAD,
        _table("", summary),
        f"\nOf {len(passed_on)} names that modules only pass on (imports from elsewhere), "
        f"{sum(not v.missing for v in passed_on)} can be read.\n",
        "## By package\n",
        _table("package", [(f"`{label}`", group) for label, group in _grouped(rows, _package)]),
        "\n## Seeded values\n",
        _values(there, here),
        "\n## Missing\n",
        *(_lists(gone, lambda v: f"`{v.name}`") if gone else ["Nothing."]),
        "\n## Other signatures\n",
        *(_lists(differ, lambda v: f"`{v.name}` ({v.difference})") if differ else ["None."]),
        "\n## Members of classes that are missing or take other arguments\n",
        *(_lists(members, lambda v: f"`{v.name}` ({'; '.join(v.members)})") if members else ["None."]),
    ]
    return "\n".join(sections) + "\n"
