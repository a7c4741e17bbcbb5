"""Safe loading: plain data only, unless the user trusts the file; whole and unchanged, or not at all."""

from __future__ import annotations

import importlib
import os
import pickle
import stat
import types
from typing import Any, BinaryIO

import torch

from ember.errors import SaveFileError
from ember.serialization.checksum import verify
from ember.serialization.nesting import verify_nesting


class _PyroAwareUnpickler(pickle.Unpickler):
    """Finds classes pickled by Pyro in Ember, where they bear the same names."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "pyro" or module.startswith("pyro."):
            home = importlib.import_module("ember" + module[len("pyro") :])
            return getattr(home, name)
        return super().find_class(module, name)


def _pickle_module() -> types.ModuleType:
    module = types.ModuleType("ember_pickle")
    module.__dict__.update(vars(pickle))
    module.__dict__["Unpickler"] = _PyroAwareUnpickler
    return module


def safe_load(filename: str | os.PathLike[str], map_location: Any = None, allow_pickle: bool = False) -> Any:
    """Read a file written by :func:`torch.save`.

    By default only tensors and plain Python data are accepted (``weights_only=True``). ``allow_pickle=True`` unpickles anything,
    files of Pyro 1.9 included, and can therefore run code hidden in the file: use it for files you trust.

    Raises:
        FileNotFoundError: if there is no such file.
        SaveFileError: if the file is corrupt, has changed since it was written, is no such file at all, or holds objects that
            need ``allow_pickle=True``.
    """
    name = os.fspath(filename)
    if os.path.exists(name) and not (os.path.isdir(name) or stat.S_ISREG(os.stat(name).st_mode)):
        raise SaveFileError(f"{name!r} cannot be read: it is no ordinary file")
    with open(filename, "rb") as file:
        try:
            verify(file)
            loaded = _load(file, map_location, allow_pickle)
            verify_nesting(loaded)
        except SaveFileError as error:
            raise SaveFileError(f"{name!r} cannot be read: {error}") from error
        except Exception as error:
            raise SaveFileError(_explain(name, file, error, allow_pickle)) from error
    return loaded


def _load(file: BinaryIO, map_location: Any, allow_pickle: bool) -> Any:
    if allow_pickle:
        return torch.load(file, map_location, pickle_module=_pickle_module(), weights_only=False)
    return torch.load(file, map_location, weights_only=True)


def _explain(name: str, file: BinaryIO, error: Exception, allow_pickle: bool) -> str:
    objects = [] if allow_pickle else _objects_in(file)
    if objects:
        return (
            f"{name!r} holds more than tensors and plain data ({', '.join(objects[:3])}), for example because Pyro wrote it. "
            "If you trust where it comes from, load it with allow_pickle=True."
        )
    return f"{name!r} cannot be read: it is corrupt or was not written by torch.save ({error})."


def _objects_in(file: BinaryIO) -> list[str]:
    """Names of classes and functions in the file that loading does without, by default."""
    file.seek(0)
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file))
    except Exception:  # of many types: it is no archive, or a damaged one
        return []
