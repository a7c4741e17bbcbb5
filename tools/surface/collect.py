"""What a module tree called ``pyro`` offers: run once under Pyro and once under the drop-in.

``python collect.py OUT`` walks the installed Pyro; ``python -m ember.pyro collect.py OUT PATHS`` looks up in
Ember what a first run has found. Both write the same records, so that they can be compared elsewhere.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import logging
import pkgutil
import re
import sys
import types
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

# Packages that some of Pyro's modules import at their top and that need not be here to see their names.
_OPTIONAL = (
    "graphviz",
    "horovod",
    "lightning",
    "matplotlib",
    "observations",
    "pandas",
    "PIL",
    "pyroapi",
    "pytorch_lightning",
    "requests",
    "scanpy",
    "sklearn",
    "torchvision",
    "visdom",
    "zuko",
)
_NO_DEFAULT = "<none>"


class _Hollow(types.ModuleType):
    """A module that has every name."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__module__": self.__name__})


class _HollowPackages(MetaPathFinder, Loader):
    """Stands in for packages that are not installed, so that what imports them can be looked at."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname.partition(".")[0] in _OPTIONAL:
            return ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return _Hollow(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def _default(value: Any) -> str:
    if value is inspect.Parameter.empty:
        return _NO_DEFAULT
    if isinstance(value, functools.partial):
        return f"partial {_default(value.func)}"
    if isinstance(value, type) or inspect.isroutine(value):
        return value.__name__
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_default, value))})"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(float(value))
    # Addresses and the two names of one module are no difference.
    return re.sub(r" at 0x[0-9a-f]+|\b(?:ember|pyro)(?:\.\w+)*\.", "", repr(value))


def signature(value: Any) -> list[list[str]] | None:
    """The parameters of a callable, each as name, kind and default; None if it has no signature."""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return None
    return [[p.name, p.kind.name, _default(p.default)] for p in parameters if p.name not in ("self", "cls")]


def _members(value: type) -> dict[str, Any]:
    """The public members that Pyro's own classes along the MRO define."""
    found: dict[str, Any] = {}
    for base in value.__mro__:
        if str(base.__module__).partition(".")[0] != "pyro":
            continue
        for name in vars(base):
            if not name.startswith("_") or name == "__call__":
                found.setdefault(name, None)
    return {name: _member(value, name) for name in found}


def _member(value: type, name: str) -> list[list[str]] | None:
    member = inspect.getattr_static(value, name, None)
    member = getattr(member, "__func__", member)
    return signature(member) if inspect.isroutine(member) else None


def record(value: Any, members: list[str] | None = None) -> dict[str, Any]:
    """What a name stands for.

    Args:
        value: the object.
        members: the members of a class to look for; those that Pyro defines if None.
    """
    kind = (
        "module" if isinstance(value, types.ModuleType) else "class" if isinstance(value, type) else "value"
    )
    if kind == "value" and callable(value):
        kind = "function"
    out: dict[str, Any] = {"kind": kind, "home": getattr(value, "__module__", None)}
    if kind == "module":
        out["home"] = value.__name__
    else:
        # torch's own functions are methods of a class without a path.
        qualname = getattr(value, "__qualname__", None)
        out["qualname"] = qualname and qualname.removeprefix("_VariableFunctionsClass.")
    if kind in ("class", "function"):
        out["signature"] = signature(value)
    if kind == "class":
        out["absent"] = hasattr(value, "absent_path")
        found = (
            _members(value)
            if members is None
            else {n: _member(value, n) for n in members if hasattr(value, n)}
        )
        out["members"] = found
    return out


def _import(path: str) -> types.ModuleType | str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(path)
    except Exception as error:
        return f"{type(error).__name__}: {error}".split("\n")[0]


def walk() -> dict[str, Any]:
    """Every module below ``pyro``: its ``__all__`` and a record of each name."""
    pyro = importlib.import_module("pyro")
    logging.disable(logging.CRITICAL)
    sys.meta_path.append(_HollowPackages())
    out: dict[str, Any] = {}
    paths = ["pyro"]
    paths += [m.name for m in pkgutil.walk_packages(pyro.__path__, "pyro.", onerror=lambda name: None)]
    for path in sorted(paths):
        module = _import(path)
        if isinstance(module, str):
            out[path] = {"error": module}
            continue
        names = {name: record(value) for name, value in vars(module).items() if not name.startswith("__")}
        out[path] = {"all": getattr(module, "__all__", None), "names": names}
    return out


def look_up(there: dict[str, Any]) -> dict[str, Any]:
    """Records of the same names in what ``pyro`` is now; a text where a module or a name is missing."""
    out: dict[str, Any] = {}
    for path, entry in there.items():
        module = _import(path)
        if isinstance(module, str):
            out[path] = {"error": module}
            continue
        names = {}
        for name, known in entry.get("names", {}).items():
            try:
                value = getattr(module, name)
            except Exception as error:  # whatever stops a program at this name
                names[name] = {"error": f"{type(error).__name__}: {error}".split("\n")[0]}
            else:
                names[name] = record(value, list(known.get("members", {})))
        out[path] = {"names": names}
    return out


def main(out: str, paths: str | None = None) -> None:
    """Write the records."""
    found = walk() if paths is None else look_up(json.loads(Path(paths).read_text(encoding="utf-8")))
    Path(out).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
