"""Tables of numbers by quantity."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import torch

from ember.ops.entries import Scalars
from ember.report.table import Column, Table


def table(rows: int = 2, brackets: bool = False) -> Table:
    spread = torch.logspace(-3, 5, rows, dtype=torch.float64)
    return Table(
        tuple(f"q{i}" for i in range(rows)),
        {
            "mean": Column(spread * 3),
            "sd": Column(spread, brackets=brackets),
            "k": Column(torch.zeros(rows), format=".2f"),
        },
    )


def test_numbers_have_as_many_digits_as_their_spread_calls_for() -> None:
    lines = str(table(3)).splitlines()
    assert lines[1].split() == ["q0", "0.00300", "0.00100", "0.00"]
    assert lines[2].split() == ["q1", "30.0", "10.0", "0.00"]
    assert lines[3].split() == ["q2", "300,000", "100,000", "0.00"]


def test_columns_line_up() -> None:
    assert len({len(line) for line in str(table(40)).splitlines()}) == 1


def test_numbers_not_to_be_relied_on_stand_in_brackets() -> None:
    assert "(10.0)" in str(table(3, brackets=True))


def test_one_number_in_brackets() -> None:
    lines = str(Table(("a", "b"), {"sd": Column(torch.ones(2), brackets=(False, True))})).splitlines()
    assert lines[1].split() == ["a", "1.00"] and lines[2].split() == ["b", "(1.00)"]


def test_words_are_a_column_where_they_differ() -> None:
    columns = {"sd": Column(torch.ones(2))}
    lines = str(Table(("a", "b"), columns, words=("ok", "poor"))).splitlines()
    assert [line.split()[-1] for line in lines] == ["verdict", "ok", "poor"]
    assert "<td>poor</td>" in Table(("a", "b"), columns, words=("ok", "poor"))._repr_html_()
    assert "verdict" not in str(Table(("a", "b"), columns, words=("ok", "ok")))


def test_a_long_table_says_how_much_is_left() -> None:
    text = table(100).text(10)
    assert len(text.splitlines()) == 12
    assert text.endswith("… and 90 more")


def test_rows_by_name() -> None:
    assert table()["q0"]["sd"] == pytest.approx(1e-3)
    with pytest.raises(KeyError, match="no quantity 'mu' in this table; there are q0, q1"):
        table()["mu"]


def test_html_escapes_names() -> None:
    html = Table(("a<b",), {"mean": Column(torch.zeros(1))})._repr_html_()
    assert "a&lt;b" in html
    assert "a<b" not in html


def test_to_dataframe() -> None:
    pandas = pytest.importorskip("pandas")
    frame = table().to_dataframe()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.loc["q0", "sd"] == pytest.approx(1e-3)
    assert "verdict" not in frame
    words = Table(("a",), {"sd": Column(torch.ones(1))}, words=("ok",)).to_dataframe()
    assert words.loc["a", "verdict"] == "ok"


def test_scalars_name_each_entry() -> None:
    scalars = Scalars.of({"b": torch.arange(12.0).reshape(2, 3, 2), "mu": torch.zeros(2)})
    assert scalars.names == ("b[0,0]", "b[0,1]", "b[1,0]", "b[1,1]", "b[2,0]", "b[2,1]", "mu")
    assert scalars.values[1].tolist() == [6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 0.0]


def test_scalars_of_different_numbers_of_draws_are_an_error() -> None:
    with pytest.raises(ValueError, match="'mu': 3"):
        Scalars.of({"b": torch.zeros(2), "mu": torch.zeros(3)})


def test_the_extra_installs_what_reports_import() -> None:
    root = Path(__file__).parents[2]
    source = "".join(path.read_text() for path in (root / "src" / "ember" / "report").rglob("*.py"))
    imported = set(re.findall(r"\b(arviz|matplotlib|pandas)\b", source))
    extra = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]["report"]
    assert {re.split("[><=]", name)[0] for name in extra} == imported == {"arviz", "matplotlib", "pandas"}
