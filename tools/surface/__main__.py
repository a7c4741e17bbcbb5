"""``make surface``: walk Pyro's public surface, look every name up in Ember, and write what there is to the docs.

Needs an environment with both. Pyro and the drop-in run in processes of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tools.surface.judge import Verdict, judge
from tools.surface.report import render
from tools.surface.table import render as render_table

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_PAGE = _ROOT / "docs" / "surface.md"
_TABLE = _ROOT / "src" / "ember" / "pyro" / "surface-1.9.2.txt"


def _run(script: str, *args: Path, drop_in: bool) -> Any:
    """The records that a script writes, under Pyro or under the drop-in."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        *(["-m", "ember.pyro"] if drop_in else []),
        str(_HERE / script),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        subprocess.run([*command, str(out), *map(str, args)], check=True, env=environment, cwd=folder)
        return json.loads(out.read_text(encoding="utf-8"))


def verdicts() -> tuple[dict[str, Any], list[Verdict]]:
    """Pyro's records, and a verdict on each of its public names."""
    there = _run("collect.py", drop_in=False)
    with tempfile.TemporaryDirectory() as folder:
        known = Path(folder) / "pyro.json"
        known.write_text(json.dumps(there), encoding="utf-8")
        here = _run("collect.py", known, drop_in=True)
    return there, judge(there, here)


def main() -> int:
    """Write the page; with ``--table``, the drop-in's table of names too; print what is missing or differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--table", action="store_true", help="write the table of names that the drop-in reads"
    )
    parser.add_argument(
        "--names", metavar="PATH", help="print every name below this path that is not as in Pyro"
    )
    options = parser.parse_args()
    there, found = verdicts()
    if options.table:
        _TABLE.write_text(render_table(there), encoding="utf-8")
    if options.names:
        for v in found:
            if (v.path + ".").startswith(options.names + ".") and (v.missing or v.difference or v.members):
                print(v.path, v.name, "missing" if v.missing else v.difference, *v.members, sep=" | ")
        return 0
    values = {where: _run("values.py", drop_in=where == "ember") for where in ("pyro", "ember")}
    page = render(found, values["pyro"], values["ember"])
    _PAGE.write_text(page, encoding="utf-8")
    print(page.split("\n## ")[0])
    return 0


if __name__ == "__main__":
    sys.exit(main())
