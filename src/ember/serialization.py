"""Files that survive a crash and do not run foreign code: atomic save, safe load."""

from __future__ import annotations

import importlib
import os
import pickle
import shutil
import types
import uuid
from pathlib import Path
from typing import Any

import torch

from ember.errors import SaveFileError


def atomic_save(obj: Any, filename: str | os.PathLike[str]) -> None:
    """Write ``obj`` with :func:`torch.save` so that ``filename`` is always either the old file or the whole new one.

    The new content goes to a temporary file in the same folder, is flushed to disk, and then takes the name in one step. An old
    file's permissions are kept; a link stays a link, and the file behind it is replaced.
    """
    target = Path(os.path.realpath(filename))
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            torch.save(obj, file)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
        SaveFileError: if the file is corrupt, is no such file at all, or holds objects that need ``allow_pickle=True``.
    """
    with open(filename, "rb") as file:
        try:
            if allow_pickle:
                return torch.load(file, map_location, pickle_module=_pickle_module(), weights_only=False)
            return torch.load(file, map_location, weights_only=True)
        except Exception as error:
            raise SaveFileError(_explain(filename, error, allow_pickle)) from error


def _explain(filename: str | os.PathLike[str], error: Exception, allow_pickle: bool) -> str:
    if isinstance(error, pickle.UnpicklingError) and "weights_only" in str(error) and not allow_pickle:
        return (
            f"{os.fspath(filename)!r} holds more than tensors and plain data, for example because Pyro wrote it. "
            "If you trust where it comes from, load it with allow_pickle=True."
        )
    return (
        f"{os.fspath(filename)!r} cannot be read: it is corrupt or was not written by torch.save ({error})."
    )
