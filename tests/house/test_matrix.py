"""The table of versions: counted from reports of pytest, written row by row."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.matrix.__main__ import Result, counted, with_rows

PAGE = """# Versions

| Python | torch | passed | skipped | failed | tests |
|---|---|---|---|---|---|
| 3.11.7 | 2.9.1 | 10 | 0 | 2 | tests/nn |
| 3.12.1 | 2.13.0 | 12 | 0 | 0 | all |

More.
"""


def test_counts(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text('<testsuites><testsuite tests="9" skipped="1" failures="2" errors="1"/></testsuites>')
    assert counted(report, "3.11.7", "2.9.1", "all") == Result("3.11.7", "2.9.1", "all", 5, 1, 3)


def test_rows_are_renewed_and_added() -> None:
    new = [Result("3.11.7", "2.9.1", "all", 1234, 1, 0), Result("3.13.0", "2.15.0", "tests/nn", 7, 0, 1)]
    page = with_rows(PAGE, new)
    assert page.splitlines()[4:] == [
        "| 3.11.7 | 2.9.1 | 1,234 | 1 | 0 | all |",
        "| 3.12.1 | 2.13.0 | 12 | 0 | 0 | all |",
        "| 3.13.0 | 2.15.0 | 7 | 0 | 1 | tests/nn |",
        "",
        "More.",
    ]
    assert with_rows(page, new) == page


def test_a_page_without_a_table() -> None:
    with pytest.raises(ValueError, match="no table"):
        with_rows("# Versions\n", [])
