"""The table of Pyro's examples: its names are Pyro's, and what it says of them is so."""

from __future__ import annotations

from pathlib import Path

import pytest

from ember.pyro import surface
from tools.examples import __main__ as command
from tools.examples.table import Example, missing, read, stand_ins


@pytest.mark.parametrize("example", read(), ids=lambda example: example.file)
def test_all_names_are_pyro_s(example: Example) -> None:
    for path, name in example.entries():
        known = surface.names_at(path)
        private = name.startswith("_")
        assert private or known.has(name) or surface.has_path(f"{path}.{name}"), f"{path}.{name}"


def test_what_is_missing_is_named() -> None:
    example = Example("x.py", (), {"pyro": ("sample", "wibble"), "pyro.infer": ("NUTS", "SVI")})
    assert missing(example) == ["pyro.wibble"] and stand_ins(example) == ["pyro.infer.NUTS"]
    below = Example("x.py", (), {"pyro.infer.mcmc.api": ("MCMC",), "pyro.optim": ("Adam",)})
    assert missing(below) == [] and stand_ins(below) == ["pyro.infer.mcmc.api.MCMC"]
    assert missing(Example("x.py", (), {"pyro.nowhere": ("a",)})) == ["pyro.nowhere.a"]


def test_examples_of_contrib_find_their_names() -> None:
    by_file = {example.file: example for example in read()}
    for file in ("contrib/oed/ab_test.py", "contrib/mue/FactorMuE.py", "contrib/mue/ProfileHMM.py"):
        assert missing(by_file[file]) == []


def test_bad_tables_are_refused(tmp_path: Path) -> None:
    table = tmp_path / "table.txt"
    table.write_text("# comment\n    pyro: sample\n")
    with pytest.raises(ValueError, match="line 2"):
        read(table)
    table.write_text("a.py: mcmc\n    pyro sample\n")
    with pytest.raises(ValueError, match="line 2"):
        read(table)


def test_the_page_is_what_the_tool_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = tmp_path / "page.md"
    page = command._PAGE.read_text(encoding="utf-8")
    monkeypatch.setattr(command, "_PAGE", written)
    command.main()
    assert written.read_text(encoding="utf-8") == page
