"""Finding the files of a data set, or saying which one is missing and where it belongs."""

from __future__ import annotations

import bz2
import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

_OPENERS: dict[str, Callable[..., Any]] = {".bz2": bz2.open, ".gz": gzip.open}


def data_directory(filepath: str | os.PathLike[str]) -> str:
    """The folder ``.data`` beside a file, or that of the user where the variable ``CI`` is set.

    Args:
        filepath: the file, usually ``__file__``.
    """
    if "CI" in os.environ:
        return os.path.expanduser("~/.data")
    return os.path.join(os.path.dirname(os.path.abspath(filepath)), ".data")


def find(what: str, folder: str | os.PathLike[str], *names: str, source: str = "") -> Path:
    """The first of some files that is there.

    Args:
        what: the data set, for the error.
        folder: where it is looked for.
        names: names of the file, as it is or packed.
        source: where the original is published, for the error.

    Raises:
        FileNotFoundError: if none of them is there; names the file and the folder.
    """
    for name in names:
        path = Path(folder, name)
        if path.exists():
            return path
    published = f", published at {source}" if source else ""
    raise FileNotFoundError(
        f"the data set {what} is not here, and Ember fetches nothing: put {' or '.join(names)}{published}, "
        f"into the folder {os.path.abspath(folder)}"
    )


def open_packed(path: Path) -> IO[bytes]:
    """A file to read, unpacked by its suffix."""
    opener = _OPENERS.get(path.suffix, open)
    stream: IO[bytes] = opener(path, "rb")
    return stream
