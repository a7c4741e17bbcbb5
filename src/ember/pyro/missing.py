"""What the drop-in says about a path or a name that is not there: whose it is, and what there is instead."""

from __future__ import annotations

import difflib
import dis
import sys
import textwrap
from collections.abc import Iterable
from types import FrameType

from ember.pyro import places, surface

_LISTED = 100
_IMPORT_FROM = dis.opmap["IMPORT_FROM"]


def _public(module_name: str) -> list[str]:
    module = sys.modules.get(module_name)
    if module is None:
        return []
    # The module's own dict, not dir() or getattr(): this runs inside its failing attribute look-up.
    named = vars(module).get("__all__")
    return sorted(named if named is not None else (name for name in vars(module) if not name.startswith("_")))


def _depth(path: str) -> tuple[int, str]:
    return path.count("."), path


def _close(wanted: str, existing: Iterable[str]) -> list[str]:
    lower = {name.lower(): name for name in existing}
    return [lower[name] for name in difflib.get_close_matches(wanted.lower(), lower, n=4, cutoff=0.6)]


def _instead(what: str, wanted: str, existing: list[str], where: str = "") -> str:
    if what in places.INSTEAD:
        return f" Instead: {places.INSTEAD[what]}."
    close = _close(wanted, existing)
    if close:
        return f" Is it one of these: {', '.join(close)}?"
    if not existing:
        return ""
    shown = ", ".join(existing[:_LISTED]) + (", ..." if len(existing) > _LISTED else "")
    return f" There is{where}:\n" + textwrap.fill(shown, 100, initial_indent="  ", subsequent_indent="  ")


def name_message(path: str, name: str, existing: Iterable[str] = (), *, home: str | None = None) -> str:
    """The text for ``name`` missing from the module that a program knows as ``path``.

    Args:
        path: Pyro's path, such as ``"pyro.infer"``.
        name: the attribute that was asked for.
        existing: the names that a view has; those of ``home`` if there are none.
        home: the Ember module behind the path.
    """
    there = sorted(existing) or _public(home or "")
    known = surface.names_at(path).has(name) or surface.has_path(f"{path}.{name}")
    verdict = "Pyro 1.9.2 has it, Ember does not (yet)" if known else "neither Ember nor Pyro 1.9.2 has it"
    what = f"{path}.{name}"
    source = f" ({home})" if home else ""
    instead = _instead(what, name, there)
    return f"{path!r} is Ember's drop-in for Pyro{source} and has no {name!r}: {verdict}.{instead}"


def path_message(path: str, existing: Iterable[str]) -> str:
    """The text for a module path that cannot be imported.

    Args:
        path: Pyro's path, such as ``"pyro.infer.mcmc"``.
        existing: the module paths that could be imported in its place.
    """
    known = surface.has_path(path)
    verdict = "Pyro 1.9.2 has it, Ember does not (yet)" if known else "neither Ember nor Pyro 1.9.2 has it"
    parents = [path.rsplit(".", n)[0] for n in range(path.count("."))]
    what = next((parent for parent in parents if parent in places.INSTEAD), path)
    parent, _, last = path.rpartition(".")
    # The paths that Pyro has, if there are any, and not all the files behind them.
    known_paths = [other for other in existing if surface.has_path(other)]
    there = sorted((other.removeprefix(parent + ".") for other in known_paths or existing), key=_depth)
    return (
        f"no module {path!r} in Ember's drop-in for Pyro: {verdict}."
        f"{_instead(what, last, there, where=f' in {parent!r}')}"
    )


def error_for(
    frame: FrameType, path: str, name: str, existing: Iterable[str] = (), *, home: str | None = None
) -> AttributeError | ImportError:
    """The error for a missing name: ImportError in ``from path import name``, AttributeError elsewhere.

    Python would turn an AttributeError in a from-import into an ImportError of its own and drop the text.

    Args:
        frame: the frame that looks the name up.
        path: Pyro's path of the module.
        name: the attribute that was asked for.
        existing: the names that a view has; those of ``home`` if there are none.
        home: the Ember module behind the path.
    """
    message = name_message(path, name, existing, home=home)
    last = frame.f_lasti
    if last >= 0 and frame.f_code.co_code[last] == _IMPORT_FROM:
        return ImportError(message, name=path)
    return AttributeError(message)
