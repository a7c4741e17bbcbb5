"""``make clients``: run each client under Pyro and under Ember's drop-in, and write the table to docs/from-pyro.md.

``python -m benchmarks.clients [NAME ...]`` runs some, and prints the table only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.clients.table import CLIENTS, put_into, render

_ROOT = Path(__file__).resolve().parents[2]
_PAGE = _ROOT / "docs" / "from-pyro.md"
_EARLIER = Path(sys.prefix) / "pyro-1.9.1"
"""Where ``make clients`` puts the release of Pyro that a client needs if 1.9.2 will not do."""
_WAYS = {"pyro": [], "ember": ["ember.pyro", "-m"], "compiled": ["ember.pyro", "--compile", "-m"]}
_MOST_SECONDS = 1200


def run(name: str, way: str) -> dict[str, Any]:
    """What a client does in a process of its own."""
    paths = [str(_ROOT)]
    if way == "pyro" and CLIENTS[name] != "1.9.2":
        paths.insert(0, str(_EARLIER))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore"}
    environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        command = [sys.executable, "-m", *_WAYS[way], "benchmarks.clients.worker", name, str(out)]
        try:
            ended = subprocess.run(
                command, env=environment, cwd=folder, capture_output=True, text=True, timeout=_MOST_SECONDS
            )
        except subprocess.TimeoutExpired:
            return {"error": f"more than {_MOST_SECONDS} s"}
        if not out.exists():
            return {"error": ended.stderr.strip()[-2000:]}
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return found


def main(names: list[str]) -> int:
    """Run them; 1 if one fails under Ember."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name in names or CLIENTS:
        found[name] = {way: run(name, way) for way in _WAYS}
        for way, result in found[name].items():
            print(f"== {name}, {way}: {', '.join(result.get('done', [])) or 'nothing'}", flush=True)
            print(*result.get("explained", []), result.get("error", ""), sep="\n")
    table = render(found)
    print(table)
    if not names:
        _PAGE.write_text(put_into(_PAGE.read_text(encoding="utf-8"), table), encoding="utf-8")
    return int(any("error" in rows[way] for rows in found.values() for way in ("ember", "compiled")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
