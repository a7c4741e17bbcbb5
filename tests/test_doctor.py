"""``python -m ember`` says what there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ember.__main__ import main


def test_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert set(lines) >= {"ember", "python", "torch", "compiler", "cache", "settings", "matplotlib"}


@pytest.mark.parametrize("backend", ["native", "inductor", "interpreter"])
def test_tries_each_backend(backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    line = next(line for line in capsys.readouterr().out.splitlines() if f"backend {backend}" in line)
    assert " works (" in line


def test_without_a_compiler_it_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    assert main(["--no-compile"]) == 1
    assert "MISSING" in capsys.readouterr().out


def test_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ember", "--no-compile"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ember ")


def test_names_what_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> Any:
        return ""

    monkeypatch.setattr("ember.__main__._installed", missing)
    main(["--no-compile"])
    assert "missing: export of draws" in capsys.readouterr().out
