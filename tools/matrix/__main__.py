"""Run the suite on the oldest, the pinned and the newest torch, and on other Pythons; write the table of ``docs/versions.md``.

``python -m tools.matrix`` makes an environment for each pair under ``build/matrix`` and runs the tests there. A build
of torch for CUDA takes 5 to 7 GB: a pair is left out, and said so, where less than 10 GB would be free, where its Python is not
there, or where nothing installs. ``--only 3.11:2.9.1`` takes some pairs; ``--environment DIR`` takes one that exists.
The results of a run are in ``build/matrix/results.json`` too. Rows of the page without a new result stay.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "build" / "matrix"
PAGE = ROOT / "docs" / "versions.md"
PAIRS = ("3.11:2.9.1", "3.11:2.13.0", "3.11:newest", "3.12:2.13.0", "3.13:newest")
"""Python and torch: the oldest torch that is promised, the one that CI pins, the newest that installs."""
_FREE = 10 * 2**30
_EXTRAS = "test,examples"
_ROW = re.compile(r"^\| (?P<python>3\.\d+\S*) \| (?P<torch>\d\S*) \|.*$", re.MULTILINE)


@dataclass(frozen=True)
class Result:
    """What one pair gave."""

    python: str
    torch: str
    tests: str
    """The folders or files that were run."""
    passed: int
    skipped: int
    failed: int

    def row(self) -> str:
        """Its line of the table."""
        return f"| {self.python} | {self.torch} | {self.passed:,} | {self.skipped} | {self.failed} | {self.tests} |"


def counted(report: Path, python: str, torch: str, tests: str) -> Result:
    """The numbers in a JUnit report of pytest."""
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    total, skipped, failures, errors = (
        sum(int(suite.get(name, 0)) for suite in suites)
        for name in ("tests", "skipped", "failures", "errors")
    )
    return Result(python, torch, tests, total - skipped - failures - errors, skipped, failures + errors)


def with_rows(page: str, results: Sequence[Result]) -> str:
    """A page with the rows of its table renewed, and new ones at its end.

    Raises:
        ValueError: if there is no table.
    """
    fresh = {(result.python, result.torch): result.row() for result in results}
    kept = [fresh.pop((match["python"], match["torch"]), match[0]) for match in _ROW.finditer(page)] + list(
        fresh.values()
    )
    head = re.search(r"^\| Python \| torch \|.*\n\|[-|: ]+\n", page, re.MULTILINE)
    if head is None:
        raise ValueError("the page has no table that begins with | Python | torch |")
    rest = _ROW.sub("", page[head.end() :]).lstrip("\n")
    return page[: head.end()] + "\n".join(kept) + "\n\n" + rest


def environment_for(pair: str) -> tuple[Path, str]:
    """The Python of an environment with this pair, made where there is none; or no path, and why."""
    python, _, torch = pair.partition(":")
    place = PLACE / f"py{python}-torch{torch}"
    found = place / "bin" / "python"
    if (place / "complete").exists():
        return found, ""
    base = next(filter(_runs, (f"python{python}", *_of_pyenv(python))), None)
    if base is None:
        return Path(), f"there is no python{python}"
    PLACE.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(PLACE).free < _FREE:
        return Path(), "less than 10 GB are free"
    asked = "torch" if torch == "newest" else f"torch=={torch}"
    install = [str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in (
        [base, "-m", "venv", "--clear", str(place)],
        [*install, asked],
        [*install, asked, "--editable", f"{ROOT}[{_EXTRAS}]"],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            return Path(), (done.stderr.strip().splitlines() or ["it does not install"])[-1]
    (place / "complete").touch()
    return found, ""


def _runs(python: str) -> bool:
    # A stand-in of pyenv may be found by its name and still not run.
    found = shutil.which(python)
    return found is not None and subprocess.run([found, "--version"], capture_output=True).returncode == 0


def _of_pyenv(python: str) -> list[str]:
    places = Path("~/.pyenv/versions").expanduser().glob(f"{python}.*/bin/python")
    return [str(place) for place in sorted(places, reverse=True)]


def run(python: Path, tests: Sequence[str], workers: int) -> Result:
    """The suite, or a part of it, in an environment."""
    versions = "import platform, torch; print(platform.python_version(), torch.__version__)"
    own, torch = subprocess.run(
        [str(python), "-c", versions], capture_output=True, text=True, check=True
    ).stdout.split()
    PLACE.mkdir(parents=True, exist_ok=True)
    report = PLACE / f"{own}-{torch}.xml"
    command = [str(python), "-m", "pytest", "-q", "-n", str(workers), f"--junit-xml={report}", *tests]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "EMBER_CACHE_DIR": str(PLACE / f"cache-{own}-{torch}"),
    }
    subprocess.run(command, cwd=ROOT, env=environment)
    return counted(report, own, torch, ", ".join(tests) or "all")


def main() -> int:
    """Run them; see the module."""
    parser = argparse.ArgumentParser(prog="python -m tools.matrix", description=main.__doc__)
    parser.add_argument(
        "--only", action="append", default=[], metavar="PYTHON:TORCH", help="this pair; may be repeated"
    )
    parser.add_argument(
        "--environment", action="append", default=[], help="an environment that exists, instead of pairs"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes of pytest")
    parser.add_argument("tests", nargs="*", help="folders or files; all by default")
    options = parser.parse_args()
    pythons = [Path(folder) / "bin" / "python" for folder in options.environment]
    for pair in options.only or ([] if pythons else PAIRS):
        python, reason = environment_for(pair)
        if reason:
            print(f"{pair}: left out, {reason}")
        else:
            pythons.append(python)
    results = [run(python, options.tests, options.workers) for python in pythons]
    if results:
        (PLACE / "results.json").write_text(
            json.dumps([asdict(result) for result in results], indent=1), encoding="utf-8"
        )
        PAGE.write_text(with_rows(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
    for result in results:
        print(result.row())
    return 1 if any(result.failed for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
