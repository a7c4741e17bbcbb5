"""Atomic saving: the file is the old one or the whole new one, whatever happens in between."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch

from ember.serialization.checksum import seal

if sys.platform != "win32":
    import fcntl

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MINUTE, _DAY = 60.0, 86400.0


def atomic_save(obj: Any, filename: str | os.PathLike[str]) -> None:
    """Write ``obj`` with :func:`torch.save` so that ``filename`` is always either the old file or the whole new one.

    The new content goes to a temporary file in the same folder, is flushed to disk, and then takes the name in one step. An old
    file's permissions are kept; a link stays a link, and the file behind it is replaced. What saves that were killed have left
    behind is removed. The file ends in a checksum, which :func:`safe_load` compares.

    Raises:
        OSError: of the usual subclasses, naming ``filename``; where the disk is full too. The old file is whole then.
    """
    target = Path(os.path.realpath(filename))
    with _naming(filename):
        if target.exists() and not target.is_file():
            kind = errno.EISDIR if target.is_dir() else errno.EINVAL
            raise OSError(kind, "Only an ordinary file can be saved to")
        _remove_left_overs(target)
        _replace(target, obj)


def _replace(target: Path, obj: Any) -> None:
    temporary = target.with_name(f"{_prefix(target)}{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "x+b") as file:
            _try_to_lock(file)
            _write(obj, file)
            file.flush()
            seal(file)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_folder(target.parent)


class Remembering:
    """A file that remembers why a write failed: on its way through torch the reason is lost."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.failed: OSError | None = None

    def write(self, data: Any) -> int:
        """As the file's."""
        try:
            return self._file.write(data)
        except OSError as error:
            self.failed = error
            raise

    def flush(self) -> None:
        """As the file's."""
        try:
            self._file.flush()
        except OSError as error:
            self.failed = error
            raise


def _write(obj: Any, file: BinaryIO) -> None:
    remembering = Remembering(file)
    try:
        torch.save(obj, cast(IO[bytes], remembering))
    except Exception as error:
        if remembering.failed is None or remembering.failed is error:
            raise
        raise remembering.failed from error


@contextmanager
def _naming(filename: str | os.PathLike[str]) -> Iterator[None]:
    """Errors of the disk speak of the user's file, not of a temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        reason = error.strerror
        if error.errno in _FULL:
            reason = f"{reason}. Nothing has been saved, and an older file of this name is whole: make room, or save elsewhere"
        raise OSError(error.errno, reason, os.fspath(filename)) from error


def _prefix(target: Path) -> str:
    # Cut, since names have an end too.
    return f".{os.fsencode(target.name)[:200].decode(errors='ignore')}."


def _remove_left_overs(target: Path) -> None:
    """Temporary files of saves to this name whose process is gone: a living one holds a lock."""
    prefix = _prefix(target)
    try:
        names = [
            name for name in os.listdir(target.parent) if name.startswith(prefix) and name.endswith(".tmp")
        ]
    except OSError:
        return  # a folder that may not be listed
    for name in names:
        path = target.parent / name
        if len(name) != len(prefix) + 36:
            continue
        try:
            status = path.lstat()
            age = time.time() - status.st_mtime
            if stat.S_ISREG(status.st_mode) and age > _MINUTE and _is_left(path, age):
                path.unlink()
        except OSError:
            continue


def _is_left(path: Path, age: float) -> bool:
    if sys.platform == "win32":
        return age > _DAY
    with open(path, "rb") as file:
        return _try_to_lock(file)


def _try_to_lock(file: BinaryIO) -> bool:
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _flush_folder(folder: Path) -> None:
    # Or the new name could be lost with the machine's power, though not the old file.
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
