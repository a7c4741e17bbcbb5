"""``python -m tools.examples``: write docs/pyro-examples.md, a row for each example file of Pyro 1.9.2."""

from __future__ import annotations

from pathlib import Path

from tools.examples.table import Example, missing, read, stand_ins

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "pyro-examples.md"
_HEAD = """\
# Pyro's examples, file by file

Written by `python -m tools.examples`: the {count} files that `tests/test_examples.py` of Pyro 1.9.2 runs.

**None of them was run here.** Pyro's packages do not hold them, and nothing is fetched. What each file
imports is written down by hand, in `tools/examples/pyro-1.9.2.txt`. The tool looks up whether Pyro has these
names, and whether [the drop-in](from-pyro.md#run-your-program-as-it-is) offers them. So "names are there" says
no more than this: by the list, the example gets past its imports. The tests run two programs of the same kind,
[`examples/pyro_scripts`]({scripts}).

The column "needs" has *mcmc* (samplers, which Ember lacks), *funsor*, a *download* of data, or packages. Put
data where [the loader looks](from-pyro.md#the-data-of-pyros-examples).

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
