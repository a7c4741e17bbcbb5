"""What counts as the same signature, and the page and the table that are made of the verdicts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tools.surface.collect import signature
from tools.surface.judge import difference, judge
from tools.surface.report import render
from tools.surface.table import render as render_table

ROOT = Path(__file__).parents[2]


def there(a, b=1, *, c=None): ...


def same_and_more(a, b=1, more=2, *, c=None, d=3): ...


def needs_more(a, b=1, *, c=None, d): ...


def renamed(x, b=1, *, c=None): ...


def another_default(a, b=2, *, c=None): ...


def swapped(b=1, a=0, *, c=None): ...


def anything(*args, **kwargs): ...


def with_keywords(a, **kwargs): ...


def with_named_keywords(a, *, c=None): ...


@pytest.mark.parametrize(
    "one, other, text",
    [
        (there, there, ""),
        (there, same_and_more, ""),
        (there, needs_more, "asks for d too"),
        (there, renamed, "no parameter 'a'"),
        (there, another_default, "b=2.0 for 1.0"),
        (there, swapped, "'a' at another position"),
        (there, anything, "'a' only by *args, **kwargs"),
        (anything, there, "takes no *args"),
        (with_keywords, with_named_keywords, ""),
    ],
)
def test_signatures(one, other, text: str) -> None:
    assert difference(signature(one), signature(other)) == text


def record(fn: Any, home: str) -> dict[str, Any]:
    return {"kind": "function", "home": home, "qualname": fn.__name__, "signature": signature(fn)}


def test_names_are_counted_once_where_they_are_defined() -> None:
    names = {"f": record(there, "pyro.x.y"), "g": record(swapped, "pyro.x.y")}
    walked = {
        "pyro.x": {"all": ["f"], "names": {"f": names["f"]}},
        "pyro.x.y": {"all": None, "names": {**names, "join": record(there, "os.path")}},
    }
    looked_up = {
        "pyro.x": {"names": {"f": record(there, "ember.x")}},
        "pyro.x.y": {"names": {"f": record(there, "ember.x"), "g": {"error": "AttributeError"}}},
    }
    page = render(judge(walked, looked_up), {"n": [1.0, 2.0], "m": [1.0]}, {"n": [1.0, 2.0], "m": [1.1]})
    assert "| all | 2 | 1 | 1 | 50.0 |" in page
    assert "`pyro.x.y`: `g`" in page and "`m` differs by 0.1" in page and "1 are the same" in page
    table = render_table(walked)
    assert "pyro.x: f\n" in table and "pyro.x.y: f g | join@os.path:there" in table


def test_the_readme_has_the_figures_of_the_page() -> None:
    page = (ROOT / "docs" / "surface.md").read_text()
    row = re.search(r"^\| all \| (\d+) \| (\d+) \| (\d+) \|", page, re.MULTILINE)
    assert row is not None
    names, found, same = map(int, row.groups())
    words = {6: "six", 5: "five", 4: "four", 3: "three"}
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert names == found
    assert f"all of Pyro's {names:,} public names are there, {words[names - same]} with another" in readme
