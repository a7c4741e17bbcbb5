"""Fixtures of the drop-in's tests: the alias in this process, and programs in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ember
import ember.pyro

Run = Callable[..., "subprocess.CompletedProcess[str]"]

# Ember, even if it runs from its sources without having been installed.
SEARCH_PATH = os.pathsep.join(
    filter(None, [str(Path(ember.__file__).parents[1]), os.environ.get("PYTHONPATH")]),
)


@pytest.fixture
def alias() -> Iterator[None]:
    with ember.pyro.installed():
        yield


@pytest.fixture
def run_python(tmp_path: Path) -> Run:
    """Runs ``python ARGS`` in an empty folder; the test fails, with the output, on another status."""

    def run(*args: str, status: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", *args]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": SEARCH_PATH, **environment}
        done = subprocess.run(command, cwd=tmp_path, env=env, text=True, capture_output=True, timeout=300)
        assert done.returncode == status, done.stdout + done.stderr
        return done

    return run
