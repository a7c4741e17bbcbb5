"""The table of ``make clients``. The clients themselves need their libraries, and run there."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def table() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT))
    yield importlib.import_module("benchmarks.clients.table")
    sys.path.remove(str(ROOT))


def result(losses: list[float], seconds: float, **others: object) -> dict[str, object]:
    done = ["train", "predict", "save", "load"]
    steps = [1.0] * bool(losses) + [seconds] * (len(losses) - 1)
    named = {"library": "gpytorch", "what": "`PyroGP`", "version": "1.15.2", "loaded differs": 0.0}
    return {**named, "done": done, "losses": losses, "steps": steps, **others}


def test_a_row_says_what_ran_how_fast_and_how_near(table: ModuleType) -> None:
    rows = {
        "pyro": result([200.0, 100.0, 50.0, 40.0], 0.02),
        "ember": result([200.0, 100.0, 50.0, 40.0], 0.01, explained=["0 captures, 0 eager calls"]),
        "compiled": result(
            [200.0, 100.001, 50.0, 40.0], 0.0005, explained=["1 captures\n  step: native; 3 calls; 1 MiB"]
        ),
    }
    expected = "| gpytorch 1.15.2 | `PyroGP` | all | 20 | 10 | 0.5 | 3 of 4 | 0e+00 | 1e-05 |"
    assert table.render({"gp": rows}).splitlines()[-1] == expected


def test_a_row_says_what_failed(table: ModuleType) -> None:
    failed = result([], 0.1, done=["train"], error="no")
    rows = {"pyro": failed, "ember": result([1.0], 0.1, **{"loaded differs": 0.1}), "compiled": failed}
    assert (
        table.render({"gp": rows})
        .splitlines()[-1]
        .startswith("| gpytorch 1.15.2 | `PyroGP` | train | - | 1000 | - | 0 of 0 | - |")
    )


def test_the_page_has_a_place_for_it(table: ModuleType) -> None:
    page = (ROOT / "docs" / "from-pyro.md").read_text(encoding="utf-8")
    once = table.put_into(page, "a table")
    assert "a table" in once and table.put_into(once, "another").count("another") == page.count("another") + 1
    with pytest.raises(ValueError, match="lacks the marks"):
        table.put_into("nothing", "a table")


def test_every_client_has_a_file(table: ModuleType) -> None:
    assert all((ROOT / "benchmarks" / "clients" / f"{name}.py").exists() for name in table.CLIENTS)
