"""Runs a script of the gallery cell by cell, in a process of its own, and notes what each cell prints and draws.

A cell begins at a line ``# %%``. Comments right below it are its text, in Markdown; what follows is its code.
The docstring of the script is the text of the page. Editors know such cells, and the script runs as it is.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MARK = re.compile(r"^# %%.*$", re.MULTILINE)
RECORD = "record.json"
"""Where outputs are noted, in the folder in which a script has run."""


@dataclass(frozen=True)
class Cell:
    """A part of a script."""

    text: str
    code: str
    line: int
    """The first line of the code, counted from 0."""


@dataclass(frozen=True)
class Script:
    """A script of the gallery.

    >>> script = Script.of('\"\"\"# A title\\n\\nWhat it asks.\\n\"\"\"\\n\\nx = 1\\n\\n# %%\\n# Twice that.\\nprint(2 * x)\\n')
    >>> script.title, script.text
    ('A title', 'What it asks.')
    >>> [(cell.text, cell.code) for cell in script.cells]
    [('', 'x = 1'), ('Twice that.', 'print(2 * x)')]
    """

    title: str
    text: str
    cells: tuple[Cell, ...]

    @classmethod
    def of(cls, source: str) -> Script:
        """Take a script apart.

        Raises:
            ValueError: without a docstring that begins with a heading.
        """
        tree = ast.parse(source)
        doc = ast.get_docstring(tree) or ""
        heading, _, text = doc.partition("\n")
        if not heading.startswith("# "):
            raise ValueError(f"a script of the gallery begins with a docstring '# Title', got {heading!r}")
        first = tree.body[0].end_lineno or 0
        body = "".join(source.splitlines(keepends=True)[first:])
        starts = [0, *(found.end() for found in _MARK.finditer(body))]
        ends = [*(found.start() for found in _MARK.finditer(body)), len(body)]
        cells = (_cell(body, start, end, first) for start, end in zip(starts, ends, strict=True))
        return cls(heading.removeprefix("# "), text.strip(), tuple(cell for cell in cells if cell.code))


def _cell(body: str, start: int, end: int, first: int) -> Cell:
    lines = body[start:end].strip("\n").splitlines()
    shift = len(body[start:end]) - len(body[start:end].lstrip("\n"))
    comments = next((at for at, line in enumerate(lines) if not line.startswith("#")), len(lines))
    text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[:comments])
    code = "\n".join(lines[comments:])
    blank = len(code) - len(code.lstrip("\n"))
    at = first + body.count("\n", 0, start) + shift + comments + blank
    return Cell(text, code.strip("\n"), at)


def run(script: Path, folder: Path) -> list[dict[str, Any]]:
    """Run a script in a folder; for each cell, its output and the names of its pictures.

    Args:
        script: the file.
        folder: where it runs, and leaves its pictures.
    """
    cells = Script.of(script.read_text()).cells
    namespace: dict[str, Any] = {"__name__": "__main__", "__file__": str(script)}
    seen: set[str] = set()
    record = []
    with contextlib.chdir(folder):
        for cell in cells:
            with contextlib.redirect_stdout(io.StringIO()) as output:
                # Blank lines in front keep the script's line numbers in error messages.
                exec(compile("\n" * cell.line + cell.code, str(script), "exec"), namespace)
            new = sorted({path.name for path in Path().glob("*.png")} - seen)
            seen |= set(new)
            record.append({"output": output.getvalue(), "pictures": new})
    return record


if __name__ == "__main__":
    where = Path(sys.argv[2])
    found = run(Path(sys.argv[1]).resolve(), where)
    (where / RECORD).write_text(json.dumps(found))
