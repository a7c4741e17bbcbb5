"""Turning the drop-in on and off in the running process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ember
from ember import settings
from ember.infer.step.compile_mode import CompileMode
from ember.pyro import children, console, fallback
from ember.pyro.finder import ROOT, Finder, is_hidden, pyro_path
from ember.pyro.places import VIEWS
from ember.pyro.views import View

EMULATED_VERSION = "1.9.2"
"""What ``pyro.__version__`` says under the drop-in: the Pyro whose programs run."""

_LENIENT: dict[str, Any] = {"nonfinite_loss": "warn", "warn_of_given_data": False}
_finder = Finder()
_undo: dict[str, Any] = {}


def is_installed() -> bool:
    """Whether ``import pyro`` gives Ember in this process."""
    return _finder in sys.meta_path


def install(*, child_processes: bool = True, compile: CompileMode = None) -> None:
    """Make ``pyro`` and every path below it Ember's own modules. A second call changes nothing.

    ``ember.__version__`` becomes the version of Pyro that programs ask for. A loss that is not finite warns, as
    in Pyro, where Ember would raise; predictions of data that were given do not warn.

    Args:
        child_processes: let Python processes started from here see the same, through ``PYTHONPATH``.
        compile: what the setting ``compile`` becomes, here and in child processes; None leaves it alone.

    Raises:
        RuntimeError: if another ``pyro`` has been imported already; parts of the program would keep using it.
    """
    if is_installed():
        return
    foreign = sys.modules.get(ROOT)
    if foreign is not None:
        origin = getattr(foreign, "__file__", foreign)
        raise RuntimeError(
            f"another pyro has been imported before ember.pyro.install(): {origin}; "
            "install first, or run the program by `python -m ember.pyro`"
        )
    changed = _LENIENT if compile is None else {**_LENIENT, "compile": compile}
    before = {name: settings.get(name) for name in changed}
    settings.set(**changed)
    _undo["settings"] = before
    _undo["version"] = ember.__version__
    ember.__version__ = EMULATED_VERSION
    sys.meta_path.insert(0, _finder)
    _alias_what_is_loaded()
    console.attach()
    if child_processes:
        children.enable(compile)


def uninstall() -> None:
    """Take :func:`install` back: ``import pyro`` finds what is installed under that name, if anything."""
    if not is_installed():
        return
    sys.meta_path.remove(_finder)
    children.disable()
    fallback.detach_all()
    console.detach()
    aliased = {name: m for name, m in sys.modules.items() if name == ROOT or name.startswith(ROOT + ".")}
    for path, module in aliased.items():
        del sys.modules[path]
        parent, _, name = path.rpartition(".")
        if isinstance(module, View) and vars(aliased[parent]).get(name) is module:
            delattr(aliased[parent], name)
    settings.set(**_undo.pop("settings"))
    ember.__version__ = _undo.pop("version")


def _alias_what_is_loaded() -> None:
    for name, module in list(sys.modules.items()):
        if (name == "ember" or name.startswith("ember.")) and not is_hidden(name):
            path = pyro_path(name)
            if path not in VIEWS:
                sys.modules[path] = module
                fallback.attach(module, path)


@contextmanager
def installed() -> Iterator[None]:
    """The drop-in for the length of a ``with`` block."""
    before = is_installed()
    install()
    try:
        yield
    finally:
        if not before:
            uninstall()
