"""Runs at the start of a Python process whose parent has Ember's drop-in installed.

It waits for ``import pyro`` before it touches Ember, so that processes without need of it start as fast as
ever, and it hands over to the sitecustomize that it stands in front of.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent


class _WaitForPyro:
    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname != "pyro":
            return None
        sys.meta_path.remove(self)
        if find_spec("ember") is None:  # another interpreter, in which Ember is not installed
            return None
        from ember.pyro.children import inherited_compile
        from ember.pyro.finder import Finder
        from ember.pyro.switch import install

        install(compile=inherited_compile())
        # The machinery is in the middle of importing "pyro": an entry of that name would make it run the
        # module's file again.
        del sys.modules["pyro"]
        return Finder().find_spec(fullname, path, target)


def _run_the_other_sitecustomize() -> None:
    elsewhere = [entry for entry in sys.path if Path(entry or ".").resolve() != _HERE]
    spec = PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is None or spec.loader is None:
        return
    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


if __name__ == "sitecustomize":
    sys.meta_path.insert(0, _WaitForPyro())
    _run_the_other_sitecustomize()
