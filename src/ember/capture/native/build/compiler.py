"""Which C compiler there is and what it can do: asked once, remembered on disk."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ember.errors import NoCompilerError

_CANDIDATES = ("cc", "gcc", "clang")
_FORMAT = 2
"""Counted up when the probes change, so that what older ones found is not used."""


@dataclass(frozen=True)
class Compiler:
    """A compiler that has built a library here."""

    command: tuple[str, ...]
    version: str
    identity: str
    """Path, size and time of the executable: another compiler under the same name is another compiler."""
    flags: tuple[str, ...]
    """For this processor and for vector code, and which vector functions the headers may declare (``-DEMBER_LIBMVEC``)."""
    libraries: tuple[str, ...]


# For compilers that know them. Elimination of partial redundancies computes a part of `x < low ? low : x` ahead of the choice:
# that leaves a branch in a loop with exp, which then does not become vector code.
_VECTOR_FLAGS = ("-fno-tree-pre",)

_MACHINE_FLAGS: tuple[tuple[str, ...], ...] = (("-march=native",), ("-mcpu=native",), ())

# Each has a loop that must become a call of a vector function that the linker finds. The second list came with glibc 2.35.
_OLD_VECTORS = ("exp", "log", "sin", "cos")
_NEW_VECTORS = (
    *_OLD_VECTORS,
    *("exp2", "expm1", "log1p", "log2", "log10", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh"),
    *("asinh", "acosh", "atanh", "erf", "erfc"),
)
_VECTORS = ((_NEW_VECTORS, "-DEMBER_LIBMVEC=2"), (_OLD_VECTORS, "-DEMBER_LIBMVEC=1"))


def find_compiler(folder: Path) -> Compiler:
    """The compiler that ``CC`` names, else the first of cc, gcc and clang. ``folder`` keeps what is learnt about it.

    Raises :class:`~ember.errors.NoCompilerError` if there is none, or if it cannot build a library.
    """
    command = _command()
    identity = _identity(command)
    key = (str(folder), identity)
    if key not in _KNOWN:
        _KNOWN[key] = _recall(folder, identity) or _learn(folder, command, identity)
    return _KNOWN[key]


_KNOWN: dict[tuple[str, str], Compiler] = {}


def _command() -> tuple[str, ...]:
    named = os.environ.get("CC", "").strip()
    if named:
        try:
            words = tuple(shlex.split(named))
        except ValueError as error:
            raise NoCompilerError(
                f"CC is no command line, {error}: {named!r}. Set it as in a shell, such as CC='gcc -m64', or unset it."
            ) from error
        path = shutil.which(words[0])
        if path is None:
            raise NoCompilerError(
                f"CC names the C compiler {words[0]!r}, but there is no such program. Unset CC, or name one that exists."
            )
        return (path, *words[1:])
    for name in _CANDIDATES:
        path = shutil.which(name)
        if path is not None:
            return (path,)
    raise NoCompilerError(
        f"the native backend needs a C compiler, and none of {', '.join(_CANDIDATES)} is on PATH. "
        'Install one (such as gcc), set CC, or use another backend: SVI(..., backend="inductor").'
    )


def _identity(command: Sequence[str]) -> str:
    status = os.stat(command[0])
    return f"{_FORMAT} {shlex.join(command)} {os.path.realpath(command[0])} {status.st_size} {status.st_mtime_ns}"


def _memory(folder: Path) -> Path:
    return folder / "compilers.json"


def _recall(folder: Path, identity: str) -> Compiler | None:
    try:
        known = json.loads(_memory(folder).read_text(encoding="utf-8"))[identity]
        return Compiler(
            command=tuple(known["command"]),
            version=str(known["version"]),
            identity=str(known["identity"]),
            flags=tuple(known["flags"]),
            libraries=tuple(known["libraries"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None  # never asked, or a damaged file: ask again


def _learn(folder: Path, command: tuple[str, ...], identity: str) -> Compiler:
    with tempfile.TemporaryDirectory(prefix="build-", dir=folder, ignore_cleanup_errors=True) as workplace:
        compiler = _probe(command, identity, Path(workplace))
        entry = Path(workplace) / "compilers.json"
        entry.write_text(json.dumps({**_remembered(folder), identity: asdict(compiler)}), encoding="utf-8")
        os.replace(entry, _memory(folder))
    return compiler


def _remembered(folder: Path) -> dict[str, object]:
    try:
        known = json.loads(_memory(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _probe(command: tuple[str, ...], identity: str, workplace: Path) -> Compiler:
    version = _first_line(_run([*command, "--version"], "", workplace))
    machine: tuple[str, ...] | None = None
    complaint = ""
    for flags in _MACHINE_FLAGS:
        complaint = _builds(command, "int probe(int x) { return x + 1; }\n", flags, (), workplace)
        if not complaint:
            machine = flags
            break
    if machine is None:
        raise NoCompilerError(
            f"the C compiler {shlex.join(command)} cannot build a shared library:\n{complaint}\n"
            'Set CC to another one, or use another backend: SVI(..., backend="inductor").'
        )
    machine += tuple(flag for flag in _VECTOR_FLAGS if not _builds(command, "", (flag,), (), workplace))
    for names, definition in _VECTORS:
        flags = (*machine, "-O2", "-fno-math-errno", "-fopenmp-simd", "-Wl,--no-undefined")
        if not _builds(command, _vector_probe(names), flags, ("-lmvec", "-lm"), workplace, wants=b"_ZGV"):
            return Compiler(command, version, identity, (*machine, definition), ("-lmvec", "-lm"))
    return Compiler(command, version, identity, machine, ("-lm",))


def _vector_probe(names: Sequence[str]) -> str:
    lines = ["#include <math.h>"]
    for name in names:
        for suffix, scalar in (("", "double"), ("f", "float")):
            lines.append("#pragma omp declare simd notinbranch")
            lines.append(f"extern {scalar} {name}{suffix}({scalar});")
            lines.append(f"void loop_{name}{suffix}({scalar} *restrict y, const {scalar} *restrict x, int n)")
            lines.append("{\n#pragma omp simd")
            lines.append(f"    for (int i = 0; i < n; i++) y[i] = {name}{suffix}(x[i]);\n}}")
    return "\n".join(lines) + "\n"


def _builds(
    command: Sequence[str],
    source: str,
    flags: Sequence[str],
    libraries: Sequence[str],
    workplace: Path,
    *,
    wants: bytes = b"",
) -> str:
    """Build a library; the complaint if that does not work, or if the result lacks the wanted bytes."""
    target = workplace / "probe.so"
    target.unlink(missing_ok=True)
    line = [*command, "-shared", "-fPIC", *flags, "-x", "c", "-", "-x", "none", "-o", str(target), *libraries]
    done = _run(line, source, workplace)
    if done.returncode != 0 or not target.exists():
        return (
            done.stderr or done.stdout
        ).strip() or f"it ended with status {done.returncode} and no message"
    return "" if wants in target.read_bytes() else "it builds, but without vector functions"


def _run(line: Sequence[str], source: str, workplace: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TMPDIR": str(workplace), "LC_ALL": "C"}
    try:
        return subprocess.run(
            list(line), input=source, capture_output=True, text=True, env=environment, cwd=workplace
        )
    except OSError as failure:
        raise NoCompilerError(f"the C compiler {line[0]!r} cannot be started: {failure}") from failure


def _first_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stdout or done.stderr).strip().partition("\n")[0]
