"""The table that the drop-in reads: Pyro's module paths, and in each what it defines and what it passes on."""

from __future__ import annotations

from typing import Any

from tools.surface.judge import group

_HEAD = """\
# The module paths of Pyro 1.9.2 and the public names in each: its own, then (after a bar) those that it only
# passes on, as NAME@HOME, NAME@HOME:NAME_THERE, or NAME@HOME: for a module.
"""


def _passed_on(name: str, record: dict[str, Any]) -> str:
    home, there = record["home"], record.get("qualname")
    if record["kind"] == "module":
        return f"{name}@{home}:"
    return f"{name}@{home}" if there in (name, None) else f"{name}@{home}:{there}"


def render(there: dict[str, Any]) -> str:
    """The text of the table.

    Args:
        there: the records of Pyro.
    """
    lines = []
    for path, entry in sorted(there.items()):
        own, passed_on, foreign = group(path, entry)
        own = {name for name in own if f"{path}.{name}" not in there}
        known = {f"{path}.{name}" for name in foreign} & there.keys()
        others = passed_on | {name for name in foreign if f"{path}.{name}" not in known}
        right = " ".join(_passed_on(name, entry["names"][name]) for name in sorted(others))
        lines.append(f"{path}: {' '.join(sorted(own))}{' | ' + right if right else ''}".rstrip())
    return _HEAD + "\n".join(lines) + "\n"
