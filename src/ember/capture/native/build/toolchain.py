"""The system's C compiler: one translation unit in, a shared library out, kept on disk by content.

A library is found again by what went into it: source, headers, flags, compiler and processor. The file's name carries a checksum
of its content, so that a file cut short by a crash is seen, removed and built anew; libraries come into being under another name
and are moved, so that processes may build at the same time. A warm start reads one small file about the compiler and the library,
and starts no process.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ember.capture.native.build.compiler import Compiler, find_compiler
from ember.capture.native.build.store import (
    cache_folder,
    read_checked,
    remove_left_overs,
    trim,
    write_checked,
)
from ember.errors import CompilationError

if sys.platform == "win32":
    from _ctypes import FreeLibrary as unload
else:
    from _ctypes import dlclose as unload

HEADERS = Path(__file__).parents[1] / "c"
"""The folder of the C headers; ``#include "ember_random.h"`` finds them there."""

BASE_FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-shared", "-pthread", "-w", "-pipe")
"""How every library is built."""

ARITHMETIC_FLAGS = ("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-fopenmp-simd")
"""What the optimiser may do to arithmetic: nothing that changes a result. No sum is reassociated but where the code says so
(``#pragma omp simd reduction``), no product and sum are fused but where it says so (``__builtin_fma``), infinities, NaN and the
sign of zero are kept. ``errno`` and floating point traps are not observed, which lets loops with ``sqrt`` and comparisons
become vectors."""

SANITIZER_FLAGS = (
    "-g",
    "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=undefined",
)


@dataclass(frozen=True)
class Library:
    """A shared library on disk."""

    path: Path
    built: bool
    """Whether this call ran the compiler; false if the library was found."""

    def load(self) -> ctypes.PyDLL:
        """Load it. Calls through the result hold the interpreter's lock."""
        return ctypes.PyDLL(str(self.path))

    def load_for(self, owner: object) -> ctypes.PyDLL:
        """Load it for as long as an object lives, and then unload it; the file stays. The owner must live through each call."""
        library = self.load()
        # At the end of the process other threads may still be in it.
        weakref.finalize(owner, unload, library._handle).atexit = False
        return library


def compile_library(source: str, *, sanitize: bool = False, extra_flags: Sequence[str] = ()) -> Library:
    """The library of one C translation unit, compiled if no earlier call, in any process, has done so.

    ``sanitize`` builds with the address and undefined behaviour sanitizers; the process that loads such a library must have been
    started with :func:`sanitizer_environment`. The cache is ``EMBER_CACHE_DIR``, else ``ember`` in the user's cache folder.

    Raises :class:`~ember.errors.NoCompilerError` if there is no usable compiler, and :class:`~ember.errors.CompilationError`
    with the compiler's message if it refuses the source.

    >>> library = compile_library("int answer(void) { return 42; }").load()
    >>> library.answer()
    42
    """
    folder = cache_folder()
    compiler = find_compiler(folder)
    flags = (
        *BASE_FLAGS,
        *ARITHMETIC_FLAGS,
        *compiler.flags,
        *(SANITIZER_FLAGS if sanitize else ()),
        *extra_flags,
    )
    key = _key(source, flags, compiler)
    found = read_checked(folder, key)
    if found is not None:
        return Library(found, built=False)
    return Library(_build(source, flags, compiler, folder, key), built=True)


def sanitizer_environment() -> dict[str, str]:
    """What a process needs in its environment, from its start, to load a library built with ``sanitize=True``.

    The sanitizer's runtime must come before all other libraries, which an interpreter that was not built with it needs
    ``LD_PRELOAD`` for. Leaks are not looked for: an interpreter leaves memory to the system at its end.
    """
    compiler = find_compiler(cache_folder())
    runtimes = [_runtime(compiler, name) for name in ("libasan.so", "libstdc++.so.6")]
    return {
        # The C++ library too: the runtime looks up __cxa_throw when it starts, before torch has brought it in.
        "LD_PRELOAD": ":".join(runtimes),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=99:alloc_dealloc_mismatch=0",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    }


def _runtime(compiler: Compiler, name: str) -> str:
    said = subprocess.run(
        [*compiler.command, f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return str(Path(said).resolve())


def _build(source: str, flags: Sequence[str], compiler: Compiler, folder: Path, key: str) -> Path:
    with tempfile.TemporaryDirectory(prefix="build-", dir=folder, ignore_cleanup_errors=True) as workplace:
        target = Path(workplace) / "library.so"
        # Everything that the linker needs twice comes at the end, and the compiler's own files go to the workplace.
        command = [*compiler.command, *flags, "-iquote", str(HEADERS), "-x", "c", "-", "-x", "none"]
        command += ["-o", str(target), *compiler.libraries]
        done = subprocess.run(
            command,
            input=source,
            capture_output=True,
            text=True,
            env={**os.environ, "TMPDIR": workplace, "LC_ALL": "C"},
            cwd=workplace,
        )
        if done.returncode != 0:
            raise CompilationError(_refusal(done.stderr or done.stdout, done.returncode, compiler))
        path = write_checked(folder, key, target)
    remove_left_overs(folder, older_than=time.time() - 3600)
    trim(folder)
    return path


def _refusal(message: str, code: int, compiler: Compiler) -> str:
    lines = message.strip().splitlines() or ["(it gave no message)"]
    if len(lines) > 30:
        lines = [*lines[:30], f"... and {len(lines) - 30} lines more"]
    shown = "\n".join(lines)
    return (
        f"the C compiler {' '.join(compiler.command)} ({compiler.version}) ended with status {code}:\n{shown}\n"
        'Set CC to another compiler, or use another backend: SVI(..., backend="inductor").'
    )


def _key(source: str, flags: Iterable[str], compiler: Compiler) -> str:
    digest = hashlib.sha256()
    for part in (source, _headers_digest(), *flags, *compiler.libraries, compiler.identity, processor()):
        digest.update(part.encode())
        digest.update(b"\0")
    return digest.hexdigest()[:40]


@functools.cache
def _headers_digest() -> str:
    digest = hashlib.sha256()
    for header in sorted(HEADERS.glob("*.h")):
        digest.update(header.name.encode() + b"\0" + header.read_bytes() + b"\0")
    return digest.hexdigest()


@functools.cache
def processor() -> str:
    """What ``-march=native`` depends on: a cache shared by several machines holds one library for each kind."""
    known = ("model name", "flags", "cpu family", "model", "stepping", "Features", "CPU part")
    described = [platform.machine(), platform.system()]
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if not line.strip():
                    break  # the first processor speaks for all
                name, _, value = line.partition(":")
                if name.strip() in known:
                    described.append(value.strip())
    except OSError:
        described.append(platform.processor())
    return "|".join(described)
