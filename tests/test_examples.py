"""The examples run as shown, end with the results that they promise, and write their pictures."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ember

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SEARCH_PATH = os.pathsep.join(
    filter(None, [str(Path(ember.__file__).parents[1]), os.environ.get("PYTHONPATH")])
)
SCRIPTS = ["coin.py", "early_stopping.py"]


def run(folder: Path, *args: str) -> str:
    """What ``python ARGS`` prints, run in that folder; a warning is an error."""
    env = {**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1", "PYTHONPATH": SEARCH_PATH}
    command = [sys.executable, "-W", "error", *args]
    done = subprocess.run(command, cwd=folder, env=env, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def number(pattern: str, text: str) -> float:
    """The number that the pattern's group finds."""
    found = re.search(pattern, text)
    assert found is not None, text
    return float(found.group(1))


def check_png(path: Path, at_least: int) -> None:
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n") and len(content) > at_least


def check_coin(output: str) -> None:
    losses = [float(loss) for loss in re.findall(r"loss +([\d.]+)", output)]
    assert len(losses) == 10
    assert losses[-1] == pytest.approx(7.064, abs=0.1)  # minus the log of the evidence, in closed form
    assert number(r"mean ([\d.]+)", output) == pytest.approx(16 / 30, abs=0.01)
    assert number(r"deviation ([\d.]+)", output) == pytest.approx(0.0896, abs=0.004)


def check_early_stopping(output: str) -> None:
    losses = [float(loss) for loss in re.findall(r"validation loss +([\d.]+)", output)]
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0] / 2
    assert "no better for 10 evaluations" in output
    stopped, best = number(r"stopped at step (\d+)", output), number(r"best at step (\d+)", output)
    assert stopped == best + 500
    assert number(r"new points ([\d.]+)", output) < 0.1


CHECKS = {"coin.py": check_coin, "early_stopping.py": check_early_stopping}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_pyro_script_is_the_example_with_another_name_and_prints_the_same(
    name: str, tmp_path: Path
) -> None:
    script = EXAMPLES / "pyro_scripts" / name
    text = (EXAMPLES / name).read_text()
    assert script.read_text() == re.sub(r"\bember\b", "pyro", text)
    output = run(tmp_path, str(EXAMPLES / name))
    CHECKS[name](output)
    assert run(tmp_path, "-m", "ember.pyro", str(script)) == output


def test_batting(tmp_path: Path) -> None:
    """The fit is trusted, and ahead of both simple guesses in the rest of the season."""
    output = run(tmp_path, str(EXAMPLES / "batting.py"))
    assert output.startswith("batters: OK")
    scores = {
        name: (number(rf"{name} +([\d.]+)", output), number(rf"{name} +[\d.]+ +(-[\d.]+)", output))
        for name in ("ember.fit", "own average", "all alike")
    }
    assert scores["ember.fit"][0] < 0.6 * scores["own average"][0]
    assert scores["ember.fit"][0] < scores["all alike"][0]
    assert scores["ember.fit"][1] > max(scores["own average"][1], scores["all alike"][1])
    check_png(tmp_path / "batting.png", 20_000)


def test_breast_cancer(tmp_path: Path) -> None:
    output = run(tmp_path, str(EXAMPLES / "breast_cancer.py"))
    assert "patients: 341 train, 114 validate, 114 test" in output
    scores = {
        name: (number(rf"{name} +([\d.]+)", output), number(rf"{name} +[\d.]+ +(-[\d.]+)", output))
        for name in ("Ember", "scikit-learn's estimate", "always the base rate")
    }
    accuracy, log_likelihood = scores["Ember"]
    assert accuracy > 0.95 and accuracy > scores["scikit-learn's estimate"][0] - 0.03
    assert log_likelihood > -0.1 and log_likelihood > scores["always the base rate"][1] + 0.5
    assert number(r"train ([\d.]+) nats", output) < 0.2 and number(r"validation ([\d.]+) nats", output) < 0.25
    check_png(tmp_path / "elbo.png", 20_000)


def test_digits_vae(tmp_path: Path) -> None:
    output = run(tmp_path, str(EXAMPLES / "digits_vae.py"), "--epochs", "40", "--output", "pictures.png")
    assert "images: 1437 train, 360 test" in output
    end = number(r"at the end +([\d.]+)", output)
    assert end < 0.5 * number(r"independent pixels +([\d.]+)", output)
    assert end < 0.3 * number(r"at the start +([\d.]+)", output)
    assert number(r"off by ([\d.]+)", output) < 0.5 * number(r"mean image by ([\d.]+)", output)
    check_png(tmp_path / "pictures.png", 20_000)
