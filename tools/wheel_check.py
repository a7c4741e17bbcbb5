"""Build the wheel and the sdist, look at what is in them, and run the README's first program from the wheel alone.

``python -m tools.wheel_check`` needs hatchling. It makes an empty environment in a temporary folder and installs the wheel
there with the given torch; the program and ``python -m ember`` run outside of the repository. The wheel that is made of the
sdist must hold the same files. Both stay in ``build/dist``. The exit status is 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "build" / "dist"
SOURCES = ROOT / "src" / "ember"
IN_SDIST = ("README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml", "Makefile", "tests/conftest.py")
"""Files of the root that a sdist must have, besides all of the package and of its tests."""
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def first_program(readme: str) -> str:
    """The first block of Python in a page.

    Raises:
        ValueError: if there is none.
    """
    found = _BLOCK.search(readme)
    if found is None:
        raise ValueError("the README has no block of Python")
    return found[1]


def package_files() -> set[str]:
    """What an installation needs, C and all, by its path from ``src`` on."""
    return {
        path.relative_to(SOURCES.parent).as_posix()
        for path in SOURCES.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }


def test_files() -> set[str]:
    """The tests, and what they read."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("*")
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in path.parts[-3:])
    }


def missing_in_wheel(names: Sequence[str]) -> Iterator[str]:
    """What a wheel lacks, and what it should not have."""
    held = {name for name in names if ".dist-info/" not in name}
    yield from (f"the wheel lacks {name}" for name in sorted(package_files() - held))
    yield from (
        f"the wheel has {name}, which is no part of the package" for name in sorted(held - package_files())
    )
    for wanted in ("LICENSE", "METADATA"):
        if not any(name.endswith(wanted) for name in names):
            yield f"the wheel lacks {wanted}"


def missing_in_sdist(names: Sequence[str]) -> Iterator[str]:
    """What a sdist lacks."""
    held = {name.partition("/")[2] for name in names}
    wanted = {f"src/{name}" for name in package_files()} | test_files() | set(IN_SDIST)
    yield from (f"the sdist lacks {name}" for name in sorted(wanted - held))


def build() -> tuple[Path, Path]:
    """The wheel and the sdist, made anew."""
    shutil.rmtree(DIST, ignore_errors=True)
    run([sys.executable, "-m", "hatchling", "build", "-d", str(DIST)], ROOT)
    (wheel,), (sdist,) = list(DIST.glob("*.whl")), list(DIST.glob("*.tar.gz"))
    return wheel, sdist


def wheel_of_sdist(sdist: Path, place: Path) -> list[str]:
    """The files of the wheel that is made of a sdist."""
    with tarfile.open(sdist) as archive:
        archive.extractall(place, filter="data")
    (folder,) = place.iterdir()
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place / "made")], folder)
    (made,) = (place / "made").glob("*.whl")
    return zipfile.ZipFile(made).namelist()


def run(command: Sequence[str], place: Path) -> str:
    """What a command prints; its words are shown, and the check ends, if it fails.

    Raises:
        SystemExit: then.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=place, env=environment)
    if done.returncode != 0:
        raise SystemExit(
            f"{' '.join(command)}\nends with status {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def run_installed(wheel: Path, torch: str, place: Path) -> str:
    """What the README's first program prints where nothing but the wheel, and what that asks for, is installed."""
    venv.create(place / "empty", with_pip=True)
    python = str(place / "empty" / ("Scripts" if os.name == "nt" else "bin") / "python")
    for asked in (torch, str(wheel)):
        run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", asked], place)
    run([python, "-m", "pip", "check"], place)
    where = run([python, "-c", "import ember; print(ember.__file__)"], place).strip()
    if not Path(where).is_relative_to(place.resolve()):
        raise SystemExit(f"ember was imported from {where}, not from the wheel")
    run([python, "-m", "ember", "--no-compile"], place)
    (place / "first.py").write_text(
        first_program((ROOT / "README.md").read_text(encoding="utf-8")), encoding="utf-8"
    )
    return run([python, "first.py"], place)


def main() -> int:
    """Check them; see the module."""
    parser = argparse.ArgumentParser(prog="python -m tools.wheel_check", description=main.__doc__)
    parser.add_argument("--torch", default="torch", help="what pip is asked for")
    parser.add_argument("--no-install", action="store_true", help="look at the files only")
    options = parser.parse_args()
    wheel, sdist = build()
    with tempfile.TemporaryDirectory() as folder:
        (again := Path(folder) / "again").mkdir()
        names = zipfile.ZipFile(wheel).namelist()
        with tarfile.open(sdist) as archive:
            wrong = [*missing_in_wheel(names), *missing_in_sdist(archive.getnames())]
        if set(wheel_of_sdist(sdist, again)) != set(names):
            wrong.append("the wheel of the sdist has other files than the wheel")
        printed = "" if options.no_install else run_installed(wheel, options.torch, Path(folder))
    for path in (wheel, sdist):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 2**20:.1f} MiB")
    if printed:
        print(f"the README's first program, from the wheel: {printed.splitlines()[0]}")
    if wrong:
        print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
