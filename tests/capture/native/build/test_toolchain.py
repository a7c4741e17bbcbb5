"""The tool chain: what is compiled once is found again, whatever happened in between, and nothing is left lying about."""

from __future__ import annotations

import ctypes
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ember.capture.native.build import compiler, store, toolchain
from ember.capture.native.build.toolchain import HEADERS, compile_library, sanitizer_environment
from ember.errors import CaptureError, CompilationError, NoCompilerError

EMBER = HEADERS.parents[2]
SEVEN = "int answer(void) { return 7; }"

# The tool chain needs neither torch nor the rest of the package: a process of a test starts without them.
ALONE = f"""
import sys, types
for name, path in {{"ember": {str(EMBER)!r}, "ember.capture": {str(EMBER / "capture")!r}}}.items():
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [path]
"""


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is known about the compiler, asked once for all tests."""
    folder = tmp_path_factory.mktemp("learnt")
    compiler.find_compiler(folder)
    return folder / "compilers.json"


@pytest.fixture
def cache(tmp_path: Path, learnt: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    shutil.copy(learnt, folder)
    monkeypatch.setenv("EMBER_CACHE_DIR", str(folder))
    return folder


def in_process(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE + code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def test_compiles_once_and_finds_it_again(cache: Path) -> None:
    first = compile_library(SEVEN)
    second = compile_library(SEVEN)
    assert first.built and not second.built
    assert first.path == second.path and first.path.parent == cache
    assert isinstance(first.load(), ctypes.PyDLL)
    assert first.load().answer() == 7


def test_a_warm_start_runs_no_process(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = compile_library(SEVEN).path

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(compiler, "_KNOWN", {})
    monkeypatch.setattr(subprocess, "run", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert compile_library(SEVEN).path == path


def test_source_flags_and_headers_make_another_library(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = {compile_library(SEVEN).path.stem.partition("-")[0]}
    paths.add(compile_library(SEVEN + "\n").path.stem.partition("-")[0])
    paths.add(compile_library(SEVEN, extra_flags=("-DX",)).path.stem.partition("-")[0])
    monkeypatch.setattr(toolchain, "_headers_digest", lambda: "other headers")
    paths.add(compile_library(SEVEN).path.stem.partition("-")[0])
    monkeypatch.setattr(toolchain, "processor", lambda: "another processor")
    paths.add(compile_library(SEVEN).path.stem.partition("-")[0])
    assert len(paths) == 5


@pytest.mark.parametrize("damage", ["truncated", "changed", "empty"])
def test_a_damaged_library_is_built_anew(cache: Path, damage: str) -> None:
    path = compile_library(SEVEN).path
    content = path.read_bytes()
    spoilt = {"truncated": content[: len(content) // 2], "changed": b"\0" + content[1:], "empty": b""}[damage]
    path.unlink()  # not in place: it may be loaded
    path.write_bytes(spoilt)
    again = compile_library(SEVEN)
    assert again.built
    assert again.load().answer() == 7
    assert not compile_library(SEVEN).built


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe"])
def test_a_damaged_note_about_compilers_is_written_anew(
    cache: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_library(SEVEN)
    (cache / "compilers.json").write_bytes(content)
    monkeypatch.setattr(compiler, "_KNOWN", {})
    assert compile_library(SEVEN).load().answer() == 7
    assert compiler._recall(cache, next(iter(compiler._KNOWN))[1]) is not None


def test_processes_may_build_at_the_same_time(cache: Path) -> None:
    code = (
        "from ember.capture.native.build.toolchain import compile_library\n"
        f"print(compile_library({SEVEN!r}).load().answer())"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", ALONE + code], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate()[0].strip() for process in running] == ["7"] * 3
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".so"]


def test_left_overs_of_a_crash_are_removed_and_fresh_workplaces_kept(cache: Path) -> None:
    compile_library(SEVEN)
    old, fresh = cache / "build-old", cache / "build-fresh"
    for folder in (old, fresh):
        folder.mkdir()
        (folder / "library.so").write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    compile_library(SEVEN + "//")
    assert not old.exists() and fresh.exists()


def test_nothing_is_written_elsewhere(cache: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "tmp"
    elsewhere.mkdir()
    code = (
        "from ember.capture.native.build.toolchain import compile_library\n"
        f"compile_library({SEVEN!r})\n"
        "try: compile_library('wrong')\nexcept Exception: pass"
    )
    assert in_process(code, TMPDIR=str(elsewhere)).returncode == 0
    assert list(elsewhere.iterdir()) == []
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".so"]


def test_the_oldest_libraries_go_first(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST_FILES", 2)
    paths = []
    for i in range(3):
        paths.append(compile_library(f"int f(void) {{ return {i}; }}").path)
        os.utime(paths[-1], (i, i))
    compile_library("int f(void) { return 9; }")
    assert [path.exists() for path in paths] == [False, False, True]


def test_the_users_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMBER_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store.cache_folder() == tmp_path / "ember"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert store.cache_folder() == tmp_path / "home" / ".cache" / "ember"


@pytest.mark.parametrize("kind", ["a file in the way", "open to its group", "open to others"])
def test_a_folder_that_cannot_be_trusted_is_replaced_by_a_private_one(tmp_path: Path, kind: str) -> None:
    named = tmp_path / "cache"
    if kind == "a file in the way":
        named.write_text("")
    else:
        named.mkdir()
        named.chmod(0o770 if kind == "open to its group" else 0o777)
    code = (
        "from ember.capture.native.build.toolchain import compile_library\n"
        f"library = compile_library({SEVEN!r})\n"
        "print(library.load().answer(), library.path)"
    )
    done = in_process(code, EMBER_CACHE_DIR=str(named), TMPDIR=str(tmp_path))
    answer, path = done.stdout.split()
    assert answer == "7", done.stderr
    assert Path(path).parent != named and Path(path).is_relative_to(tmp_path)
    assert not Path(path).parent.exists()  # gone with the process


def test_a_removed_folder_is_made_again(cache: Path) -> None:
    path = compile_library(SEVEN).path
    path.unlink()
    (cache / "compilers.json").unlink()
    cache.rmdir()
    assert compile_library(SEVEN).load().answer() == 7


def test_a_refused_program_shows_the_compilers_message(cache: Path) -> None:
    with pytest.raises(CompilationError, match=r"(?s)status 1:.*:2:.*not_there.*CC") as caught:
        compile_library("int f(void) {\n return not_there; }")
    assert isinstance(caught.value, CaptureError)
    assert sorted(path.suffix for path in cache.iterdir()) == [".json"]


def test_a_compiler_that_is_not_there(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -m64")
    with pytest.raises(NoCompilerError, match=r"CC names the C compiler 'no-such-compiler'"):
        compile_library(SEVEN)
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(cache))
    with pytest.raises(NoCompilerError, match=r"none of cc, gcc, clang is on PATH"):
        compile_library(SEVEN)


@pytest.mark.parametrize("script", ["echo 'no licence' >&2; exit 3", "exit 0"])
def test_a_compiler_that_does_not_work(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    broken = tmp_path / "mycc"
    broken.write_text(f"#!/bin/sh\n{script}\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    with pytest.raises(NoCompilerError, match=r"cannot build a shared library") as caught:
        compile_library(SEVEN)
    assert ("no licence" in str(caught.value)) == ("licence" in script)


def test_cc_with_options_is_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "cc -DANSWER=11")
    assert compile_library("int answer(void) { return ANSWER; }").load().answer() == 11


def test_arithmetic_is_as_written(cache: Path) -> None:
    source = """
    double sum_then_difference(double a, double b) { return (a + b) - a; }
    double difference(double a, double b) { return a - b; }
    double product_and_sum(double a, double b, double c) { return a * b + c; }
    int is_nan(double a) { return a != a; }
    double sum(const double *x) { double s = 0; for (int i = 0; i < 8; i++) s += x[i]; return s; }
    """
    library = compile_library(source).load()
    for name in ("sum_then_difference", "difference", "product_and_sum", "sum"):
        getattr(library, name).restype = ctypes.c_double
    d = ctypes.c_double
    assert library.sum_then_difference(d(1.0), d(1e-17)) == 0.0
    assert math.isnan(library.difference(d(math.inf), d(math.inf)))
    assert library.is_nan(d(math.nan)) == 1
    assert math.copysign(1.0, library.product_and_sum(d(-0.0), d(1.0), d(-0.0))) == -1.0
    assert library.product_and_sum(d(1 + 2**-30), d(1 - 2**-30), d(-1.0)) == 0.0  # fused: -2 ** -60
    x = (d * 8)(1e16, 1.0, -1e16, 1.0, 1e16, 1.0, -1e16, 1.0)
    assert library.sum(x) == sum(x)


def test_the_headers_are_part_of_the_package() -> None:
    names = {"ember_engine.h", "ember_random.h", "ember_rejection.h", "ember_math.h", "ember_special.h"}
    assert names <= {path.name for path in HEADERS.glob("*.h")}


PLANTED = """
import ctypes, sys, torch
from ember.capture.native.build.toolchain import compile_library
source = '''
double read(const double *x, long i) { return x[i]; }
int add(int a, int b) { return a + b; }
'''
library = compile_library(source, sanitize=True).load()
library.read.restype = ctypes.c_double
x = torch.arange(10, dtype=torch.float64)
pointer = ctypes.c_void_p(x.data_ptr())
assert library.read(pointer, ctypes.c_long(9)) == 9.0 and library.add(1, 2) == 3
print("sound", flush=True)
if sys.argv[1] == "overflow":
    memory = torch.empty(1 << 16, dtype=torch.uint8)
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    library.read(ctypes.c_void_p(libc.malloc(80)), ctypes.c_long(10))
if sys.argv[1] == "undefined":
    library.add(2**31 - 1, 1)
print("unharmed")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the runtime is preloaded as Linux does it")
@pytest.mark.parametrize(
    "planted, report",
    [("overflow", "heap-buffer-overflow"), ("undefined", "signed integer overflow")],
)
def test_the_sanitizers_see_planted_errors_in_a_process_with_torch(
    cache: Path, planted: str, report: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE + PLANTED, planted],
        env={**os.environ, **sanitizer_environment()},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "sound\n", done.stderr
    assert done.returncode != 0 and report in done.stderr
