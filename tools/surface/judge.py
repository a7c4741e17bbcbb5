"""Verdicts on names: missing, the same signature, or another one, from the records of ``collect``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]
Parameters = list[list[str]]
_POSITIONAL = ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD")


@dataclass(frozen=True)
class Verdict:
    """What became of one public name of Pyro's.

    Attributes:
        path: the module.
        name: the name in it.
        home: where Pyro defines it, which is how one object under several paths is counted once.
        missing: whether Ember lacks it.
        difference: how its signature differs; empty if calls written for Pyro bind as they did.
        members: members of a class that are missing or differ.
        counted: whether it counts: what a module only passes on does not.
    """

    path: str
    name: str
    home: str
    missing: bool = False
    difference: str = ""
    members: tuple[str, ...] = field(default=())
    counted: bool = True


def group(path: str, entry: Record) -> tuple[set[str], set[str], set[str]]:
    """The public names of a module: its own, those of Pyro's that it passes on, and those of others.

    Args:
        path: the module.
        entry: its record.
    """
    own, passed_on, foreign = set(), set(), set()
    listed = entry.get("all") or ()
    for name, record in entry.get("names", {}).items():
        home = record["home"] or ""
        # Imports of the language itself are no names that anybody asks for.
        if name.startswith("_") or name == "TYPE_CHECKING" or home == "__future__":
            continue
        if record["kind"] == "module" and name not in listed:
            foreign.add(name)
        elif name in listed or record["kind"] == "value" or home == path or home.startswith(path + "."):
            own.add(name)
        elif home.partition(".")[0] == "pyro":
            passed_on.add(name)
        else:
            foreign.add(name)
    return own, passed_on, foreign


def _kinds(parameters: Parameters) -> Counter[str]:
    return Counter(kind for _, kind, _ in parameters)


def _same_default(there: str, here: str) -> bool:
    # A call that gives what Pyro requires does not see Ember's default; two functions cannot be compared.
    return there in (here, "<none>") or (there == "<lambda>" and here not in ("<none>", "None"))


def difference(there: Parameters | None, here: Parameters | None) -> str:
    """How a call written for ``there`` could bind otherwise in ``here``; empty if it cannot.

    Args:
        there: Pyro's parameters; None if it has no signature to read.
        here: Ember's.
    """
    if there is None:
        return ""
    if here is None:
        return "no signature to read"
    known = {name: (kind, default) for name, kind, default in here}
    variable = _kinds(here)
    by_position = [name for name, kind, _ in here if kind in _POSITIONAL]
    for index, (name, kind, default) in enumerate(there):
        if kind == "VAR_POSITIONAL" or kind == "VAR_KEYWORD":
            # Keywords that are named one by one are those that Pyro looks for among its own.
            if not variable[kind] and not (kind == "VAR_KEYWORD" and variable["KEYWORD_ONLY"]):
                return f"takes no {'*' if kind == 'VAR_POSITIONAL' else '**'}{name}"
            continue
        if name not in known:
            swallowed = variable["VAR_KEYWORD"] and (kind == "KEYWORD_ONLY" or variable["VAR_POSITIONAL"])
            return f"{name!r} only by *args, **kwargs" if swallowed else f"no parameter {name!r}"
        if kind in _POSITIONAL and (index >= len(by_position) or by_position[index] != name):
            return f"{name!r} at another position"
        if not _same_default(default, known[name][1]):
            return f"{name}={known[name][1]} for {default}"
    wanted = {name for name, _, _ in there} | {"self", "cls"}
    more = [n for n, k, d in here if n not in wanted and d == "<none>" and not k.startswith("VAR")]
    return f"asks for {', '.join(more)} too" if more else ""


def _members(there: Record, here: Record) -> Iterator[str]:
    for name, parameters in there.get("members", {}).items():
        if name not in here.get("members", {}):
            yield f"no .{name}"
        elif parameters is not None:
            differs = difference(parameters, here["members"][name])
            if differs:
                yield f".{name}: {differs}"


def judge(there: dict[str, Record], here: dict[str, Record]) -> list[Verdict]:
    """A verdict on every public name of every module.

    Args:
        there: the records of Pyro.
        here: those of Ember.
    """
    out = []
    for path, entry in there.items():
        own, passed_on, foreign = group(path, entry)
        names_here = here[path].get("names", {})
        for name in sorted(own | passed_on | foreign):
            a, b = entry["names"][name], names_here.get(name)
            home = (
                f"{a['home']}.{a.get('qualname')}" if a.get("qualname") and name in own else f"{path}.{name}"
            )
            counted = name in own
            if b is None or "error" in b:
                out.append(Verdict(path, name, home, missing=True, counted=counted))
                continue
            if b.get("absent"):  # a name that imports and says on use what there is instead
                continue
            differs = difference(a.get("signature"), b.get("signature")) if "signature" in a else ""
            if a["kind"] == "class" and b["kind"] == "function":
                differs = differs or "a function, not a class"
            out.append(
                Verdict(path, name, home, difference=differs, members=tuple(_members(a, b)), counted=counted)
            )
    return out
