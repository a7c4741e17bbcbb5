"""The programs of ``tests/types`` are run by mypy in ``make check``; here, that differences are seen."""

from __future__ import annotations

from tools.typed_programs import differences, expected


def test_lines_say_what_they_expect() -> None:
    codes = {code for _, _, code in expected()}
    assert codes >= {"call-overload", "arg-type", "call-arg", "attr-defined"}


def test_differences_have_their_places() -> None:
    wanted = {("wrong/calls.py", 3, "arg-type"), ("wrong/calls.py", 5, "call-arg")}
    said = {("wrong/calls.py", 5, "call-arg"), ("right/regression.py", 7, "assert-type")}
    assert list(differences(wanted, said)) == [
        "tests/types/wrong/calls.py:3: no error is found, where arg-type is expected",
        "tests/types/right/regression.py:7: an error that is not expected: assert-type",
    ]


def test_no_difference() -> None:
    assert not list(differences(expected(), expected()))
