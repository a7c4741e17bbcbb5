"""The measures of the house see what they are meant to see, on small packages made for the purpose."""

from __future__ import annotations

import itertools

import pytest

pytest.importorskip("grimp")

from tools.house import __main__ as command
from tools.house import measures
from tools.house.measures import MEASURES, House

NUMBERS = itertools.count()


@pytest.fixture
def build(tmp_path):
    """A package from texts by path, in a folder of its own."""

    def build(files, halls=("infer",)):
        root = tmp_path / f"pack{next(NUMBERS)}"
        for name, text in {"__init__.py": "", "infer/__init__.py": "", **files}.items():
            path = root / name
            for folder in path.relative_to(root).parents:
                (root / folder).mkdir(parents=True, exist_ok=True)
                (root / folder / "__init__.py").touch()
            path.write_text(text.replace("PACK", root.name))
        return House(root, halls)

    return build


HIDDEN = {
    "at the top": "import PACK.b",
    "in a function": "def f():\n    from PACK.b import g",
    "in a method": "class A:\n    def f(self):\n        from PACK import b",
    "for types": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from PACK import b",
    "relative": "from . import b",
    "in a branch": "try:\n    import PACK.b\nexcept ImportError:\n    pass",
}


@pytest.mark.parametrize("how", HIDDEN)
def test_every_cycle_is_seen(build, how):
    house = build(
        {"a.py": HIDDEN[how], "b.py": "import PACK.c", "c.py": "import PACK.a", "d.py": "import PACK.a"}
    )
    assert measures.modules_in_cycles(house).number == 3
    assert measures.rooms_in_cycles(house).number == 3


def test_no_cycle(build):
    house = build({"a.py": "import PACK.b", "b.py": "import PACK.infer.c", "infer/c.py": "import torch"})
    assert measures.modules_in_cycles(house).number == measures.rooms_in_cycles(house).number == 0


def test_rooms_have_cycles_where_modules_have_none(build):
    files = {
        "infer/x/a.py": "import PACK.infer.y.a",
        "infer/y/a.py": "",
        "infer/y/b.py": "import PACK.infer.x.b",
        "infer/x/b.py": "",
    }
    house = build(files)
    assert measures.modules_in_cycles(house).number == 0
    assert measures.rooms_in_cycles(house).number == 2
    assert measures.rooms_in_a_hall(house).number == 2


def test_the_largest_room_is_counted(build):
    house = build({f"infer/x/{name}.py": "" for name in "abcd"} | {f"other/{i}.py": "" for i in range(9)})
    assert measures.files_in_a_room(house).number == 4


def test_private_names_of_other_files(build):
    a = """
from PACK.b import _private
from PACK import _module
from torch import thing
class A:
    def f(self, other, b):
        self._own = b._hidden          # counts
        other._own, super()._hidden, self._hidden
        thing._hidden, other.__dict__, other._nobody_has_this
"""
    b = "def _private(): pass\nclass B:\n    _hidden: int = 3\n"
    found = measures.private_names_across_files(build({"a.py": a, "b.py": b, "_module.py": ""}))
    package = found.places[0].split(".")[0]
    whats = [place.split(" ", 1)[1] for place in found.places]
    assert whats == ["b._hidden", f"from {package}.b import _private"]


def test_a_part_never_receives_the_whole(build, monkeypatch):
    house = build(
        {"svi.py": "import PACK.loop", "loop.py": "def run(svi): svi.step()", "face.py": "def f(svi): pass"}
    )
    monkeypatch.setattr(measures, "SVI", f"{house.root.name}.svi")
    found = measures.uses_of_the_svi_below_it(house)
    assert found.number == 2 and all(".loop:" in place for place in found.places)


def test_sizes(build):
    long = "def f():\n" + '    """One\n\n    two."""\n' + "    pass\n" * 30
    house = build({"a.py": long, "b.py": "x = 1\n" * 50})
    assert measures.lines_in_a_file(house).number == 50
    assert measures.lines_in_a_function(house).number == 31


def test_string_keys_and_any(build):
    text = """
from typing import Any
def f(a: Any, b: "list[Any]", *c: int, d: Any | None = None) -> None:
    a["key"], a[0], a.get("key"), a.pop("key", None), a.setdefault("key", 1), a.get(b), get("key")
    return None
""".strip()
    house = build({"a.py": text})
    assert measures.string_keys_in_1000_lines(house).number == 1000
    assert measures.percent_of_bare_any(house).number == 50


def test_every_measure_has_a_budget_and_the_other_way_round():
    budgets = command.tomllib.loads(command.BUDGETS.read_text())
    assert list(budgets) == list(MEASURES)


def test_budgets_only_go_down(build, tmp_path, monkeypatch, capsys):
    file = tmp_path / "budgets.toml"
    file.write_text("# Why.\n" + "".join(f"{name} = 20  # aim\n" for name in MEASURES))
    monkeypatch.setattr(command, "BUDGETS", file)
    monkeypatch.setattr(command, "House", lambda root: build({"a.py": "x = 1\n" * 25}))
    assert command.main(["--tighten"]) == 1
    printed = capsys.readouterr().out
    assert "BROKEN lines_in_a_file: 25 (budget 20)" in printed and ".a: 25" in printed
    assert (
        "lines_in_a_file = 20  # aim" in file.read_text()
        and "modules_in_cycles = 0  # aim" in file.read_text()
    )
    assert file.read_text().startswith("# Why.")
