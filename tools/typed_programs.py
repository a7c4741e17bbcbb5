"""What mypy --strict says to a user's programs: nothing to right ones, and to wrong ones what their lines expect.

``python -m tools.typed_programs`` checks ``tests/types``. ``--pyright`` asks pyright about the right ones too, where it is
installed. The exit status is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAMS = ROOT / "tests" / "types"
_SAID = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+): error: (?P<text>.*)  \[(?P<code>[\w-]+)\]$")
_EXPECTED = re.compile(r"#\s*error: (?P<code>[\w-]+)$")

Place = tuple[str, int, str]
"""A file, a line, and the code of an error."""


def expected() -> set[Place]:
    """What the lines of wrong programs expect."""
    return {
        (path.relative_to(PROGRAMS).as_posix(), number, found["code"])
        for path in sorted((PROGRAMS / "wrong").glob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if (found := _EXPECTED.search(line.rstrip()))
    }


def said_by_mypy() -> set[Place]:
    """What mypy says to all of them, as it would to a user who has installed Ember.

    Raises:
        RuntimeError: if it does not get that far.
    """
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "right", "wrong"]
    # A source tree on this path is not searched for errors of its own, as an installed package is not.
    environment = {**os.environ, "MYPYPATH": "", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROGRAMS, env=environment)
    if done.returncode not in (0, 1) or "can't read" in done.stdout:
        raise RuntimeError(done.stdout + done.stderr)
    found = [match for line in done.stdout.splitlines() if (match := _SAID.match(line))]
    return {(match["file"].replace(os.sep, "/"), int(match["line"]), match["code"]) for match in found}


def differences(expectation: set[Place], said: set[Place]) -> Iterator[str]:
    """One line for each place at which the two differ."""
    for name, line, code in sorted(expectation - said):
        yield f"tests/types/{name}:{line}: no error is found, where {code} is expected"
    for name, line, code in sorted(said - expectation):
        yield f"tests/types/{name}:{line}: an error that is not expected: {code}"


def main() -> int:
    """Check them; see the module."""
    parser = argparse.ArgumentParser(prog="python -m tools.typed_programs", description=main.__doc__)
    parser.add_argument("--pyright", action="store_true", help="ask pyright about the right ones too")
    options = parser.parse_args()
    wanted = expected()
    found = list(differences(wanted, said_by_mypy()))
    print("\n".join(found) or f"typed programs: right ones pass, {len(wanted)} wrong calls are found")
    status = 1 if found else 0
    if options.pyright:
        asked = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, str(PROGRAMS / "right")]
        status |= subprocess.run(asked, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}).returncode
    return status


if __name__ == "__main__":
    sys.exit(main())
