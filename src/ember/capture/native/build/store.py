"""Files of the native backend's cache: where they lie, how they are written so that no reader sees half of one."""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

MOST_FILES = 1000
"""Libraries kept; the ones built longest ago go first."""


def cache_folder() -> Path:
    """The folder for compiled libraries: ``EMBER_CACHE_DIR``, else ``ember`` in the user's cache folder.

    A folder that cannot be written to, or that its group or others could write to, is not used: what lies there is loaded as
    code. A private temporary folder, removed at the end of the process, takes its place.
    """
    named = os.environ.get("EMBER_CACHE_DIR")
    if named:
        folder = Path(named).expanduser()
    else:
        base = os.environ.get("XDG_CACHE_HOME")
        folder = (Path(base) if base else Path("~/.cache").expanduser()) / "ember"
    return _usable(folder.absolute()) or _temporary_folder(os.getpid())


@functools.cache
def _usable_once(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
            return False
        with tempfile.TemporaryFile(dir=folder):
            return True
    except (OSError, RuntimeError):
        return False


def _usable(folder: Path) -> Path | None:
    if not _usable_once(folder):
        return None
    if not folder.is_dir():  # removed since
        _usable_once.cache_clear()
        return folder if _usable_once(folder) else None
    return folder


@functools.cache
def _temporary_folder(process: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="ember-"))
    atexit.register(_remove_own, folder, process)
    return folder


def _remove_own(folder: Path, process: int) -> None:
    if os.getpid() == process:  # not in a forked child, whose parent may still load from it
        shutil.rmtree(folder, ignore_errors=True)


def read_checked(folder: Path, key: str) -> Path | None:
    """The library of this key if there is a sound one. Files that are not what their name says are removed."""
    for path in sorted(folder.glob(f"{key}-*.so")):
        try:
            sound = path.stem.partition("-")[2] == _checksum(path)
        except OSError:
            continue  # removed by another process just now
        if sound:
            return path
        path.unlink(missing_ok=True)
    return None


def write_checked(folder: Path, key: str, built: Path) -> Path:
    """Move a finished library, which must lie in the same file system, to its place."""
    path = folder / f"{key}-{_checksum(built)}.so"
    os.replace(built, path)
    return path


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]


def remove_left_overs(folder: Path, older_than: float) -> None:
    """Remove the workplaces of processes that ended in the middle of building."""
    for path in folder.glob("build-*"):
        try:
            if path.stat().st_mtime < older_than:
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue


def trim(folder: Path) -> None:
    """Keep the newest libraries only. One that is loaded stays usable when its file goes."""
    libraries = list(folder.glob("*-*.so"))
    if len(libraries) <= MOST_FILES:
        return

    def age(path: Path) -> float:
        try:
            return path.stat().st_mtime
        except OSError:
            return 0.0

    for path in sorted(libraries, key=age)[: len(libraries) - MOST_FILES]:
        path.unlink(missing_ok=True)
