"""``python -m tools.examples``: write docs/pyro-examples.md, a row for each example file of Pyro 1.9.2."""

from __future__ import annotations

from pathlib import Path

from tools.examples.table import Example, missing, read, stand_ins

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "pyro-examples.md"
_HEAD = """\
# Pyro's examples, file by file

Written by `python -m tools.examples`: the {count} files that `tests/test_examples.py` of Pyro 1.9.2 runs.

**None of them was run here.** Pyro's packages do not hold them, and nothing is fetched. What each imports is
written down by hand, in `tools/examples/pyro-1.9.2.txt`; only whether Pyro has these names, and the drop-in
offers them, is looked up. So "names are there" says that, by this list, an example gets past its imports. What is
run in the tests are two programs of the same kind, [`examples/pyro_scripts`]({scripts}), and for
each module its own numbers beside Pyro's.

Needs: *mcmc* samplers, which Ember lacks; *funsor*; a *download* of data (put the file where
[the loader looks](from-pyro.md#the-data-of-pyros-examples)); or packages.

{ready} of {free} files that need neither mcmc, funsor nor a download find all their names.

| file | needs | names that it takes | what is missing | imports, and is an error on use |
|---|---|---|---|---|
"""
_SCRIPTS = "../examples/pyro_scripts"
_BARRIERS = frozenset({"mcmc", "funsor", "download"})


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name.removeprefix('pyro.')}`" for name in names)


def _row(example: Example, lacking: list[str]) -> str:
    count = sum(1 for _ in example.entries())
    verdict = _listed(lacking) or "names are there"
    only_imports = _listed(stand_ins(example))
    return f"| `{example.file}` | {', '.join(example.needs)} | {count} | {verdict} | {only_imports} |"


def main() -> None:
    """Write the page."""
    examples = read()
    lacking = {example.file: missing(example) for example in examples}
    free = [example for example in examples if not _BARRIERS & set(example.needs)]
    ready = sum(1 for example in free if not lacking[example.file])
    head = _HEAD.format(count=len(examples), scripts=_SCRIPTS, ready=ready, free=len(free))
    rows = [_row(example, lacking[example.file]) for example in examples]
    _PAGE.write_text(head + "\n".join(rows) + "\n", encoding="utf-8")
    print(f"{_PAGE.name}: {ready} of {len(free)} without barriers find all their names")


if __name__ == "__main__":
    main()
