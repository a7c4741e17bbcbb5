"""The example of two processes, as ``torchrun`` starts it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from torch import distributed

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not distributed.is_available(), reason="torch without torch.distributed")
def test_two_processes_by_torchrun(tmp_path: Path) -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = [
        str(ROOT / "examples" / "data_parallel.py"),
        "--epochs",
        "10",
        "--path",
        str(tmp_path / "fit.pt"),
    ]
    done = subprocess.run(
        [*launcher, *script], env=env, text=True, capture_output=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "2 processes, 300 steps" in done.stdout and done.stdout.count("weights") == 1
    error = re.search(r"largest error ([\d.]+)", done.stdout)
    assert error is not None and float(error.group(1)) < 0.3
    assert (tmp_path / "fit.pt").exists()
