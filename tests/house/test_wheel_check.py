"""What a wheel and a sdist must hold."""

from __future__ import annotations

import pytest

from tools.wheel_check import (
    IN_SDIST,
    first_program,
    missing_in_sdist,
    missing_in_wheel,
    package_files,
)
from tools.wheel_check import (
    test_files as files_of_tests,
)

RIGHT = [*sorted(package_files()), "ember_svi-1.dist-info/METADATA", "ember_svi-1.dist-info/licenses/LICENSE"]


def test_a_wheel_holds_the_c_sources() -> None:
    assert not list(missing_in_wheel(RIGHT))
    without = [name for name in RIGHT if not name.endswith((".h", "py.typed"))]
    said = list(missing_in_wheel(without))
    assert "the wheel lacks ember/py.typed" in said
    assert "the wheel lacks ember/capture/native/c/ember_rows.h" in said


def test_a_wheel_holds_nothing_else() -> None:
    assert list(missing_in_wheel([*RIGHT, "tests/conftest.py"])) == [
        "the wheel has tests/conftest.py, which is no part of the package"
    ]


def test_a_sdist_holds_the_tests() -> None:
    whole = [
        f"ember-1/{name}"
        for name in (*(f"src/{name}" for name in package_files()), *files_of_tests(), *IN_SDIST)
    ]
    assert not list(missing_in_sdist(whole))
    assert "the sdist lacks tests/house/test_wheel_check.py" in list(missing_in_sdist(["ember-1/README.md"]))


def test_the_first_program() -> None:
    assert first_program("text\n```\nno\n```\n```python\nx = 1\n```\n```python\ny\n```\n") == "x = 1\n"
    with pytest.raises(ValueError, match="no block"):
        first_program("# Title")
